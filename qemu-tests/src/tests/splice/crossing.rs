// SPDX-License-Identifier: MIT
//! The module beside what else a host has: other hosts' addresses, firewalls, bridges, a router that does not forward.

use std::io::ErrorKind;
use std::io::Read as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::time::Duration;

use super::Setup;
use super::response;
use super::rules_with;
use super::ways::answered;
use super::ways::ask;
use super::ways::is_silent;
use crate::kit::Host;
use crate::kit::Nginx;
use crate::kit::Origin;
use crate::kit::Process;
use crate::kit::network::CLIENT;
use crate::kit::network::CLIENT6;
use crate::kit::network::VIP;
use crate::kit::network::VIP6;
use crate::kit::network::server;
use crate::kit::network::server6;
use crate::kit::process;

/// Both addresses of the service.
fn addresses() -> [SocketAddr; 2] {
    [(VIP, 80).into(), (VIP6, 80).into()]
}

/// Rules whose services listen on every address.
fn everywhere() -> String {
    rules_with("nat")
        .replace(&format!("\"{VIP}:80\""), "\"0.0.0.0:80\"")
        .replace(&format!("\"[{VIP6}]:80\""), "\"[::]:80\"")
}

/// What a host gets from port 80 of an address.
fn get(host: &Host, address: impl Into<IpAddr>) -> String {
    let to = SocketAddr::from((address.into(), 80));
    host.get(&format!("http://{to}/two")).trim().to_owned()
}

pub(in super::super) fn what_is_not_to_this_host_is_not_the_services() {
    let mut setup = Setup::new(&everywhere());
    let _site = Origin::on(&setup.network.client, &[80]);
    let network = &setup.network;
    // By the rules: /two is server2's.
    assert_eq!(get(&network.client, VIP), "server2 10.0.1.2");
    assert_eq!(get(&network.client, VIP6), "server2 fd00:1::2");
    assert_eq!(get(&network.switch, VIP), "server2 10.0.1.100");
    // Others are themselves: what is routed past the switch, either way, and what goes out from it.
    assert_eq!(get(&network.client, server(1)), "server1 10.0.1.2");
    assert_eq!(get(&network.client, server6(1)), "server1 fd00:1::2");
    assert_eq!(get(&network.switch, server(1)), "server1 10.0.2.1");
    assert_eq!(get(&network.switch, server6(1)), "server1 fd00:2::1");
    for host in [&network.switch, &network.servers[0]] {
        assert_eq!(get(host, CLIENT), "client");
        assert_eq!(get(host, CLIENT6), "client");
    }
    // Addresses that only a route makes this host's.
    network
        .switch
        .run("ip route add local 10.0.9.0/24 dev lo; ip -6 route add local fd00:9::/64 dev lo");
    assert_eq!(get(&network.client, [10, 0, 9, 7]), "server2 10.0.1.2");
    let routed = "fd00:9::7".parse::<IpAddr>().unwrap();
    assert_eq!(get(&network.client, routed), "server2 fd00:1::2");
    assert_eq!(setup.counter("requests"), 5);
    assert!(setup.counter("elsewhere") > 0);
    setup.show();
}

pub(in super::super) fn an_address_that_moves_away_takes_its_service_along() {
    let mut setup = Setup::new(&rules_with("nat"));
    let Setup { network, .. } = &setup;
    for (own, other) in [
        (IpAddr::from(VIP), server(1).into()),
        (VIP6.into(), IpAddr::from(server6(1))),
    ] {
        assert!(get(&network.client, own).starts_with("server2"));
        let bits = if own.is_ipv4() { 32 } else { 128 };
        network.switch.run(&format!(
            "ip addr del {own}/{bits} dev client; ip route add {own} via {other} dev server1 onlink"
        ));
        network.servers[0].run(&format!("ip addr add {own}/{bits} dev lo nodad"));
        // Many, since one in 64 of others' segments looks as if it had overtaken another.
        for _ in 0..100 {
            assert!(get(&network.client, own).starts_with("server1"));
            assert!(get(&network.switch, own).starts_with("server1"));
        }
        // And back.
        network.servers[0].run(&format!("ip addr del {own}/{bits} dev lo"));
        network.switch.run(&format!(
            "ip route del {own}; ip addr add {own}/{bits} dev client nodad"
        ));
        assert!(get(&network.client, own).starts_with("server2"));
    }
    setup.show();
}

pub(in super::super) fn raw_chains_keep_clients_out_whoever_was_first() {
    let mut setup = Setup::new(&rules_with("nat"));
    setup.client.unload().unwrap();
    std::fs::write("/tmp/guard.nft", documented("table inet guard")).unwrap();
    let block = "nft -f /tmp/guard.nft";
    setup.network.switch.run(block);
    for (forward, first) in [("nat", "the chain"), ("fullnat", "the module")] {
        setup.load(&rules_with(forward));
        for address in addresses() {
            let client = &setup.network.client;
            let connects = client.inside(|| {
                let limit = Duration::from_millis(1500);
                TcpStream::connect_timeout(&address, limit).is_ok()
            });
            assert!(!connects, "{first} was first: {address}");
        }
        assert_eq!(setup.counter("syns_answered"), 0, "{first} was first");
        setup
            .network
            .switch
            .run(&format!("nft delete table inet guard; {block}"));
    }
    setup.network.switch.run("nft delete table inet guard");
    for address in addresses() {
        let mut stream = setup.network.client.connect(address);
        ask(&mut stream);
        answered(&mut stream);
        // One that comes later keeps out whoever is connected.
        setup.network.switch.run(block);
        ask(&mut stream);
        assert!(is_silent(&mut stream));
        setup.network.switch.run("nft delete table inet guard");
        answered(&mut stream);
    }
    setup.show();
}

/// br_netfilter, loaded until this is dropped: other tests have bridges, too.
struct BridgeFilter;

impl BridgeFilter {
    fn load(host: &Host) -> Self {
        host.run("modprobe br_netfilter");
        for setting in ["iptables", "ip6tables"] {
            host.set(&format!("net.bridge.bridge-nf-call-{setting}"), "1");
        }
        Self
    }
}

impl Drop for BridgeFilter {
    fn drop(&mut self) {
        let _ = process::attempt("modprobe -r br_netfilter");
    }
}

impl Setup {
    /// Some requests on a new connection, to a service with each forwarding method and by each family.
    fn serves(&mut self, how: &str) {
        for forward in ["nat", "fullnat"] {
            self.load(&rules_with(forward));
            for address in addresses() {
                println!("{how}: {forward} {address}");
                let mut stream = self.network.client.connect(address);
                for _ in 0..3 {
                    ask(&mut stream);
                    answered(&mut stream);
                }
            }
        }
    }
}

pub(in super::super) fn connections_pass_bridges_that_call_netfilter() {
    let mut setup = Setup::new(&rules_with("nat"));
    let bridge = |setup: &Setup, ports: &[(&str, &str)], inner: &str| {
        let mut lines = vec!["set -e".to_owned()];
        for device in ["br0", "br1"] {
            lines.push(format!(
                "ip link add {device} type bridge; ip link set {device} up"
            ));
        }
        for device in ["client", "server1"] {
            lines.push(format!("ip addr flush dev {device} scope global"));
        }
        for (port, master) in ports {
            lines.push(format!("ip link set {port} master {master}"));
        }
        for address in [
            "10.0.1.1/24 dev br0",
            "10.0.1.100/32 dev br0",
            "fd00:1::1/64 dev br0 nodad",
            "fd00:1::100/128 dev br0 nodad",
        ] {
            lines.push(format!("ip addr add {address}"));
        }
        for line in [
            "ip addr add 10.0.2.1/32 dev",
            "ip addr add fd00:2::1/128 nodad dev",
            "ip route replace 10.0.2.2 src 10.0.2.1 dev",
            "ip -6 route replace fd00:2::2 src fd00:2::1 dev",
        ] {
            lines.push(format!("{line} {inner}"));
        }
        setup.network.switch.run(&lines.join("\n"));
    };
    let unbridge = "ip link del br0; ip link del br1; ip addr flush dev server1 scope global";
    let watch = "nft 'table inet watch { chain f { type filter hook forward priority 0; counter; }; \
                 chain p { type filter hook prerouting priority -150; counter; }; }'";
    let _filter = BridgeFilter::load(&setup.network.switch);
    for (how, ports, inner) in [
        (
            "two bridges",
            &[("client", "br0"), ("server1", "br1")][..],
            "br1",
        ),
        (
            "one bridge",
            &[("client", "br0"), ("server1", "br0")],
            "br0",
        ),
        ("the client's bridge", &[("client", "br0")], "server1"),
    ] {
        bridge(&setup, ports, inner);
        setup.serves(how);
        setup.network.switch.run(watch);
        setup.serves(&format!("{how}, watched"));
        setup.network.switch.run("nft delete table inet watch");
        setup.network.switch.run(unbridge);
    }
    setup.show();
    assert_eq!(setup.counter("tx_dropped"), 0);
    assert_eq!(setup.counter("filtered_behind"), 0);
}

/// A ruleset of docs/datapath.md that begins with this table.
fn documented(table: &str) -> String {
    const PAGE: &str = include_str!("../../../../docs/datapath.md");
    let start = format!("```nft\n{table} {{\n");
    let (_, rest) = PAGE.split_once(&start).expect("it is there");
    let (rules, _) = rest.split_once("```").expect("it ends");
    format!("{table} {{\n{rules}")
}

pub(in super::super) fn firewalls_see_connections_from_the_first_request_on() {
    let mut setup = Setup::new(&rules_with("nat"));
    std::fs::write("/tmp/firewall.nft", documented("table inet filter")).unwrap();
    setup.network.switch.run("nft -f /tmp/firewall.nft");
    setup.serves("behind the firewall of the documents");
    assert_eq!(setup.counter("filtered_behind"), 0);
    setup.network.switch.run("nft delete table inet filter");

    setup.load(&rules_with("nat"));
    let blocks = [
        ("forward priority 0; policy drop", "", "forward"),
        (
            "forward priority 0",
            "ip saddr 10.0.1.2 drop; ip6 saddr fd00:1::2 drop;",
            "forward",
        ),
        (
            "forward priority 0",
            "iifname client oifname server1 drop;",
            "forward",
        ),
        (
            "prerouting priority -150",
            "ip saddr 10.0.1.2 drop; ip6 saddr fd00:1::2 drop;",
            "prerouting",
        ),
        (
            "postrouting priority 0",
            "ip saddr 10.0.1.2 tcp flags & (syn|psh) == psh drop; ip6 saddr fd00:1::2 tcp flags & (syn|psh) == psh drop;",
            "postrouting",
        ),
    ];
    for (hook, rules, at) in blocks {
        let at = format!("filtered_{at}");
        setup.network.switch.run(&format!(
            "nft 'table inet block {{ chain c {{ type filter hook {hook}; {rules} }}; }}'"
        ));
        for address in addresses() {
            let served: String = setup.nginx.iter().map(Nginx::log).collect();
            let before = ["filtered_behind", &at].map(|name| setup.counter(name));
            let mut stream = setup.network.client.connect(address);
            ask(&mut stream);
            assert!(is_silent(&mut stream), "{hook} {rules}: {address}");
            let now: String = setup.nginx.iter().map(Nginx::log).collect();
            assert_eq!(served, now, "{hook} {rules}: {address}");
            let after = ["filtered_behind", &at].map(|name| setup.counter(name));
            assert!(after[0] > before[0], "{hook} {rules}: {address}");
            // Every one is at that hook.
            let [all, there] = [0, 1].map(|number| after[number] - before[number]);
            assert_eq!(all, there, "{hook} {rules}: {address}");
        }
        setup.network.switch.run("nft delete table inet block");
    }

    // Answers alone: the requests pass, and it is counted that nothing comes back.
    for also in [
        "",
        "chain p { type filter hook prerouting priority -150; counter; };",
    ] {
        setup.network.switch.run(&format!(
            "nft 'table inet block {{ chain c {{ type filter hook forward priority 0; policy drop; \
             tcp dport 80 accept; }}; {also} }}'"
        ));
        for address in addresses() {
            let before = setup.counter("filtered_forward");
            let mut stream = setup.network.client.connect(address);
            ask(&mut stream);
            assert!(is_silent(&mut stream), "{address}");
            let after = setup.counter("filtered_forward");
            assert!(after > before, "{also} {address}");
        }
        setup.network.switch.run("nft delete table inet block");
    }
    setup.serves("without a firewall");
    setup.show();
}

/// A front on the switch with these rules, which it loads into the kernel, too.
fn front(setup: &Setup, rules: &str) -> Process {
    std::fs::write("/tmp/crossing.toml", rules).unwrap();
    let line = "l7switch /tmp/crossing.toml --admin /tmp/admin --no-watch --kernel require";
    let mut front = setup.network.switch.start(line);
    front.wait_for_output("ready,");
    front
}

fn set_forwarding(setup: &Setup, value: &str) {
    for setting in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
        setup.network.switch.set(setting, value);
    }
}

/// Whether a request on a new connection is answered by a reset.
fn is_reset(setup: &Setup, address: SocketAddr) -> bool {
    let mut stream = setup.network.client.connect(address);
    ask(&mut stream);
    let error = stream.read(&mut [0]).unwrap_err();
    error.kind() == ErrorKind::ConnectionReset
}

pub(in super::super) fn a_host_that_does_not_forward_leaves_requests_to_the_front() {
    let mut setup = Setup::new(&rules_with("nat"));
    for forward in ["nat", "fullnat"] {
        setup.load(&rules_with(forward));
        for address in addresses() {
            let mut stream = setup.network.client.connect(address);
            ask(&mut stream);
            answered(&mut stream);
            set_forwarding(&setup, "0");
            // What has begun goes on, and so do clients on the switch itself; new ones are told at once.
            ask(&mut stream);
            answered(&mut stream);
            let mut own = setup.network.switch.connect(address);
            ask(&mut own);
            answered(&mut own);
            let before = (setup.counter("forwarding_off"), setup.counter("no_front"));
            assert!(is_reset(&setup, address), "{forward} {address}");
            let after = (setup.counter("forwarding_off"), setup.counter("no_front"));
            assert_eq!(after, (before.0 + 1, before.1 + 1), "{forward} {address}");
            // Where a device of the client's and one of the servers' forward, it is enough.
            if address.is_ipv4() {
                for device in ["client", "server1"] {
                    let setting = format!("net.ipv4.conf.{device}.forwarding");
                    setup.network.switch.set(&setting, "1");
                }
                let mut stream = setup.network.client.connect(address);
                ask(&mut stream);
                answered(&mut stream);
            }
            set_forwarding(&setup, "1");
        }
    }
    let status = setup.network.switch.run("l7ctl kernel status");
    assert!(status.contains("net.ipv4.ip_forward"), "{status}");

    for forward in ["nat", "fullnat"] {
        let mut front = front(&setup, &rules_with(forward));
        // It has found what the module counted before.
        front.wait_for_output("does not forward packets");
        for address in addresses() {
            set_forwarding(&setup, "0");
            let before = setup.counter("to_front");
            let mut stream = setup.network.client.connect(address);
            for _ in 0..2 {
                ask(&mut stream);
                answered(&mut stream);
            }
            assert_eq!(setup.counter("to_front"), before + 2);
            // It may be switched on at any time.
            set_forwarding(&setup, "1");
            for _ in 0..2 {
                ask(&mut stream);
                answered(&mut stream);
            }
            assert_eq!(setup.counter("to_front"), before + 2);
        }
    }
    setup.show();
}

pub(in super::super) fn servers_at_loopback_addresses_are_the_fronts() {
    let mut setup = Setup::new(&rules_with("nat"));
    let _origin = Origin::on(&setup.network.switch, &[8080]);
    let rules = |forward: &str| {
        rules_with(forward)
            .replace(&format!("\"{}:80\"", server(1)), "\"127.0.0.1:8080\"")
            .replace(&format!("\"[{}]:80\"", server6(1)), "\"[::1]:8080\"")
    };
    let request = b"GET /one HTTP/1.1\r\nHost: x\r\n\r\n";
    let asked = |stream: &mut TcpStream| {
        stream.write_all(request).unwrap();
        response(stream).1
    };
    for forward in ["nat", "fullnat"] {
        setup.load(&rules(forward));
        for address in addresses() {
            let before = (setup.counter("to_front"), setup.counter("no_front"));
            assert!(is_reset(&setup, address), "{forward} {address}");
            let after = (setup.counter("to_front"), setup.counter("no_front"));
            assert_eq!(after, (before.0 + 1, before.1 + 1), "{forward} {address}");
            // A client on the switch itself reaches them.
            let mut own = setup.network.switch.connect(address);
            assert_eq!(asked(&mut own), "switch\n", "{forward} {address}");
            assert_eq!(asked(&mut own), "switch\n", "{forward} {address}");
        }
    }
    assert_eq!(setup.counter("connects_failed"), 0);
    for forward in ["nat", "fullnat"] {
        let _front = front(&setup, &rules(forward));
        for address in addresses() {
            let before = setup.counter("to_front");
            let mut stream = setup.network.client.connect(address);
            for _ in 0..3 {
                assert_eq!(asked(&mut stream), "switch\n", "{forward} {address}");
            }
            // Other pools of the service are the module's as ever.
            stream
                .write_all(b"GET /two HTTP/1.1\r\nHost: x\r\n\r\n")
                .unwrap();
            assert!(response(&mut stream).1.starts_with("server2"));
            assert_eq!(setup.counter("to_front"), before + 3);
        }
    }
    assert_eq!(setup.counter("servers_failed"), 0);
    setup.show();
}
