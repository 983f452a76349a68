// SPDX-License-Identifier: MIT
//! Load generators: every request is answered, shared between the real servers as the scheduler says.

use crate::support::certs::Authority;
use crate::support::certs::entry;
use crate::support::counting::h2load;
use crate::support::nginx::Nginx;
use crate::support::process::run;
use crate::support::python::Python;
use crate::support::raw::Raw;
use crate::support::switch::Switch;
use crate::support::switch::list;
use crate::support::switch::simple;

fn world(pool: &str) -> (Nginx, Nginx, Switch) {
    let (one, two) = (Nginx::start("one"), Nginx::start("two"));
    let switch = Switch::start(&simple(&[one.address, two.address], "", pool));
    (one, two, switch)
}

#[test]
fn h2load_over_both_versions() {
    let (one, two, switch) = world("scheduler = 'rr'");
    let url = switch.url("web") + "/name";
    assert_eq!(h2load(&["--h1", "-c", "16"], 4000, &url), (4000, 0));
    assert_eq!(h2load(&["-c", "4", "-m", "32"], 4000, &url), (4000, 0));
    // Written by nginx after the answer.
    crate::support::until("nginx has logged all", || {
        one.requests().len() == 4000 && two.requests().len() == 4000
    });
    let servers = switch.servers();
    assert_eq!(
        servers
            .iter()
            .map(|server| (server.total, server.failures))
            .collect::<Vec<_>>(),
        [(4000, 0); 2]
    );
}

#[test]
fn h2load_over_tls() {
    let authority = Authority::new();
    let nginx = Nginx::start("nginx");
    let switch = Switch::start(&format!(
        "[service.web]\nlisten = '127.0.0.1:0'\nprotocol = 'https'\ncertificates = {}\n\
         [[service.web.route]]\npool = 'main'\n[pool.main]\nservers = {}\n",
        entry(&authority.issue(&["localhost"])),
        list(&[nginx.address])
    ));
    let url = format!("https://localhost:{}/name", switch.address("web").port());
    let connect = format!("--connect-to={}", switch.address("web"));
    assert_eq!(
        h2load(&["-c", "8", "-m", "16", &connect], 4000, &url),
        (4000, 0)
    );
    assert_eq!(
        h2load(&["--h1", "-c", "8", &connect], 4000, &url),
        (4000, 0)
    );
}

#[test]
fn wrk_finds_no_error() {
    let (_one, _two, switch) = world("scheduler = 'p2c'");
    let url = switch.url("web") + "/name";
    let out = run("wrk", "wrk", ["-t2", "-c64", "-d3s", &url]);
    // Both lines are there only if there is something to tell.
    assert!(!out.contains("Socket errors"), "{out}");
    assert!(!out.contains("Non-2xx"), "{out}");
    assert!(out.contains(" requests in "), "{out}");
    let idle: u64 = switch.servers().iter().map(|server| server.idle).sum();
    assert!((1..=256).contains(&idle), "{idle} connections are kept");
}

#[test]
fn nothing_is_left_behind() {
    let python = Python::start("python");
    let pool = "keepalive_timeout = '200ms'\npassive = { failures = 0 }";
    let switch = Switch::start(&simple(&[python.address], "", pool));
    let (address, url) = (switch.address("web"), switch.url("web"));
    let before = switch.descriptors();
    let mut clients = Vec::new();
    for target in [
        "/length?bytes=100000000",
        "/drop",
        "/vanish",
        "/cut?bytes=100000",
        "/overlong",
    ] {
        for _ in 0..10 {
            let mut client = Raw::connect(address).unwrap();
            client
                .send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"))
                .unwrap();
            clients.push(client);
        }
    }
    crate::support::until("all have arrived", || python.seen().len() == 50);
    // Some of them have read nothing of what has come: that is a reset.
    drop(clients);
    assert_eq!(
        h2load(&["-c", "4", "-m", "32"], 500, &format!("{url}/echo")),
        (500, 0)
    );
    crate::support::until("nothing is in progress", || {
        switch.status().services["web"].active == 0 && switch.servers()[0].active == 0
    });
    crate::support::until("all is closed", || switch.descriptors() <= before);
    assert_eq!(switch.servers()[0].idle, 0);
}
