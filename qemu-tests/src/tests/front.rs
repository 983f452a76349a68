// SPDX-License-Identifier: MIT
//! The userspace front between namespaces, without the module.

use std::fs;

use crate::kit::Network;
use crate::kit::Origin;

pub(super) fn quickstart_in_guest() {
    let network = Network::new();
    let _origins: Vec<Origin> = network.servers.iter().map(Origin::start).collect();
    // The quickstart, with the addresses of this network.
    let rules = fs::read_to_string("/l7/share/examples/quickstart.toml")
        .unwrap()
        .replace("127.0.0.1:8080", "10.0.1.100:8080")
        .replace("127.0.0.1:9001", "10.0.2.2:80")
        .replace("127.0.0.1:9002", "10.0.2.2:80")
        .replace("127.0.0.1:9003", "10.0.2.3:80")
        .replace(
            "servers   = [\"10.0.2.2:80\", \"10.0.2.2:80\"]",
            "servers = [\"10.0.2.2:80\"]",
        );
    fs::write("/tmp/rules.toml", &rules).unwrap();
    let _front = network.switch.start("l7switch /tmp/rules.toml");
    network.client.wait_for_port(([10, 0, 1, 100], 8080));
    let get = |path: &str| network.client.get(&format!("http://10.0.1.100:8080{path}"));
    assert_eq!(get("/"), "server1\n");
    assert_eq!(get("/img/logo.png"), "server2\n");
    assert_eq!(get("/about"), "l7switch quickstart\n");
}
