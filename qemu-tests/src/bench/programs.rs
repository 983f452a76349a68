// SPDX-License-Identifier: MIT
//! The contenders, set up on the switch, each as its own documentation recommends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a measurement fails by panicking, as a test does"
)]

use std::fs;
use std::net::SocketAddr;

use l7switch_netlink::Client;

use super::case::Case;
use super::case::NAME;
use super::case::Speech;
use super::contender::Contender;
use crate::kit::Host;
use crate::kit::Module;
use crate::kit::Network;
use crate::kit::Nginx;
use crate::kit::Process;
use crate::kit::module::modprobe;

/// A contender at work, with its real server.
pub(super) struct Running {
    url: String,
    module: Option<(Client, Module)>,
    _process: Option<Process>,
    _server: Nginx,
}

impl Running {
    /// What the client asks for.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Prints what the module counted.
    pub(super) fn show(&mut self) {
        let Some((client, _)) = &mut self.module else {
            return;
        };
        let module = client.module().unwrap();
        for counter in module.counters.iter().filter(|counter| counter.value > 0) {
            println!("  {} {}", counter.name, counter.value);
        }
    }
}

/// Where the script is that wrk runs: what is sent, and what is printed in the end.
pub(super) const LOAD: &str = "/tmp/load.lua";

fn load(case: &Case) -> String {
    let done = "function done(summary)
  local e = summary.errors
  local errors = e.connect + e.read + e.write + e.status + e.timeout
  print(string.format('DONE %d %d %d %d', summary.requests, summary.bytes, summary.duration, errors))
end
";
    match case.uploads() {
        true => format!(
            "wrk.method = 'POST'\nwrk.body = string.rep('a', {})\n{done}",
            case.body
        ),
        false => done.to_owned(),
    }
}

/// Starts a contender for a case, and waits until it serves.
pub(super) fn start(contender: Contender, case: &Case, network: &Network) -> Running {
    let server = origin(network);
    fs::write(LOAD, load(case)).unwrap();
    let to = SocketAddr::new(case.server(), case.port());
    let at = match contender {
        Contender::Direct => to,
        _ => SocketAddr::new(case.vip(), case.port()),
    };
    let mut module = None;
    let mut process = None;
    match contender {
        Contender::Direct => {}
        Contender::IpvsNat => {
            modprobe("ip_vs");
            network.switch.run(&format!(
                "ipvsadm -A -t {at} -s rr; ipvsadm -a -t {at} -r {to} -m"
            ));
        }
        Contender::ModuleNat | Contender::ModuleFullnat => {
            let loaded = Module::load();
            let mut client = network.switch.inside(|| Client::open().unwrap());
            let rules = l7switch_rules::load_text("rules", &rules(contender, case))
                .unwrap_or_else(|report| panic!("{}", report.render(false)));
            client.load(rules.table.as_bytes()).unwrap();
            module = Some((client, loaded));
        }
        Contender::Front => {
            fs::write("/tmp/rules.toml", rules(contender, case)).unwrap();
            process = Some(network.switch.start("l7switch /tmp/rules.toml"));
        }
        Contender::Haproxy => {
            fs::write("/tmp/haproxy.cfg", haproxy(case, at, to)).unwrap();
            fs::write("/tmp/routes.map", routes_map(case)).unwrap();
            process = Some(network.switch.start("haproxy -db -f /tmp/haproxy.cfg"));
        }
        Contender::Nginx => {
            fs::write("/tmp/nginx.conf", nginx(case, at, to)).unwrap();
            let line = "nginx -c /tmp/nginx.conf -e /tmp/nginx.error";
            process = Some(network.switch.start(line));
        }
    }
    network.client.wait_for_port(at);
    let url = match case.speech {
        Speech::Tls => {
            fs::write("/etc/hosts", format!("{} {NAME}\n", at.ip())).unwrap();
            format!("https://{NAME}/{}", case.path)
        }
        _ => format!("http://{at}/{}", case.path),
    };
    Running {
        url,
        module,
        _process: process,
        _server: server,
    }
}

/// Which version of a contender it is that is measured.
pub(super) fn version(contender: Contender, switch: &Host) -> String {
    let last_word = |line: &str| {
        let printed = switch.run(line);
        let word = printed.split_whitespace().last().unwrap_or_default();
        word.trim_start_matches("nginx/").to_owned()
    };
    match contender {
        Contender::Direct | Contender::IpvsNat => last_word("uname -r"),
        Contender::ModuleNat | Contender::ModuleFullnat | Contender::Front => {
            env!("CARGO_PKG_VERSION").to_owned()
        }
        Contender::Haproxy => {
            last_word("haproxy -v | sed -n 's/^HAProxy version \\([^ ]*\\).*/\\1/p'")
        }
        Contender::Nginx => last_word("nginx -v 2>&1"),
    }
}

/// The real server: nginx, with what is asked for.
fn origin(network: &Network) -> Nginx {
    let host = &network.servers[0];
    host.run(&format!(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 9 -subj /CN={NAME} \
         -keyout /tmp/key.pem -out /tmp/certificate.pem 2>/dev/null"
    ));
    let nginx = Nginx::with(
        host,
        "access_log off; listen 443 ssl; ssl_certificate /tmp/certificate.pem; ssl_certificate_key /tmp/key.pem;\n\
         location / { }\n\
         location /upload { return 200; }",
    );
    for (name, len) in [
        ("small", 128),
        ("1k", 1 << 10),
        ("100k", 100 << 10),
        ("1m", 1 << 20),
    ] {
        fs::write(format!("{}/{name}", nginx.folder()), vec![b'a'; len]).unwrap();
    }
    nginx
}

/// The host and the path of each route but the last one, which takes all. What is asked for is the last one's.
fn routes(case: &Case) -> impl Iterator<Item = (String, String)> {
    (1..case.routes).map(|route| (format!("h{}.test", route % 1000), format!("/p{route}")))
}

/// For the module and the front.
fn rules(contender: Contender, case: &Case) -> String {
    let (protocol, condition) = match case.speech {
        Speech::Http => ("http", "path = { prefix = \"/\" }".to_owned()),
        Speech::Opaque => ("tcp", String::new()),
        Speech::Tls => ("tls", format!("host = \"{NAME}\"")),
    };
    let mut text = format!(
        "[service.bench]\nlisten = \"{}\"\nprotocol = \"{protocol}\"\n",
        SocketAddr::new(case.vip(), case.port())
    );
    for (host, path) in routes(case) {
        text += &format!(
            "[[service.bench.route]]\nhost = \"{host}\"\npath = {{ prefix = \"{path}\" }}\npool = \"p\"\n"
        );
    }
    text += &format!("[[service.bench.route]]\n{condition}\npool = \"p\"\n");
    text += &format!(
        "[pool.p]\nservers = [\"{}\"]\n",
        SocketAddr::new(case.server(), case.port())
    );
    if contender == Contender::ModuleFullnat {
        text += "forward = \"fullnat\"\n";
    }
    text
}

/// HAProxy's configuration manual: one thread for one processor, no log, data moved within the kernel, connections to
/// servers used again by any client.
fn haproxy(case: &Case, at: SocketAddr, to: SocketAddr) -> String {
    let (mode, decide) = match case.speech {
        Speech::Http if case.routes > 1 => (
            "http",
            "  use_backend %[base,map_beg(/tmp/routes.map,servers)]\n".to_owned(),
        ),
        Speech::Http => (
            "http",
            "  use_backend servers if { path_beg / }\n".to_owned(),
        ),
        Speech::Opaque => ("tcp", "  default_backend servers\n".to_owned()),
        Speech::Tls => (
            "tcp",
            format!(
                "  tcp-request inspect-delay 5s\n  tcp-request content accept if {{ req_ssl_hello_type 1 }}\n  \
                 use_backend servers if {{ req_ssl_sni -i {NAME} }}\n"
            ),
        ),
    };
    format!(
        "global\n  maxconn 4096\n  nbthread 1\n\
         defaults\n  mode {mode}\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  \
         option splice-auto\n{}\
         frontend bench\n  bind {at}\n{decide}\
         backend servers\n  server one {to}\n",
        if mode == "http" {
            "  http-reuse always\n"
        } else {
            ""
        }
    )
}

fn routes_map(case: &Case) -> String {
    routes(case).fold(String::new(), |text, (host, path)| {
        text + &format!("{host}{path} servers\n")
    })
}

/// nginx's documentation of ngx_http_upstream_module and ngx_http_proxy_module: HTTP/1.1 and connections that stay; no
/// log; uploads are not gathered first.
fn nginx(case: &Case, at: SocketAddr, to: SocketAddr) -> String {
    let head = "load_module modules/ngx_stream_module.so;\n\
                daemon off;\nmaster_process off;\npid /tmp/nginx.pid;\nerror_log stderr warn;\n\
                events { worker_connections 4096; }\n";
    let stream = |more: &str| {
        format!(
            "{head}stream {{\n  upstream servers {{ server {to}; }}\n  server {{ listen {at}; {more} }}\n}}\n"
        )
    };
    match case.speech {
        Speech::Opaque => stream("proxy_pass servers;"),
        Speech::Tls => {
            let map = format!("map $ssl_preread_server_name $chosen {{ {NAME} servers; }}");
            stream("ssl_preread on; proxy_pass $chosen;")
                .replace("stream {", &format!("stream {{\n  {map}"))
        }
        Speech::Http => {
            let pass = "proxy_pass http://servers;";
            let mut hosts = vec![String::new(); case.routes.min(1000)];
            for (number, (_, path)) in (1..).zip(routes(case)) {
                hosts[number % 1000] += &format!("location {path} {{ {pass} }} ");
            }
            let hosts: String = hosts
                .iter()
                .enumerate()
                .filter(|(_, locations)| !locations.is_empty())
                .map(|(number, locations)| {
                    format!("  server {{ listen {at}; server_name h{number}.test; {locations} }}\n")
                })
                .collect();
            format!(
                "{head}http {{\n  access_log off;\n  keepalive_requests 1000000;\n  server_names_hash_max_size 8192;\n  \
                 client_body_temp_path /tmp/body;\n  proxy_temp_path /tmp/proxy;\n  \
                 proxy_http_version 1.1;\n  proxy_set_header Connection \"\";\n  proxy_request_buffering off;\n  \
                 upstream servers {{ server {to}; keepalive 64; keepalive_requests 1000000; }}\n  \
                 server {{ listen {at} default_server; location / {{ {pass} }} }}\n{hosts}}}\n"
            )
        }
    }
}
