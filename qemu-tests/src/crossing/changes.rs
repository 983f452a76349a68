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
        name: "a device is removed and made again",
        modules: &["8021q"],
        make: Make::Change {
            before: |site, place| {
                small_windows(site);
                for link in site.links(place) {
                    site.stack(&link, TAGGED, TAGGED).unwrap();
                }
            },
            change: |site, place| {
                for link in site.links(place) {
                    let (device, new) = (&link.device, &link.new);
                    let made = TAGGED.replace("{dev}", device).replace("{new}", new);
                    let addresses = link.at_switch(new);
                    let lines = format!("link del {new}\n{made}\nlink set {new} up\n{addresses}");
                    ip(&site.network.switch, &lines).unwrap();
                }
            },
            back: |_, _| {},
        },
        note: "a VLAN's device on the switch, with its addresses and routes",
        ..CHANGE
    },
    Crossing {
        name: "a bond fails over",
        modules: &["bonding max_bonds=0"],
        make: Make::Change {
            before: |site, place| {
                small_windows(site);
                for link in site.links(place) {
                    let (device, host) = (&link.device, link.host.name());
                    let lines =
                        format!("link add {device}b type veth peer name eth0b netns {host}");
                    ip(&site.network.switch, &lines).unwrap();
                    site.stack(&link, TWO_PORTS, TWO_PORTS).unwrap();
                }
            },
            change: |site, place| ports(site, place, "down"),
            back: |site, place| ports(site, place, "up"),
        },
        note: "the active port goes down; it comes up again before the next exchange",
        ..CHANGE
    },
    Crossing {
        name: "the path takes shorter packets",
        make: Make::Change {
            before: |site, _| small_windows(site),
            change: |site, place| mtu(site, place, 1280),
            back: |site, place| mtu(site, place, 1500),
        },
        note: "the MTU of both ends of the link falls from 1500 to 1280 bytes",
        ..CHANGE
    },
    Crossing {
        name: "offloads are switched off",
        make: Make::Change {
            before: |site, _| small_windows(site),
            change: |site, place| offloads(site, place, "off"),
            back: |site, place| offloads(site, place, "on"),
        },
        note: "checksums, GSO and GRO on the switch's devices",
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

const TAGGED: &str = "link add link {dev} name {new} type vlan id 7";

const TWO_PORTS: &str = "link add {new} type bond mode active-backup miimon 50\nlink set {dev} down\nlink set {dev} master {new}\n\
                         link set {dev}b down\nlink set {dev}b master {new}\nlink set {dev}b up";

fn ports(site: &Site, place: Place, state: &str) {
    for link in site.links(place) {
        let lines = format!("link set {} {state}", link.device);
        ip(&site.network.switch, &lines).unwrap();
    }
}

fn mtu(site: &Site, place: Place, mtu: u32) {
    for link in site.links(place) {
        let lines = format!("link set {} mtu {mtu}", link.device);
        ip(&site.network.switch, &lines).unwrap();
        ip(link.host, &format!("link set eth0 mtu {mtu}")).unwrap();
    }
}

fn offloads(site: &Site, place: Place, state: &str) {
    for link in site.links(place) {
        let device = &link.device;
        let line = format!("ethtool -K {device} tx {state} gso {state} tso {state} gro {state}");
        sh(&site.network.switch, &line).unwrap();
    }
}

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
