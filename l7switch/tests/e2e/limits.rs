// SPDX-License-Identifier: MIT
//! Limits on clients, as curl meets them.

use std::time::Duration;
use std::time::Instant;

use crate::support::certs::Authority;
use crate::support::certs::entry;
use crate::support::curl::curl;
use crate::support::python::Echo;
use crate::support::python::Python;
use crate::support::raw::Raw;
use crate::support::switch::Switch;
use crate::support::switch::simple;
use crate::support::until;

/// curl waits for as long as Retry-After says, and not for less.
#[test]
fn curl_comes_back_when_it_is_told_to() {
    let python = Python::start("python");
    let switch = Switch::start(&format!(
        "[service.web]\nlisten = '127.0.0.1:0'\n[[service.web.route]]\npool = 'main'\n\
         rate_limit = {{ requests = 1, per = '3s' }}\n[pool.main]\nservers = '{}'\n",
        python.address
    ));
    let url = switch.url("web") + "/echo";
    curl().ok(&url);
    let refused = curl().get(&url);
    assert_eq!(refused.status, 429, "{refused:?}");
    let seconds: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=3).contains(&seconds), "{seconds}");
    let began = Instant::now();
    let answer = curl().args(["--retry", "1"]).ok(&url);
    if answer.heads.len() > 1 {
        assert!(began.elapsed() >= Duration::from_secs(1));
    }
    until("it is counted", || {
        switch.status().services["web"]
            .refused
            .contains_key("rate_limited")
    });
}

#[test]
fn uploads_that_are_too_long_are_refused() {
    const LONGEST: usize = 1 << 20;
    let folder = tempfile::tempdir().unwrap();
    let python = Python::start("python");
    let switch = Switch::start(&simple(&[python.address], "limits.body = '1MiB'", ""));
    let url = switch.url("web") + "/echo";
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        for streamed in [true, false] {
            for (length, expected) in [(LONGEST, 200), (LONGEST + 1, 413), (4 * LONGEST, 413)] {
                let file = folder.path().join("upload");
                std::fs::write(&file, vec![b'x'; length]).unwrap();
                let curl = curl().arg(version);
                let curl = if streamed {
                    curl.upload_stream(&file)
                } else {
                    curl.arg("-T").arg(&file)
                };
                let answer = curl.get(&url);
                let what = format!("{version} {streamed} {length}: {answer:?}");
                assert_eq!(answer.status, expected, "{what}");
                if expected == 200 {
                    assert_eq!(Echo::parse(&answer.body).length, 1 << 20, "{what}");
                } else if !streamed {
                    assert!(answer.text().starts_with("413 "), "{what}");
                }
            }
        }
    }
    let refused = &switch.status().services["web"].refused;
    assert_eq!(refused.get("body_too_large"), Some(&8), "{refused:?}");
}

/// Who has as many connections as it may have gets no handshake for another.
#[test]
fn one_connection_too_many_is_closed_before_the_handshake() {
    let authority = Authority::new();
    let pair = authority.issue(&["a.example"]);
    let python = Python::start("python");
    let switch = Switch::start(&format!(
        "[service.web]\nlisten = '127.0.0.1:0'\nprotocol = 'https'\n\
         limits.connections_per_source = 1\ncertificates = [{}]\n\
         [[service.web.route]]\npool = 'main'\n[pool.main]\nservers = '{}'\n",
        entry(&pair),
        python.address
    ));
    let port = switch.address("web").port();
    let ask = || {
        curl()
            .arg("--cacert")
            .arg(authority.file())
            .args(["--resolve", &format!("a.example:{port}:127.0.0.1")])
            .get(&format!("https://a.example:{port}/echo"))
    };
    let first = Raw::connect(switch.address("web")).unwrap();
    until("it is accepted", || {
        switch.status().services["web"].active == 1
    });
    let answer = ask();
    // The reset may come before curl has seen that it is connected, or later.
    let failures = [7, 35, 56];
    assert!(failures.contains(&answer.exit), "{answer:?}");
    let refused = &switch.status().services["web"].refused;
    assert_eq!(refused.get("too_many_connections"), Some(&1), "{refused:?}");
    assert_eq!(refused.get("tls_handshake"), None, "{refused:?}");
    drop(first);
    until("there is room", || ask().status == 200);
}
