// SPDX-License-Identifier: MIT
//! Upgrades: WebSocket and other protocols pass in both directions.

use crate::support::curl::curl;
use crate::support::python::Python;
use crate::support::python::script;
use crate::support::raw::Raw;
use crate::support::switch::Switch;
use crate::support::switch::simple;
use crate::support::until;

fn world() -> (Python, Switch) {
    let python = Python::start("python");
    let switch = Switch::start(&simple(&[python.address], "", ""));
    (python, switch)
}

#[test]
fn a_websocket() {
    let (_python, switch) = world();
    let port = switch.address("web").port().to_string();
    let out = script("websocket.py")
        .args([&port, "/websocket"])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&out.stderr);
    assert_eq!(String::from_utf8_lossy(&out.stdout), "207\n", "{errors}");
    until("it is counted as ended", || {
        switch.status().services["web"].active == 0
    });
    assert_eq!(switch.servers()[0].active, 0);
}

#[test]
fn any_protocol_with_curl() {
    let (_python, switch) = world();
    let answer = curl()
        .args(["--http1.1", "-N"])
        .header("Connection: Upgrade")
        .header("Upgrade: parrot/1")
        .get(&format!("{}/speak?text=hello", switch.url("web")));
    assert_eq!(answer.status, 101, "{answer:?}");
    assert_eq!(answer.text(), "hello");
    assert_eq!(answer.field("upgrade"), Some("parrot/1"));
}

#[test]
fn bytes_sent_with_the_request_are_not_lost_and_halves_close_singly() {
    let (_python, switch) = world();
    let mut client = Raw::connect(switch.address("web")).unwrap();
    let head = "GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: parrot\r\n\r\n";
    client.send(format!("{head}first ")).unwrap();
    assert_eq!(client.response().unwrap().unwrap().status, 101);
    assert_eq!(client.exactly(6).unwrap(), b"first ");
    // What looks like a request is none here.
    client.send("GET / HTTP/1.1\r\n\r\n").unwrap();
    client.finish();
    assert_eq!(client.rest().unwrap(), b"GET / HTTP/1.1\r\n\r\n");
}

#[test]
fn an_upgrade_that_the_server_ignores() {
    let (python, switch) = world();
    let mut client = Raw::connect(switch.address("web")).unwrap();
    let head = "GET /echo HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: parrot\r\n\r\n";
    client.send(head).unwrap();
    assert_eq!(client.response().unwrap().unwrap().status, 200);
    assert_eq!(client.get("/echo/2").unwrap().status, 200);
    assert_eq!(python.seen().len(), 2);
}
