// SPDX-License-Identifier: MIT
//! Which server gets a request.

use std::io::Write as _;

use super::Setup;
use super::response;
use super::rules_with;
use crate::kit::limit;
use crate::kit::network::VIP;
use crate::kit::network::VIP6;
use crate::kit::wait::wait_for;

pub(in super::super) fn requests_go_where_the_rules_say() {
    let mut setup = Setup::new(&rules_with("nat"));
    for forward in ["nat", "fullnat"] {
        setup.load(&rules_with(forward));
        let (own, own6) = if forward == "nat" {
            ("10.0.1.2", "fd00:1::2")
        } else {
            ("10.0.2.1", "fd00:2::1")
        };
        for (url, address) in [(VIP.to_string(), own), (format!("[{VIP6}]"), own6)] {
            let asks = [
                (format!("http://{url}/one"), "server1"),
                (format!("http://{url}/two"), "server2"),
                (format!("http://{url}/origin1/who"), "server1"),
                (format!("http://{url}/origin2/who"), "server2"),
                (format!("-H 'Host: a.test' http://{url}/x"), "server1"),
                (format!("-H 'Host: c.b.test' http://{url}/x/who"), "server2"),
                (format!("-H 'X-To: two' http://{url}/x"), "server2"),
                (format!("-b 'a=b; to=origin' http://{url}/x/who"), "server1"),
            ];
            for (ask, server) in asks {
                let answer = setup.curl(&ask);
                assert_eq!(answer, format!("{server} {address}\n"), "{forward} {ask}");
            }
        }
    }
    let (requests, front) = (setup.counter("requests"), setup.counter("to_front"));
    setup.show();
    assert_eq!((requests, front), (32, 0));
    // Every connection is closed, and none needs to be told twice. One that a server has reset is remembered for 130 seconds; on
    // a busy machine there are such.
    wait_for("all have closed", 4 * limit(), || {
        setup.client.flows().unwrap().is_empty()
    });
    assert_eq!(setup.counter("tx_dropped"), 0);
}

pub(in super::super) fn one_connection_goes_to_many_servers() {
    let mut setup = Setup::new(&rules_with("nat"));
    for forward in ["nat", "fullnat"] {
        setup.load(&rules_with(forward));
        for address in [(VIP, 80).into(), (VIP6, 80).into()] {
            let address: std::net::SocketAddr = address;
            let mut stream = setup.network.client.connect(address);
            for turn in 0..30 {
                let (path, server) = match turn % 5 {
                    0 | 3 => ("/one", "server1"),
                    1 => ("/two", "server2"),
                    2 => ("/origin1/who", "server1"),
                    _ => ("/origin2/who", "server2"),
                };
                let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
                stream.write_all(request.as_bytes()).unwrap();
                let (head, body) = response(&mut stream);
                assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
                assert!(body.starts_with(server), "{turn} {path}: {body}");
            }
        }
    }
    let rebinds = setup.counter("rebinds");
    setup.show();
    assert!(rebinds >= 80, "{rebinds}");
}

pub(in super::super) fn pipelined_requests_are_answered_in_order() {
    let mut setup = Setup::new(&rules_with("nat"));
    let mut stream = setup.network.client.connect((VIP, 80));
    let paths = ["/one", "/one", "/two", "/origin1/who", "/two", "/one"];
    let servers = [
        "server1", "server1", "server2", "server1", "server2", "server1",
    ];
    let all: String = paths
        .iter()
        .map(|path| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
        .collect();
    for _ in 0..5 {
        stream.write_all(all.as_bytes()).unwrap();
        for server in servers {
            let (_, body) = response(&mut stream);
            assert!(body.starts_with(server), "{server}: {body}");
        }
    }
    setup.show();
    // What waited was taken at once, not when the client sent it again.
    for server in &setup.network.servers {
        let refused = server.run("nstat -asz TcpExtTSEcrRejected");
        let count = refused
            .split_once("TcpExtTSEcrRejected")
            .and_then(|(_, rest)| rest.split_whitespace().next());
        assert_eq!(count, Some("0"), "{refused}");
    }
}

pub(in super::super) fn servers_that_refuse_are_passed_over() {
    let text = rules_with("nat").replace(
        "servers = [\"10.0.2.2:80\"]",
        "servers = [\"10.0.2.2:81\", \"10.0.2.2:82\", \"10.0.2.2:80\"]",
    );
    let mut setup = Setup::new(&text);
    for _ in 0..12 {
        // By a call: twelve programs may take longer than a server is left out.
        let body = setup.network.client.get(&format!("http://{VIP}/one"));
        assert_eq!(body, "server1 10.0.1.2\n");
    }
    setup.show();
    // Three times each; then they are left out.
    assert_eq!(setup.counter("connects_failed"), 6);
    assert_eq!(setup.counter("servers_failed"), 2);
}
