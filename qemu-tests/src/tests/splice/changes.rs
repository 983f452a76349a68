// SPDX-License-Identifier: MIT
//! Tables, servers and the module itself change under load.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use l7switch_engine::netlink::ServerState;
use l7switch_netlink::ServerChange;

use super::Setup;
use super::front_and_kernel;
use super::rules_with;
use super::start_front;
use crate::kit::Module;
use crate::kit::Network;
use crate::kit::Nginx;
use crate::kit::limit;
use crate::kit::network::VIP;
use crate::kit::network::server;
use crate::kit::process::Signal;
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

const RULES: &str = "/tmp/successors.toml";

/// A front takes the place of another: what the module switches goes on, what it hands over is answered, and what an administrator
/// has set stays.
pub(in super::super) fn fronts_are_replaced_under_load() {
    let _module = Module::load();
    let network = Network::new();
    let hosts = network.servers.iter();
    let _nginx: Vec<_> = hosts
        .map(|host| Nginx::with(host, "location / { return 200 \"served\\n\"; }"))
        .collect();
    let rules = format!(
        "[service.web]\nlisten = \"{VIP}:80\"\n[[service.web.route]]\npath = {{ prefix = \"/front\" }}\n\
         respond = {{ status = 200, body = \"front\" }}\n[[service.web.route]]\npool = \"p\"\n\
         [pool.p]\nservers = [\"{}:80\", \"{}:80\"]\n",
        server(1),
        server(2)
    );
    fs::write(RULES, rules).unwrap();
    let (mut front, mut client) = front_and_kernel(&network, RULES);
    network
        .switch
        .run(&format!("l7ctl --admin /tmp/admin drain {}:80", server(2)));
    let mut loads = ["", "front"].map(|path| {
        let line = format!(
            "wrk -t1 -c4 -d{}s --timeout 10s http://{VIP}/{path}",
            limit().as_secs()
        );
        network.client.start(&line)
    });
    for _ in 0..3 {
        let before = client.module().unwrap().counter("requests").unwrap();
        let successor = start_front(&network, RULES, "--take-over");
        let ended = std::mem::replace(&mut front, successor).wait();
        assert!(ended.success(), "{ended:?}");
        let module = client.module().unwrap();
        assert_eq!(module.counter("no_front"), Some(0));
        assert!(module.counter("requests").unwrap() > before);
        let servers = client.servers().unwrap();
        let states: Vec<_> = servers.iter().map(|server| server.state).collect();
        assert_eq!(states, [ServerState::Up, ServerState::Draining]);
    }
    for load in &mut loads {
        assert!(load.is_running(), "{}", load.output());
        load.signal(Signal::INT);
        assert!(load.wait().success());
        let printed = load.output();
        assert!(
            !printed.contains("Socket errors") && !printed.contains("Non-2xx"),
            "{printed}"
        );
    }
    // The last one keeps the kernel: it is the one that is told.
    network.switch.run(&format!(
        "l7ctl --admin /tmp/admin undrain {}:80",
        server(2)
    ));
    wait_until("the kernel's server is up", || {
        let servers = client.servers().unwrap();
        servers.iter().all(|server| server.state == ServerState::Up)
    });
}

/// A server that comes up gets its weight slowly, in the kernel as in the front.
pub(in super::super) fn servers_start_slowly() {
    let _module = Module::load();
    let network = Network::new();
    let rules = format!(
        "[service.web]\nlisten = \"{VIP}:80\"\ndatapath = \"kernel\"\nroute = [{{ pool = \"p\" }}]\n\
         [pool.p]\nscheduler = \"wrr\"\nslow_start = \"3s\"\n\
         servers = [\"{}:80\", {{ address = \"{}:80\", weight = 2 }}]\n",
        server(1),
        server(2)
    );
    fs::write(RULES, rules).unwrap();
    let (_front, mut client) = front_and_kernel(&network, RULES);
    let mut weights = || -> Vec<_> {
        let servers = client.servers().unwrap();
        servers.iter().map(|s| (s.state, s.weight)).collect()
    };
    // From the start they have all of it, in hundredths.
    assert_eq!(weights(), [(ServerState::Up, 100), (ServerState::Up, 200)]);
    let ctl = |word: &str| {
        let line = format!("l7ctl --admin /tmp/admin {word} {}:80", server(2));
        network.switch.run(&line);
    };
    ctl("drain");
    wait_until("it is drained", || weights()[1].0 == ServerState::Draining);
    ctl("undrain");
    let mut risen = Vec::new();
    wait_until("it has its weight", || {
        let now = weights();
        assert_eq!(now[0], (ServerState::Up, 100));
        if now[1].0 == ServerState::Up && risen.last() != Some(&now[1].1) {
            risen.push(now[1].1);
        }
        now[1] == (ServerState::Up, 200) && risen.len() > 1
    });
    assert!(risen.is_sorted() && risen[0] < 200, "{risen:?}");
    assert!(risen.len() > 3, "{risen:?}");
}
