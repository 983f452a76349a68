// SPDX-License-Identifier: MIT
//! Servers by name, as the system resolves it: `localhost` of /etc/hosts.

use crate::support::certs::Authority;
use crate::support::curl::curl;
use crate::support::nginx::Nginx;
use crate::support::switch::Switch;
use crate::support::switch::simple;

/// Rules with a server at `localhost`, and this line in its pool.
fn by_name(nginx: &Nginx, pool: &str) -> String {
    let name = format!("localhost:{}", nginx.address.port());
    simple(&[nginx.address], "", pool).replace(&nginx.address.to_string(), &name)
}

#[test]
fn localhost_is_a_server_without_dns() {
    let nginx = Nginx::start("nginx");
    let switch = Switch::start(&by_name(&nginx, "health = { http = \"/name\" }"));
    curl().ok(&(switch.url("web") + "/name"));
    let server = switch.server(nginx.address);
    assert_eq!(server.name.as_deref(), Some("localhost"));
    let name = &switch.status().names["localhost"];
    assert_eq!((name.failures, &name.error), (0, &None));
    let (_, metrics) = switch.admin("GET", "/metrics", "");
    let sample = "l7switch_name_resolutions_total{name=\"localhost\",result=\"ok\"} ";
    assert!(metrics.contains(sample), "{metrics}");
}

#[test]
fn certificates_name_the_server_by_its_name() {
    let authority = Authority::new();
    let tls = format!("tls = {{ ca = \"{}\" }}", authority.file().display());
    for (named, status) in [("localhost", 200), ("app.internal", 502)] {
        let pair = authority.issue(&[named]);
        let nginx = Nginx::with_tls("nginx", (&pair.0, &pair.1));
        let switch = Switch::start(&by_name(&nginx, &tls));
        let answer = curl().get(&(switch.url("web") + "/name"));
        assert_eq!(answer.status, status, "{named}: {}", switch.log());
    }
}
