// SPDX-License-Identifier: MIT
//! The metrics listener as curl sees it: by TLS, with a token, and with new files after SIGHUP.

use std::path::Path;

use crate::support::LOCALHOST;
use crate::support::certs::Authority;
use crate::support::curl::Answer;
use crate::support::curl::curl;
use crate::support::free_port;
use crate::support::python::Python;
use crate::support::switch::Switch;
use crate::support::switch::simple;
use crate::support::until;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Whether curl did not believe the certificate: 60, or 35 where an authority of the same name has not signed it.
fn is_distrusted(answer: &Answer) -> bool {
    [35, 60].contains(&answer.exit)
}

#[test]
fn metrics_by_tls_with_a_token_that_is_changed_while_it_runs() {
    let python = Python::start("a");
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (certificate, key) = authority.issue(&["metrics.test"]);
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "first\n").unwrap();
    let address = free_port(LOCALHOST);
    let switch = Switch::start_with(
        &simple(&[python.address], "", ""),
        &[
            "--metrics",
            &address.to_string(),
            "--metrics-certificate",
            text(&certificate),
            "--metrics-key",
            text(&key),
            "--metrics-token",
            text(&token),
        ],
    );
    let ask = |authority: &Authority, path: &str, more: &[&str]| -> Answer {
        let port = address.port();
        curl()
            .arg("--cacert")
            .arg(authority.file())
            .args(["--resolve", &format!("metrics.test:{port}:127.0.0.1")])
            .args(more)
            .get(&format!("https://metrics.test:{port}{path}"))
    };
    let (first, second) = (["--oauth2-bearer", "first"], ["--oauth2-bearer", "second"]);
    curl().ok(&format!("{}/echo", switch.url("web")));

    let answer = ask(&authority, "/metrics", &first);
    assert_eq!((answer.exit, answer.status), (0, 200), "{answer:?}");
    let count = |name: &str, labels: &str| {
        let line = format!("\nl7switch_{name}{{datapath=\"front\"{labels}}} 1\n");
        assert!(answer.text().contains(&line), "{line}{}", answer.text());
    };
    count("first_byte_seconds_count", "");
    count(
        "route_duration_seconds_count",
        ",service=\"web\",route=\"#1\"",
    );
    let server = format!(",pool=\"main\",server=\"{}\"", python.address);
    count("server_duration_seconds_count", &server);

    let answer = ask(&authority, "/metrics", &[]);
    assert_eq!(answer.status, 401);
    assert_eq!(
        answer.field("www-authenticate"),
        Some("Bearer realm=\"l7switch\"")
    );
    assert_eq!(ask(&authority, "/metrics", &second).status, 401);
    assert_eq!(ask(&authority, "/ready", &[]).text(), "ready\n");
    assert!(is_distrusted(&ask(&stranger, "/live", &[])));
    assert_eq!(curl().get(&format!("http://{address}/live")).status, 0);

    std::fs::write(&token, "second\n").unwrap();
    let (new_certificate, new_key) = stranger.issue(&["metrics.test"]);
    std::fs::copy(new_certificate, &certificate).unwrap();
    std::fs::copy(new_key, &key).unwrap();
    assert_eq!(ask(&authority, "/metrics", &first).status, 200);
    switch.signal("HUP");
    until("the new files are in force", || {
        ask(&stranger, "/metrics", &second).status == 200
    });
    assert_eq!(ask(&stranger, "/metrics", &first).status, 401);
    assert!(is_distrusted(&ask(&authority, "/live", &[])));

    // What cannot be used is said, and changes nothing.
    std::fs::write(&key, "no key").unwrap();
    std::fs::write(&token, "third").unwrap();
    switch.signal("HUP");
    until("it is said", || {
        switch.log().contains("the metrics listener stays as it is")
    });
    assert_eq!(ask(&stranger, "/metrics", &second).status, 200);
}

/// A switch whose metrics nobody could read as wanted does not start.
#[test]
fn files_that_cannot_be_used_are_an_error_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.toml");
    let address = free_port(LOCALHOST);
    let text = format!(
        "[service.web]\nlisten = '{address}'\n[[service.web.route]]\nrespond = {{ status = 204 }}\n"
    );
    std::fs::write(&rules, text).unwrap();
    for (more, said) in [
        (&["--metrics-token", "/nowhere/token"][..], "/nowhere/token"),
        (
            &[
                "--metrics-certificate",
                "/nowhere/c",
                "--metrics-key",
                "/nowhere/k",
            ],
            "/nowhere/c",
        ),
        (&["--metrics-certificate", "/nowhere/c"], "--metrics-key"),
    ] {
        let out = std::process::Command::new(env!("CARGO_BIN_EXE_l7switch"))
            .arg(&rules)
            .args(["--kernel", "off", "--metrics", "127.0.0.1:0", "--admin"])
            .arg(folder.path().join("admin"))
            .args(more)
            .output()
            .unwrap();
        assert!(!out.status.success());
        let errors = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(errors.contains(said), "{errors}");
    }
}
