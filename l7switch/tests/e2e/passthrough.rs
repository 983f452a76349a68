// SPDX-License-Identifier: MIT
//! Connections that are joined unopened: TLS by server name to nginx with its own certificate, and TCP.

use crate::support::certs::Authority;
use crate::support::curl::Answer;
use crate::support::curl::curl;
use crate::support::nginx::Nginx;
use crate::support::process::program;
use crate::support::python::Echo;
use crate::support::python::Python;
use crate::support::raw::Raw;
use crate::support::switch::Switch;
use crate::support::switch::list;

struct World {
    authority: Authority,
    switch: Switch,
    nginx: [Nginx; 2],
}

fn world() -> World {
    let authority = Authority::new();
    let start = |name: &str, host: &str| {
        let (cert, key) = authority.issue(&[host]);
        Nginx::with_tls(name, (&cert, &key))
    };
    let nginx = [start("one", "one.example"), start("many", "*.many.example")];
    let rules = format!(
        "[service.web]\nlisten = '127.0.0.1:0'\nprotocol = 'tls'\n\
         [[service.web.route]]\nname = 'one'\nhost = 'one.example'\npool = 'one'\n\
         [[service.web.route]]\nname = 'many'\nhost = '*.many.example'\npool = 'many'\n\
         [pool.one]\nservers = {}\n[pool.many]\nservers = {}\n",
        list(&[nginx[0].address]),
        list(&[nginx[1].address])
    );
    World {
        authority,
        switch: Switch::start(&rules),
        nginx,
    }
}

impl World {
    fn ask(&self, name: &str, target: &str, arguments: &[&str]) -> Answer {
        let port = self.switch.address("web").port();
        curl()
            .arg("--cacert")
            .arg(self.authority.file())
            .args(["--connect-to", &format!("{name}:443:127.0.0.1:{port}")])
            .args(arguments)
            .get(&format!("https://{name}{target}"))
    }
}

#[test]
fn tls_by_server_name() {
    let world = world();
    for (name, server) in [
        ("one.example", "one"),
        ("ONE.example", "one"),
        ("a.many.example", "many"),
    ] {
        for (arguments, version) in [
            (&["--http1.1"][..], "1.1"),
            (&["--http2"], "2"),
            (&["--http1.1", "--tls-max", "1.2"], "1.1"),
        ] {
            // curl trusts the authority, and the name fits: it is nginx's own certificate.
            let answer = world.ask(name, "/name", arguments);
            assert_eq!(answer.exit, 0, "{name} {arguments:?}: {}", answer.errors);
            assert_eq!(
                (answer.served_by(), answer.version.as_str()),
                (server, version)
            );
        }
    }
    let status = world.switch.status();
    assert_eq!(status.services["web"].routes["one"], 6);
    assert_eq!(status.services["web"].routes["many"], 3);
}

#[test]
fn an_unknown_name_or_none_is_refused() {
    let world = world();
    for name in ["other.example", "many.example", "x.one.example"] {
        let answer = world.ask(name, "/name", &[]);
        // CURLE_SSL_CONNECT_ERROR
        assert_eq!((answer.exit, answer.status), (35, 0), "{name}");
        assert!(
            answer.errors.contains("unrecognized name"),
            "{name}: {}",
            answer.errors
        );
    }
    let out = program("openssl", "openssl")
        .args(["s_client", "-noservername", "-connect"])
        .arg(world.switch.address("web").to_string())
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&out.stderr);
    assert!(told.contains("alert number 112"), "{told}");
    for nginx in &world.nginx {
        assert!(nginx.requests().is_empty());
    }
    assert_eq!(
        world.switch.status().services["web"].refused["unknown_name"],
        4
    );
}

#[test]
fn what_is_no_tls_is_ended() {
    let world = world();
    let mut client = Raw::connect(world.switch.address("web")).unwrap();
    client
        .send("GET / HTTP/1.1\r\nHost: one.example\r\n\r\n")
        .unwrap();
    assert_eq!(client.rest().unwrap_or_default(), b"");
    assert_eq!(world.switch.status().services["web"].refused["not_tls"], 1);
}

#[test]
fn a_large_body_passes_encrypted() {
    let world = world();
    let content = crate::support::pattern(20 << 20);
    std::fs::write(world.nginx[0].root().join("large"), &content).unwrap();
    for version in ["--http1.1", "--http2"] {
        let answer = world.ask("one.example", "/large", &[version]);
        assert_eq!(answer.exit, 0, "{}", answer.errors);
        assert!(answer.body == content, "{version}");
    }
}

#[test]
fn tcp() {
    let python = Python::start("python");
    let rules = format!(
        "[service.plain]\nlisten = '127.0.0.1:0'\nprotocol = 'tcp'\n\
         [[service.plain.route]]\npool = 'main'\n[pool.main]\nservers = {}\n",
        list(&[python.address])
    );
    let switch = Switch::start(&rules);
    let answer = curl()
        .args(["-d", "hello"])
        .ok(&(switch.url("plain") + "/echo"));
    let echo = Echo::parse(&answer.body);
    assert_eq!(echo.length, 5);
    assert_eq!(echo.field("via"), "", "the bytes are not touched");
    // One side may end and still hear the other.
    let mut client = Raw::connect(switch.address("plain")).unwrap();
    client
        .send("GET /until-close HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    client.finish();
    assert_eq!(
        client.response().unwrap().unwrap().body,
        crate::support::pattern(100_000)
    );
}
