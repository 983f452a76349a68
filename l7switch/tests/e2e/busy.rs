// SPDX-License-Identifier: MIT
//! Real servers that can do only so much: bounds with a queue, retries by rule.

use std::process::Stdio;

use crate::support::curl::curl;
use crate::support::nginx::Nginx;
use crate::support::python::Python;
use crate::support::switch::Switch;
use crate::support::switch::simple;
use crate::support::until;

#[test]
fn requests_wait_for_a_server_that_is_full() {
    let one = Python::start("one");
    let pool = "max_connections = 2\nqueue = { length = 2, timeout = '20s' }";
    let switch = Switch::start(&simple(&[one.address], "", pool));
    let gate = one.gate("open");
    let url = format!("{}/before?file={}", switch.url("web"), gate.display());
    let start = || {
        let mut command = curl().arg("--http2-prior-knowledge").command(&url);
        command.stdout(Stdio::piped()).spawn().unwrap()
    };
    let queued = || switch.status().pools["main"].queued;
    let active = || switch.server(one.address).active;
    let mut clients: Vec<_> = (0..4).map(|_| start()).collect();
    until("two are served, two wait", || {
        active() == 2 && queued() == 2
    });
    let refused = curl().get(&url);
    assert_eq!(refused.status, 503);
    assert_eq!(refused.field("retry-after"), Some("1"));
    assert_eq!(switch.status().services["web"].refused["queue_full"], 1);
    assert_eq!(one.seen().len(), 2);
    // A stream that is reset waits no longer.
    let mut gone = clients.pop().unwrap();
    gone.kill().unwrap();
    gone.wait().unwrap();
    until("one waits", || queued() == 1);
    std::fs::write(gate, "").unwrap();
    for client in clients {
        let output = client.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    until("nobody is left", || active() == 0 && queued() == 0);
}

#[test]
fn a_server_that_is_unwell_is_covered_by_another() {
    let (python, nginx) = (Python::start("python"), Nginx::start("nginx"));
    std::fs::create_dir(nginx.root().join("status")).unwrap();
    std::fs::write(nginx.root().join("status/503"), "from nginx").unwrap();
    let pool = "scheduler = 'rr'\nretries = { on = [503, 'connect'], attempts = 1 }";
    let switch = Switch::start(&simple(&[python.address, nginx.address], "", pool));
    let url = switch.url("web") + "/status/503";
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        for _ in 0..4 {
            assert_eq!(curl().arg(version).ok(&url).text(), "from nginx");
        }
    }
    let asked = python.seen().len();
    assert!(asked >= 4);
    let retries = switch.status().pools["main"].retries;
    assert_eq!(retries, u64::try_from(asked).unwrap());
    // Content may have had its effect.
    let statuses: Vec<_> = (0..2)
        .map(|_| curl().args(["-d", "x"]).get(&url).status)
        .collect();
    assert!(statuses.contains(&503), "{statuses:?}");
}
