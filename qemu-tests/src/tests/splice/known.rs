// SPDX-License-Identifier: MIT
//! Heads that are the same as ones before.

use std::io::Write as _;

use super::Setup;
use super::response;
use super::rules_with;
use crate::kit::Host;
use crate::kit::network::CLIENT;
use crate::kit::network::VIP;

/// The servers that answer requests on one connection, all of the same head.
fn served(host: &Host, path: &str) -> Vec<String> {
    let mut stream = host.connect((VIP, 80));
    let request = format!("GET {path} HTTP/1.1\r\nHost: known.test\r\n\r\n");
    let one = |_| {
        stream.write_all(request.as_bytes()).unwrap();
        let (_, body) = response(&mut stream);
        body.split_whitespace().next().unwrap().to_owned()
    };
    (0..4).map(one).collect()
}

/// Rules of one service, whose routes are these.
fn rules(routes: &str) -> String {
    let pools = rules_with("nat");
    let (_, pools) = pools.split_once("[pool.").unwrap();
    format!("[service.known]\nlisten = \"{VIP}:80\"\nprotocol = \"http\"\n{routes}[pool.{pools}")
}

fn route(condition: &str, server: u8) -> String {
    format!("[[service.known.route]]\n{condition}\npool = \"nginx{server}\"\n")
}

pub(in super::super) fn known_heads_go_where_the_rules_say_now() {
    let (one, two) = (
        "path = { prefix = \"/one\" }",
        "path = { prefix = \"/two\" }",
    );
    let mut setup = Setup::new(&rules_with("nat"));
    // The routes change their places, and their servers.
    for (routes, servers) in [
        (route(one, 1) + &route(two, 2), ["server1", "server2"]),
        (route(two, 2) + &route(one, 1), ["server1", "server2"]),
        (route(one, 2) + &route(two, 1), ["server2", "server1"]),
    ] {
        setup.load(&rules(&routes));
        for _ in 0..2 {
            for (path, server) in ["/one", "/two"].into_iter().zip(servers) {
                assert_eq!(served(&setup.network.client, path), [server; 4], "{routes}");
            }
        }
    }

    // The client's address decides, too.
    let source = format!("{one}\nsource = [\"{CLIENT}/32\"]");
    setup.load(&rules(&(route(&source, 1) + &route(one, 2))));
    for _ in 0..3 {
        assert_eq!(served(&setup.network.client, "/one"), ["server1"; 4]);
        assert_eq!(served(&setup.network.switch, "/one"), ["server2"; 4]);
    }
    setup.show();
}
