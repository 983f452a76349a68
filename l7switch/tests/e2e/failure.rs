// SPDX-License-Identifier: MIT
//! Real servers that die, come back, refuse and misbehave; and servers that an administrator takes out.

use l7switch_admin_api::ServerState;

use crate::support::counting::Clients;
use crate::support::curl::curl;
use crate::support::nginx::Nginx;
use crate::support::python::Echo;
use crate::support::python::Python;
use crate::support::raw::Raw;
use crate::support::switch::Switch;
use crate::support::switch::simple;
use crate::support::until;

const CHECKED: &str = "scheduler = 'rr'\n\
    health = { http = '/healthz', interval = '200ms', timeout = '200ms', rise = 1, fall = 2 }\n\
    passive = { failures = 0 }";

#[test]
fn a_server_killed_under_load() {
    let (mut one, two) = (Nginx::start("one"), Nginx::start("two"));
    let switch = Switch::start(&simple(&[one.address, two.address], "", CHECKED));
    let clients = Clients::start(4, switch.address("web"), "/name");
    clients.go_on(200);
    assert_eq!(clients.take().bad(), Vec::<String>::new());
    one.kill();
    switch.until_server(one.address, ServerState::Down);
    // A client may have an answer of before in its hand that it has not counted yet.
    clients.go_on(200);
    let during = clients.take();
    // What was already with the server when it died cannot be answered by it. Every such client is
    // told with 502; there are at most as many as there are clients, and nothing else goes wrong.
    assert!(during.failures.is_empty(), "{during:?}");
    let lost: u64 = during
        .answers
        .iter()
        .filter(|((status, _), _)| *status != 200)
        .map(|(_, n)| n)
        .sum();
    assert!(lost <= 4, "{during:?}");
    assert!(
        during
            .answers
            .keys()
            .all(|(status, _)| [200, 502].contains(status)),
        "{during:?}"
    );
    // It is known to be down: nobody notices any more.
    clients.go_on(500);
    let down = clients.take();
    assert_eq!(down.bad(), Vec::<String>::new());
    assert_eq!(down.servers(), ["two"]);
    one.restart();
    switch.until_server(one.address, ServerState::Up);
    clients.take();
    clients.go_on(500);
    let up = clients.stop();
    assert_eq!(up.bad(), Vec::<String>::new());
    assert_eq!(up.servers(), ["one", "two"]);
}

#[test]
fn a_server_ended_in_order_under_load() {
    let (mut one, two) = (Nginx::start("one"), Nginx::start("two"));
    let switch = Switch::start(&simple(&[one.address, two.address], "", CHECKED));
    let clients = Clients::start(4, switch.address("web"), "/name");
    for _ in 0..3 {
        clients.go_on(200);
        one.quit();
        switch.until_server(one.address, ServerState::Down);
        one.restart();
        switch.until_server(one.address, ServerState::Up);
    }
    // It answers what it has begun, so nobody has to notice.
    let tally = clients.stop();
    assert_eq!(tally.bad(), Vec::<String>::new());
    assert_eq!(tally.servers(), ["one", "two"]);
}

#[test]
fn a_server_that_is_not_there_is_passed_over_without_any_check() {
    let (mut one, two) = (Nginx::start("one"), Nginx::start("two"));
    one.kill();
    let switch = Switch::start(&simple(&[one.address, two.address], "", "scheduler = 'rr'"));
    let clients = Clients::start(4, switch.address("web"), "/name");
    clients.go_on(500);
    let tally = clients.stop();
    assert_eq!(tally.bad(), Vec::<String>::new());
    assert_eq!(tally.servers(), ["two"]);
    assert_eq!(switch.server(one.address).state, ServerState::Ejected);
}

#[test]
fn an_ejected_server_is_tried_again() {
    let (mut one, two) = (Nginx::start("one"), Nginx::start("two"));
    one.kill();
    let pool = "scheduler = 'rr'\npassive = { failures = 2, eject = '500ms' }";
    let switch = Switch::start(&simple(&[one.address, two.address], "", pool));
    let clients = Clients::start(2, switch.address("web"), "/name");
    switch.until_server(one.address, ServerState::Ejected);
    one.restart();
    until("it serves again", || {
        clients.take().servers().contains(&"one")
    });
    clients.take();
    clients.go_on(100);
    assert_eq!(clients.stop().bad(), Vec::<String>::new());
}

#[test]
fn no_server_at_all_is_told_at_once() {
    let mut python = Python::start("python");
    let switch = Switch::start(&simple(&[python.address], "", "passive = { failures = 0 }"));
    let url = switch.url("web") + "/echo";
    assert_eq!(curl().get(&url).status, 200);
    python.kill();
    for version in ["--http1.0", "--http1.1", "--http2-prior-knowledge"] {
        let answer = curl().arg(version).get(&url);
        assert_eq!((answer.exit, answer.status), (0, 502), "{version}");
    }
    python.restart();
    assert_eq!(curl().get(&url).status, 200);
}

#[test]
fn a_response_that_does_not_come() {
    let python = Python::start("python");
    let switch = Switch::start(&simple(
        &[python.address],
        "",
        "response_timeout = '300ms'\npassive = { failures = 0 }",
    ));
    let url = switch.url("web");
    let gate = python.gate("never");
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let answer = curl()
            .arg(version)
            .get(&format!("{url}/before?file={}", gate.display()));
        assert_eq!((answer.exit, answer.status), (0, 504), "{version}");
        let answer = curl().arg(version).get(&format!("{url}/drop"));
        assert_eq!((answer.exit, answer.status), (0, 502), "{version}");
    }
}

/// The server ends the connection behind its response without having said so. Nobody can know, and a
/// request that cannot have changed anything is simply sent again (RFC 9110, 9.2.2).
#[test]
fn a_kept_connection_that_the_server_has_closed() {
    let python = Python::start("python");
    let switch = Switch::start(&simple(&[python.address], "", "passive = { failures = 0 }"));
    let mut client = Raw::connect(switch.address("web")).unwrap();
    for number in 0..300 {
        let response = client.get("/vanish").unwrap();
        assert_eq!(response.status, 200, "request {number}: {response:?}");
    }
}

/// What a server may have acted on is not sent twice.
#[test]
fn a_post_is_not_repeated() {
    let (one, two) = (Python::start("one"), Python::start("two"));
    let switch = Switch::start(&simple(&[one.address, two.address], "", "scheduler = 'rr'"));
    let answer = curl().args(["-d", "x"]).get(&(switch.url("web") + "/drop"));
    assert_eq!(answer.status, 502);
    assert_eq!(one.seen().len() + two.seen().len(), 1);
}

#[test]
fn draining_by_the_administrator() {
    let (one, two) = (Python::start("one"), Python::start("two"));
    let switch = Switch::start(&simple(&[one.address, two.address], "", "scheduler = 'rr'"));
    let url = switch.url("web");
    let who = |count: usize| {
        let mut names: Vec<_> = (0..count)
            .map(|_| Echo::parse(&curl().ok(&format!("{url}/echo")).body).server)
            .collect();
        names.sort();
        names.dedup();
        names
    };
    assert_eq!(who(4), ["one", "two"]);
    // A request in progress on each of the two.
    let slow: Vec<_> = [&one, &two]
        .map(|python| {
            let before = [one.seen().len(), two.seen().len()];
            let target = format!(
                "{url}/gate?bytes=100000&file={}",
                python.gate("open").display()
            );
            let thread = std::thread::spawn(move || curl().get(&target));
            until("it has arrived", || {
                [one.seen().len(), two.seen().len()] != before
            });
            thread
        })
        .into();
    assert_eq!(switch.server(one.address).active, 1);
    switch.change_server("main", one.address, r#"{"state":"drain"}"#);
    let drained = switch.server(one.address);
    assert_eq!(
        (drained.state, drained.effective_weight),
        (ServerState::Draining, 0)
    );
    let seen = one.seen().len();
    assert_eq!(who(20), ["two"]);
    assert_eq!(one.seen().len(), seen);
    // It survives a reload.
    switch.reload(&simple(
        &[one.address, two.address],
        "",
        "scheduler = 'rr'\nretries = 1",
    ));
    assert_eq!(who(4), ["two"]);
    assert_eq!(switch.server(one.address).active, 1);
    // What was in progress ends whole.
    for python in [&one, &two] {
        std::fs::write(python.gate("open"), "").unwrap();
    }
    for thread in slow {
        let answer = thread.join().unwrap();
        assert_eq!((answer.exit, answer.status), (0, 200));
        assert!(answer.body == crate::support::pattern(100_000));
    }
    until("nothing is in progress", || {
        switch.server(one.address).active == 0
    });
    switch.change_server("main", one.address, r#"{"state":"up"}"#);
    assert_eq!(who(4), ["one", "two"]);
}

#[test]
fn weights_by_the_administrator() {
    let (one, two) = (Nginx::start("one"), Nginx::start("two"));
    let rules = simple(&[one.address, two.address], "", "scheduler = 'wrr'");
    let switch = Switch::start(&rules);
    switch.change_server("main", one.address, r#"{"weight":3}"#);
    let share = |switch: &Switch| {
        let before = (one.requests().len(), two.requests().len());
        let url = switch.url("web") + "/name";
        for _ in 0..8 {
            curl().ok(&url);
        }
        let mut now = before;
        until("nginx has logged them", || {
            now = (one.requests().len(), two.requests().len());
            now.0 + now.1 == before.0 + before.1 + 8
        });
        (now.0 - before.0, now.1 - before.1)
    };
    assert_eq!(share(&switch), (6, 2));
    switch.reload(&rules);
    assert_eq!(share(&switch), (6, 2));
    switch.change_server("main", one.address, r#"{"weight":null}"#);
    assert_eq!(share(&switch), (4, 4));
    let path = format!("/v1/servers/nowhere/{}", one.address);
    assert_eq!(switch.admin("PATCH", &path, "{}").0, 404);
    let path = format!("/v1/servers/main/{}", one.address);
    assert_eq!(switch.admin("PATCH", &path, r#"{"weight":70000}"#).0, 400);
    assert_eq!(switch.admin("PATCH", &path, r#"{"wait":7}"#).0, 400);
}
