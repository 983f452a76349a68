// SPDX-License-Identifier: MIT
//! The front as the slow path of the module, and what nobody may get past them.

use std::fs;
use std::io::Read as _;
use std::io::Write as _;
use std::net::Shutdown;
use std::net::TcpStream;

use l7switch_netlink::Client;

use super::front_and_kernel;
use super::response;
use crate::kit::Module;
use crate::kit::Network;
use crate::kit::Nginx;
use crate::kit::Process;
use crate::kit::network::VIP;

const RULES: &str = "/tmp/slow.toml";

/// A front on the switch with the module loaded.
struct Setup {
    network: Network,
    client: Client,
    nginx: Vec<Nginx>,
    _front: Process,
    _module: Module,
}

impl Setup {
    fn new() -> Self {
        let module = Module::load();
        let network = Network::new();
        let nginx: Vec<Nginx> = network
            .servers
            .iter()
            .map(|host| {
                let name = host.name();
                Nginx::with(
                    host,
                    &format!("location / {{ return 200 \"{name} $remote_addr\\n\"; }}"),
                )
            })
            .collect();
        let text = format!(
            "[service.web]\nlisten = \"{VIP}:80\"\nprotocol = \"http\"\n\
             [[service.web.route]]\npath = {{ prefix = \"/one\" }}\npool = \"one\"\n\
             [[service.web.route]]\npath = {{ prefix = \"/two\" }}\npool = \"two\"\n\
             [[service.web.route]]\npath = {{ prefix = \"/said\" }}\nrespond = {{ status = 200, body = \"said\\n\" }}\n\
             [[service.web.route]]\npath = {{ prefix = \"/set\" }}\npool = \"two\"\nrequest_headers = {{ set = {{ X-A = \"b\" }} }}\n\
             [pool.one]\nservers = [\"10.0.2.2:80\"]\n[pool.two]\nservers = [\"10.0.2.3:80\"]\n"
        );
        fs::write(RULES, text).unwrap();
        let (front, client) = front_and_kernel(&network, RULES);
        Self {
            network,
            client,
            nginx,
            _front: front,
            _module: module,
        }
    }

    fn counter(&mut self, name: &str) -> u64 {
        self.client.module().unwrap().counter(name).unwrap()
    }

    fn stream(&self) -> TcpStream {
        self.network.client.connect((VIP, 80))
    }
}

pub(in super::super) fn the_front_serves_what_the_kernel_cannot() {
    let mut setup = Setup::new();
    let mut stream = setup.stream();
    let asks = [
        ("/one", "200", "server1 10.0.1.2\n"),
        ("/said", "200", "said\n"),
        ("/two", "200", "server2 10.0.1.2\n"),
        ("/nowhere", "404", ""),
        ("/one", "200", "server1 10.0.1.2\n"),
        ("/set", "200", "server2"),
    ];
    for (path, status, body) in asks {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let (head, got) = response(&mut stream);
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{path}: {head}"
        );
        assert!(got.starts_with(body), "{path}: {got}");
    }
    assert_eq!(setup.counter("to_front"), 3);
    assert_eq!(setup.counter("requests"), 6);
    // HTTP/2 without TLS: the front's.
    let curl = setup
        .network
        .client
        .curl(&format!("--http2-prior-knowledge http://{VIP}/one"));
    assert!(curl.starts_with("server1"), "{curl}");
    let metrics = setup
        .network
        .switch
        .run("curl -sS --unix-socket /tmp/admin http://x/metrics");
    for line in [
        "l7switch_kernel_events_total{event=\"rebinds\"} 5",
        "l7switch_kernel_requests_total{service=\"web\"} 7",
        "l7switch_kernel_responses_total{service=\"web\",class=\"4xx\"} 1",
        "l7switch_kernel_route_requests_total{service=\"web\",route=\"#1\"} 2",
        "l7switch_kernel_route_requests_total{service=\"web\",route=\"#3\"} 1",
        "l7switch_kernel_route_responses_total{service=\"web\",route=\"#1\",class=\"2xx\"} 2",
        "l7switch_kernel_route_responses_total{service=\"web\",route=\"#3\",class=\"2xx\"} 1",
        "l7switch_kernel_route_responses_total{service=\"web\",route=\"#4\",class=\"5xx\"} 0",
        "l7switch_kernel_state_flows{state=\"open\"} 1",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line}\n{metrics}"
        );
    }
}

pub(in super::super) fn ambiguous_requests_reach_no_server() {
    let mut setup = Setup::new();
    let smuggled = "GET /two?smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    let heads = [
        "POST /one HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n",
        "POST /one HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /one HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
        "POST /one HTTP/1.1\r\nHost: x\r\nContent-Length: +4\r\n\r\n",
        "GET /one HTTP/1.1\nHost: x\n\n",
        "GET /one HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
        "GET /one HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n",
        "GET /one HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n",
        "GET /one HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        "GET /one HTTP/1.1\r\n\r\n",
        "GET /one /two HTTP/1.1\r\nHost: x\r\n\r\n",
    ];
    for head in heads {
        let mut stream = setup.stream();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(smuggled.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400 "),
            "{head:?}: {answer}"
        );
        assert_eq!(
            answer.matches("HTTP/1.1 ").count().min(1),
            usize::from(!answer.is_empty())
        );
    }
    // Broken bodies: the request has gone, what is behind it never does.
    let bodies = [
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\n",
        "0\r\nContent-Length: 5\r\n\r\n",
    ];
    for body in bodies {
        let mut stream = setup.stream();
        let head = "POST /one HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        let _ = stream.write_all(format!("{head}{body}{smuggled}").as_bytes());
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(!answer.contains("server2"), "{body:?}: {answer}");
    }
    let logs: String = setup.nginx.iter().map(Nginx::log).collect();
    assert!(!logs.contains("smuggled"), "{logs}");
    let first = logs.lines().filter(|line| line.contains("/one")).count();
    println!(
        "{first} requests with broken bodies began; {} reset",
        setup.counter("bad_bodies")
    );
    assert!(setup.counter("bad_bodies") >= 4);
}
