// SPDX-License-Identifier: MIT
//! Rate limits: the module counts, and the front refuses what is over them.

use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::net::TcpStream;
use std::time::Duration;

use l7switch_netlink::Client;

use super::front_and_kernel;
use super::response;
use crate::kit::Module;
use crate::kit::Network;
use crate::kit::Nginx;
use crate::kit::Process;
use crate::kit::network::VIP;
use crate::kit::network::VIP6;

const RULES: &str = "/tmp/limits.toml";

/// A front on the switch with the module loaded.
struct Setup {
    network: Network,
    client: Client,
    _nginx: Vec<Nginx>,
    _front: Process,
    _module: Module,
}

/// The rules; `hour`: how many requests of a client may come to `/hour` at once.
fn rules(hour: u32) -> String {
    format!(
        "[service.web]\nlisten = [\"{VIP}:80\", \"[{VIP6}]:80\"]\nprotocol = \"http\"\n\
         [[service.web.route]]\nname = \"hour\"\npath = {{ prefix = \"/hour\" }}\npool = \"p\"\n\
         rate_limit = {{ requests = 1, per = \"1h\", burst = {hour}, prefix_v6 = 128 }}\n\
         [[service.web.route]]\nname = \"all\"\npath = {{ prefix = \"/all\" }}\npool = \"p\"\n\
         rate_limit = {{ requests = 1, per = \"1h\", burst = 2, key = \"route\" }}\n\
         [[service.web.route]]\nname = \"soon\"\npath = {{ prefix = \"/soon\" }}\npool = \"p\"\n\
         rate_limit = {{ requests = 1, per = \"2s\", burst = 1 }}\n\
         [[service.web.route]]\nname = \"front\"\npath = {{ prefix = \"/front\" }}\n\
         respond = {{ status = 200, body = \"front\\n\" }}\n\
         [[service.web.route]]\nname = \"free\"\npath = {{ prefix = \"/free\" }}\npool = \"p\"\n\
         [pool.p]\nservers = [\"10.0.2.2:80\", \"[fd00:2::2]:80\"]\n"
    )
}

impl Setup {
    fn new() -> Self {
        let module = Module::load();
        let network = Network::new();
        let nginx = network.servers.iter();
        let nginx = nginx.map(|host| Nginx::with(host, "location / { return 200 \"served\\n\"; }"));
        let nginx = nginx.collect();
        fs::write(RULES, rules(5)).unwrap();
        let (front, client) = front_and_kernel(&network, RULES);
        Self {
            network,
            client,
            _nginx: nginx,
            _front: front,
            _module: module,
        }
    }

    fn counter(&mut self, name: &str) -> u64 {
        self.client.module().unwrap().counter(name).unwrap()
    }

    fn stream(&self, address: IpAddr) -> TcpStream {
        self.network.client.connect((address, 80))
    }
}

/// What a request gets: its status, and who answers. What is refused has a time to wait.
fn ask(stream: &mut TcpStream, path: &str) -> (u16, bool) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let (head, body) = response(stream);
    let status = head[9..12].parse().unwrap();
    let wait = head.to_ascii_lowercase().contains("retry-after: ");
    assert_eq!(wait, status == 429, "{head}");
    (status, body == "served\n")
}

const SERVED: (u16, bool) = (200, true);
const REFUSED: (u16, bool) = (429, false);

pub(in super::super) fn what_is_over_a_rate_limit_is_refused_by_the_front() {
    let mut setup = Setup::new();
    for (number, address) in (1..).zip([IpAddr::from(VIP), VIP6.into()]) {
        // Of one client, on one connection and on others.
        let mut stream = setup.stream(address);
        for _ in 0..3 {
            assert_eq!(ask(&mut stream, "/hour"), SERVED);
        }
        for _ in 0..2 {
            assert_eq!(ask(&mut setup.stream(address), "/hour"), SERVED);
        }
        assert_eq!(ask(&mut setup.stream(address), "/hour"), REFUSED);
        // The connection goes on: to its server, to what the front refuses, to what the front serves, and back.
        for (path, gets) in [
            ("/hour", REFUSED),
            ("/hour", REFUSED),
            ("/free", SERVED),
            ("/hour", REFUSED),
            ("/front", (200, false)),
            ("/hour", REFUSED),
            ("/free", SERVED),
        ] {
            assert_eq!(ask(&mut stream, path), gets, "{path}");
        }
        assert_eq!(setup.counter("rate_limited"), 5 * number);
    }
    // One bucket for all of a route.
    for gets in [SERVED, SERVED, REFUSED, REFUSED] {
        assert_eq!(ask(&mut setup.stream(VIP.into()), "/all"), gets);
    }
    assert_eq!(ask(&mut setup.stream(VIP6.into()), "/all"), REFUSED);
    // A token comes.
    let mut stream = setup.stream(VIP.into());
    assert_eq!(ask(&mut stream, "/soon"), SERVED);
    assert_eq!(ask(&mut stream, "/soon"), REFUSED);
    std::thread::sleep(Duration::from_millis(2_100));
    assert_eq!(ask(&mut stream, "/soon"), SERVED);
    let limited = setup.counter("rate_limited");
    assert_eq!(limited, 14);
    let metrics = setup
        .network
        .switch
        .run("curl -sS --unix-socket /tmp/admin http://x/metrics");
    for line in [
        "l7switch_kernel_events_total{event=\"rate_limited\"} 14",
        "l7switch_refused_total{service=\"web\",reason=\"rate_limited\"} 14",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line}\n{metrics}"
        );
    }
    // Other rules leave the buckets of a route whose limit stays; another limit begins anew.
    fs::write(
        RULES,
        format!("{}[pool.q]\nservers = [\"10.0.2.3:80\"]\n", rules(5)),
    )
    .unwrap();
    setup.network.switch.run("l7ctl --admin /tmp/admin reload");
    assert_eq!(ask(&mut setup.stream(VIP.into()), "/hour"), REFUSED);
    assert_eq!(ask(&mut setup.stream(VIP.into()), "/all"), REFUSED);
    fs::write(RULES, rules(1)).unwrap();
    setup.network.switch.run("l7ctl --admin /tmp/admin reload");
    assert_eq!(ask(&mut setup.stream(VIP.into()), "/hour"), SERVED);
    assert_eq!(ask(&mut setup.stream(VIP.into()), "/hour"), REFUSED);
    assert_eq!(ask(&mut setup.stream(VIP.into()), "/all"), REFUSED);
}
