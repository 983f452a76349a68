// SPDX-License-Identifier: MIT
//! Active checks: what they ask, and what follows.

use l7switch_admin_api::ServerState;

use crate::support::curl::curl;
use crate::support::python::Python;
use crate::support::switch::Switch;
use crate::support::switch::simple;
use crate::support::until;

fn served_by(switch: &Switch) -> Vec<String> {
    let url = switch.url("web") + "/echo";
    let mut names: Vec<_> = (0..6)
        .map(|_| curl().ok(&url).served_by().to_owned())
        .collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn a_sick_server_gets_nothing_until_it_is_well() {
    let (one, two) = (Python::start("one"), Python::start("two"));
    let pool = "scheduler = 'rr'\n\
        health = { http = '/healthz', host = 'check.example', interval = '50ms', rise = 2, fall = 2 }";
    let switch = Switch::start(&simple(&[one.address, two.address], "", pool));
    until("both are asked", || {
        one.has_seen("/healthz") && two.has_seen("/healthz")
    });
    let check = one.seen()[0].head.clone();
    assert_eq!(check[0], "GET /healthz HTTP/1.1");
    assert!(
        check
            .iter()
            .any(|line| line.eq_ignore_ascii_case("host: check.example")),
        "{check:?}"
    );
    assert_eq!(served_by(&switch), ["one", "two"]);
    one.set_sick(true);
    switch.until_server(one.address, ServerState::Down);
    assert_eq!(served_by(&switch), ["two"]);
    two.set_sick(true);
    switch.until_server(two.address, ServerState::Down);
    assert_eq!(curl().get(&(switch.url("web") + "/echo")).status, 503);
    one.set_sick(false);
    switch.until_server(one.address, ServerState::Up);
    assert_eq!(served_by(&switch), ["one"]);
    two.set_sick(false);
    switch.until_server(two.address, ServerState::Up);
    assert_eq!(served_by(&switch), ["one", "two"]);
}

#[test]
fn an_accepted_connection_can_be_enough() {
    let (mut one, two) = (Python::start("one"), Python::start("two"));
    let pool = "scheduler = 'rr'\nhealth = { tcp = true, interval = '50ms', rise = 1, fall = 1 }";
    let switch = Switch::start(&simple(&[one.address, two.address], "", pool));
    assert_eq!(served_by(&switch), ["one", "two"]);
    one.kill();
    switch.until_server(one.address, ServerState::Down);
    assert_eq!(served_by(&switch), ["two"]);
    one.restart();
    switch.until_server(one.address, ServerState::Up);
    assert_eq!(served_by(&switch), ["one", "two"]);
    assert!(!two.has_seen("healthz"));
}

/// The server serves, and says on a port of its own that it does not want to.
#[test]
fn a_check_may_ask_for_a_body_on_another_port() {
    let (one, two) = (Python::start("one"), Python::start("two"));
    let watcher = Python::start("watcher");
    let pool = format!(
        "scheduler = 'rr'\nhealth = {{ http = '/healthz', method = 'POST', port = {}, \
         body = {{ regex = '^well' }}, status = '200-599', interval = '50ms', rise = 1, fall = 1 }}",
        watcher.address.port()
    );
    let rules = simple(&[one.address, two.address], "", &pool);
    let own = format!(
        "{{ address = \"{}\", health_port = {} }}",
        two.address,
        two.address.port()
    );
    let switch = Switch::start(&rules.replace(&format!("\"{}\"", two.address), &own));
    until("both are asked", || {
        watcher.has_seen("POST /healthz") && two.has_seen("POST /healthz")
    });
    assert_eq!(served_by(&switch), ["one", "two"]);
    watcher.set_sick(true);
    switch.until_server(one.address, ServerState::Down);
    assert_eq!(served_by(&switch), ["two"]);
    watcher.set_sick(false);
    switch.until_server(one.address, ServerState::Up);
    assert_eq!(served_by(&switch), ["one", "two"]);
    assert!(!one.has_seen("healthz"));
}
