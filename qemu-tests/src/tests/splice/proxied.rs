// SPDX-License-Identifier: MIT
//! PROXY headers that the module reads and sends: between curl, HAProxy and nginx as clients, and nginx, HAProxy and a program that
//! speaks first as servers.

use std::fs;
use std::io::Read as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use l7switch_netlink::Client;

use super::front_and_kernel;
use super::response;
use super::show;
use crate::kit::Module;
use crate::kit::Network;
use crate::kit::Nginx;
use crate::kit::Process;
use crate::kit::limit;
use crate::kit::module::modprobe;
use crate::kit::network::CLIENT;
use crate::kit::network::CLIENT6;
use crate::kit::network::VIP;
use crate::kit::network::VIP6;

const RULES: &str = "/tmp/proxied.toml";

/// Who a server is told of, on a port where headers come and on one where none does.
const NGINX: &str = "listen 8001 proxy_protocol; listen [::]:8001 proxy_protocol; \
     location / { return 200 \"nginx $proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_port\\n\"; } \
     location /front { return 200 \"front $http_x_client\\n\"; }";

const HAPROXY: &str = "defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
     frontend f\n  bind :8002 accept-proxy\n  bind :::8002 v6only accept-proxy\n  http-request return status 200 \
     content-type text/plain lf-string \"haproxy %[src] %[src_port] %[dst_port]\\n\"\n";

/// Greets who has sent a header of version 2, and says what it said.
const GREETER: &str = r#"
import socket, threading
def serve(stream):
    header = stream.recv(16, socket.MSG_WAITALL)
    rest = stream.recv(int.from_bytes(header[14:16], "big"), socket.MSG_WAITALL)
    kind = {0x11: (socket.AF_INET, 4), 0x21: (socket.AF_INET6, 16)}[header[13]]
    assert header[:13] == b"\r\n\r\n\0\r\nQUIT\n\x21", header
    address = socket.inet_ntop(kind[0], rest[:kind[1]])
    stream.sendall(f"220 {address} {int.from_bytes(rest[-4:-2], 'big')}\n".encode())
    while data := stream.recv(1000):
        stream.sendall(data)
    stream.close()
listener = socket.create_server(("::", 8003), family=socket.AF_INET6, dualstack_ipv6=True, backlog=100)
print("listens", flush=True)
while True:
    threading.Thread(target=serve, args=listener.accept()[:1]).start()
"#;

/// HAProxy and nginx before the switch, each with a port for each version.
const BEFORE: &str = "defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
     frontend one\n  bind :9001\n  default_backend one\n\
     frontend two\n  bind :9002\n  default_backend two\n\
     backend one\n  server s 10.0.1.100:80 send-proxy\n\
     backend two\n  server s 10.0.1.100:80 send-proxy-v2 proxy-v2-options unique-id,crc32c\n";

fn rules() -> String {
    let routes = |service: &str| {
        let route = |name: &str, more: &str, pool: &str| {
            format!(
                "[[service.{service}.route]]\npath = {{ prefix = \"/{name}\" }}\n{more}\npool = \"{pool}\"\n"
            )
        };
        [
            route("v1", "", "v1"),
            route("v2", "", "v2"),
            route("haproxy", "", "haproxy"),
            route("plain", "", "plain"),
            route("by", "source = [\"192.0.2.0/24\", \"2001:db8::/32\"]", "v1"),
            route("by", "", "plain"),
            route(
                "limited",
                "rate_limit = { requests = 1, per = \"1h\", burst = 2, prefix_v6 = 128 }",
                "plain",
            ),
            route(
                "front",
                "request_headers = { set = { X-Client = \"$client_address $client_port\" } }",
                "plain",
            ),
        ]
        .concat()
    };
    let pool = |name: &str, server: u8, port: u16, header: &str| {
        format!(
            "[pool.{name}]\nservers = [\"10.0.2.{server}:{port}\", \"[fd00:2::{server}]:{port}\"]\n{header}\n"
        )
    };
    [
        format!(
            "[service.in]\nlisten = [\"{VIP}:80\", \"[{VIP6}]:80\"]\nprotocol = \"http\"\n\
             accept_proxy = [\"10.0.1.2\", \"fd00:1::2\"]\n{}",
            routes("in")
        ),
        format!(
            "[service.out]\nlisten = [\"{VIP}:81\", \"[{VIP6}]:81\"]\nprotocol = \"http\"\naccept_proxy = \"10.0.9.0/24\"\n{}",
            routes("out")
        ),
        format!(
            "[service.first]\nlisten = [\"{VIP}:82\", \"[{VIP6}]:82\"]\nprotocol = \"tcp\"\nroute = [{{ pool = \"greeter\" }}]\n\
             [service.both]\nlisten = [\"{VIP}:83\", \"[{VIP6}]:83\"]\nprotocol = \"tcp\"\naccept_proxy = true\n\
             route = [{{ pool = \"greeter\" }}]\n"
        ),
        pool("v1", 2, 8001, "send_proxy = \"v1\""),
        pool("v2", 2, 8001, "send_proxy = \"v2\""),
        pool("haproxy", 3, 8002, "send_proxy = \"v2\""),
        pool("greeter", 3, 8003, "send_proxy = \"v2\""),
        pool("plain", 2, 80, ""),
    ]
    .concat()
}

struct Setup {
    network: Network,
    client: Client,
    _nginx: Nginx,
    _programs: Vec<Process>,
    _module: Module,
}

impl Setup {
    fn new() -> Self {
        let module = Module::load();
        let network = Network::new();
        let nginx = Nginx::with(&network.servers[0], NGINX);
        fs::write("/tmp/haproxy.cfg", HAPROXY).unwrap();
        fs::write("/tmp/before.cfg", BEFORE).unwrap();
        fs::write("/tmp/greeter.py", GREETER).unwrap();
        fs::write(RULES, rules()).unwrap();
        let mut greeter = network.servers[1].start("python3 -I -S /tmp/greeter.py");
        greeter.wait_for_output("listens");
        let haproxy = network.servers[1].start("haproxy -db -f /tmp/haproxy.cfg");
        network.servers[1].wait_for_port((Ipv4Addr::LOCALHOST, 8002));
        let before = network.client.start("haproxy -db -f /tmp/before.cfg");
        network.client.wait_for_port((Ipv4Addr::LOCALHOST, 9002));
        let (front, client) = front_and_kernel(&network, RULES);
        Self {
            network,
            client,
            _nginx: nginx,
            _programs: vec![greeter, haproxy, before, front],
            _module: module,
        }
    }

    fn counter(&mut self, name: &str) -> u64 {
        self.client.module().unwrap().counter(name).unwrap()
    }

    fn curl(&self, arguments: &str) -> String {
        self.network
            .client
            .curl(&format!("-g --max-time $LIMIT {arguments}"))
    }
}

/// A header of a client of the documentation's networks.
fn header(version: u8, address: IpAddr) -> Vec<u8> {
    match (version, address) {
        (1, IpAddr::V4(_)) => b"PROXY TCP4 192.0.2.7 192.0.2.80 4711 443\r\n".to_vec(),
        (1, IpAddr::V6(_)) => b"PROXY TCP6 2001:db8::7 2001:db8::80 4711 443\r\n".to_vec(),
        (_, IpAddr::V4(_)) => [
            &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x13"[..],
            &[192, 0, 2, 7, 192, 0, 2, 80, 0x12, 0x67, 1, 0xbb],
            // A unique id.
            &[5, 0, 4, 1, 2, 3, 4],
        ]
        .concat(),
        (_, IpAddr::V6(_)) => {
            let host = |last| {
                let mut address = [0; 16];
                address[..4].copy_from_slice(&[0x20, 1, 0x0d, 0xb8]);
                address[15] = last;
                address
            };
            [
                &b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24"[..],
                &host(7),
                &host(0x80),
                &[0x12, 0x67, 1, 0xbb],
            ]
            .concat()
        }
    }
}

fn ask(stream: &mut TcpStream, path: &str) -> (String, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let (head, body) = response(stream);
    (head[9..12].to_owned(), body)
}

pub(in super::super) fn proxy_headers_are_read_and_sent() {
    let mut setup = Setup::new();
    for (vip, own, told) in [
        (IpAddr::from(VIP), IpAddr::from(CLIENT), "192.0.2.7"),
        (VIP6.into(), CLIENT6.into(), "2001:db8::7"),
    ] {
        for version in [1, 2] {
            for pieces in [false, true] {
                let mut stream = setup.network.client.connect((vip, 80));
                stream.set_nodelay(true).unwrap();
                let header = header(version, vip);
                if pieces {
                    // In two parts, and apart from the request.
                    stream.write_all(&header[..9]).unwrap();
                    thread::sleep(Duration::from_millis(20));
                    stream.write_all(&header[9..]).unwrap();
                    thread::sleep(Duration::from_millis(20));
                } else {
                    stream.write_all(&header[..]).unwrap();
                }
                let before = setup.counter("to_front");
                for (path, wanted) in [
                    ("/v1", format!("nginx {told} 4711 443\n")),
                    ("/plain", "nginx   \n".to_owned()),
                    ("/v2", format!("nginx {told} 4711 443\n")),
                    ("/haproxy", format!("haproxy {told} 4711 443\n")),
                    ("/by", format!("nginx {told} 4711 443\n")),
                ] {
                    assert_eq!(ask(&mut stream, path), ("200".to_owned(), wanted), "{path}");
                }
                assert_eq!(setup.counter("to_front"), before);
                // The front is told, where it comes later and where it comes first.
                let wanted = ("200".to_owned(), format!("front {told} 4711\n"));
                assert_eq!(ask(&mut stream, "/front"), wanted);
                assert_eq!(ask(&mut stream, "/plain").1, "nginx   \n");
                assert_eq!(ask(&mut stream, "/front"), wanted);
                let mut first = setup.network.client.connect((vip, 80));
                first.write_all(&header).unwrap();
                assert_eq!(ask(&mut first, "/front"), wanted);
                assert_eq!(ask(&mut first, "/v2").1, format!("nginx {told} 4711 443\n"));
                assert_eq!(setup.counter("to_front"), before + 3);
            }
        }
        // The limit is the client's, not that of the proxy.
        let mut stream = setup.network.client.connect((vip, 80));
        stream.write_all(&header(1, vip)).unwrap();
        let statuses = [(); 3].map(|()| ask(&mut stream, "/limited").0);
        assert_eq!(statuses, ["200", "200", "429"]);
        let mut local = setup.network.client.connect((vip, 80));
        local.write_all(b"PROXY UNKNOWN\r\n").unwrap();
        assert_eq!(ask(&mut local, "/limited").0, "200");
        let port = local.local_addr().unwrap().port();
        assert_eq!(
            ask(&mut local, "/v2").1,
            format!("nginx {own} {port} 80\n"),
            "its own ends"
        );
        // Where none is accepted, the client's own ends are told, and a header is no request.
        let mut plain = setup.network.client.connect((vip, 81));
        let port = plain.local_addr().unwrap().port();
        for (path, program) in [("/v1", "nginx"), ("/v2", "nginx"), ("/haproxy", "haproxy")] {
            assert_eq!(
                ask(&mut plain, path).1,
                format!("{program} {own} {port} 81\n")
            );
        }
        let mut stranger = setup.network.client.connect((vip, 81));
        stranger.write_all(&header(1, vip)).unwrap();
        assert_eq!(ask(&mut stranger, "/plain").0, "400");
        // One that must send a header, and does not, is left.
        let mut silent = setup.network.client.connect((vip, 80));
        silent
            .write_all(b"GET /plain HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        assert!(matches!(silent.read(&mut [0; 100]), Ok(0) | Err(_)));

        // Servers that speak first.
        for (port, sends, wanted) in [
            (82, &b""[..], own.to_string()),
            (83, &header(2, vip), told.to_owned()),
        ] {
            let mut stream = setup.network.client.connect((vip, port));
            stream.write_all(sends).unwrap();
            let mut greeting = vec![0; wanted.len() + 5];
            stream.read_exact(&mut greeting).unwrap();
            assert_eq!(
                String::from_utf8(greeting).unwrap(),
                format!("220 {wanted} ")
            );
            stream.write_all(b"hello\n").unwrap();
            let mut rest = Vec::new();
            stream.set_read_timeout(Some(limit())).unwrap();
            while !rest.ends_with(b"\nhello\n") {
                let mut more = [0; 100];
                let length = stream.read(&mut more).unwrap();
                assert!(length > 0);
                rest.extend(&more[..length]);
            }
        }
    }
    // Real proxies before it.
    let own = setup.curl(&format!("--haproxy-protocol http://{VIP}/v2"));
    assert!(own.starts_with(&format!("nginx {CLIENT} ")), "{own}");
    let before = setup.counter("to_front");
    for port in [9001, 9002] {
        for path in ["/v1", "/haproxy", "/plain", "/v2"] {
            let answer = setup.curl(&format!("http://127.0.0.1:{port}{path}"));
            let wanted = match path {
                "/plain" => "nginx   \n",
                "/haproxy" => "haproxy 127.0.0.1 ",
                _ => "nginx 127.0.0.1 ",
            };
            assert!(answer.starts_with(wanted), "{port}{path}: {answer}");
        }
    }
    assert_eq!(setup.counter("to_front"), before);
    show(&mut setup.client);
    for name in ["proxy_headers_read", "proxy_headers_sent"] {
        assert!(setup.counter(name) > 20, "{name}");
    }
}

/// Headers that are lost come again, and nobody sees that but by the clock.
pub(in super::super) fn proxy_headers_survive_bad_networks() {
    let mut setup = Setup::new();
    modprobe("sch_netem");
    let links = [
        (&setup.network.switch, "server1"),
        (&setup.network.switch, "server2"),
        (&setup.network.servers[0], "eth0"),
        (&setup.network.servers[1], "eth0"),
    ];
    for (host, device) in links {
        host.run(&format!(
            "tc qdisc add dev {device} root netem delay 5ms 2ms loss 15% duplicate 2%"
        ));
    }
    for turn in 0..60 {
        let vip = [IpAddr::from(VIP), VIP6.into()][turn % 2];
        let told = ["192.0.2.7", "2001:db8::7"][turn % 2];
        let mut stream = setup.network.client.connect((vip, 80));
        stream.set_read_timeout(Some(limit())).unwrap();
        stream
            .write_all(&header([1, 2][turn / 2 % 2], vip))
            .unwrap();
        let path = ["/v1", "/v2", "/plain"][turn % 3];
        let wanted = match path {
            "/plain" => "nginx   \n".to_owned(),
            _ => format!("nginx {told} 4711 443\n"),
        };
        assert_eq!(ask(&mut stream, path), ("200".to_owned(), wanted));
        // Nobody speaks before the server has its header.
        let mut greeted = setup.network.client.connect((vip, 82));
        greeted.set_read_timeout(Some(limit())).unwrap();
        let mut greeting = [0; 4];
        greeted.read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting, b"220 ");
    }
    show(&mut setup.client);
    assert!(setup.counter("proxy_headers_resent") > 0);
}
