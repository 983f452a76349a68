// SPDX-License-Identifier: MIT
//! Tables, servers and the module itself change under load.

use std::thread::sleep;
use std::time::Duration;

use l7switch_engine::netlink::ServerState;
use l7switch_netlink::ServerChange;

use super::Setup;
use super::rules_with;
use crate::kit::network::VIP;
use crate::kit::wait_until;

fn many(forward: &str) -> String {
    rules_with(forward)
        .replace(
            "servers = [\"10.0.2.2:80\"]",
            "servers = [\"10.0.2.2:80\", \"10.0.2.3:80\"]",
        )
        .replace(
            "servers = [\"10.0.2.3:80\"]",
            "servers = [\"10.0.2.3:80\", \"10.0.2.2:80\"]",
        )
}

pub(in super::super) fn tables_are_replaced_and_servers_drained_under_load() {
    let mut setup = Setup::new(&many("nat"));
    let mut wrk = setup
        .network
        .client
        .start(&format!("wrk -t1 -c8 -d12s http://{VIP}/one"));
    let mut long = setup.network.client.start(&format!(
        "curl -sS -o /tmp/long --limit-rate 2M http://{VIP}/origin1/len/20000000"
    ));
    for turn in 0..10 {
        sleep(Duration::from_millis(500));
        setup.load(&many(if turn % 2 == 0 { "fullnat" } else { "nat" }));
        let state = if turn % 2 == 0 {
            ServerState::Draining
        } else {
            ServerState::Up
        };
        let change = ServerChange {
            pool: None,
            address: "10.0.2.2:80".parse().unwrap(),
            state: Some(state),
            weight: None,
        };
        setup.client.set_server(&change).unwrap();
    }
    assert!(wrk.wait().success());
    let printed = wrk.output();
    assert!(long.wait().success(), "{}", long.output());
    setup.show();
    assert!(
        !printed.contains("Socket errors") && !printed.contains("Non-2xx"),
        "{printed}"
    );
    assert_eq!(std::fs::metadata("/tmp/long").unwrap().len(), 20_000_000);
    wait_until("nothing is outstanding", || {
        setup
            .client
            .servers()
            .unwrap()
            .iter()
            .all(|server| server.active == 0)
    });
}

pub(in super::super) fn the_module_goes_and_comes_under_load() {
    let mut setup = Setup::new(&many("nat"));
    for _ in 0..3 {
        let mut wrk = setup
            .network
            .client
            .start(&format!("wrk -t1 -c8 -d3s http://{VIP}/one"));
        wait_until("requests come", || setup.counter("requests") > 0);
        setup.client.unload().unwrap();
        assert!(wrk.wait().success(), "{}", wrk.output());
        setup.client.reset_counters().unwrap();
        setup.load(&many("nat"));
    }
    assert_eq!(
        setup.curl(&format!("http://{VIP}/origin1/who")),
        "server1 10.0.1.2\n"
    );
}
