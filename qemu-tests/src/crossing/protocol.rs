// SPDX-License-Identifier: MIT
//! Features of TCP and of offloads, on clients, servers and devices.

use super::Crossing;
use super::Group;
use super::Make;
use super::PLAIN;
use super::Place;
use super::exchange::Kind;
use super::site::Site;
use super::site::sh;
use crate::kit::Host;

/// What most of them are.
const FEATURE: Crossing = Crossing {
    group: Group::Protocol,
    places: &[Place::Whole],
    ..PLAIN
};

/// All of them.
pub(super) const CROSSINGS: &[Crossing] = &[
    Crossing {
        name: "ECN",
        make: Make::With(|site, _| {
            everywhere(site, "net.ipv4.tcp_ecn", "1");
            syns(site, "tcp flags & (syn | ecn | cwr) == syn | ecn | cwr");
        }),
        proof: SYNS,
        note: "asked for by all hosts; the module's SYN-ACK and SYN do not agree to it",
        ..FEATURE
    },
    Crossing {
        name: "AccECN",
        make: Make::With(|site, _| {
            everywhere(site, "net.ipv4.tcp_ecn", "3");
            // The third bit, AE, is the last of those before the flags.
            syns(site, "@th,103,9 & 0x1c2 == 0x1c2");
        }),
        proof: SYNS,
        note: "asked for by all hosts; the module's SYN-ACK and SYN do not agree to it",
        ..FEATURE
    },
    Crossing {
        name: "MPTCP",
        make: Make::With(mptcp),
        proof: Some(
            "ip netns exec client nstat -asz MPTcpExtMPCapableSYNTX | grep 'SYNTX  *[1-9]'",
        ),
        note: "clients and servers; they fall back to TCP",
        ..FEATURE
    },
    Crossing {
        name: "TCP Fast Open",
        make: Make::With(fast_open),
        proof: SYNS,
        note: "the request is in the SYN; the module does not read it there, and the client sends it again",
        ..FEATURE
    },
    Crossing {
        name: "BIG TCP",
        make: Make::With(big),
        proof: Some("nft list table netdev big | grep 'packets [1-9]'"),
        note: "packets of up to 185,000 bytes between client, switch and servers; those of IPv6 over 64 KiB are not taken at ingress",
        ..FEATURE
    },
    Crossing {
        name: "lists of segments (rx-gro-list)",
        make: Make::With(|site, _| {
            let devices =
                "for dev in client server1 server2; do ethtool -K $dev gro on rx-gro-list on; done";
            sh(&site.network.switch, devices).unwrap();
        }),
        ..FEATURE
    },
    Crossing {
        name: "no offloads",
        make: Make::With(|site, _| {
            for host in hosts(site) {
                let off = "for dev in $(ip -brief link | sed 's/[@ ].*//' | grep -E '^(eth|client|server)'); do ethtool -K $dev tx off rx off gro off gso off tso off; done";
                sh(host, off).unwrap();
            }
        }),
        note: "every packet comes alone, with a whole checksum",
        ..FEATURE
    },
];

/// Counts the client's packets that match.
fn syns(site: &Site, matches: &str) {
    let script = "nft 'table netdev syns { chain c { type filter hook ingress device client priority 0; MATCH counter; }; }'";
    site.script(&script.replace("MATCH", matches)).unwrap();
}

/// There were some.
const SYNS: Option<&str> = Some("nft list table netdev syns | grep 'packets [1-9]'");

fn hosts(site: &Site) -> Vec<&Host> {
    let network = &site.network;
    let mut hosts = vec![&network.client, &network.switch];
    hosts.extend(&network.servers);
    hosts
}

fn everywhere(site: &Site, setting: &str, value: &str) {
    for host in hosts(site) {
        host.set(setting, value);
    }
}

fn mptcp(site: &mut Site, _: Place) {
    everywhere(site, "net.mptcp.enabled", "1");
    site.kind = Kind::Mptcp;
    site.mptcp_servers = true;
}

fn fast_open(site: &mut Site, _: Place) {
    // Clients and servers, with or without a cookie (Documentation/networking/ip-sysctl.rst).
    everywhere(site, "net.ipv4.tcp_fastopen", "1543");
    site.kind = Kind::FastOpen;
    syns(site, "tcp flags & (syn | ack) == syn meta length > 100");
}

fn big(site: &mut Site, _: Place) {
    for host in hosts(site) {
        let line = "for dev in $(ip -brief link | sed 's/[@ ].*//' | grep -E '^(eth|client|server)'); do ip link set $dev gso_max_size 185000 gro_max_size 185000 \
                    gso_ipv4_max_size 185000 gro_ipv4_max_size 185000; done";
        sh(host, line).unwrap();
    }
    // Senders fill a packet whatever their pace is.
    for (setting, value) in [
        ("tcp_rmem", "4096 6000000 12000000"),
        ("tcp_min_tso_segs", "120"),
        ("tcp_tso_rtt_log", "30"),
        ("tcp_tso_win_divisor", "1"),
    ] {
        everywhere(site, &format!("net.ipv4.{setting}"), value);
    }
    let seen = "nft 'table netdev big { chain c { type filter hook ingress device server1 priority 0; meta length > 65600 counter; }; }'";
    site.script(seen).unwrap();
    site.download = 16 << 20;
}
