// SPDX-License-Identifier: MIT
//! Under a service manager: what it is told, what it keeps, and what comes of it when the front is killed.

use std::net::SocketAddr;
use std::process::Command;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use tempfile::TempDir;

use crate::admin_api;
use crate::support::LOCALHOST;
use crate::support::PATIENCE;
use crate::support::counting::Clients;
use crate::support::curl::curl;
use crate::support::free_port;
use crate::support::nginx::Nginx;
use crate::support::process::Process;
use crate::support::process::program;
use crate::support::process::run;
use crate::support::python::Python;
use crate::support::python::script;
use crate::support::raw::Raw;
use crate::support::switch::command;
use crate::support::switch::list;
use crate::support::switch::simple;
use crate::support::until;
use crate::support::websocket::WebSocket;

/// The front under `programs/manager.py`.
struct Managed {
    process: Process,
    folder: TempDir,
    /// What the manager has printed so far.
    lines: Mutex<Vec<String>>,
}

fn rules(nginx: &Nginx, addresses: &[SocketAddr]) -> String {
    simple(&[nginx.address], "", "").replace("\"127.0.0.1:0\"", &list(addresses))
}

impl Managed {
    fn start(rules: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("rules.toml"), rules).unwrap();
        let front = command(folder.path(), &["--drain-timeout", "5s"]);
        let mut manager = script("manager.py");
        manager.arg(folder.path());
        manager.arg(front.get_program()).args(front.get_args());
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.path().join("log"));
        manager
            .stderr(log.unwrap())
            .env("L7SWITCH_KERNEL", "off")
            // What this test is run by may have a service manager of its own.
            .env_remove("NOTIFY_SOCKET");
        let managed = Self {
            process: Process::start_group(manager),
            folder,
            lines: Mutex::default(),
        };
        managed.line(0, "READY=1");
        managed
    }

    /// Waits for a line with this text behind so many lines; gives its number and itself.
    #[track_caller]
    fn line(&self, after: usize, text: &str) -> (usize, String) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut lines = self.lines.lock().unwrap();
            lines.extend(self.process.lines_so_far());
            let mut new = lines.iter().enumerate().skip(after);
            if let Some((number, line)) = new.find(|(_, line)| line.contains(text)) {
                return (number + 1, line.clone());
            }
            assert!(
                Instant::now() < deadline,
                "no `{text}` behind {after} of {lines:#?}\n{}",
                self.log()
            );
            drop(lines);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn count(&self) -> usize {
        let mut lines = self.lines.lock().unwrap();
        lines.extend(self.process.lines_so_far());
        lines.len()
    }

    fn pid(&self) -> u32 {
        let answer = curl()
            .arg("--unix-socket")
            .arg(self.folder.path().join("admin"));
        let status = answer.ok("http://switch/v1/status");
        let status: l7switch_admin_api::Status = serde_json::from_slice(&status.body).unwrap();
        status.pid
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

fn signal(name: &str, pid: u32) {
    run("kill", "procps", [format!("-{name}"), pid.to_string()]);
}

fn name(address: SocketAddr) -> String {
    format!("l7switch-{address}").replace(':', "_")
}

#[test]
fn the_manager_is_told_and_keeps_the_sockets() {
    let nginx = Nginx::start("nginx");
    let [kept, old, new] = [(); 3].map(|()| free_port(LOCALHOST));
    let managed = Managed::start(&rules(&nginx, &[kept, old]));
    let first = managed.pid();
    for address in [kept, old] {
        managed.line(
            0,
            &format!("notify {first} FDSTORE=1 FDNAME={}", name(address)),
        );
    }
    managed.line(0, &format!("notify {first} MAINPID={first} READY=1"));
    managed.line(managed.count(), &format!("notify {first} WATCHDOG=1"));
    // A reload is told from its begin to its end, and what it drops is not kept.
    let path = managed.folder.path().join("rules.toml");
    std::fs::write(&path, rules(&nginx, &[kept, new])).unwrap();
    let before = managed.count();
    signal("HUP", first);
    let (at, line) = managed.line(before, "RELOADING=1");
    let now = line.split("MONOTONIC_USEC=").nth(1).unwrap();
    assert!(now.parse::<u64>().unwrap() > 0, "{line}");
    managed.line(at, &format!("FDSTORE=1 FDNAME={}", name(new)));
    managed.line(at, &format!("FDSTOREREMOVE=1 FDNAME={}", name(old)));
    managed.line(at, &format!("notify {first} READY=1"));
    // A reload that is refused has an end, too.
    std::fs::write(&path, "nonsense").unwrap();
    let before = managed.count();
    signal("HUP", first);
    let (at, _) = managed.line(before, "RELOADING=1");
    managed.line(at, &format!("notify {first} READY=1"));
    std::fs::write(&path, rules(&nginx, &[kept])).unwrap();
    // A successor is the main process from the moment on from which it says that it is ready.
    let before = managed.count();
    signal("USR2", first);
    let (at, line) = managed.line(before, "MAINPID=");
    let second: u32 = line.split("MAINPID=").nth(1).unwrap().parse().unwrap();
    assert!(line.starts_with(&format!("notify {first} ")), "{line}");
    let (at, _) = managed.line(at, &format!("notify {second} MAINPID={second} READY=1"));
    managed.line(before, &format!("end {first} 0"));
    managed.line(before, &format!("FDSTOREREMOVE=1 FDNAME={}", name(new)));
    managed.line(at, &format!("notify {second} WATCHDOG=1"));
    assert_eq!(managed.pid(), second);
    let lines = managed.lines.lock().unwrap().clone();
    let wrong: Vec<_> = lines
        .iter()
        .filter(|line| line.starts_with("stranger") || line.contains("STOPPING=1"))
        .collect();
    // Of the front before, what it says behind its successor's name is heard no more.
    assert!(
        wrong.iter().all(|line| line.contains("WATCHDOG")),
        "{wrong:#?}"
    );
    // Nothing but the kept socket is left: it is given to who comes next.
    let before = managed.count();
    signal("TERM", second);
    let (at, _) = managed.line(before, &format!("notify {second} STOPPING=1"));
    managed.line(at, &format!("end {second} 0"));
    let (at, line) = managed.line(at, "start ");
    assert!(line.ends_with(" 1"), "{line}");
    managed.line(at, "READY=1");
    assert_eq!(
        Raw::connect(kept).unwrap().get("/name").unwrap().status,
        200
    );
    assert!(Raw::connect(new).is_err());
}

#[test]
fn a_front_that_is_killed_refuses_nobody() {
    let nginx = Nginx::start("nginx");
    let address = free_port(LOCALHOST);
    let managed = Managed::start(&rules(&nginx, &[address]));
    let clients = Clients::start(4, address, "/name");
    for _ in 0..5 {
        let (before, pid) = (managed.count(), managed.pid());
        let killed = Instant::now();
        signal("KILL", pid);
        let (at, _) = managed.line(before, &format!("end {pid} -9"));
        managed.line(at, "READY=1");
        assert!(killed.elapsed().as_secs() < 5, "{:?}", killed.elapsed());
        clients.go_on(50);
        assert_ne!(managed.pid(), pid);
    }
    let tally = clients.stop();
    let bad = tally.bad();
    // What was on its connections is lost with it; nobody else notices.
    let lost = |bad: &&String| bad.starts_with("request ");
    assert_eq!(bad.iter().filter(lost).count(), bad.len(), "{bad:#?}");
    assert!(bad.len() <= 5 * 4, "{bad:#?}");
    assert_eq!(tally.servers(), ["nginx"]);
}

/// The front before is killed in the middle of take-overs, at whatever step it is.
#[test]
fn a_front_that_is_killed_while_its_successor_starts_refuses_nobody() {
    let nginx = Nginx::start("nginx");
    let address = free_port(LOCALHOST);
    let managed = Managed::start(&rules(&nginx, &[address]));
    let clients = Clients::start(2, address, "/name");
    let whoever = || {
        let answer = curl()
            .arg("--unix-socket")
            .arg(managed.folder.path().join("admin"));
        let answer = answer.get("http://switch/v1/status");
        let status = serde_json::from_slice::<l7switch_admin_api::Status>(&answer.body).ok()?;
        (!status.draining).then_some(status.pid)
    };
    let mut pid = managed.pid();
    for wait in [0, 4, 10, 20, 30, 50, 80] {
        // It may have ended: it may be a successor that was told to.
        let signal = |name: &str| {
            let _ = program("kill", "procps")
                .args([name, &pid.to_string()])
                .stderr(Stdio::null())
                .status();
        };
        signal("-USR2");
        std::thread::sleep(Duration::from_millis(wait));
        signal("-KILL");
        clients.go_on(20);
        let mut next = None;
        until("one of the others has the place", || {
            next = whoever().filter(|&other| other != pid);
            next.is_some()
        });
        pid = next.unwrap();
    }
    let tally = clients.stop();
    let bad = tally.bad();
    let lost = |bad: &&String| bad.starts_with("request ");
    let log = managed.log();
    assert_eq!(
        bad.iter().filter(lost).count(),
        bad.len(),
        "{bad:#?}\n{log}"
    );
    let started = log.matches("a successor is started").count();
    assert!(started >= 2, "{started} of 7\n{log}");
}

/// A successor dies while the front before it still drains: the manager notices at once, ends that too, and starts another one.
#[test]
fn a_successor_that_is_killed_while_the_front_before_drains_is_replaced() {
    let python = Python::start("python");
    let address = free_port(LOCALHOST);
    let rules = simple(&[python.address], "", "").replace("127.0.0.1:0", &address.to_string());
    let managed = Managed::start(&rules);
    let first = managed.pid();
    let mut open = WebSocket::open(address);
    signal("USR2", first);
    let (at, line) = managed.line(0, &format!("notify {first} MAINPID="));
    assert!(line.ends_with("READY=1"), "its own: {line}");
    let (at, line) = managed.line(at, "MAINPID=");
    let second: u32 = line.split("MAINPID=").nth(1).unwrap().parse().unwrap();
    let (at, _) = managed.line(at, &format!("notify {second} MAINPID={second} READY=1"));
    open.say();
    signal("KILL", second);
    let (at, _) = managed.line(at, &format!("end {second} -9"));
    let (at, _) = managed.line(at, &format!("end {first} 0"));
    managed.line(at, "READY=1");
    assert!(![first, second].contains(&managed.pid()));
    assert_eq!(
        Raw::connect(address).unwrap().get("/echo").unwrap().status,
        200
    );
    let lines = managed.lines.lock().unwrap().clone();
    assert!(
        !lines.iter().any(|line| line.starts_with("alien")),
        "{lines:#?}"
    );
}

#[test]
fn sockets_that_nobody_wants_are_reported_and_closed() {
    let nginx = Nginx::start("nginx");
    let [address, other] = [(); 2].map(|()| free_port(LOCALHOST));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rules.toml"), rules(&nginx, &[address])).unwrap();
    let mut activate = activate(
        &[&address.to_string(), &other.to_string()],
        folder.path(),
        &[],
    );
    activate.args(["--fdname=web:other"]);
    let front = Activated::start(activate, folder);
    // The first connection starts it, and is served.
    let mut first = None;
    until("somebody listens", || {
        first = Raw::connect(address).ok();
        first.is_some()
    });
    let answer = first.as_mut().unwrap().get("/name").unwrap();
    assert_eq!(answer.status, 200);
    until("it says that the other one is closed", || {
        front.log().contains("is closed")
    });
    assert!(Raw::connect(other).is_err());
    let log = front.log();
    assert!(
        log.contains(&format!("the listening socket of {other} is closed")),
        "{log}"
    );
    assert!(
        !log.contains(&format!("the listening socket of {address}")),
        "{log}"
    );
    for _ in 0..10 {
        assert_eq!(
            Raw::connect(address).unwrap().get("/name").unwrap().status,
            200
        );
    }
    front.process.signal("TERM");
}

/// A socket unit may have the address of the admin API, too.
#[test]
fn the_admin_api_has_a_socket_of_the_manager() {
    let world = admin_api::world();
    let (web, api) = (free_port(LOCALHOST), world.address.to_string());
    let folder = tempfile::tempdir().unwrap();
    let text = admin_api::RULES.replace("127.0.0.1:0", &web.to_string());
    std::fs::write(folder.path().join("rules.toml"), text).unwrap();
    let options = world.options("dns:ops.example");
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let mut activate = activate(&[&web.to_string(), &api], folder.path(), &options);
    activate.args(["--fdname=web:api"]);
    let front = Activated::start(activate, folder);
    until("it answers", || {
        world.ask(Some(&world.reader), &[], "/v1/role").status == 200
    });
    let log = front.log();
    assert!(!log.contains("is closed"), "{log}");
    assert!(!log.contains("in use"), "{log}");
    front.process.signal("TERM");
}

struct Activated {
    process: Process,
    folder: TempDir,
}

impl Activated {
    fn start(command: Command, folder: TempDir) -> Self {
        let process = Process::start(command);
        // It does not say when it listens.
        Self { process, folder }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

/// The front with these options by `systemd-socket-activate` on these addresses; options of that may follow.
fn activate(addresses: &[&str], folder: &std::path::Path, options: &[&str]) -> Command {
    let front = command(folder, options);
    let mut shell = program("sh", "dash");
    let mut line = "exec systemd-socket-activate -E L7SWITCH_KERNEL=off".to_owned();
    for address in addresses {
        line += &format!(" -l {address}");
    }
    line += " \"$@\" --";
    let program = front.get_program().to_string_lossy().into_owned();
    line += &format!(" {program}");
    for argument in front.get_args() {
        line += &format!(" '{}'", argument.to_string_lossy());
    }
    line += &format!(" 2>>'{}'", folder.join("log").display());
    shell.args(["-c", &line, "sh"]);
    shell
}
