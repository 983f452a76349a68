// SPDX-License-Identifier: MIT
//! Debian's servers, as their packages configure them, behind the kernel path: what comes through it is what comes direct.
//!
//! Each runs twice, on two hosts. Both see the same files but for those below their root, and /run, which are their own:
//! they are in mount namespaces of their own.

use std::fs;
use std::net::IpAddr;
use std::net::SocketAddr;

use l7switch_netlink::Client;
use serde::Deserialize;

use crate::kit::Host;
use crate::kit::Module;
use crate::kit::Network;
use crate::kit::Process;
use crate::kit::limit;
use crate::kit::network::VIP;
use crate::kit::network::VIP6;
use crate::kit::network::server;
use crate::kit::network::server6;
use crate::kit::wait::start_limit;
use crate::kit::wait::wait_for;
use crate::printed::Printed as _;
use crate::programs::Row;

const ASKING: &str = include_str!("asking.py");
const CLIENT: &str = include_str!("../../../../tests/servers/client.py");
const NODE: &str = include_str!("../../../../tests/servers/apps/node.js");
const WSGI: &str = include_str!("../../../../tests/servers/apps/wsgi_app.py");

/// HAProxy's way to the server behind it; the rest is the package's file.
const BEHIND_HAPROXY: &str = "frontend web\n  bind [::]:80 v4v6\n  default_backend nginx\n\
     backend nginx\n  server nginx 127.0.0.1:8080\n";

/// The services: name, forwarding method, whether by IPv6, port.
const SERVICES: [(&str, &str, bool, u16); 3] = [
    ("nat", "nat", false, 80),
    ("fullnat", "fullnat", false, 81),
    ("nat6", "nat", true, 80),
];

/// A server of the distribution.
struct Program {
    name: &'static str,
    package: &'static str,
    /// What is not as the package has it, in words.
    configuration: &'static str,
    port: u16,
    /// The folder whose files it serves, as shipped.
    root: &'static str,
    /// Shell that ends with an `exec` of it in the foreground.
    start: &'static str,
    /// Where it takes POST; a page where it has no such place.
    post: &'static str,
    /// Differences with a reason: how the request's name begins, what is in the difference, the reason.
    allowed: &'static [(&'static str, &'static str, &'static str)],
    /// Counters of what else would be a fault, and how much each may count.
    may_count: &'static [(&'static str, u64)],
}

/// One that needs no change.
const SHIPPED: Program = Program {
    name: "",
    package: "",
    configuration: "as shipped",
    port: 80,
    root: "/var/www/html",
    start: "",
    post: "/page.html",
    allowed: &[],
    may_count: &[],
};

pub(super) fn nginx_is_served() {
    serve(&Program {
        name: "nginx",
        package: "nginx-light",
        start: "exec nginx -g 'daemon off;'",
        ..SHIPPED
    });
}

pub(super) fn apache_is_served() {
    serve(&Program {
        name: "Apache",
        package: "apache2",
        start: "exec apachectl -D FOREGROUND",
        ..SHIPPED
    });
}

pub(super) fn lighttpd_is_served() {
    serve(&Program {
        name: "lighttpd",
        package: "lighttpd",
        start: "install -d -o www-data /run/lighttpd; exec lighttpd -D -f /etc/lighttpd/lighttpd.conf",
        ..SHIPPED
    });
}

pub(super) fn haproxy_is_served() {
    serve(&Program {
        name: "HAProxy",
        package: "haproxy",
        configuration: "global and defaults as shipped, a frontend and a backend added; behind it nginx on 127.0.0.1:8080",
        start: "sed 's/listen 80 /listen 127.0.0.1:8080 /; /listen \\[::\\]/d' /etc/nginx/sites-available/default >/run/site\n\
                mount --bind /run/site /etc/nginx/sites-available/default\n\
                mkdir /run/haproxy\n\
                nginx\n\
                exec haproxy -W -db -f /etc/haproxy/haproxy.cfg -f /tmp/asking/haproxy.cfg",
        ..SHIPPED
    });
}

pub(super) fn caddy_is_served() {
    serve(&Program {
        name: "Caddy",
        package: "caddy",
        root: "/usr/share/caddy",
        start: "export HOME=/run/caddy; exec caddy run --environ --config /etc/caddy/Caddyfile",
        ..SHIPPED
    });
}

pub(super) fn node_is_served() {
    serve(&Program {
        name: "Node",
        package: "nodejs",
        configuration: "`http.createServer`; tests/servers/apps/node.js",
        port: 3000,
        start: "export HOST=:: PORT=3000 ROOT=/var/www/html; exec node /tmp/asking/node.js",
        post: "/echo",
        ..SHIPPED
    });
}

pub(super) fn gunicorn_is_served() {
    serve(&Program {
        name: "gunicorn",
        package: "gunicorn",
        configuration: "the defaults, but for the address; tests/servers/apps/wsgi_app.py",
        port: 8000,
        start: "export ROOT=/var/www/html; exec gunicorn --bind [::]:8000 --chdir /tmp/asking wsgi_app:app",
        post: "/echo",
        allowed: &[(
            "HEAD of a missing path",
            "the end: \"behind bytes: b'none",
            "the application sends content behind the head; it does not reach the client, and the end of that connection to the server \
             is not the client's (datapath.md)",
        )],
        may_count: &[("unsolicited", 3)],
        ..SHIPPED
    });
}

pub(super) fn tomcat_is_served() {
    serve(&Program {
        name: "Tomcat",
        package: "tomcat10",
        configuration: "as shipped; the JVM without its second compiler",
        port: 8080,
        root: "/var/lib/tomcat10/webapps/ROOT",
        start: "mount -t tmpfs cache /var/cache/tomcat10\n\
                export CATALINA_HOME=/usr/share/tomcat10 CATALINA_BASE=/var/lib/tomcat10 CATALINA_TMPDIR=/tmp\n\
                export JAVA_OPTS='-Djava.awt.headless=true -XX:TieredStopAtLevel=1'\n\
                exec /usr/libexec/tomcat10/tomcat-start.sh",
        ..SHIPPED
    });
}

/// What asking.py prints.
#[derive(Debug, Deserialize)]
struct Found {
    asked: u64,
    differences: Vec<(String, String)>,
    notes: Vec<String>,
}

/// Asks two of a kind, prints the row, and fails where something differs without a reason.
fn serve(program: &Program) {
    let _module = Module::load();
    let network = Network::new();
    fs::create_dir("/tmp/asking").unwrap();
    for (name, content) in [
        ("asking.py", ASKING),
        ("client.py", CLIENT),
        ("node.js", NODE),
        ("wsgi_app.py", WSGI),
        ("haproxy.cfg", BEHIND_HAPROXY),
        ("rules.toml", &rules(program.port)),
    ] {
        fs::write(format!("/tmp/asking/{name}"), content).unwrap();
    }
    let mut servers: Vec<Process> = network
        .servers
        .iter()
        .map(|host| start(program, host))
        .collect();
    for (number, process) in (1..).zip(&mut servers) {
        // A port may be open long before there is an answer.
        let url = format!("http://{}:{}/small.txt", server(number), program.port);
        wait_for(
            &format!("{} gives {url}", program.name),
            start_limit(),
            || {
                assert!(process.is_running(), "{}", process.output());
                // In chunks it is no answer to try_get.
                let got = network.client.try_get(&url);
                got.map_or_else(|answer| answer.starts_with("HTTP/1.1 200 "), |_| true)
            },
        );
    }
    let mut front = network
        .switch
        .start("l7switch /tmp/asking/rules.toml --admin /tmp/admin --no-watch --kernel require");
    front.wait_for_output("ready,");

    let mut client = network.switch.inside(|| Client::open().unwrap());
    let switches: Vec<String> = SERVICES
        .iter()
        .map(|&(_, _, v6, port)| format!("{},{port}", vip(v6)))
        .collect();
    let line = format!(
        "python3 -E -s /tmp/asking/asking.py /tmp/asking {} {} {} {} {} {}",
        limit().as_secs(),
        program.post,
        program.port,
        server(1),
        server(2),
        switches.join(" "),
    );
    let answer = network.client.attempt(&line);
    super::splice::show(&mut client);
    assert!(answer.is_good(), "{answer:?}");
    let found: Found = serde_json::from_str(&answer.stdout).unwrap();

    let module = client.module().unwrap();
    let counter = |name: &str| module.counter(name).unwrap();
    let explained = |name: &str, what: &str| {
        let mut allowed = program.allowed.iter();
        allowed.find(|(ask, part, _)| name.starts_with(ask) && what.contains(part))
    };
    let mut row = Row {
        name: program.name.to_owned(),
        package: format!(
            "{} {}",
            program.package,
            version(&network.client, program.package)
        ),
        configuration: program.configuration.to_owned(),
        asked: found.asked,
        by_front: counter("to_front"),
        explained: Vec::new(),
        notes: found.notes,
    };
    let mut without_reason = Vec::new();
    for (name, what) in found.differences {
        match explained(&name, &what) {
            Some((ask, _, reason)) => row
                .explained
                .push(((*ask).to_owned(), (*reason).to_owned())),
            None => without_reason.push(format!("{name}: {what}")),
        }
    }
    row.explained.dedup();
    row.print();
    assert!(without_reason.is_empty(), "{}", without_reason.join("\n"));
    assert_eq!(row.by_front, 0, "left to the front");
    // More where a server closes and what it has not read goes elsewhere.
    assert!(counter("requests") >= row.asked);
    for wrong in [
        "bad_bodies",
        "bad_responses",
        "unsolicited",
        "unreadable",
        "inconsistent",
        "connects_failed",
        "no_front",
        "tx_dropped",
    ] {
        let mut may_count = program.may_count.iter();
        let most = may_count.find(|(name, _)| *name == wrong);
        let most = most.map_or(0, |(_, most)| *most);
        assert!(counter(wrong) <= most, "{wrong}: {}", counter(wrong));
    }
}

/// The switch's address.
fn vip(v6: bool) -> IpAddr {
    if v6 { VIP6.into() } else { VIP.into() }
}

/// The services choose the server by host.
fn rules(port: u16) -> String {
    let mut text = String::new();
    for (service, forward, v6, own) in SERVICES {
        let listen = SocketAddr::new(vip(v6), own);
        text += &format!("[service.{service}]\nlisten = \"{listen}\"\nprotocol = \"http\"\n");
        for (number, name) in [(1, "one"), (2, "two")] {
            let address = match v6 {
                true => IpAddr::from(server6(number)),
                false => server(number).into(),
            };
            let to = SocketAddr::new(address, port);
            text += &format!(
                "[[service.{service}.route]]\nhost = \"{name}.test\"\npool = \"{service}-{name}\"\n\
                 [pool.{service}-{name}]\nforward = \"{forward}\"\nservers = [\"{to}\"]\n"
            );
        }
    }
    text
}

/// Starts a server on a host, with files of its own.
fn start(program: &Program, host: &Host) -> Process {
    let name = host.name();
    let root = format!("/tmp/root-{name}");
    fs::create_dir(&root).unwrap();
    let page = format!("<p>A line of a page of {name}.</p>\n");
    for (file, content) in [
        ("empty.txt", String::new()),
        ("small.txt", format!("this is {name}\n")),
        ("page.html", page.repeat(5000 / page.len())),
        ("mib.bin", format!("{name}:{:23}\n", "").repeat(1 << 15)),
    ] {
        fs::write(format!("{root}/{file}"), content).unwrap();
    }
    let script = format!(
        "mount -t proc proc /proc\n\
         mount -t tmpfs run /run\n\
         mkdir /run/lock\n\
         touch {root}/disk.txt\n\
         mount --bind {root} {served}\n\
         mount --bind /usr/share/common-licenses/GPL-3 {served}/disk.txt\n\
         {}\n",
        program.start,
        served = program.root
    );
    let file = format!("/tmp/start-{name}");
    fs::write(&file, script).unwrap();
    host.start(&format!(
        "unshare --mount --pid --fork --kill-child sh -eu {file}"
    ))
}

/// The version of a package.
fn version(host: &Host, package: &str) -> String {
    host.run(&format!(
        "dpkg-query --show --showformat '${{Version}}' {package}"
    ))
}
