// SPDX-License-Identifier: MIT
//! The module beside what else a host has: other hosts' addresses, firewalls, bridges, a router that does not forward.

use std::net::IpAddr;
use std::net::SocketAddr;

use super::Setup;
use super::rules_with;
use super::ways::answered;
use super::ways::ask;
use super::ways::is_silent;
use crate::kit::Host;
use crate::kit::Origin;
use crate::kit::network::CLIENT;
use crate::kit::network::CLIENT6;
use crate::kit::network::VIP;
use crate::kit::network::VIP6;
use crate::kit::network::server;
use crate::kit::network::server6;

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
        assert!(get(&network.client, own).starts_with("server1"));
        assert!(get(&network.switch, own).starts_with("server1"));
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
    let block = "nft 'table inet raw { chain p { type filter hook prerouting priority raw; \
                 ip saddr 10.0.1.2 tcp dport 80 counter drop; ip6 saddr fd00:1::2 tcp dport 80 counter drop; }; }'";
    setup.network.switch.run(block);
    for (forward, first) in [("nat", "the chain"), ("fullnat", "the module")] {
        setup.load(&rules_with(forward));
        for address in addresses() {
            let client = &setup.network.client;
            let connects = client.inside(|| {
                let limit = std::time::Duration::from_millis(1500);
                std::net::TcpStream::connect_timeout(&address, limit).is_ok()
            });
            assert!(!connects, "{first} was first: {address}");
        }
        assert_eq!(setup.counter("syns_answered"), 0, "{first} was first");
        setup
            .network
            .switch
            .run(&format!("nft delete table inet raw; {block}"));
    }
    setup.network.switch.run("nft delete table inet raw");
    for address in addresses() {
        let mut stream = setup.network.client.connect(address);
        ask(&mut stream);
        answered(&mut stream);
        // One that comes later keeps out whoever is connected.
        setup.network.switch.run(block);
        ask(&mut stream);
        assert!(is_silent(&mut stream));
        setup.network.switch.run("nft delete table inet raw");
        answered(&mut stream);
    }
    setup.show();
}
