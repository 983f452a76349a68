// SPDX-License-Identifier: MIT
//! The contenders, set up on the switch.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a measurement fails by panicking, as a test does"
)]

use std::fs;
use std::net::Ipv4Addr;
use std::net::SocketAddr;

use l7switch_netlink::Client;
use l7switch_qemu_tests::kit::Host;
use l7switch_qemu_tests::kit::Module;
use l7switch_qemu_tests::kit::Network;
use l7switch_qemu_tests::kit::Process;
use l7switch_qemu_tests::kit::module::modprobe;
use l7switch_qemu_tests::kit::network::server;

use super::case::Case;
use super::case::MANY;
use super::case::NAME;
use super::case::Origin;
use super::case::Speech;
use super::configuration;
use super::contender::Contender;
use super::fill;

/// A contender at work, with its real server.
pub(super) struct Running {
    url: String,
    module: Option<(Client, Module)>,
    _process: Option<Process>,
    _server: Process,
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
        show(&client.module().unwrap());
    }
}

/// Prints what a module has counted.
pub(super) fn show(module: &l7switch_netlink::Module) {
    for counter in module.counters.iter().filter(|counter| counter.value > 0) {
        println!("  {} {}", counter.name, counter.value);
    }
}

/// Where the script is that wrk runs: what is sent, and what is printed in the end.
pub(super) const LOAD: &str = "/tmp/load.lua";

/// Starts a contender for a case, and waits until it serves.
pub(super) fn start(contender: Contender, case: &Case, network: &Network) -> Running {
    let origin = origin(case, &network.servers[0]);
    fs::write(LOAD, configuration::load(case)).unwrap();
    let real = case.servers();
    // What passes the switch has nothing to do with those that it serves.
    let others = [SocketAddr::new(server(99).into(), case.port())];
    let to = if case.past { &others } else { real.as_slice() };
    if to.len() > 1 {
        // The server takes every packet to the network as its own.
        network.servers[0].run(&format!("ip route add local {MANY}/16 dev lo"));
        let line = format!("ip route add {MANY}/16 via {} dev server1", server(1));
        network.switch.run(&line);
    }
    let at = match contender {
        Contender::Direct => real[0],
        _ => SocketAddr::new(case.vip(), case.port()),
    };
    let mut module = None;
    let mut process = None;
    match contender {
        Contender::Direct => {}
        Contender::IpvsNat => {
            modprobe("ip_vs");
            let mut table = format!("-A -t {at} -s rr\n");
            for server in to {
                table += &format!("-a -t {at} -r {server} -m\n");
            }
            fs::write("/tmp/ipvs", table).unwrap();
            network.switch.run("ipvsadm --restore < /tmp/ipvs");
        }
        Contender::ModuleNat | Contender::ModuleFullnat => {
            let loaded = Module::try_load(&fill::parameters(case))
                .unwrap_or_else(|error| panic!("the module does not load: {error}"));
            let mut client = network.switch.inside(|| Client::open().unwrap());
            let forward = if contender == Contender::ModuleNat {
                "nat"
            } else {
                "fullnat"
            };
            let text = configuration::rules(case, at, to, forward);
            let rules = l7switch_rules::load_text("rules", &text)
                .unwrap_or_else(|report| panic!("{}", report.render(false)));
            client.load(rules.table.as_bytes()).unwrap();
            let filled = fill::fill(case, network);
            let state = client.module().unwrap();
            if filled.is_err() || state.flows < case.flows {
                show(&state);
                panic!("{} connections: {filled:?}", state.flows);
            }
            module = Some((client, loaded));
        }
        Contender::Front => {
            fs::write("/tmp/rules.toml", configuration::rules(case, at, to, "nat")).unwrap();
            process = Some(network.switch.start("l7switch /tmp/rules.toml"));
        }
        Contender::Haproxy => {
            let text = configuration::haproxy(case, at, to, "/tmp");
            fs::write("/tmp/haproxy.cfg", text).unwrap();
            fs::write("/tmp/routes.map", configuration::haproxy_map(case)).unwrap();
            process = Some(network.switch.start("haproxy -db -f /tmp/haproxy.cfg"));
        }
        Contender::Nginx => {
            let text = configuration::nginx(case, at, to, "/tmp");
            fs::write("/tmp/nginx.conf", text).unwrap();
            let line = "nginx -c /tmp/nginx.conf -e /tmp/nginx.error";
            process = Some(network.switch.start(line));
        }
    }
    let at = if case.past { real[0] } else { at };
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
        _server: origin,
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

/// The real server.
fn origin(case: &Case, host: &Host) -> Process {
    match case.origin {
        Origin::Chosen => chosen(case, host),
        Origin::Debian => debian(host, ""),
        Origin::TwoPackets => debian(host, "tcp_nopush on;"),
    }
}

/// nginx as its package configures it, but for one directive that is taken out.
fn debian(host: &Host, without: &str) -> Process {
    let shipped = fs::read_to_string("/etc/nginx/nginx.conf").unwrap();
    for directive in ["sendfile on;", "tcp_nopush on;"] {
        assert!(shipped.contains(directive), "no {directive} in {shipped}");
    }
    fs::write("/tmp/origin.conf", shipped.replace(without, "")).unwrap();
    for (name, content) in configuration::files() {
        fs::write(format!("/var/www/html/{name}"), content).unwrap();
    }
    let process = host.start("nginx -c /tmp/origin.conf -g 'daemon off;'");
    host.wait_for_port((Ipv4Addr::LOCALHOST, 80));
    process
}

/// nginx with what cases need that are not about it.
fn chosen(case: &Case, host: &Host) -> Process {
    host.run(&format!(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 9 -subj /CN={NAME} \
         -keyout /tmp/key.pem -out /tmp/certificate.pem 2>/dev/null"
    ));
    // Each worker has connections of its own.
    let own = if case.processors > 1 {
        " reuseport"
    } else {
        ""
    };
    let directives = &format!(
        "listen 80{own}; listen [::]:80{own}; listen 443 ssl;\n    \
         ssl_certificate /tmp/certificate.pem; ssl_certificate_key /tmp/key.pem;"
    );
    fs::write(
        "/tmp/origin.conf",
        configuration::origin(case, directives, "/tmp"),
    )
    .unwrap();
    fs::create_dir("/tmp/root").unwrap();
    for (name, content) in configuration::files() {
        fs::write(format!("/tmp/root/{name}"), content).unwrap();
    }
    let process = host.start("nginx -c /tmp/origin.conf -e /tmp/origin.error");
    host.wait_for_port((Ipv4Addr::LOCALHOST, 443));
    process
}
