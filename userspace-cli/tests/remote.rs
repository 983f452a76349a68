// SPDX-License-Identifier: MIT
//! l7ctl against a running switch over TCP, with certificates at both ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::net::IpAddr;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::process::Output;

use l7switch::admin::remote::Files;
use l7switch::admin::remote::Remote;
use l7switch::switch::Options;
use l7switch::switch::Switch;
use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::CertifiedIssuer;
use rcgen::DnType;
use rcgen::IsCa;
use rcgen::KeyPair;
use rcgen::SanType;
use rcgen::date_time_ymd;
use tempfile::TempDir;

const RULES: &str = "[service.web]
listen = \"127.0.0.1:LISTEN\"
[[service.web.route]]
pool = \"one\"
[pool.one]
servers = [\"127.0.0.1:1\", \"127.0.0.1:2\"]
";

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(folder: &Path, name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(folder.join(format!("{name}.pem")), issuer.pem()).unwrap();
    issuer
}

/// A certificate and its key as `NAME.pem` and `NAME.key`.
fn issue(
    folder: &Path,
    authority: &Authority,
    name: &str,
    change: impl Fn(&mut CertificateParams),
) {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let cert = params.signed_by(&key, authority).unwrap();
    std::fs::write(folder.join(format!("{name}.pem")), cert.pem()).unwrap();
    std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

struct Running {
    _runtime: tokio::runtime::Runtime,
    remote: Remote,
    folder: TempDir,
    /// Its own address, by the scheme.
    url: String,
}

/// A switch in this process, at a loopback address. `ops` may operate, `reader` may read.
fn running(host: &str) -> Running {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let rules = path.join("rules.toml");
    std::fs::write(&rules, RULES.replace("LISTEN", &port.to_string())).unwrap();
    let (servers, clients) = (authority(path, "servers"), authority(path, "clients"));
    authority(path, "strangers");
    let loopback: [IpAddr; 2] = ["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
    issue(path, &servers, "switch", |params| {
        params.subject_alt_names = loopback.map(SanType::IpAddress).to_vec();
        let name = "localhost".try_into().unwrap();
        params.subject_alt_names.push(SanType::DnsName(name));
    });
    issue(path, &clients, "reader", |_| {});
    issue(path, &clients, "ops", |params| {
        let uri = "spiffe://example.com/ops".try_into().unwrap();
        params.subject_alt_names.push(SanType::URI(uri));
    });
    issue(path, &clients, "late", |params| {
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    issue(path, &authority(path, "others"), "stranger", |_| {});
    let files = Files {
        certificate: path.join("switch.pem"),
        key: path.join("switch.key"),
        clients: path.join("clients.pem"),
        crl: None,
        operators: vec!["uri:spiffe://example.com/ops".parse().unwrap()],
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let remote = runtime.block_on(async {
        let set = l7switch_rules::load(&rules).unwrap();
        let switch = Switch::start(set, Some(rules), &Options::default()).unwrap();
        let any = SocketAddr::new(host.parse().unwrap(), 0);
        let mut remote = Remote::open(&switch, any, files, None).unwrap();
        remote.serve(switch);
        remote
    });
    Running {
        url: format!("https://{}", remote.bound()),
        _runtime: runtime,
        remote,
        folder,
    }
}

fn l7ctl() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_l7ctl"));
    for name in [
        "L7SWITCH_ADMIN",
        "L7CTL_CERTIFICATE",
        "L7CTL_KEY",
        "L7CTL_CA",
    ] {
        command.env_remove(name);
    }
    command
}

impl Running {
    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn as_whom(&self, whom: &str, arguments: &[&str]) -> Output {
        let options = [
            ["--admin", &self.url],
            ["--certificate", &self.file(&format!("{whom}.pem"))],
            ["--key", &self.file(&format!("{whom}.key"))],
            ["--ca", &self.file("servers.pem")],
        ];
        let line = options.as_flattened().iter().chain(arguments);
        l7ctl().args(line).output().unwrap()
    }
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What a command that has failed says.
#[track_caller]
fn error(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Every command for a running switch, by the role that it needs.
#[test]
fn every_command_works_over_tcp() {
    let switch = running("127.0.0.1");
    let rules = switch.file("rules.toml");
    for arguments in [
        &["status"][..],
        &["status", "--json"],
        &["servers"],
        &["servers", "--json"],
        &["routes"],
        &["certs"],
        &["events"],
        &["diff", &rules],
        &["explain", "http://a.example/"],
    ] {
        for whom in ["reader", "ops"] {
            let answer = switch.as_whom(whom, arguments);
            let said = String::from_utf8_lossy(&answer.stderr).into_owned();
            assert_eq!(
                answer.status.code(),
                Some(0),
                "{whom} {arguments:?}: {said}"
            );
            assert!(!answer.stdout.is_empty());
        }
    }
    for arguments in [
        &["drain", "127.0.0.1:1", "--wait=5s"][..],
        &["disable", "127.0.0.1:1"],
        &["undrain", "one/127.0.0.1:1"],
        &["weight", "127.0.0.1:2", "7"],
        &["maintenance", "web", "on"],
        &["maintenance", "web", "default"],
        &["reload"],
    ] {
        let said = error(&switch.as_whom("reader", arguments));
        assert!(said.contains("needs the role operate"), "{said}");
        assert!(said.contains("CN=reader"), "{said}");
        let answer = switch.as_whom("ops", arguments);
        assert_eq!(answer.status.code(), Some(0), "{arguments:?}: {answer:?}");
    }
    let servers = out(&switch.as_whom("reader", &["servers"]));
    assert!(servers.contains('7'), "{servers}");
    let events = out(&switch.as_whom("reader", &["events"]));
    assert!(events.contains("by CN=ops at 127.0.0.1"), "{events}");
}

#[test]
fn a_switch_has_a_name_or_an_address_of_either_family() {
    let switch = running("::1");
    assert!(switch.url.starts_with("https://[::1]:"));
    let answer = switch.as_whom("reader", &["status"]);
    assert!(answer.status.success(), "{answer:?}");
    let mut switch = running("127.0.0.1");
    let port = switch.remote.bound().port();
    switch.url = format!("HTTPS://localhost:{port}/");
    let answer = switch.as_whom("reader", &["status"]);
    assert!(answer.status.success(), "{answer:?}");
    // What stays the same stands in the environment.
    let answer = l7ctl()
        .arg("status")
        .env("L7SWITCH_ADMIN", &switch.url)
        .env("L7CTL_CERTIFICATE", switch.file("reader.pem"))
        .env("L7CTL_KEY", switch.file("reader.key"))
        .env("L7CTL_CA", switch.file("servers.pem"))
        .output()
        .unwrap();
    assert!(out(&answer).contains("generation 1"), "{answer:?}");
}

#[test]
fn what_is_wrong_is_said() {
    let switch = running("127.0.0.1");
    let (url, file) = (switch.url.as_str(), |name: &str| switch.file(name));
    for (whom, why) in [
        ("late", "has expired"),
        ("stranger", "its authority is not one of --admin-clients"),
    ] {
        // Each time: the alert is never lost to a reset.
        for _ in 0..20 {
            let said = error(&switch.as_whom(whom, &["status"]));
            let begin = format!(
                "l7ctl: {url}: the switch refuses the certificate {}: ",
                file(&format!("{whom}.pem"))
            );
            assert!(said.starts_with(&begin) && said.contains(why), "{said}");
        }
    }
    let ask = |url: &str, ca: &str| {
        let reader = (file("reader.pem"), file("reader.key"));
        let line = ["--certificate", &reader.0, "--key", &reader.1, "--ca", ca];
        let output = l7ctl().args(line).args(["--admin", url, "status"]).output();
        error(&output.unwrap())
    };
    let servers = file("servers.pem");
    let said = ask(url, &file("strangers.pem"));
    assert!(
        said.contains("the certificate of the switch is refused")
            && said.contains(&format!(
                "its authority is not in {}",
                file("strangers.pem")
            )),
        "{said}"
    );
    let said = ask(url, "/nowhere/ca.pem");
    assert!(said.contains("/nowhere/ca.pem: No such file"), "{said}");
    // 127.0.0.2 is not in the certificate; what listens there passes on to what has it.
    let port = switch.remote.bound().port();
    let relay = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
    let other = format!("https://{}", relay.local_addr().unwrap());
    let passes = std::thread::spawn(move || {
        let (client, _) = relay.accept().unwrap();
        let server = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let up = std::thread::spawn(move || std::io::copy(&mut from, &mut to));
        let (mut from, mut to) = (server, client);
        let _ = std::io::copy(&mut from, &mut to);
        let _ = up.join();
    });
    let said = ask(&other, &servers);
    assert!(
        said.contains("is refused") && said.contains("name the switch in --admin"),
        "{said}"
    );
    passes.join().unwrap();

    let clear = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = format!("https://{}", clear.local_addr().unwrap());
    let answers = std::thread::spawn(move || {
        let (mut client, _) = clear.accept().unwrap();
        let _ = std::io::Write::write_all(&mut client, b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let _ = std::io::copy(&mut client, &mut std::io::sink());
    });
    let said = ask(&at, &servers);
    assert!(said.contains("does not speak TLS"), "{said}");
    answers.join().unwrap();
    let said = ask(&at, &servers);
    assert!(said.contains("refused"), "{said}");
    assert!(ask("https://nowhere.invalid:1", &servers).contains("https://nowhere.invalid:1: "));

    let alone = |more: &[&str]| {
        let line = ["--admin", url, "status"];
        let output = l7ctl().args(line).args(more).output();
        error(&output.unwrap())
    };
    assert!(alone(&[]).contains("give --certificate FILE and --key FILE"));
    let said = alone(&["--certificate", &file("ops.pem")]);
    assert!(said.contains("--key"), "{said}");
    let said = ask("http://127.0.0.1:1", &servers);
    assert!(said.contains("write https://"), "{said}");
    // Key and certificate that are not of each other.
    let mixed = [
        "--certificate",
        &file("ops.pem"),
        "--key",
        &file("late.key"),
        "--ca",
        &servers,
    ];
    let said = alone(&mixed);
    assert!(
        said.contains("late.key") && said.contains("ops.pem"),
        "{said}"
    );
}
