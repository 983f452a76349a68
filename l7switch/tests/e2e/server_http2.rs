// SPDX-License-Identifier: MIT
//! HTTP/2 towards nginx.

use crate::support::certs::Authority;
use crate::support::counting::h2load;
use crate::support::curl::curl;
use crate::support::nginx::Nginx;
use crate::support::pattern;
use crate::support::switch::Switch;
use crate::support::switch::simple;

#[test]
fn content_passes_both_ways() {
    let nginx = Nginx::with_http2("nginx");
    let content = pattern(3_000_000);
    std::fs::write(nginx.root().join("big"), &content).unwrap();
    let switch = Switch::start(&simple(&[nginx.address], "", "protocol = \"http2\""));
    let url = switch.url("web");
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let answer = curl().arg(version).ok(&(url.clone() + "/big"));
        assert!(answer.body == content, "{version}");
        assert_eq!(answer.field("x-protocol"), Some("HTTP/2.0"));
        let to = format!("{url}/put/{version}");
        let stored = curl()
            .args([version, "-T"])
            .arg(nginx.root().join("big"))
            .get(&to);
        assert_eq!(stored.status, 201, "{stored:?}");
        let chunked = curl()
            .arg(version)
            .upload_stream(&nginx.root().join("big"))
            .get(&(to.clone() + "-chunked"));
        assert_eq!(chunked.status, 201, "{chunked:?}");
        for stored in [to.clone(), to + "-chunked"] {
            assert!(curl().arg(version).ok(&stored).body == content, "{version}");
        }
        let head = curl().args([version, "-I"]).get(&(url.clone() + "/big"));
        assert_eq!(head.status, 200);
        assert_eq!(head.field("content-length"), Some("3000000"));
        let none = curl().arg(version).get(&(url.clone() + "/none"));
        assert_eq!(none.status, 404);
        let tag = answer.field("etag").unwrap();
        let same = curl()
            .arg(version)
            .header(&format!("If-None-Match: {tag}"))
            .get(&(url.clone() + "/big"));
        assert_eq!((same.status, same.body.len()), (304, 0), "{version}");
    }
}

/// nginx ends each connection after ten requests (GOAWAY): no request fails of it.
#[test]
fn connections_that_end_under_load_fail_no_request() {
    let nginx = Nginx::with_http2("nginx");
    let switch = Switch::start(&simple(&[nginx.address], "", "protocol = \"http2\""));
    let url = switch.url("web") + "/name";
    for (connections, streams) in [("1", "1"), ("4", "32")] {
        let (good, bad) = h2load(&["-c", connections, "-m", streams], 3000, &url);
        assert_eq!((good, bad), (3000, 0), "{}", switch.log());
    }
    assert_eq!(switch.status().services["web"].refused.len(), 0);
}

#[test]
fn by_tls_the_server_offers_it() {
    let authority = Authority::new();
    let pair = authority.issue(&["app.internal"]);
    let tls = Nginx::with_tls("tls", (&pair.0, &pair.1));
    let old = Nginx::with_client_tls("old", (&pair.0, &pair.1), &authority.file());
    let pool = |protocol| {
        format!(
            "protocol = \"{protocol}\"\ntls = {{ ca = \"{}\", server_name = \"app.internal\" }}",
            authority.file().display()
        )
    };
    for (server, protocol, expected) in [
        (&tls, "http1", Some("HTTP/1.1")),
        (&tls, "http2", Some("HTTP/2.0")),
        (&tls, "auto", Some("HTTP/2.0")),
        (&old, "auto", Some("HTTP/1.1")),
        (&old, "http2", None),
    ] {
        let switch = Switch::start(&simple(&[server.address], "", &pool(protocol)));
        let answer = curl().get(&(switch.url("web") + "/name"));
        assert_eq!(
            answer.field("x-protocol"),
            expected,
            "{protocol} {answer:?}"
        );
        if expected.is_none() {
            assert_eq!(answer.status, 502);
        }
    }
}

#[test]
fn checks_speak_it_too() {
    let nginx = Nginx::with_http2("nginx");
    let pool =
        "protocol = \"http2\"\nhealth = { http = \"/healthz\", interval = \"50ms\", fall = 1 }";
    let switch = Switch::start(&simple(&[nginx.address], "", pool));
    std::thread::sleep(std::time::Duration::from_millis(400));
    let server = switch.server(nginx.address);
    assert_eq!(
        server.state,
        l7switch_admin_api::ServerState::Up,
        "{}",
        switch.log()
    );
    assert_eq!(curl().get(&(switch.url("web") + "/name")).status, 200);
}
