// SPDX-License-Identifier: MIT
//! A successor: what it goes on with, what becomes of one that fails, and the one that the front starts itself.

use std::net::SocketAddr;
use std::path::Path;

use l7switch_admin_api::ServerState;
use rustls::HandshakeKind;
use rustls::pki_types::ServerName;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsConnector;

use crate::support::certs::Authority;
use crate::support::certs::entry;
use crate::support::curl::curl;
use crate::support::free_port;
use crate::support::process::Process;
use crate::support::process::program;
use crate::support::process::run;
use crate::support::python::Python;
use crate::support::raw::Raw;
use crate::support::switch::Switch;
use crate::support::switch::list;
use crate::support::switch::simple;
use crate::support::tls_h2::config;
use crate::support::until;

#[test]
fn what_administrators_have_set_and_checks_have_found_goes_over() {
    let servers: Vec<Python> = ["a", "b", "c"].map(Python::start).into();
    let addresses: Vec<SocketAddr> = servers.iter().map(|server| server.address).collect();
    // Once down, a server stays so for longer than this test takes.
    let health = "health = { http = '/healthz', interval = '50ms', fall = 1, rise = 1000 }\n";
    let rules = simple(&addresses, "", health);
    let mut switch = Switch::start(&rules);
    servers[0].set_sick(true);
    switch.until_server(addresses[0], ServerState::Down);
    servers[0].set_sick(false);
    switch.change_server("main", addresses[1], r#"{"state": "drain"}"#);
    switch.change_server("main", addresses[2], r#"{"weight": 7}"#);
    let (code, content) = switch.admin("PATCH", "/v1/services/web", r#"{"maintenance": true}"#);
    assert_eq!(code, 200, "{content}");
    let url = switch.url("web") + "/echo";
    let told = |switch: &Switch| {
        let server = |address| {
            let server = switch.server(address);
            (server.since, server.why)
        };
        addresses
            .clone()
            .into_iter()
            .map(server)
            .collect::<Vec<_>>()
    };
    let before = told(&switch);
    assert_eq!(before[1].1.as_deref(), Some("by an administrator"));
    for _ in 0..3 {
        switch.take_over();
        assert_eq!(told(&switch), before);
        let states: Vec<_> = addresses
            .iter()
            .map(|&address| {
                let server = switch.server(address);
                (server.state, server.effective_weight)
            })
            .collect();
        let expected = [
            (ServerState::Down, 1),
            (ServerState::Draining, 0),
            (ServerState::Up, 7),
        ];
        assert_eq!(states, expected);
        assert_eq!(curl().get(&url).status, 503);
    }
    assert!(!servers[0].has_seen("/echo"));
    assert!(switch.status().services["web"].maintenance_told);
    // And can be taken back.
    switch.admin("PATCH", "/v1/services/web", r#"{"maintenance": null}"#);
    switch.take_over();
    let answer = curl().ok(&url);
    assert_eq!(answer.served_by(), "c");
    assert!(!switch.status().services["web"].maintenance_told);
    assert!(switch.all_before_end());
}

#[test]
fn buckets_and_cookies_go_over() {
    let servers: Vec<Python> = ["a", "b", "c"].map(Python::start).into();
    let addresses: Vec<SocketAddr> = servers.iter().map(|server| server.address).collect();
    let rules = format!(
        "[service.web]\nlisten = '127.0.0.1:0'\n\
         [[service.web.route]]\npath = {{ prefix = '/echo/limited' }}\npool = 'main'\n\
         rate_limit = {{ requests = 5, per = '1h', burst = 5 }}\n\
         [[service.web.route]]\npool = 'main'\nsticky = {{ cookie = 'lb' }}\n\
         [pool.main]\nservers = {}\n",
        list(&addresses)
    );
    let mut switch = Switch::start(&rules);
    let url = switch.url("web");
    let limited = || curl().get(&format!("{url}/echo/limited")).status;
    assert_eq!([limited(), limited(), limited()], [200; 3]);
    let first = curl().ok(&format!("{url}/echo"));
    let cookie = first.field("set-cookie").unwrap();
    let cookie = format!("Cookie: {}", cookie.split(';').next().unwrap());
    for _ in 0..2 {
        switch.take_over();
        assert_eq!(limited(), 200);
        for _ in 0..5 {
            let answer = curl().header(&cookie).ok(&format!("{url}/echo"));
            assert_eq!(answer.served_by(), first.served_by());
            assert_eq!(answer.field("set-cookie"), None, "it is known");
        }
    }
    assert_eq!(limited(), 429);
    switch.take_over();
    assert_eq!(limited(), 429);
}

/// One connection with this configuration, which remembers sessions: how its handshake went.
fn shake(config: &rustls::ClientConfig, address: SocketAddr) -> HandshakeKind {
    let connector = TlsConnector::from(std::sync::Arc::new(config.clone()));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("safe.example").unwrap();
        let mut stream = connector.connect(name, stream).await.unwrap();
        let request = b"GET /echo HTTP/1.1\r\nHost: safe.example\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200 "));
        stream.get_ref().1.handshake_kind().unwrap()
    })
}

#[test]
fn tls_sessions_are_resumed_by_a_successor() {
    let python = Python::start("python");
    let authority = Authority::new();
    let rules = format!(
        "[service.web]\nlisten = '127.0.0.1:0'\nprotocol = 'https'\ncertificates = [{}]\n\
         [[service.web.route]]\npool = 'main'\n[pool.main]\nservers = {}\n",
        entry(&authority.issue(&["safe.example"])),
        list(&[python.address])
    );
    let mut switch = Switch::start(&rules);
    let address = switch.address("web");
    let config = config(&authority.file(), b"http/1.1");
    assert_eq!(shake(&config, address), HandshakeKind::Full);
    for _ in 0..3 {
        switch.take_over();
        assert_eq!(shake(&config, address), HandshakeKind::Resumed);
    }
}

/// A process that has failed: what it wrote is in the log.
#[track_caller]
fn fails(switch: &Switch, more: &[&str], failed: u64) {
    let mut successor = switch.another(more);
    assert_eq!(successor.wait().code(), Some(1), "{}", switch.log());
    until("it is counted", || {
        switch.status().take_overs.failed == failed
    });
    let counts = switch.status().take_overs;
    assert_eq!((counts.taken, counts.refused), (0, 0));
}

#[test]
fn a_successor_that_does_not_start_leaves_the_front_serving() {
    let python = Python::start("python");
    let rules = simple(&[python.address], "", "");
    let metrics = free_port(crate::support::LOCALHOST).to_string();
    let mut switch = Switch::start_with(&rules, &["--metrics", &metrics]);
    let url = switch.url("web") + "/echo";
    let pid = switch.id();
    // Wrong rules, an address that somebody else has, the kernel module that is not there, a listener that cannot be.
    switch.replace_rules("[service.web]\nlisten = '127.0.0.1:9'\nprotocol = 'ftp'\n");
    fails(&switch, &["--take-over"], 1);
    let log = switch.log();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("the successor has failed, this front goes on"))
        .collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(lines[0].contains("the rules are not valid"), "{log}");
    let taken = python.address.to_string();
    let more =
        format!("[service.more]\nlisten = '{taken}'\n[[service.more.route]]\npool = 'main'\n");
    switch.replace_rules(&(rules.clone() + &more));
    fails(&switch, &["--take-over"], 2);
    switch.replace_rules(&rules);
    fails(
        &switch,
        &[
            "--take-over",
            "--metrics-token",
            "/none",
            "--log-level",
            "info",
        ],
        3,
    );
    fails(&switch, &["--take-over", "--access-log", "/none/log"], 4);
    assert_eq!(switch.status().pid, pid);
    curl().ok(&url);
    assert_eq!(
        curl().ok(&format!("http://{metrics}/ready")).text(),
        "ready\n"
    );
    // And the next one takes over all the same.
    switch.take_over();
    curl().ok(&url);
    let text = curl().ok(&format!("http://{metrics}/metrics")).text();
    assert!(
        text.contains("l7switch_take_overs_total{result=\"failed\"} 4\n"),
        "{text}"
    );
    assert!(
        text.contains("l7switch_take_overs_total{result=\"ok\"} 1\n"),
        "{text}"
    );
    assert!(switch.all_before_end());
}

/// What a reload has added and taken away is opened and closed by a successor, too.
#[test]
fn a_successor_follows_its_rules() {
    let python = Python::start("python");
    let [kept, old, new] = [(); 3].map(|()| free_port(crate::support::LOCALHOST));
    let rules = |addresses: &[SocketAddr]| {
        simple(&[python.address], "", "").replace("\"127.0.0.1:0\"", &list(addresses))
    };
    let mut switch = Switch::start(&rules(&[kept, old]));
    switch.replace_rules(&rules(&[kept, new]));
    switch.take_over();
    assert!(switch.all_before_end());
    for address in [kept, new] {
        assert_eq!(
            Raw::connect(address).unwrap().get("/echo").unwrap().status,
            200
        );
    }
    assert!(Raw::connect(old).is_err());
    let log = switch.log();
    assert!(
        log.contains(&format!("the listening socket of {old} is closed")),
        "{log}"
    );
}

#[test]
fn where_no_front_runs_a_successor_starts_as_usual() {
    let python = Python::start("python");
    let switch = Switch::start_with(&simple(&[python.address], "", ""), &["--take-over"]);
    curl().ok(&(switch.url("web") + "/echo"));
    assert_eq!(switch.status().take_overs.taken, 0);
}

/// The switch that runs now behind an admin socket, whoever started it: it is ended with the test.
struct Whoever<'a>(&'a Path);

impl Whoever<'_> {
    fn pid(&self) -> Option<u32> {
        let answer = curl().arg("--unix-socket").arg(self.0);
        let answer = answer.get("http://switch/v1/status");
        let status: l7switch_admin_api::Status = serde_json::from_slice(&answer.body).ok()?;
        Some(status.pid)
    }
}

impl Drop for Whoever<'_> {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            let pid = pid.to_string();
            let _ = program("kill", "procps").args(["-KILL", &pid]).status();
        }
    }
}

/// As after an upgrade: the program is replaced on disk, and the new one is what runs.
#[test]
fn by_signal_the_front_starts_what_lies_on_disk() {
    let python = Python::start("python");
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("l7switch");
    // By a program: a child that another test starts meanwhile must not have it open for writing, which would make it busy.
    let copy = |to: &Path| {
        drop(run(
            "cp",
            "coreutils",
            [Path::new(env!("CARGO_BIN_EXE_l7switch")), to],
        ))
    };
    copy(&program);
    let address = free_port(crate::support::LOCALHOST);
    let rules = simple(&[python.address], "", "").replace("127.0.0.1:0", &address.to_string());
    std::fs::write(folder.path().join("rules.toml"), rules).unwrap();
    let admin = folder.path().join("admin");
    let mut command = std::process::Command::new(&program);
    command
        .arg(folder.path().join("rules.toml"))
        .arg("--admin")
        .arg(&admin)
        .args(["--kernel", "off", "--no-watch"]);
    let mut first = Process::start_group(command);
    first.line("l7switch: ready");
    let whoever = Whoever(&admin);
    assert_eq!(whoever.pid(), Some(first.id()));
    let old = std::fs::metadata(&program).unwrap();
    let new = folder.path().join("new");
    copy(&new);
    std::fs::rename(&new, &program).unwrap();
    first.signal("USR2");
    assert_eq!(first.wait().code(), Some(0));
    let second = whoever.pid().unwrap();
    let exe = std::fs::metadata(format!("/proc/{second}/exe")).unwrap();
    use std::os::unix::fs::MetadataExt;
    assert_ne!(exe.ino(), old.ino());
    assert_eq!(exe.ino(), std::fs::metadata(&program).unwrap().ino());
    let arguments = std::fs::read_to_string(format!("/proc/{second}/cmdline")).unwrap();
    assert_eq!(arguments.matches("--take-over").count(), 1, "{arguments}");
    let ask = || {
        assert_eq!(
            Raw::connect(address).unwrap().get("/echo").unwrap().status,
            200
        )
    };
    ask();
    // Its own successor has the option once, too.
    run("kill", "procps", ["-USR2", &second.to_string()]);
    until("the third runs", || {
        whoever.pid().is_some_and(|pid| pid != second)
    });
    let third = whoever.pid().unwrap();
    let arguments = std::fs::read_to_string(format!("/proc/{third}/cmdline")).unwrap();
    assert_eq!(arguments.matches("--take-over").count(), 1, "{arguments}");
    ask();
    // What cannot be run changes nothing, and is counted.
    std::fs::write(folder.path().join("broken"), "no program").unwrap();
    std::fs::rename(folder.path().join("broken"), &program).unwrap();
    run("kill", "procps", ["-USR2", &third.to_string()]);
    until("it is counted", || {
        let answer = curl().arg("--unix-socket").arg(&admin);
        let answer = answer.get("http://switch/v1/status");
        let status: l7switch_admin_api::Status = serde_json::from_slice(&answer.body).unwrap();
        status.take_overs.failed == 1 && status.pid == third
    });
    ask();
}

/// Connections that wait for a request are not closed under it.
#[test]
fn connections_drain_in_order_and_ready_says_so() {
    let python = Python::start("python");
    let metrics = free_port(crate::support::LOCALHOST);
    let rules = simple(&[python.address], "", "");
    let mut switch = Switch::start_with(&rules, &["--metrics", &metrics.to_string()]);
    let address = switch.address("web");
    let mut asked = Raw::connect(metrics).unwrap();
    assert_eq!(asked.get("/ready").unwrap().status, 200);
    let (mut kept, mut silent) = (
        Raw::connect(address).unwrap(),
        Raw::connect(address).unwrap(),
    );
    assert_eq!(kept.get("/echo").unwrap().field("connection"), None);
    switch.take_over();
    // Connections to the front before are not cut: the next answer says that it is the last.
    let answer = asked.get("/ready").unwrap();
    assert_eq!((answer.status, &*answer.body), (503, &b"draining\n"[..]));
    std::thread::sleep(std::time::Duration::from_millis(1500));
    for client in [&mut kept, &mut silent] {
        let answer = client.get("/echo").unwrap();
        assert_eq!(
            (answer.status, answer.field("connection")),
            (200, Some("close"))
        );
        assert_eq!(client.rest().unwrap(), b"");
    }
    assert!(switch.all_before_end());
    assert_eq!(
        Raw::connect(metrics).unwrap().get("/ready").unwrap().status,
        200
    );
}

/// Only root can be another user.
#[test]
fn another_user_does_not_get_the_place() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let python = Python::start("python");
    let switch = Switch::start(&simple(&[python.address], "", ""));
    let open = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open(switch.folder(), 0o755);
    open(&switch.folder().join("admin"), 0o666);
    let socket = switch.folder().join("admin").display().to_string();
    let arguments = [
        "--reuid=65534",
        "--clear-groups",
        "curl",
        "-sS",
        "-X",
        "POST",
        "--unix-socket",
        &socket,
        "-H",
        "Connection: upgrade",
        "-H",
        "Upgrade: l7switch-takeover/1",
        "http://switch/v1/take-over",
    ];
    let answer = run("setpriv", "util-linux", arguments);
    assert!(answer.contains("only root and the user 0 may"), "{answer}");
    let counts = switch.status().take_overs;
    assert_eq!((counts.taken, counts.failed, counts.refused), (0, 0, 1));
}

/// The second is refused, and that is no failure.
#[test]
fn two_successors_at_a_time() {
    let python = Python::start("python");
    let mut switch = Switch::start(&simple(&[python.address], "", ""));
    for _ in 0..5 {
        let mut others = [(); 4].map(|()| switch.another(&["--take-over"]));
        let before = switch.id();
        until("the front has been replaced", || switch.has_ended());
        let mut alive = Vec::new();
        for other in &mut others {
            // Either it was let in, first or as the successor of the first, or it has ended.
            if other.try_line("l7switch: ready").is_some() && other.has_ended().is_none() {
                alive.push(other.id());
            }
        }
        until("one is left", || {
            alive.retain(|pid| {
                others
                    .iter_mut()
                    .any(|o| o.id() == *pid && o.has_ended().is_none())
            });
            alive.len() == 1
        });
        let status = switch.status();
        assert_eq!(vec![status.pid], alive);
        assert_ne!(status.pid, before);
        assert_eq!(status.take_overs.failed, 0, "{}", switch.log());
        curl().ok(&(switch.url("web") + "/echo"));
        let last = others.into_iter().find(|other| other.id() == status.pid);
        switch.becomes(last.unwrap());
    }
}
