// SPDX-License-Identifier: MIT
//! nginx on a Unix socket.

use l7switch_admin_api::ServerState;

use crate::support::curl::curl;
use crate::support::nginx::Nginx;
use crate::support::pattern;
use crate::support::switch::Switch;
use crate::support::switch::simple;
use crate::support::until;

#[test]
fn nginx_serves_on_a_unix_socket() {
    for (protocol, mut nginx) in [
        ("http1", Nginx::start("nginx")),
        ("http2", Nginx::with_http2("nginx")),
    ] {
        let server = format!("unix:{}", nginx.socket().display());
        let pool = format!(
            "protocol = \"{protocol}\"\nhealth = {{ http = \"/healthz\", body = \"well\", \
             interval = \"50ms\", rise = 1, fall = 1 }}"
        );
        let rules = simple(&[nginx.address], "", &pool);
        let rules = rules.replace(&nginx.address.to_string(), &server);
        let switch = Switch::start(&rules);
        let content = pattern(3_000_000);
        std::fs::write(nginx.root().join("big"), &content).unwrap();
        let url = switch.url("web");
        assert!(curl().ok(&(url.clone() + "/big")).body == content);
        let put = curl()
            .arg("-T")
            .arg(nginx.root().join("big"))
            .get(&(url.clone() + "/put/copy"));
        assert_eq!(put.status, 201, "{put:?}");
        assert!(curl().ok(&(url.clone() + "/put/copy")).body == content);
        nginx.kill();
        let is = |state| switch.servers()[0].state == state;
        until("it is down", || is(ServerState::Down));
        assert_eq!(switch.servers()[0].address, server);
        assert_eq!(curl().get(&(url.clone() + "/name")).status, 503);
        nginx.restart();
        until("it is up", || is(ServerState::Up));
        assert_eq!(curl().ok(&(url + "/name")).text(), "nginx\n");
    }
}
