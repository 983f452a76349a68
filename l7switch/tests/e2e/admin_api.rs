// SPDX-License-Identifier: MIT
//! The admin API over TCP as curl and openssl see it: certificates, new files, a successor.

use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use crate::support::LOCALHOST;
use crate::support::certs::Authority;
use crate::support::curl::Answer;
use crate::support::curl::curl;
use crate::support::free_port;
use crate::support::switch::Switch;
use crate::support::until;

pub(crate) const RULES: &str = "[service.web]\nlisten = \"127.0.0.1:0\"\n\
     [[service.web.route]]\npath = { exact = \"/\" }\nrespond = { status = 204 }\n\
     [[service.web.route]]\npool = \"main\"\n[pool.main]\nservers = \"127.0.0.1:9\"\n";
const SERVER: &str = "/v1/servers/main/127.0.0.1:9";

pub(crate) type Pair = (PathBuf, PathBuf);

pub(crate) struct World {
    pub(crate) address: SocketAddr,
    /// Of the listener, and of clients.
    servers: Authority,
    clients: Authority,
    listener: Pair,
    ops: Pair,
    pub(crate) reader: Pair,
}

pub(crate) fn world() -> World {
    let (servers, clients) = (Authority::new(), Authority::new());
    World {
        address: free_port(LOCALHOST),
        listener: servers.issue(&["admin.test"]),
        ops: clients.issue(&["ops.example"]),
        reader: clients.issue(&["reader.example"]),
        servers,
        clients,
    }
}

impl World {
    /// The options of a switch whose operators are these.
    pub(crate) fn options(&self, operators: &str) -> Vec<String> {
        let (address, ca) = (self.address.to_string(), self.clients.file());
        let file = |path: &Path| path.display().to_string();
        let options = [
            ("--admin-listen", address),
            ("--admin-certificate", file(&self.listener.0)),
            ("--admin-key", file(&self.listener.1)),
            ("--admin-clients", file(&ca)),
            ("--admin-operators", operators.to_owned()),
        ];
        let options = options.into_iter();
        options
            .flat_map(|(name, value)| [name.to_owned(), value])
            .collect()
    }

    fn start(&self, operators: &str) -> Switch {
        let options = self.options(operators);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        Switch::start_with(RULES, &options)
    }

    /// Asks by curl, with a certificate or without.
    pub(crate) fn ask(&self, own: Option<&Pair>, more: &[&str], path: &str) -> Answer {
        let port = self.address.port();
        let mut asking = curl()
            .arg("--cacert")
            .arg(self.servers.file())
            .args(["--resolve", &format!("admin.test:{port}:127.0.0.1")])
            .args(more);
        if let Some((cert, key)) = own {
            asking = asking.arg("--cert").arg(cert).arg("--key").arg(key);
        }
        asking.get(&format!("https://admin.test:{port}{path}"))
    }

    fn drain(&self, own: &Pair, state: &str) -> Answer {
        let body = format!("{{\"state\":\"{state}\"}}");
        self.ask(Some(own), &["-X", "PATCH", "-d", &body], SERVER)
    }
}

#[test]
fn curl_and_openssl_come_with_a_certificate() {
    let world = world();
    let switch = world.start("dns:ops.example");
    let status = world.ask(Some(&world.reader), &[], "/v1/status");
    assert_eq!((status.exit, status.status), (0, 200), "{status:?}");
    assert!(status.text().contains("\"generation\":1"));
    let drained = world.drain(&world.reader, "drain");
    assert_eq!(drained.status, 403, "{drained:?}");
    assert!(drained.text().contains("CN=reader.example"));
    let drained = world.drain(&world.ops, "drain");
    assert_eq!(drained.status, 200, "{drained:?}");
    assert!(drained.text().contains("by CN=ops.example at 127.0.0.1"));
    let reloaded = world.ask(Some(&world.ops), &["-X", "POST"], "/v1/reload");
    assert_eq!(reloaded.status, 200, "{reloaded:?}");
    let place = world.ask(Some(&world.ops), &["-X", "POST"], "/v1/take-over");
    assert_eq!(place.status, 403, "{place:?}");
    for version in ["--tlsv1.2", "--tlsv1.3"] {
        let (most, more) = ("--tls-max", version.trim_start_matches("--tlsv"));
        let options = [version, most, more];
        let ok = world.ask(Some(&world.reader), &options, "/v1/role");
        assert_eq!(ok.status, 200, "{version}: {ok:?}");
        let none = world.ask(None, &options, "/v1/role");
        // 98: the switch wants a certificate; 35: in the handshake; 56: behind it, as TLS 1.3 has it.
        assert!(
            [35, 56, 98].contains(&none.exit) && none.status == 0,
            "{version}: {none:?}"
        );
    }
    // It names the authorities that it wants certificates of, and speaks HTTP/1.1 only.
    let address = world.address.to_string();
    let openssl = Command::new("openssl")
        .args([
            "s_client",
            "-connect",
            &address,
            "-alpn",
            "h2,http/1.1",
            "-cert",
        ])
        .arg(&world.ops.0)
        .arg("-key")
        .arg(&world.ops.1)
        .arg("-CAfile")
        .arg(world.servers.file())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&openssl.stdout).into_owned();
    for wanted in [
        "ALPN protocol: http/1.1",
        "Acceptable client certificate CA names",
        "Verify return code: 0 (ok)",
    ] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    let log = switch.log();
    assert!(log.contains("a TLS handshake has failed"), "{log}");
    assert!(log.contains("refused at the admin API"), "{log}");
    assert!(
        log.contains("a reload is asked for by CN=ops.example at 127.0.0.1"),
        "{log}"
    );
}

/// Whoever attempts very often makes no more lines than one a second.
#[test]
fn many_failed_handshakes_are_counted_and_seldom_logged() {
    let world = world();
    let switch = world.start("dns:ops.example");
    let began = std::time::Instant::now();
    for _ in 0..300 {
        let mut stream = std::net::TcpStream::connect(world.address).unwrap();
        std::io::Write::write_all(&mut stream, b"GET / HTTP/1.1\r\n\r\n").unwrap();
        // One at a time: an address has only so many.
        let _ = std::io::Read::read_to_end(&mut stream, &mut Vec::new());
    }
    until("all are counted", || {
        let (_, text) = switch.admin("GET", "/metrics", "");
        text.contains("l7switch_admin_refused_total{reason=\"tls\"} 300\n")
    });
    let log = switch.log();
    let lines = log.matches("a TLS handshake has failed").count();
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap();
    assert!((1..=seconds + 2).contains(&lines), "{lines} in {seconds} s");
}

#[test]
fn new_files_are_in_force_after_sighup_and_wrong_ones_are_not() {
    let world = world();
    let switch = world.start("dns:ops.example");
    let next = Authority::new();
    let newcomer = next.issue(&["new.example"]);
    assert_eq!(world.ask(Some(&newcomer), &[], "/v1/role").status, 0);
    std::fs::copy(next.file(), world.clients.file()).unwrap();
    switch.signal("HUP");
    until("the other authority is believed", || {
        world.ask(Some(&newcomer), &[], "/v1/role").status == 200
    });
    assert_eq!(world.ask(Some(&world.ops), &[], "/v1/role").status, 0);
    std::fs::write(&world.listener.1, "none").unwrap();
    switch.signal("HUP");
    until("it is said", || {
        switch
            .log()
            .contains("the listener of the admin API stays as it is: ")
    });
    assert_eq!(world.ask(Some(&newcomer), &[], "/v1/role").status, 200);
}

/// The listening socket goes over, and no request is lost that comes meanwhile, here or at the other listeners for operators. Roles are
/// those of the successor's options.
#[test]
fn a_successor_goes_on_with_the_listener() {
    let world = world();
    let (mut options, metrics) = (world.options("dns:ops.example"), free_port(LOCALHOST));
    options.extend(["--metrics".to_owned(), metrics.to_string()]);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let mut switch = Switch::start_with(RULES, &options);
    let stop = AtomicBool::new(false);
    let (before, socket) = (switch.id(), switch.folder().join("admin"));
    let ways: [&(dyn Fn() -> Answer + Sync); 3] = [
        &|| world.ask(Some(&world.reader), &[], "/v1/role"),
        &|| {
            let asking = curl().arg("--unix-socket").arg(&socket);
            asking.get("http://l7switch/v1/role")
        },
        &|| curl().get(&format!("http://{metrics}/live")),
    ];
    std::thread::scope(|scope| {
        let asked = ways.map(|ask| {
            scope.spawn(|| {
                let mut asked = 0;
                while !stop.load(Relaxed) {
                    let answer = ask();
                    assert_eq!(answer.status, 200, "{answer:?}");
                    asked += 1;
                }
                asked
            })
        });
        for _ in 0..10 {
            switch.take_over();
            assert!(switch.all_before_end());
        }
        stop.store(true, Relaxed);
        for asked in asked {
            assert!(asked.join().unwrap() > 0);
        }
    });
    assert_ne!(switch.id(), before);
    assert_eq!(world.drain(&world.ops, "drain").status, 200);
    let successor = switch.another(&["--take-over", "--admin-operators", "cn:reader.example"]);
    successor.line("l7switch: ready");
    switch.becomes(successor);
    assert!(switch.all_before_end());
    // The option adds to those that were there.
    assert_eq!(world.drain(&world.reader, "up").status, 200);
    assert_eq!(world.drain(&world.ops, "up").status, 200);
}

/// One that has no such listener closes it, and one that has another opens it.
#[test]
fn a_successor_may_have_other_options() {
    let world = world();
    let mut switch = Switch::start(RULES);
    let role = || world.ask(Some(&world.reader), &[], "/v1/role").status;
    assert_eq!(role(), 0);
    let options = world.options("dns:ops.example");
    let mut options: Vec<&str> = options.iter().map(String::as_str).collect();
    options.push("--take-over");
    let with = switch.another(&options);
    with.line("l7switch: ready");
    switch.becomes(with);
    assert!(switch.all_before_end());
    assert_eq!(role(), 200);
    // One whose files are wrong leaves it as it is.
    let broken = switch.another(&[&options[..], &["--admin-crl", "/nowhere/crl"]].concat());
    assert!(broken.try_line("l7switch: ready").is_none());
    assert_eq!(role(), 200);
    switch.take_over();
    assert!(switch.all_before_end());
    assert_eq!(role(), 0, "this one has none");
    let closed = format!("the listening socket of {} is closed", world.address);
    assert!(switch.log().contains(&closed), "{}", switch.log());
}

/// A switch that nobody could administer as wanted does not start.
#[test]
fn what_cannot_be_used_is_an_error_at_the_start() {
    let world = world();
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.toml");
    let text = RULES.replace(":0\"", &format!(":{}\"", free_port(LOCALHOST).port()));
    std::fs::write(&rules, text).unwrap();
    let taken = std::net::TcpListener::bind(world.address).unwrap();
    let good = world.options("dns:ops.example");
    let with = |option: &str, value: &str| {
        let mut options = good.clone();
        match options.iter().position(|known| known == option) {
            Some(place) => value.clone_into(&mut options[place + 1]),
            None => options.extend([option.to_owned(), value.to_owned()]),
        }
        options
    };
    let without = |option: &str| {
        let mut options = good.clone();
        let place = options.iter().position(|known| known == option).unwrap();
        options.drain(place..place + 2);
        options
    };
    for (options, said) in [
        (good.clone(), "Address already in use"),
        (with("--admin-certificate", "/nowhere/c"), "/nowhere/c"),
        (
            with("--admin-key", world.ops.1.to_str().unwrap()),
            "the key does not belong to the certificate",
        ),
        (
            with("--admin-clients", world.ops.1.to_str().unwrap()),
            "contains no certificate",
        ),
        (
            with("--admin-crl", world.ops.0.to_str().unwrap()),
            "contains no revocation list",
        ),
        (without("--admin-clients"), "--admin-clients <FILE>"),
        (without("--admin-key"), "--admin-key <FILE>"),
        (without("--admin-listen"), "--admin-listen <ADDRESS>"),
        (with("--admin-operators", "ops.example"), "has no kind"),
    ] {
        let out = Command::new(env!("CARGO_BIN_EXE_l7switch"))
            .arg(&rules)
            .args(["--kernel", "off", "--admin"])
            .arg(folder.path().join("admin"))
            .args(&options)
            .output()
            .unwrap();
        assert!(!out.status.success());
        let errors = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(errors.contains(said), "{said}: {errors}");
    }
    drop(taken);
}
