// SPDX-License-Identifier: MIT
//! Devices that packets come and go by.

use std::fs;

use super::Crossing;
use super::Group;
use super::Make;
use super::PLAIN;
use super::Place;
use super::site::Link;
use super::site::Site;
use super::site::ip;
use super::site::sh;
use super::tunnels;
use crate::kit::process;

/// A device of the same kind at both ends.
const fn both(line: &'static str) -> Make {
    Make::Devices {
        switch: line,
        host: line,
    }
}

/// A device on the switch only.
const fn here(line: &'static str) -> Make {
    Make::Devices {
        switch: line,
        host: "",
    }
}

/// What most of them are.
const DEVICE: Crossing = Crossing {
    group: Group::Devices,
    ..PLAIN
};

/// All of them.
pub(super) const CROSSINGS: &[Crossing] = &[
    Crossing {
        name: "veth",
        places: &[Place::Whole],
        note: "the base line: nothing between",
        ..DEVICE
    },
    Crossing {
        name: "VLAN",
        modules: &["8021q"],
        make: both("link add link {dev} name {new} type vlan id 7"),
        ..DEVICE
    },
    Crossing {
        name: "VLAN in VLAN (802.1ad)",
        modules: &["8021q"],
        make: both(
            "link add link {dev} name {new}s type vlan proto 802.1ad id 8\nlink set {new}s up\n\
             link add link {new}s name {new} type vlan id 7",
        ),
        ..DEVICE
    },
    Crossing {
        name: "bridge",
        modules: &["bridge"],
        make: here("link add {new} type bridge\nlink set {dev} master {new}"),
        ..DEVICE
    },
    Crossing {
        name: "VLAN on a bridge",
        modules: &["bridge", "8021q"],
        make: Make::Devices {
            switch: "link add {new}b type bridge\nlink set {dev} master {new}b\nlink set {new}b up\n\
                     link add link {new}b name {new} type vlan id 7",
            host: "link add link {dev} name {new} type vlan id 7",
        },
        ..DEVICE
    },
    Crossing {
        name: "MACsec",
        modules: &["macsec"],
        make: Make::Devices {
            switch: "link set {dev} address 02:00:00:01:0{number}:01\n\
                     link add link {dev} {new} type macsec port 1 encrypt on\n\
                     macsec add {new} tx sa 0 pn 1 on key 01 000102030405060708090a0b0c0d0e0f\n\
                     macsec add {new} rx port 1 address 02:00:00:01:0{number}:02\n\
                     macsec add {new} rx port 1 address 02:00:00:01:0{number}:02 sa 0 pn 1 on key 02 0f0102030405060708090a0b0c0d0e00",
            host: "link set {dev} address 02:00:00:01:0{number}:02\n\
                   link add link {dev} {new} type macsec port 1 encrypt on\n\
                   macsec add {new} tx sa 0 pn 1 on key 02 0f0102030405060708090a0b0c0d0e00\n\
                   macsec add {new} rx port 1 address 02:00:00:01:0{number}:01\n\
                   macsec add {new} rx port 1 address 02:00:00:01:0{number}:01 sa 0 pn 1 on key 01 000102030405060708090a0b0c0d0e0f",
        },
        ..DEVICE
    },
    Crossing {
        name: "bridge with br_netfilter",
        modules: &["bridge"],
        make: Make::With(filtered_bridge),
        ..DEVICE
    },
    Crossing {
        name: "bond (active-backup)",
        modules: &["bonding max_bonds=0"],
        make: here(
            "link add {new} type bond mode active-backup miimon 100\nlink set {dev} down\nlink set {dev} master {new}",
        ),
        ..DEVICE
    },
    Crossing {
        name: "bond (balance-rr)",
        modules: &["bonding max_bonds=0"],
        make: both(
            "link add {new} type bond mode balance-rr miimon 100\nlink set {dev} down\nlink set {dev} master {new}",
        ),
        ..DEVICE
    },
    Crossing {
        name: "team (round robin)",
        modules: &["team", "team_mode_roundrobin"],
        make: Make::With(team),
        ..DEVICE
    },
    Crossing {
        name: "one device for all (one-armed)",
        places: &[Place::Whole],
        modules: &["bridge"],
        make: Make::With(one_armed),
        proof: Some(
            "ip route show dev lan | grep 10.0.1.0 && ip route show dev lan | grep 10.0.2.3",
        ),
        note: "packets go out by the device that they came by: client and servers are on one network, which is a bridge",
        ..DEVICE
    },
    Crossing {
        name: "macvlan",
        modules: &["macvlan"],
        make: here("link add link {dev} name {new} type macvlan mode bridge"),
        ..DEVICE
    },
    Crossing {
        name: "ipvlan",
        modules: &["ipvlan"],
        make: here("link add link {dev} name {new} type ipvlan mode l2"),
        ..DEVICE
    },
    Crossing {
        name: "VRF",
        places: &[Place::Whole],
        modules: &["vrf"],
        make: Make::With(one_vrf),
        note: "clients, service and servers in one VRF",
        ..DEVICE
    },
    Crossing {
        name: "VRF with routes between",
        places: &[Place::Ingress],
        modules: &["vrf"],
        make: Make::With(clients_vrf),
        note: "the client's device and the service in a VRF, the servers outside; routes lead out of each into the other",
        ..DEVICE
    },
    Crossing {
        name: "WireGuard",
        modules: &["wireguard"],
        make: Make::With(tunnels::wireguard),
        ..DEVICE
    },
    Crossing {
        name: "tun",
        modules: &["tun"],
        make: Make::With(|site, place| carried(site, place, false)),
        note: "a program carries packets from one end to the other",
        ..DEVICE
    },
    Crossing {
        name: "tap",
        modules: &["tun"],
        make: Make::With(|site, place| carried(site, place, true)),
        note: "a program carries frames from one end to the other",
        ..DEVICE
    },
    Crossing {
        name: "ipip and sit",
        modules: &["ipip", "sit"],
        make: Make::With(tunnels::ipip_and_sit),
        note: "IPv4 in IPv4, and IPv6 in IPv4",
        ..DEVICE
    },
    Crossing {
        name: "ip6tnl",
        modules: &["ip6_tunnel"],
        make: both("link add {new} type ip6tnl mode any local {own6} remote {peer6}"),
        note: "IPv4 and IPv6 in IPv6",
        ..DEVICE
    },
    Crossing {
        name: "gre",
        modules: &["ip_gre"],
        make: both("link add {new} type gre local {own} remote {peer}"),
        ..DEVICE
    },
    Crossing {
        name: "gre with key, checksum and numbers",
        modules: &["ip_gre"],
        make: both("link add {new} type gre local {own} remote {peer} key 7 csum seq"),
        ..DEVICE
    },
    Crossing {
        name: "gre over a path of less than its MTU",
        modules: &["ip_gre"],
        make: both(
            "link add {new} type gre local {own} remote {peer}\nlink set {new} mtu 1476\nlink set {dev} mtu 1360",
        ),
        note: "the tunnel tells senders of what its path takes",
        ..DEVICE
    },
    Crossing {
        name: "the switch's device has a smaller MTU than the others",
        make: Make::With(|site, place| {
            for link in site.links(place) {
                ip(
                    &site.network.switch,
                    &format!("link set {} mtu 1290", link.device),
                )
                .unwrap();
            }
        }),
        note: "senders learn by ICMP what the path takes",
        ..DEVICE
    },
    Crossing {
        name: "ip6gre",
        modules: &["ip6_gre"],
        make: both("link add {new} type ip6gre local {own6} remote {peer6}"),
        ..DEVICE
    },
    Crossing {
        name: "gretap",
        modules: &["ip_gre"],
        make: both("link add {new} type gretap local {own} remote {peer}"),
        ..DEVICE
    },
    Crossing {
        name: "vxlan",
        modules: &["vxlan"],
        make: both("link add {new} type vxlan id {number} local {own} remote {peer} dstport 4789"),
        ..DEVICE
    },
    Crossing {
        name: "vxlan over IPv6",
        modules: &["vxlan"],
        make: both(
            "link add {new} type vxlan id {number} local {own6} remote {peer6} dstport 4789\nlink set {new} mtu 1430",
        ),
        ..DEVICE
    },
    Crossing {
        name: "geneve",
        modules: &["geneve"],
        make: both("link add {new} type geneve id {number} remote {peer}"),
        ..DEVICE
    },
    Crossing {
        name: "vxlan, tunnels by route",
        modules: &["vxlan"],
        make: Make::With(tunnels::by_route),
        places: &[Place::Egress],
        note: "one device without a peer (`external`); routes say where to (`encap ip`)",
        ..DEVICE
    },
    Crossing {
        name: "IPsec device (xfrm)",
        modules: &["xfrm_interface", "esp4", "esp6"],
        make: Make::With(|site, place| tunnels::ipsec(site, place, true)),
        note: "ESP in tunnel mode, by an interface of its own",
        ..DEVICE
    },
    Crossing {
        name: "IPsec policies",
        modules: &["esp4", "esp6"],
        make: Make::With(|site, place| tunnels::ipsec(site, place, false)),
        note: "ESP in tunnel mode, by policies on the link's own device",
        ..DEVICE
    },
    Crossing {
        name: "netkit",
        make: Make::Devices {
            switch: "link add {new} type netkit peer name x0 netns {host}",
            host: "link set x0 up",
        },
        note: "in its default mode, without hardware addresses",
        ..DEVICE
    },
];

/// br_netfilter, loaded until this is dropped: other tests have bridges, too.
struct BridgeFilter;

impl Drop for BridgeFilter {
    fn drop(&mut self) {
        let _ = process::attempt("modprobe -r br_netfilter");
    }
}

fn filtered_bridge(site: &mut Site, place: Place) {
    site.keep.push(Box::new(BridgeFilter));
    let line = "modprobe br_netfilter; sysctl -qw net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1";
    sh(&site.network.switch, line).unwrap();
    for link in site.links(place) {
        let bridge = "link add {new} type bridge\nlink set {dev} master {new}";
        site.stack(&link, bridge, "").unwrap();
    }
}

/// Sets the mode of a team's device by generic netlink: `ip` has no word for it.
const ROUND_ROBIN: &str = r#"
import socket, struct, sys
link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
link.bind((0, 0))
def attribute(kind, data):
    data = struct.pack("HH", len(data) + 4, kind) + data
    return data + bytes(-len(data) % 4)
def ask(family, command, attributes):
    link.send(struct.pack("=IHHIIBBxx", 20 + len(attributes), family, 5, 1, 0, command, 1) + attributes)
    answer = link.recv(65536)
    error = -struct.unpack_from("=i", answer, 16)[0] if struct.unpack_from("H", answer, 4)[0] == 2 else 0
    # ESRCH: nobody listens to what has changed.
    if error not in (0, 3):
        raise OSError(error, "team")
    return answer
found = ask(16, 3, attribute(2, b"team\0"))
at, family = 20, None
while at + 4 <= len(found):
    length, kind = struct.unpack_from("HH", found, at)
    if kind == 1:
        family = struct.unpack_from("H", found, at + 4)[0]
        break
    at += (length + 3) & ~3
link.recv(65536)
option = attribute(1, b"mode\0") + attribute(3, b"\5") + attribute(4, b"roundrobin\0")
options = attribute(0x8002, attribute(0x8001, option))
ask(family, 1, attribute(1, struct.pack("=I", socket.if_nametoindex(sys.argv[1]))) + options)
"#;

fn team(site: &mut Site, place: Place) {
    fs::write("/tmp/team.py", ROUND_ROBIN).unwrap();
    for link in site.links(place) {
        let (device, new) = (&link.device, &link.new);
        let line = format!("ip link add {new} type team; python3 -IS /tmp/team.py {new}");
        sh(&site.network.switch, &line).unwrap();
        let port = format!("link set {device} down\nlink set {device} master {new}");
        site.stack(&link, &port, "").unwrap();
    }
}

/// Every link of the switch's is a port of one bridge, which has all of its addresses.
fn one_armed(site: &mut Site, place: Place) {
    let mut lines = "link add lan type bridge\nlink set lan up\n".to_owned();
    for link in site.links(place) {
        let device = &link.device;
        lines += &format!("addr flush dev {device} scope global\nlink set {device} master lan\n");
        // Both servers' links have the same address.
        lines += &link.at_switch("lan").replace("addr add", "addr replace");
    }
    ip(&site.network.switch, &lines).unwrap();
}

/// A VRF, with these devices in it. Their addresses of IPv6 go with that, and so do their routes.
fn enslave(site: &Site, links: &[Link<'_>]) {
    let switch = &site.network.switch;
    let mut lines = "link add vrf1 type vrf table 10\nlink set vrf1 up\n".to_owned();
    for link in links {
        let device = &link.device;
        lines += &format!("link set {device} master vrf1\naddr flush dev {device} scope global\n");
        lines += &link
            .at_switch(device)
            .lines()
            .map(|line| match line.starts_with("route") {
                true => format!("{line} table 10\n"),
                false => format!("{line}\n"),
            })
            .collect::<String>();
    }
    ip(switch, &lines).unwrap();
    // For the front: its sockets are in no VRF.
    for setting in [
        "ipv4.tcp_l3mdev_accept",
        "ipv4.ip_nonlocal_bind",
        "ipv6.ip_nonlocal_bind",
    ] {
        switch.set(&format!("net.{setting}"), "1");
    }
}

fn one_vrf(site: &mut Site, _: Place) {
    enslave(site, &site.links(Place::Whole));
}

fn clients_vrf(site: &mut Site, _: Place) {
    enslave(site, &site.links(Place::Ingress));
    let lines = "route add 10.0.1.0/24 dev client\nroute add fd00:1::/64 dev client\n\
                 route add 10.0.2.2 dev server1 table 10\nroute add 10.0.2.3 dev server2 table 10\n\
                 route add fd00:2::2 dev server1 table 10\nroute add fd00:2::3 dev server2 table 10";
    ip(&site.network.switch, lines).unwrap();
}

/// Carries what one device sends to another, in two namespaces, both ways.
const CARRY: &str = r#"
import fcntl, os, struct, sys, threading
mode = {"tun": 0x0001, "tap": 0x0002}[sys.argv[1]] | 0x1000
def device(namespace, name):
    os.setns(os.open(f"/run/netns/{namespace}", os.O_RDONLY), os.CLONE_NEWNET)
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, 0x400454ca, struct.pack("16sH22x", name.encode(), mode))
    return tun
def carry(one, other):
    while True:
        data = os.read(one, 65536)
        try:
            os.write(other, data)
        except OSError:
            pass
ends = [device(*sys.argv[2:4]), device(*sys.argv[4:6])]
threading.Thread(target=carry, args=ends, daemon=True).start()
print("carries", flush=True)
carry(*ends[::-1])
"#;

fn carried(site: &mut Site, place: Place, tap: bool) {
    fs::write("/tmp/carry.py", CARRY).unwrap();
    let mut carriers = Vec::new();
    for link in site.links(place) {
        let (kind, new, host) = (if tap { "tap" } else { "tun" }, &link.new, link.host.name());
        let mut carrier = site.network.switch.start(&format!(
            "python3 -IS /tmp/carry.py {kind} switch {new} {host} x0"
        ));
        carrier.wait_for_output("carries");
        carriers.push(carrier);
        // It is there already.
        let nothing = "link set {new} txqueuelen 1000";
        site.stack(&link, nothing, nothing).unwrap();
    }
    site.keep.push(Box::new(carriers));
}
