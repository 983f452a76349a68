// SPDX-License-Identifier: MIT
//! The end: what is in progress ends whole, nothing new begins, and the exit status tells.

use std::net::TcpStream;
use std::time::Duration;
use std::time::Instant;

use crate::support::counting::Clients;
use crate::support::curl::curl;
use crate::support::nginx::Nginx;
use crate::support::python::Python;
use crate::support::raw::Raw;
use crate::support::switch::Switch;
use crate::support::switch::simple;
use crate::support::until;

#[test]
fn downloads_in_progress_end_whole() {
    let python = Python::start("python");
    let mut switch = Switch::start(&simple(&[python.address], "", ""));
    let address = switch.address("web");
    let gate = python.gate("open");
    let slow = ["--http1.1", "--http2-prior-knowledge"].map(|version| {
        let url = format!(
            "http://{address}/gate?bytes=3000000&file={}",
            gate.display()
        );
        std::thread::spawn(move || curl().arg(version).get(&url))
    });
    until("both have arrived", || python.seen().len() == 2);
    switch.signal("TERM");
    until("nobody listens any more", || {
        TcpStream::connect(address).is_err()
    });
    assert!(!switch.has_ended(), "it waits for what is in progress");
    std::fs::write(gate, "").unwrap();
    for thread in slow {
        let answer = thread.join().unwrap();
        assert_eq!((answer.exit, answer.status), (0, 200), "{}", answer.errors);
        assert!(answer.body == crate::support::pattern(3_000_000));
    }
    assert_eq!(switch.wait().code(), Some(0));
    assert!(
        !switch.folder().join("admin").exists(),
        "the admin socket is removed"
    );
}

#[test]
fn an_upload_in_progress_ends_whole() {
    let python = Python::start("python");
    let mut switch = Switch::start(&simple(&[python.address], "", ""));
    let mut client = Raw::connect(switch.address("web")).unwrap();
    client
        .send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nfirst")
        .unwrap();
    until("it has arrived", || python.has_seen("/echo"));
    switch.signal("TERM");
    until("it drains", || TcpStream::connect(client.peer()).is_err());
    client.send("secnd").unwrap();
    let response = client.response().unwrap().unwrap();
    assert_eq!(response.status, 200);
    assert_eq!(response.field("connection"), Some("close"));
    assert_eq!(switch.wait().code(), Some(0));
}

#[test]
fn no_request_is_lost_under_load() {
    let nginx = Nginx::start("nginx");
    let mut switch = Switch::start(&simple(&[nginx.address], "", ""));
    let clients = Clients::start(4, switch.address("web"), "/name");
    clients.go_on(200);
    switch.signal("TERM");
    assert_eq!(switch.wait().code(), Some(0));
    let tally = clients.stop();
    // New connections fail once nobody listens. A request on a connection that was idle can meet its
    // end, which HTTP/1.1 cannot avoid (RFC 9112, 9.6); but no response is ever cut or an error.
    let bad: Vec<_> = tally
        .bad()
        .into_iter()
        .filter(|bad| !bad.starts_with("connect: "))
        .collect();
    let met: Vec<_> = bad
        .iter()
        .filter(|bad| bad.starts_with("request ") && !bad.starts_with("request 0 "))
        .collect();
    assert_eq!(bad.len(), met.len(), "{bad:#?}");
    assert!(met.len() <= 4, "{bad:#?}");
}

#[test]
fn idle_connections_do_not_hold_it_up() {
    let python = Python::start("python");
    let mut switch = Switch::start_with(
        &simple(&[python.address], "", ""),
        &["--drain-timeout", "50s"],
    );
    let address = switch.address("web");
    let mut silent = Raw::connect(address).unwrap();
    let mut kept = Raw::connect(address).unwrap();
    assert_eq!(kept.get("/echo").unwrap().status, 200);
    let began = Instant::now();
    switch.signal("TERM");
    assert_eq!(kept.rest().unwrap(), b"");
    assert_eq!(silent.rest().unwrap(), b"");
    assert_eq!(switch.wait().code(), Some(0));
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn patience_has_an_end() {
    let python = Python::start("python");
    let rules = simple(&[python.address], "", "");
    let folder = tempfile::tempdir().unwrap();
    for signals in [&["TERM"][..], &["TERM", "INT"]] {
        let patience = if signals.len() == 1 { "300ms" } else { "50s" };
        let log = folder.path().join(patience);
        let arguments = [
            "--drain-timeout",
            patience,
            "--access-log",
            log.to_str().unwrap(),
        ];
        let mut switch = Switch::start_with(&rules, &arguments);
        let address = switch.address("web");
        let mut client = Raw::connect(address).unwrap();
        let before = python.seen().len();
        let gate = python.gate("never");
        client
            .send(format!(
                "GET /before?file={} HTTP/1.1\r\nHost: a\r\n\r\n",
                gate.display()
            ))
            .unwrap();
        until("it has arrived", || python.seen().len() > before);
        let began = Instant::now();
        for signal in signals {
            switch.signal(signal);
            until("the signal has had its effect", || {
                TcpStream::connect(address).is_err()
            });
        }
        assert_eq!(switch.wait().code(), Some(0), "{signals:?}");
        assert!(began.elapsed() < Duration::from_secs(20), "{signals:?}");
        // Nobody takes what there is for a whole response.
        assert!(
            client.response().is_ok_and(|response| response.is_none())
                || client.response().is_err()
        );
        // It has its line.
        let lines = std::fs::read_to_string(&log).unwrap();
        assert_eq!(lines.lines().count(), 1, "{lines}");
        assert!(lines.contains(" path=/before?file="), "{lines}");
        assert!(
            lines.contains(" status=0 ") && lines.contains(" end=draining"),
            "{lines}"
        );
    }
}

#[test]
fn bad_rules_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.toml");
    std::fs::write(
        &rules,
        "[service.web]\nlisten = '127.0.0.1:9'\n[[service.web.route]]\npool = 'x'\n",
    )
    .unwrap();
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_l7switch"))
        .arg(&rules)
        .arg("--admin")
        .arg(folder.path().join("admin"))
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(
        errors.contains("rules.toml") && errors.contains("pool"),
        "{errors}"
    );
    assert!(
        !errors.contains('\u{1b}'),
        "no colours into a file: {errors}"
    );
    assert!(out.stdout.is_empty());
}
