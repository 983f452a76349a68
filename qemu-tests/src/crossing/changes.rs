// SPDX-License-Identifier: MIT
//! Changes of the network in the midst of a transfer.

use super::Crossing;
use super::Group;
use super::Make;
use super::PLAIN;
use super::Place;
use super::site::Link;
use super::site::Site;
use super::site::ip;
use super::site::sh;

/// What most of them are.
const CHANGE: Crossing = Crossing {
    group: Group::Changes,
    ..PLAIN
};

/// All of them.
pub(super) const CROSSINGS: &[Crossing] = &[
    Crossing {
        name: "the switch's link goes down and comes up",
        make: Make::Change {
            before: |site, _| small_windows(site),
            change: |site, place| {
                for link in site.links(place) {
                    let device = &link.device;
                    let lines = format!(
                        "link set {device} down\naddr flush dev {device} scope global\nlink set {device} up\n{}",
                        link.at_switch(device)
                    );
                    ip(&site.network.switch, &lines).unwrap();
                }
            },
            back: |_, _| {},
        },
        note: "its addresses and routes are set again",
        ..CHANGE
    },
    Crossing {
        name: "the carrier is lost and comes back",
        make: Make::Change {
            before: |site, _| small_windows(site),
            change: |site, place| {
                for link in site.links(place) {
                    let lines = format!(
                        "link set eth0 down\naddr flush dev eth0 scope global\nlink set eth0 up\n{}",
                        link.at_host("eth0")
                    );
                    ip(link.host, &lines).unwrap();
                }
            },
            back: |_, _| {},
        },
        note: "the other host's device goes down and comes up",
        ..CHANGE
    },
    Crossing {
        name: "the service's address moves to another device",
        places: &[Place::Whole],
        make: Make::Change {
            before: |site, _| small_windows(site),
            change: |site, _| address_to(site, "client", "lo"),
            back: |site, _| address_to(site, "lo", "client"),
        },
        ..CHANGE
    },
    Crossing {
        name: "the service's address is removed",
        places: &[Place::Whole],
        make: Make::Change {
            before: |site, _| {
                small_windows(site);
                // The client would ask who has it, and nobody would say.
                let line = "mac=$(ip netns exec switch cat /sys/class/net/client/address); \
                            ip neigh replace 10.0.1.100 lladdr $mac dev eth0; ip neigh replace fd00:1::100 lladdr $mac dev eth0";
                sh(&site.network.client, line).unwrap();
            },
            change: |site, _| {
                let lines =
                    "addr del 10.0.1.100/32 dev client\naddr del fd00:1::100/128 dev client";
                ip(&site.network.switch, lines).unwrap();
            },
            back: |site, _| {
                let lines =
                    "addr add 10.0.1.100/32 dev client\naddr add fd00:1::100/128 dev client nodad";
                ip(&site.network.switch, lines).unwrap();
            },
        },
        note: "connections that have begun go on",
        ..CHANGE
    },
    Crossing {
        name: "the route is replaced by one over another device",
        make: Make::Change {
            before: |site, place| {
                small_windows(site);
                for link in site.links(place) {
                    second_link(site, &link);
                }
            },
            change: |site, place| routes_over(site, place, |link| format!("{}b", link.device)),
            back: |site, place| routes_over(site, place, |link| link.device.clone()),
        },
        ..CHANGE
    },
    Crossing {
        name: "the other host's hardware address changes",
        make: Make::Change {
            before: |site, place| {
                small_windows(site);
                for link in site.links(place) {
                    link.host.set("net.ipv4.conf.eth0.arp_notify", "1");
                    link.host.set("net.ipv6.conf.eth0.ndisc_notify", "1");
                }
            },
            change: |site, place| hardware_addresses(site, place, "02:00:00:00:01"),
            back: |site, place| hardware_addresses(site, place, "02:00:00:00:02"),
        },
        note: "it tells that by gratuitous ARP and by an unsolicited neighbour advertisement",
        ..CHANGE
    },
];

/// Receivers whose windows stay small: a transfer is not over when its client pauses.
fn small_windows(site: &Site) {
    for host in [&site.network.client]
        .into_iter()
        .chain(&site.network.servers)
    {
        host.set("net.ipv4.tcp_rmem", "4096 65536 65536");
    }
}

fn address_to(site: &Site, from: &str, to: &str) {
    let lines = format!(
        "addr del 10.0.1.100/32 dev {from}\naddr add 10.0.1.100/32 dev {to}\n\
         addr del fd00:1::100/128 dev {from}\naddr add fd00:1::100/128 dev {to} nodad"
    );
    ip(&site.network.switch, &lines).unwrap();
}

/// A second pair of devices beside a link's: eth1 on the other host, which answers on either.
pub(super) fn second_link(site: &Site, link: &Link<'_>) {
    let (device, host) = (&link.device, link.host.name());
    let lines = format!(
        "link add {device}b type veth peer name eth1 netns {host}\nlink set {device}b up\naddr add 10.0.3.1/32 dev {device}b"
    );
    ip(&site.network.switch, &lines).unwrap();
    // An address of IPv6 is answered for on its own device only.
    let addresses = link.at_host("eth1").replace("/64", "/128");
    let six = addresses
        .lines()
        .find(|line| line.starts_with("addr add fd"));
    let lines = format!("link set eth1 up\n{}", six.unwrap_or_default());
    ip(link.host, &lines).unwrap();
}

fn routes_over(site: &Site, place: Place, device: impl Fn(&Link<'_>) -> String) {
    for link in site.links(place) {
        let device = device(&link);
        let lines = match place {
            Place::Ingress => format!(
                "route replace 10.0.1.2 dev {device} src 10.0.1.1\nroute replace fd00:1::2 dev {device} src fd00:1::1\n"
            ),
            _ => link
                .at_switch(&device)
                .lines()
                .filter(|line| line.starts_with("route"))
                .map(|line| format!("{line}\n"))
                .collect(),
        };
        ip(&site.network.switch, &lines).unwrap();
    }
}

fn hardware_addresses(site: &Site, place: Place, begin: &str) {
    for (number, link) in site.links(place).iter().enumerate() {
        let line = format!("ip link set eth0 address {begin}:0{number}");
        sh(link.host, &line).unwrap();
    }
}
