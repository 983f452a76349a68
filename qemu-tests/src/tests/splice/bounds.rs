// SPDX-License-Identifier: MIT
//! Servers with a bound: the module counts what each has, and the front refuses what none may have.

use std::fs;
use std::io::Read as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::net::Shutdown;
use std::net::TcpStream;

use l7switch_netlink::Client;

use super::front_and_kernel;
use super::response;
use crate::kit::Module;
use crate::kit::Network;
use crate::kit::Process;
use crate::kit::network::VIP;
use crate::kit::network::VIP6;
use crate::kit::network::server;
use crate::kit::network::server6;
use crate::kit::origin::origin;
use crate::kit::read_head;
use crate::kit::wait_until;

const RULES: &str = "/tmp/bounds.toml";

/// A front on the switch with the module loaded, before servers that wait for a request's content.
struct Setup {
    network: Network,
    client: Client,
    _origins: Vec<Process>,
    _front: Process,
    _module: Module,
}

/// The first server has `first` at a time, the second one.
fn rules(first: u32) -> String {
    let pool = |name: &str, one: String, two: String| {
        format!(
            "[pool.{name}]\nservers = [\"{one}:8080\", {{ address = \"{two}:8080\", max_connections = 1 }}]\n\
             max_connections = {first}\nqueue = {{ length = 0 }}\n"
        )
    };
    let four = || (server(1).to_string(), server(2).to_string());
    let six = (format!("[{}]", server6(1)), format!("[{}]", server6(2)));
    [
        format!(
            "[service.four]\nlisten = \"{VIP}:80\"\ndatapath = \"kernel\"\nroute = [{{ pool = \"four\" }}]\n\
             [service.six]\nlisten = \"[{VIP6}]:80\"\ndatapath = \"kernel\"\nroute = [{{ pool = \"six\" }}]\n\
             [service.bytes]\nlisten = \"{VIP}:90\"\nprotocol = \"tcp\"\ndatapath = \"kernel\"\n\
             route = [{{ pool = \"bytes\" }}]\n"
        ),
        pool("four", four().0, four().1),
        pool("six", six.0, six.1),
        pool("bytes", four().0, four().1),
    ]
    .concat()
}

impl Setup {
    fn new() -> Self {
        let module = Module::load();
        let network = Network::new();
        let origins = network.servers.iter().map(origin).collect();
        fs::write(RULES, rules(2)).unwrap();
        let (front, client) = front_and_kernel(&network, RULES);
        Self {
            network,
            client,
            _origins: origins,
            _front: front,
            _module: module,
        }
    }

    fn counter(&mut self, name: &str) -> u64 {
        self.client.module().unwrap().counter(name).unwrap()
    }

    /// Requests that each server of a pool has, as the module counts.
    fn active(&mut self, pool: &str) -> Vec<u32> {
        let servers = self.client.servers().unwrap();
        let of_pool = servers.iter().filter(|server| server.pool == pool);
        of_pool.map(|server| server.active).collect()
    }

    /// Waits until a pool's servers have so many in all: that a connection is over, its client knows first.
    fn wait_for(&mut self, pool: &str, active: u32) {
        wait_until("servers have less", || {
            self.active(pool).iter().sum::<u32>() == active
        });
    }

    fn stream(&self, address: IpAddr, port: u16) -> TcpStream {
        self.network.client.connect((address, port))
    }

    /// A request whose content its server waits for. It has said so, which is not read yet.
    fn waiting(&self, address: IpAddr) -> TcpStream {
        let mut stream = self.stream(address, 80);
        let head =
            "POST /sum HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        assert_ne!(stream.peek(&mut [0; 1]).unwrap(), 0);
        stream
    }

    /// The same, where it is read.
    fn upload(&self, address: IpAddr) -> TcpStream {
        let mut stream = self.waiting(address);
        assert!(read_head(&mut stream).starts_with("HTTP/1.1 100 "));
        stream
    }
}

/// Status of a request, and whether the client is told to wait.
fn ask(stream: &mut TcpStream) -> (u16, bool) {
    stream
        .write_all(b"GET /who HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let (head, _) = response(stream);
    let waits = head.to_ascii_lowercase().contains("retry-after: ");
    (head[9..12].parse().unwrap(), waits)
}

const SERVED: (u16, bool) = (200, false);
const REFUSED: (u16, bool) = (503, true);

pub(in super::super) fn what_servers_may_not_have_is_refused_by_the_front() {
    let mut setup = Setup::new();
    for (pool, address, before) in [("four", IpAddr::from(VIP), 0), ("six", VIP6.into(), 5)] {
        let mut uploads: Vec<_> = (0..3).map(|_| setup.upload(address)).collect();
        assert_eq!(setup.active(pool), [2, 1]);
        // On one connection and on others, as often as it is.
        let mut stream = setup.stream(address, 80);
        assert_eq!(ask(&mut stream), REFUSED);
        assert_eq!(ask(&mut stream), REFUSED);
        assert_eq!(ask(&mut setup.stream(address, 80)), REFUSED);
        assert_eq!(setup.counter("servers_full"), before + 3);
        // The place of a request that is over is another's.
        let mut done = uploads.remove(0);
        done.write_all(b"full").unwrap();
        assert!(response(&mut done).0.starts_with("HTTP/1.1 200 "));
        assert_eq!(ask(&mut stream), SERVED);
        assert_eq!(ask(&mut done), SERVED);
        // A tunnel has its place until it ends.
        done.write_all(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n",
        )
        .unwrap();
        assert!(read_head(&mut done).starts_with("HTTP/1.1 101 "));
        assert_eq!(ask(&mut stream), REFUSED);
        done.shutdown(Shutdown::Write).unwrap();
        done.read_to_end(&mut Vec::new()).unwrap();
        setup.wait_for(pool, 2);
        assert_eq!(ask(&mut stream), SERVED);
        // A client that resets its connection has none.
        let other = setup.waiting(address);
        assert_eq!(ask(&mut stream), REFUSED);
        drop(other);
        setup.wait_for(pool, 2);
        assert_eq!(ask(&mut stream), SERVED);
        // Nor have those that end their side in the middle.
        drop(uploads);
        setup.wait_for(pool, 0);
    }
    // Connections of which nothing is read.
    let mut opened = Vec::new();
    for _ in 0..3 {
        let mut stream = setup.stream(VIP.into(), 90);
        assert_eq!(ask(&mut stream), SERVED);
        opened.push(stream);
    }
    let mut refused = setup.stream(VIP.into(), 90);
    let _ = refused.write_all(b"GET /who HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(matches!(refused.read(&mut [0; 1]), Ok(0) | Err(_)));
    opened.pop();
    setup.wait_for("bytes", 2);
    assert_eq!(ask(&mut setup.stream(VIP.into(), 90)), SERVED);
    drop(opened);
    assert_eq!(setup.counter("servers_full"), 11);
    let metrics = setup
        .network
        .switch
        .run("curl -sS --unix-socket /tmp/admin http://x/metrics");
    for line in [
        "l7switch_kernel_events_total{event=\"servers_full\"} 11",
        "l7switch_refused_total{service=\"four\",reason=\"queue_full\"} 5",
        "l7switch_refused_total{service=\"bytes\",reason=\"queue_full\"} 1",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line}\n{metrics}"
        );
    }
    // A reload applies another bound at once.
    let uploads: Vec<_> = (0..3).map(|_| setup.upload(VIP.into())).collect();
    let mut stream = setup.stream(VIP.into(), 80);
    assert_eq!(ask(&mut stream), REFUSED);
    for (first, gets) in [(3, SERVED), (1, REFUSED)] {
        fs::write(RULES, rules(first)).unwrap();
        setup.network.switch.run("l7ctl --admin /tmp/admin reload");
        assert_eq!(ask(&mut stream), gets, "{first}");
    }
    drop(uploads);
}
