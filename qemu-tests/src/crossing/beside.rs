// SPDX-License-Identifier: MIT
//! Others that look at packets in the network stack of the switch.

use std::fs;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;

use super::But;
use super::Crossing;
use super::Family;
use super::Forward;
use super::Group;
use super::Make;
use super::PLAIN;
use super::Place;
use super::changes::second_link;
use super::outcome::Way;
use super::site::Site;
use super::site::ip;
use super::site::service;
use super::site::sh;

/// What most of them are.
const NEIGHBOUR: Crossing = Crossing {
    group: Group::Beside,
    places: &[Place::Whole],
    ..PLAIN
};

/// All of them.
pub(super) const CROSSINGS: &[Crossing] = &[
    Crossing {
        name: "nftables flowtable",
        make: Make::Script(
            "nft 'table inet f { flowtable t { hook ingress priority 0; devices = { {in}, {outs} }; }
             chain c { type filter hook forward priority 0; meta l4proto tcp counter flow add @t; }; }'",
        ),
        proof: Some("nft list chain inet f c | grep 'packets [1-9]'"),
        note: "what the module passes on is untracked, so it is not put into the flowtable",
        ..NEIGHBOUR
    },
    Crossing {
        name: "connection tracking, invalid dropped",
        make: Make::Script(
            "nft 'table inet f { chain p { type filter hook prerouting priority -150; ct state invalid drop; }
             chain c { type filter hook forward priority 0; ct state invalid drop; counter; }
             chain i { type filter hook input priority 0; ct state invalid drop; }; }'",
        ),
        proof: Some("nft list chain inet f c | grep 'packets [1-9]'"),
        note: "what the module passes on is untracked, not invalid",
        ..NEIGHBOUR
    },
    Crossing {
        name: "connection tracking, new without SYN dropped",
        make: Make::Script(
            "nft 'table inet f { chain c { type filter hook forward priority 0; counter;
             ct state new tcp flags & (fin|syn|rst|ack) != syn drop; }; }'",
        ),
        proof: Some("nft list chain inet f c | grep 'packets [1-9]'"),
        ..NEIGHBOUR
    },
    Crossing {
        name: "masquerade",
        make: Make::Script(
            "nft 'table inet f { chain c { type nat hook postrouting priority srcnat; oifname { {outs} } masquerade; }; }'",
        ),
        note: "untracked packets are not masqueraded: servers see the client with nat",
        ..NEIGHBOUR
    },
    Crossing {
        name: "DNAT to the service",
        make: Make::With(dnat),
        but: &[But::all(
            Way::Stack,
            "the module is asked before NAT, where the packet is still to the other address",
        )],
        ..NEIGHBOUR
    },
    Crossing {
        name: "synproxy",
        modules: &["nft_synproxy"],
        make: Make::Script(
            "nft 'table inet f { chain p { type filter hook prerouting priority raw; tcp dport { 80, 81 } tcp flags syn counter notrack; }
             chain i { type filter hook input priority 0; tcp dport { 80, 81 } ct state invalid,untracked \
             synproxy mss 1460 wscale 7 timestamp sack-perm; ct state invalid drop; }; }'",
        ),
        proof: Some("nft list chain inet f p | grep 'packets [1-9]'"),
        note: "the module answers SYNs itself, before synproxy would",
        ..NEIGHBOUR
    },
    Crossing {
        name: "TPROXY of the service's ports",
        modules: &["nft_tproxy"],
        make: Make::Script(
            "nft 'table inet f { chain p { type filter hook prerouting priority mangle;
             meta nfproto ipv4 tcp dport { 80, 81 } tproxy ip to :3129 accept;
             meta nfproto ipv6 tcp dport { 80, 81 } tproxy ip6 to :3129 accept; }; }'",
        ),
        note: "the module has the service's packets before the chain at mangle",
        ..NEIGHBOUR
    },
    Crossing {
        name: "TPROXY ahead of the module",
        modules: &["nft_tproxy"],
        make: Make::With(tproxy_ahead),
        proof: Some("nft list chain inet f p | grep 'packets [1-9]'"),
        note: "a chain before raw gives the service's packets to a transparent socket; the module takes them from it",
        ..NEIGHBOUR
    },
    Crossing {
        name: "NFQUEUE",
        modules: &["nfnetlink_queue", "nft_queue"],
        make: Make::With(queue),
        proof: Some("nft list chain inet f c | grep 'packets [1-9]'"),
        note: "a program accepts every packet that is forwarded",
        ..NEIGHBOUR
    },
    Crossing {
        name: "tc: ingress redirected to ifb",
        places: &[Place::Ingress, Place::Egress],
        modules: &["ifb numifbs=0", "act_mirred", "cls_matchall"],
        make: Make::With(ifb),
        proof: Some("ip -s link show ifb0 | grep -A1 RX: | tail -1 | grep '^ *[1-9]'"),
        ..NEIGHBOUR
    },
    Crossing {
        name: "tc: ingress redirected to another device's ingress",
        places: &[Place::Ingress, Place::Egress],
        modules: &["dummy numdummies=0", "act_mirred", "cls_flower", "cls_matchall"],
        make: Make::With(dummy),
        proof: Some("tc -s filter show dev dummy0 ingress | grep 'Sent [1-9]'"),
        ..NEIGHBOUR
    },
    Crossing {
        name: "tc: HTB and fq at egress",
        modules: &["sch_htb", "sch_fq"],
        make: Make::With(|site, place| {
            for link in site.links(place) {
                let device = &link.device;
                let line = format!(
                    "tc qdisc add dev {device} root handle 1: htb default 1; tc class add dev {device} parent 1: classid 1:1 htb rate 400mbit
                     tc qdisc add dev {device} parent 1:1 fq"
                );
                sh(&site.network.switch, &line).unwrap();
            }
        }),
        places: &[Place::Whole],
        proof: Some("tc -s class show dev client | grep 'Sent [1-9]'"),
        ..NEIGHBOUR
    },
    Crossing {
        name: "XDP, generic",
        places: &[Place::Ingress, Place::Egress],
        make: Make::With(|site, place| xdp(site, place, "xdpgeneric")),
        proof: Some("ip link show | grep xdpgeneric"),
        note: "a program that passes all packets",
        ..NEIGHBOUR
    },
    Crossing {
        name: "XDP, in the driver",
        places: &[Place::Ingress, Place::Egress],
        make: Make::With(|site, place| xdp(site, place, "xdpdrv")),
        proof: Some("ip link show | grep ' xdp'"),
        note: "a program that passes all packets, on veth",
        ..NEIGHBOUR
    },
    Crossing {
        name: "IPVS on another port",
        modules: &["ip_vs", "ip_vs_rr"],
        make: Make::Script(
            "ipvsadm -A -t 10.0.1.100:8000 -s rr; ipvsadm -a -t 10.0.1.100:8000 -r 10.0.2.2:8080 -m
             ipvsadm -A -t [fd00:1::100]:8000 -s rr; ipvsadm -a -t [fd00:1::100]:8000 -r [fd00:2::2]:8080 -m",
        ),
        proof: Some(
            "nsenter --net=/run/netns/client curl -sSg --max-time 9 http://10.0.1.100:8000/1/9 http://[fd00:1::100]:8000/1/9 -o /dev/null -o /dev/null
             ipvsadm -Ln --stats | grep '^TCP.* [1-9]'",
        ),
        ..NEIGHBOUR
    },
    Crossing {
        name: "IPVS on the same addresses and ports",
        modules: &["ip_vs", "ip_vs_rr"],
        make: Make::Script(
            "for port in 80 81; do for vip in 10.0.1.100=10.0.2.2 [fd00:1::100]=[fd00:2::2]; do
             ipvsadm -A -t ${vip%=*}:$port -s rr; ipvsadm -a -t ${vip%=*}:$port -r ${vip#*=}:8080 -m; done; done",
        ),
        proof: Some("ipvsadm -Ln --stats | grep '^TCP  *10.0.1.100:80  *0'"),
        note: "the module has the service's packets first",
        ..NEIGHBOUR
    },
    Crossing {
        name: "rp_filter, strict",
        make: Make::Script("for file in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 1 >$file; done"),
        ..NEIGHBOUR
    },
    Crossing {
        name: "routes of marked packets only",
        make: Make::With(|site, _| {
            let mark = "nft 'table inet f { chain p { type filter hook prerouting priority raw; iifname {in} counter meta mark set 7; }; }'";
            site.script(mark).unwrap();
            rules(site, "fwmark 7");
        }),
        but: &[But::all(
            Way::Fails,
            "the module looks for routes without a mark: no server is reached",
        )],
        note: "a raw chain marks what the client sends; servers are reached by a table that a rule has for that mark",
        ..NEIGHBOUR
    },
    Crossing {
        name: "routes by the incoming device",
        make: Make::With(|site, _| rules(site, "iif client")),
        but: &[But::all(
            Way::Fails,
            "the module looks for routes as a local program does, not by the device that a packet came by: no server is reached",
        )],
        note: "servers are reached by a table that a rule has for what comes by the client's device",
        ..NEIGHBOUR
    },
    Crossing {
        name: "routes by the client's address",
        make: Make::With(|site, _| {
            for (family, client) in [("-4", "10.0.1.0/24"), ("-6", "fd00:1::/64")] {
                rule(site, family, &format!("from {client}"));
            }
        }),
        but: &[But::all(
            Way::Fails,
            "with fullnat, servers are reached from an address of the switch's, which the rule does not name",
        )
        .with(Forward::Fullnat)],
        note: "servers are reached by a table that a rule has for the client's network",
        ..NEIGHBOUR
    },
    Crossing {
        name: "several paths (ECMP)",
        places: &[Place::Egress],
        make: Make::With(several_paths),
        note: "a route by two links to each server, by the hash of addresses and ports",
        ..NEIGHBOUR
    },
    Crossing {
        name: "IPv4 by gateways of IPv6",
        places: &[Place::Egress],
        make: Make::With(|site, place| {
            for link in site.links(place) {
                let number = link.number + 1;
                let line = format!("route replace 10.0.2.{number} via inet6 fd00:2::{number} dev {} src 10.0.2.1", link.device);
                ip(&site.network.switch, &line).unwrap();
            }
        }),
        ..NEIGHBOUR
    },
    Crossing {
        name: "NAPI in threads, GRO, packets steered to all processors",
        make: Make::With(|site, _| {
            let line = "for dev in client server1 server2; do ethtool -K $dev gro on; echo 1 >/sys/class/net/$dev/threaded
                        echo 3 >/sys/class/net/$dev/queues/rx-0/rps_cpus; done";
            // Its own devices are in its own sysfs.
            sh(&site.network.switch, &format!("mount -t sysfs sysfs /sys; {line}")).unwrap();
        }),
        ..NEIGHBOUR
    },
];

/// Listens on transparent sockets.
const TRANSPARENT: &str = r#"
import socket, time
sockets = []
for family, level, option, address in [(socket.AF_INET, 0, 19, "0.0.0.0"), (socket.AF_INET6, 41, 75, "::")]:
    listener = socket.socket(family)
    if family == socket.AF_INET6:
        listener.setsockopt(41, socket.IPV6_V6ONLY, 1)
    listener.setsockopt(level, option, 1)
    listener.bind((address, 3129))
    listener.listen()
    sockets.append(listener)
print("listens", flush=True)
time.sleep(1000)
"#;

fn tproxy_ahead(site: &mut Site, _: Place) {
    program(site, TRANSPARENT, "listens");
    site.script(
        "nft 'table inet f { chain p { type filter hook prerouting priority -350;
         meta nfproto ipv4 tcp dport { 80, 81 } counter tproxy ip to :3129 accept;
         meta nfproto ipv6 tcp dport { 80, 81 } counter tproxy ip6 to :3129 accept; }; }'",
    )
    .unwrap();
}

/// Accepts what comes by queue 7 of nfnetlink_queue.
const ACCEPTS: &str = r#"
import socket, struct
queue = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
queue.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
queue.bind((0, 0))
def say(kind, attribute, data, flags):
    data = struct.pack("HH", len(data) + 4, attribute) + data
    data += bytes(-len(data) % 4)
    queue.send(struct.pack("=IHHIIBB", 20 + len(data), 0x300 | kind, flags, 0, 0, 0, 0) + struct.pack(">H", 7) + data)
def ask(attribute, data):
    say(2, attribute, data, 5)
    error = struct.unpack_from("=i", queue.recv(65536), 16)[0]
    if error:
        raise OSError(-error, "nfnetlink_queue")
ask(1, struct.pack(">BxH", 1, 0))
ask(2, struct.pack(">IB", 0, 1))
print("accepts", flush=True)
while True:
    message = queue.recv(65536)
    at = 20
    while at + 4 <= len(message):
        length, kind = struct.unpack_from("HH", message, at)
        if kind & 0x3fff == 1:
            number = struct.unpack_from(">I", message, at + 4)[0]
            say(1, 2, struct.pack(">II", 1, number), 1)
        at += (length + 3) & ~3
"#;

fn queue(site: &mut Site, _: Place) {
    program(site, ACCEPTS, "accepts");
    let rules = "nft 'table inet f { chain c { type filter hook forward priority 0; meta l4proto tcp counter queue num 7; }; }'";
    site.script(rules).unwrap();
}

/// Runs a program of Python's on the switch as long as the crossing is, and waits until it says a word.
fn program(site: &mut Site, text: &str, word: &str) {
    fs::write("/tmp/beside.py", text).unwrap();
    let mut program = site.network.switch.start("python3 -IS /tmp/beside.py");
    program.wait_for_output(word);
    site.keep.push(Box::new(program));
}

/// The address that is translated to the service's.
fn translated(family: Family, forward: Forward) -> SocketAddr {
    let port = service(family, forward).port() + 8000;
    match family {
        Family::V4 => (Ipv4Addr::new(10, 0, 1, 101), port).into(),
        Family::V6 => (Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 0x101), port).into(),
    }
}

fn dnat(site: &mut Site, _: Place) {
    let lines = "addr add 10.0.1.101/32 dev client\naddr add fd00:1::101/128 dev client nodad";
    ip(&site.network.switch, lines).unwrap();
    site.script(
        "nft 'table inet f { chain p { type nat hook prerouting priority dstnat;
         ip daddr 10.0.1.101 tcp dport 8080 dnat ip to 10.0.1.100:80; ip daddr 10.0.1.101 tcp dport 8081 dnat ip to 10.0.1.100:81
         ip6 daddr fd00:1::101 tcp dport 8080 dnat ip6 to [fd00:1::100]:80; ip6 daddr fd00:1::101 tcp dport 8081 dnat ip6 to [fd00:1::100]:81; }; }'",
    )
    .unwrap();
    site.instead = Some(translated);
}

/// Has what comes by the place's devices redirected by an action.
fn redirect(site: &Site, place: Place, filter: &str, action: &str) {
    for link in site.links(place) {
        let device = &link.device;
        let line = format!(
            "tc qdisc replace dev {device} clsact; tc filter add dev {device} ingress {filter} action {action}"
        );
        sh(&site.network.switch, &line).unwrap();
    }
}

fn ifb(site: &mut Site, place: Place) {
    let lines = "link add ifb0 type ifb\nlink set ifb0 up";
    ip(&site.network.switch, lines).unwrap();
    redirect(site, place, "matchall", "mirred egress redirect dev ifb0");
}

fn dummy(site: &mut Site, place: Place) {
    // Frames have the hardware address of the first device, so this one has it, too.
    let links = site.links(place);
    let mac = site.network.switch.mac(&links[0].device);
    for link in &links {
        let line = format!("ip link set {} address {mac}", link.device);
        sh(&site.network.switch, &line).unwrap();
    }
    let lines = format!("link add dummy0 address {mac} type dummy\nlink set dummy0 up");
    ip(&site.network.switch, &lines).unwrap();
    let count =
        "tc qdisc add dev dummy0 clsact; tc filter add dev dummy0 ingress matchall action ok";
    sh(&site.network.switch, count).unwrap();
    // A neighbour that asks would be answered by the other device.
    for filter in [
        "protocol ip flower ip_proto tcp",
        "protocol ipv6 flower ip_proto tcp",
    ] {
        redirect(site, place, filter, "mirred ingress redirect dev dummy0");
    }
}

/// Loads the program "return XDP_PASS" by bpf(2), and pins it: iproute2 attaches what is pinned.
const PASS: &str = r#"
import ctypes, os, struct
def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes, 128)
    result = ctypes.CDLL(None, use_errno=True).syscall(321, command, buffer, 128)
    if result < 0:
        raise OSError(ctypes.get_errno(), "bpf")
    return result
code = ctypes.create_string_buffer(struct.pack("<BBhi", 0xb7, 0, 0, 2) + struct.pack("<BBhi", 0x95, 0, 0, 0))
licence = ctypes.create_string_buffer(b"GPL")
program = bpf(5, struct.pack("<IIQQ", 6, 2, ctypes.addressof(code), ctypes.addressof(licence)))
path = ctypes.create_string_buffer(b"/tmp/bpf/pass")
bpf(6, struct.pack("<QII", ctypes.addressof(path), program, 0))
"#;

fn xdp(site: &mut Site, place: Place, mode: &str) {
    fs::write("/tmp/pass.py", PASS).unwrap();
    let line = "mkdir -p /tmp/bpf; mount -t bpf bpf /tmp/bpf; python3 -IS /tmp/pass.py";
    sh(&site.network.switch, line).unwrap();
    for link in site.links(place) {
        let line = format!(
            "ip link set dev {} {mode} pinned /tmp/bpf/pass",
            link.device
        );
        sh(&site.network.switch, &line).unwrap();
    }
}

/// Has the routes to servers in a table of their own, for what a rule of one family names.
fn rule(site: &Site, family: &str, selector: &str) {
    let line = format!(
        "ip {family} route show | grep -E '^(10.0.2|fd00:2::)[.23]' | sed 's/ proto kernel.*//' >/tmp/routes
         while read -r route; do ip {family} route add $route table 7; ip {family} route del $route; done </tmp/routes
         ip {family} rule add {selector} table 7; ip {family} route show table 7 | grep server2"
    );
    sh(&site.network.switch, &line).unwrap();
}

fn rules(site: &Site, selector: &str) {
    for family in ["-4", "-6"] {
        rule(site, family, selector);
    }
}

fn several_paths(site: &mut Site, place: Place) {
    for setting in ["ipv4", "ipv6"] {
        let setting = format!("net.{setting}.fib_multipath_hash_policy");
        site.network.switch.set(&setting, "1");
    }
    for link in site.links(place) {
        second_link(site, &link);
        let device = &link.device;
        let number = link.number + 1;
        let hops = |via: &str| format!("nexthop {via} dev {device} nexthop {via} dev {device}b");
        let (four, six) = (
            hops(""),
            hops(&format!("via fd00:2::{number}")).replace("b", "b onlink"),
        );
        let lines = format!(
            "ip route replace 10.0.2.{number} src 10.0.2.1 {four}
             ip -6 route add fd00:2::{number} src fd00:2::1 metric 100 {six}
             ip -6 route del fd00:2::{number} dev {device} metric 1024"
        );
        sh(&site.network.switch, &lines).unwrap();
    }
}
