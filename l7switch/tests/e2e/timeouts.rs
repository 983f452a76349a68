// SPDX-License-Identifier: MIT
//! Limits on what a client may do: slow and silent clients, long heads, many connections.

use std::time::Duration;
use std::time::Instant;

use crate::support::curl::curl;
use crate::support::h2;
use crate::support::python::Python;
use crate::support::raw::Raw;
use crate::support::switch::Switch;
use crate::support::switch::simple;
use crate::support::until;

fn world(limits: &str) -> (Python, Switch) {
    let python = Python::start("python");
    let limits = format!("limits = {{ {limits} }}");
    let switch = Switch::start(&simple(&[python.address], &limits, ""));
    (python, switch)
}

/// A head that never ends, a byte now and then, is cut off when the time for a head has passed: that
/// something comes does not make it longer.
#[test]
fn a_trickled_head() {
    let (python, switch) = world("head_timeout = '600ms', idle_timeout = '30s'");
    let mut client = Raw::connect(switch.address("web")).unwrap();
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ")
        .unwrap();
    let began = Instant::now();
    until("the switch ends it", || {
        std::thread::sleep(Duration::from_millis(50));
        client.send("x").is_err() || client.has_input()
    });
    let elapsed = began.elapsed();
    assert!(elapsed >= Duration::from_millis(500), "{elapsed:?}");
    assert!(elapsed < Duration::from_secs(20), "{elapsed:?}");
    assert_eq!(client.response().unwrap().unwrap().status, 408);
    assert!(python.seen().is_empty());
    assert_eq!(switch.status().services["web"].refused["head_timeout"], 1);
}

#[test]
fn a_hundred_slow_clients_do_not_hinder_others() {
    let (_python, switch) = world("head_timeout = '2s', idle_timeout = '30s'");
    let address = switch.address("web");
    let mut slow: Vec<_> = (0..100).map(|_| Raw::connect(address).unwrap()).collect();
    for client in &mut slow {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n").unwrap();
    }
    for _ in 0..10 {
        assert_eq!(curl().get(&(switch.url("web") + "/echo")).status, 200);
    }
    for client in &mut slow {
        assert_eq!(client.response().unwrap().unwrap().status, 408);
    }
}

#[test]
fn an_idle_connection_is_closed() {
    let (_python, switch) = world("idle_timeout = '400ms'");
    let mut kept = Raw::connect(switch.address("web")).unwrap();
    assert_eq!(kept.get("/echo").unwrap().status, 200);
    let began = Instant::now();
    let mut silent = Raw::connect(switch.address("web")).unwrap();
    // In order: no response to nothing, no reset.
    assert_eq!(kept.rest().unwrap(), b"");
    assert_eq!(silent.rest().unwrap(), b"");
    let elapsed = began.elapsed();
    assert!(
        (Duration::from_millis(300)..Duration::from_secs(20)).contains(&elapsed),
        "{elapsed:?}"
    );
    until("none is left", || {
        switch.status().services["web"].active == 0
    });
}

#[test]
fn content_that_stops() {
    let (_python, switch) = world("idle_timeout = '400ms'");
    let mut client = Raw::connect(switch.address("web")).unwrap();
    client
        .send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
        .unwrap();
    assert_eq!(client.response().unwrap().unwrap().status, 408);
    assert_eq!(client.rest().unwrap(), b"");
}

fn h2_fields(method: &str, path: &str) -> Vec<(&'static str, String)> {
    [
        (":method", method),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", path),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .to_vec()
}

#[test]
fn content_that_stops_over_http2() {
    let (_python, switch) = world("idle_timeout = '400ms'");
    let mut client = h2::Connection::open(switch.address("web"), &[]);
    client.headers(&h2_fields("POST", "/echo"), false);
    client.data(b"half", false);
    let outcome = client.outcome();
    assert!(
        matches!(
            outcome,
            h2::Outcome::Status(408) | h2::Outcome::Reset | h2::Outcome::Closed
        ),
        "{outcome:?}"
    );
    until("the server is free again", || {
        switch.servers()[0].active == 0
    });
}

/// A client that takes nothing: its TCP window is full, or its HTTP/2 window is.
#[test]
fn a_response_that_is_not_taken() {
    let (_python, switch) = world("idle_timeout = '400ms'");
    let target = "/length?bytes=200000000";
    let mut first = Raw::connect(switch.address("web")).unwrap();
    first
        .send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"))
        .unwrap();
    // SETTINGS_INITIAL_WINDOW_SIZE
    let mut second = h2::Connection::open(switch.address("web"), &[(4, 1000)]);
    second.headers(&h2_fields("GET", target), true);
    second.until_ended();
    until("the server is free again", || {
        switch.servers()[0].active == 0
    });
    assert!(
        first.response().is_err(),
        "a cut response does not look whole"
    );
}

/// A request that takes longer than a connection may be idle is not idle.
#[test]
fn a_slow_server_is_no_idle_client() {
    let (python, switch) = world("idle_timeout = '200ms', head_timeout = '200ms'");
    let gate = python.gate("open");
    let url = format!("{}/before?file={}", switch.url("web"), gate.display());
    let waiting = ["--http1.1", "--http2-prior-knowledge"].map(|version| {
        let url = url.clone();
        std::thread::spawn(move || curl().arg(version).get(&url))
    });
    until("both have arrived", || python.seen().len() == 2);
    // Another connection begins after them and is closed for being idle, so their time is over too.
    let mut silent = Raw::connect(switch.address("web")).unwrap();
    assert_eq!(silent.rest().unwrap(), b"");
    std::fs::write(gate, "").unwrap();
    for thread in waiting {
        let answer = thread.join().unwrap();
        assert_eq!(
            (answer.exit, answer.text().as_str()),
            (0, "at last\n"),
            "{}",
            answer.errors
        );
    }
}

#[test]
fn heads_over_the_limits() {
    let (python, switch) = world("head = '4KiB', fields = 20");
    let url = switch.url("web") + "/echo";
    let long = "x".repeat(5000);
    let many: Vec<String> = (0..30)
        .flat_map(|n| ["-H".to_owned(), format!("X-{n}: 1")])
        .collect();
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let answer = curl()
            .arg(version)
            .header(&format!("X-Long: {long}"))
            .get(&url);
        assert_eq!(
            (answer.exit, answer.status),
            (0, 431),
            "{version}: {}",
            answer.errors
        );
        let answer = curl().arg(version).args(&many).get(&url);
        assert_eq!(
            (answer.exit, answer.status),
            (0, 431),
            "{version}: {}",
            answer.errors
        );
    }
    let answer = curl().arg("--http1.1").get(&format!("{url}?{long}"));
    assert!([414, 431].contains(&answer.status), "{answer:?}");
    assert!(python.seen().is_empty());
    assert_eq!(curl().get(&url).status, 200);
}

/// A connection over the limit is not accepted before there is room for it.
#[test]
fn connections_over_the_limit_wait() {
    let (python, switch) = world("connections = 10");
    let address = switch.address("web");
    let mut kept: Vec<_> = (0..10).map(|_| Raw::connect(address).unwrap()).collect();
    for client in &mut kept {
        assert_eq!(client.get("/echo").unwrap().status, 200);
    }
    let mut more = Raw::connect(address).unwrap();
    more.send("GET /over HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    for client in &mut kept {
        assert_eq!(client.get("/echo").unwrap().status, 200);
    }
    assert_eq!(switch.status().services["web"].active, 10);
    assert!(!python.has_seen("/over"));
    kept.pop();
    assert_eq!(more.response().unwrap().unwrap().status, 200);
}
