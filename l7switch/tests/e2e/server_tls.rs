// SPDX-License-Identifier: MIT
//! TLS towards nginx: whom the switch believes, what passes, what is said where it does not work.

use l7switch_admin_api::ServerState;

use crate::support::certs::Authority;
use crate::support::curl::curl;
use crate::support::nginx::Nginx;
use crate::support::pattern;
use crate::support::switch::Switch;
use crate::support::switch::simple;

/// A pool's line, with this in its table.
fn tls(authority: &Authority, more: &str) -> String {
    format!("tls = {{ ca = \"{}\"{more} }}", authority.file().display())
}

#[test]
fn a_server_is_believed_whose_certificate_names_it() {
    let (authority, other) = (Authority::new(), Authority::new());
    let pair = authority.issue(&["app.internal"]);
    let nginx = Nginx::with_tls("nginx", (&pair.0, &pair.1));
    let named = ", server_name = \"app.internal\"";
    for (pool, status) in [
        (tls(&authority, named), 200),
        (tls(&authority, ", server_name = \"other.internal\""), 502),
        // Its certificate names no address.
        (tls(&authority, ""), 502),
        (tls(&other, named), 502),
        // The system's authorities have not signed it.
        ("tls = true".to_owned(), 502),
        ("tls = { verify = false }".to_owned(), 200),
    ] {
        let switch = Switch::start(&simple(&[nginx.address], "", &pool));
        let answer = curl().get(&(switch.url("web") + "/name"));
        assert_eq!(answer.status, status, "{pool}: {}", switch.log());
        let refused = switch.status().services["web"].refused.clone();
        let expected = (status == 502).then_some(&1);
        assert_eq!(refused.get("server_tls"), expected, "{pool}");
    }
}

#[test]
fn a_server_without_tls_is_none() {
    let nginx = Nginx::start("nginx");
    let switch = Switch::start(&simple(&[nginx.address], "", "tls = { verify = false }"));
    assert_eq!(curl().get(&(switch.url("web") + "/name")).status, 502);
}

#[test]
fn content_passes_both_ways_over_kept_connections() {
    let authority = Authority::new();
    let pair = authority.issue(&["app.internal"]);
    let nginx = Nginx::with_tls("nginx", (&pair.0, &pair.1));
    let content = pattern(3_000_000);
    std::fs::write(nginx.root().join("big"), &content).unwrap();
    let pool = tls(&authority, ", server_name = \"app.internal\"");
    let switch = Switch::start(&simple(&[nginx.address], "", &pool));
    let url = switch.url("web");
    assert!(curl().ok(&(url.clone() + "/big")).body == content);
    let file = nginx.root().join("upload");
    std::fs::write(&file, &content).unwrap();
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let to = format!("{url}/put/{version}");
        let stored = curl().args([version, "-T"]).arg(&file).get(&to);
        assert_eq!(stored.status, 201, "{stored:?}");
        let read = curl().arg(version).ok(&to);
        assert!(read.body == content, "{version}");
    }
    // 20 requests on one connection of the client need one to the server.
    let urls: Vec<String> = (0..20).map(|_| url.clone() + "/name").collect();
    let before = switch.server(nginx.address);
    curl().args(&urls[1..]).ok(&urls[0]);
    let after = switch.server(nginx.address);
    assert_eq!(after.total, before.total + 20);
    assert!(after.idle <= before.idle + 1, "{before:?} {after:?}");
}

#[test]
fn the_switch_shows_its_certificate() {
    let authority = Authority::new();
    let pair = authority.issue(&["app.internal"]);
    let own = authority.issue(&["switch.internal"]);
    let nginx = Nginx::with_client_tls("nginx", (&pair.0, &pair.1), &authority.file());
    let named = ", server_name = \"app.internal\"";
    let shown = format!(
        "{named}, certificate = {{ cert = \"{}\", key = \"{}\" }}",
        own.0.display(),
        own.1.display()
    );
    for (more, status) in [(named, 400), (&shown, 200)] {
        let switch = Switch::start(&simple(&[nginx.address], "", &tls(&authority, more)));
        let answer = curl().get(&(switch.url("web") + "/name"));
        assert_eq!(answer.status, status, "{more}");
    }
}

#[test]
fn checks_speak_it_too() {
    let authority = Authority::new();
    let pair = authority.issue(&["app.internal"]);
    let nginx = Nginx::with_tls("nginx", (&pair.0, &pair.1));
    let health = "health = { http = \"/healthz\", interval = \"100ms\", fall = 1 }";
    let good = tls(&authority, ", server_name = \"app.internal\"");
    let wrong = tls(&authority, ", server_name = \"other.internal\"");
    let rules = |tls: &str| simple(&[nginx.address], "", &format!("{tls}\n{health}"));
    let switch = Switch::start(&rules(&wrong));
    switch.until_server(nginx.address, ServerState::Down);
    assert!(switch.log().contains("TLS"), "{}", switch.log());
    switch.reload(&rules(&good));
    switch.until_server(nginx.address, ServerState::Up);
    assert_eq!(curl().get(&(switch.url("web") + "/name")).status, 200);
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let authority = Authority::new();
    let nginx = Nginx::start("nginx");
    let switch = Switch::start(&simple(&[nginx.address], "", ""));
    let empty = switch.folder().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let empty = empty.to_str().unwrap();
    for (ca, why) in [
        ("/nowhere/ca.pem", "/nowhere/ca.pem: No such file"),
        ("/dev/null", "/dev/null: not a regular file"),
        (empty, "empty.pem: it contains no certificate"),
    ] {
        let pool = format!("tls = {{ ca = {ca:?} }}");
        switch.overwrite_rules(&simple(&[nginx.address], "", &pool));
        let (status, answer) = switch.admin("POST", "/v1/reload", "");
        assert_eq!(status, 422, "{answer}");
        assert!(answer.contains(why), "{answer}");
    }
    drop(authority);
}
