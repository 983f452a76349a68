// SPDX-License-Identifier: MIT
//! The guest itself: programs, namespaces, modules.

use std::hint::black_box;
use std::time::Duration;
use std::time::Instant;

use crate::kit::Host;
use crate::kit::Network;
use crate::kit::Nginx;
use crate::kit::module;
use crate::kit::network::server;
use crate::kit::network::server6;

pub(super) fn tools_run() {
    let host = Host::new("alone");
    assert!(host.run("l7ctl --version").starts_with("l7ctl "));
    assert!(host.run("l7switch --version").starts_with("l7switch "));
    // The kernel's own netlink tool speaks with the kernel.
    let families = host.ynl("nlctrl", "--dump getfamily");
    assert!(families.contains("\"nlctrl\""), "{families}");
    host.run(
        "for program in nft ethtool wrk haproxy ipvsadm openssl tcpdump strace modprobe setpriv; do \
         command -v $program; done",
    );
}

pub(super) fn namespaces_talk() {
    let network = Network::new();
    let _nginx: Vec<Nginx> = network.servers.iter().map(Nginx::start).collect();
    for number in [1, 2] {
        let expected = format!("server{number}\n");
        let v4 = server(number);
        assert_eq!(network.client.curl(&format!("http://{v4}/")), expected);
        let v6 = server6(number);
        assert_eq!(network.client.curl(&format!("http://[{v6}]/")), expected);
    }
}

pub(super) fn modules_load() {
    let network = Network::with_servers(1);
    for name in [
        "ip_vs",
        "ip_vs_rr",
        "nf_conntrack",
        "sch_netem",
        "nf_defrag_ipv6",
    ] {
        module::modprobe(name);
    }
    // Loaded by the kernel itself, which calls modprobe.
    network
        .switch
        .run("tc qdisc add dev server1 root netem delay 1ms");
    network.switch.run("nft add table ip nat");
    network
        .switch
        .run("nft 'add chain ip nat post { type nat hook postrouting priority 100; }'");
    network
        .switch
        .run("nft add rule ip nat post oifname server1 masquerade");
    network.switch.run("ipvsadm -A -t 10.0.1.100:80 -s rr");
    assert!(
        network
            .client
            .run("ping -c 1 -W 5 10.0.2.2")
            .contains("1 received")
    );
}

/// One instruction takes one nanosecond: the same work takes the same time, however busy the host is.
pub(super) fn instructions_are_counted() {
    let work = || {
        let start = Instant::now();
        let mut sum = 0_u64;
        for number in 0..2_000_000_u64 {
            sum = black_box(sum.wrapping_add(number));
        }
        black_box(sum);
        start.elapsed()
    };
    work();
    let (first, second) = (work(), work());
    println!("first {first:?}, second {second:?}");
    let difference = first.abs_diff(second);
    assert!(
        difference < Duration::from_millis(1).max(first / 100),
        "{first:?} and {second:?}"
    );
}
