// SPDX-License-Identifier: MIT
//! What goes wrong around the switch: it serves on, says so once, counts it, and says when it is over.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use l7switch_admin_api::ServerState;
use rustix::process::Pid;
use rustix::process::Resource;
use rustix::process::Rlimit;

use crate::support::LOCALHOST;
use crate::support::curl::curl;
use crate::support::disk::Disk;
use crate::support::free_port;
use crate::support::process::Process;
use crate::support::process::program;
use crate::support::process::run;
use crate::support::python::Python;
use crate::support::raw::Raw;
use crate::support::switch::Switch;
use crate::support::switch::command;
use crate::support::switch::simple;
use crate::support::until;

/// A sample of the metrics.
fn metric(switch: &Switch, name: &str) -> u64 {
    let (code, text) = switch.admin("GET", "/metrics", "");
    assert_eq!(code, 200);
    let start = format!("l7switch_{name} ");
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix(&start));
    line.unwrap().parse().unwrap()
}

fn said(switch: &Switch, what: &str) -> usize {
    switch.log().matches(what).count()
}

#[test]
fn a_full_disk_takes_lines_of_the_access_log_and_nothing_else() {
    let disk = Disk::new();
    let log = disk.path().join("access.log");
    let python = Python::start("python");
    let rules = simple(&[python.address], "", "");
    let switch = Switch::start_with(&rules, &["--access-log", log.to_str().unwrap()]);
    let ask = |path: &str| {
        curl().ok(&(switch.url("web") + path));
    };
    let lines = || std::fs::read_to_string(&log).unwrap();
    ask("/echo/before");
    until("it is logged", || lines().contains("/echo/before"));
    disk.fill();
    // What is left of the last block takes some.
    until("lines are lost", || {
        ask(&format!("/echo/{}", "x".repeat(2000)));
        switch.status().access_log_dropped > 3
    });
    assert_eq!(said(&switch, "the access log cannot be written"), 1);
    assert_eq!(
        metric(&switch, "access_log_dropped_total"),
        switch.status().access_log_dropped
    );
    disk.clear();
    until("lines come again", || {
        ask("/echo/after");
        lines().contains("/echo/after")
    });
    assert_eq!(said(&switch, "the access log can be written again"), 1);
    let text = lines();
    let whole = |line: &str| line.contains(" client=") && line.contains(" end=ok");
    let torn = text.lines().filter(|line| !whole(line)).count();
    assert!(torn <= 1, "the line that the disk had no room for: {text}");
}

/// The most descriptors that a process may have from now on.
fn limit_descriptors(pid: u32, most: u64) {
    let pid = Pid::from_raw(pid.try_into().unwrap());
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(1024),
    };
    rustix::process::prlimit(pid, Resource::Nofile, limit).unwrap();
}

#[test]
fn without_descriptors_nobody_is_cut_and_no_server_is_blamed() {
    let python = Python::start("python");
    let health = "health = { http = '/healthz', interval = '50ms', fall = 1 }\n\
                  passive = { failures = 1 }";
    let switch = Switch::start(&simple(&[python.address], "", health));
    let address = switch.address("web");
    let mut kept = Raw::connect(address).unwrap();
    assert_eq!(kept.get("/echo").unwrap().status, 200);
    let mut waiting: Vec<Raw> = Vec::new();
    let checked = || {
        switch
            .server(python.address)
            .last_check
            .map(|check| check.at)
    };
    until("it is checked", || checked().is_some());
    let before = checked();
    limit_descriptors(switch.id(), switch.descriptors() as u64 + 2);
    // Some are accepted, and have no way to the server; others wait in the queue.
    for _ in 0..20 {
        let mut client = Raw::connect(address).unwrap();
        client
            .send("GET /echo HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        waiting.push(client);
    }
    until("it is said", || {
        said(&switch, "connections cannot be accepted") > 0
    });
    std::thread::sleep(Duration::from_secs(2));
    limit_descriptors(switch.id(), 1024);
    let statuses: Vec<u16> = waiting
        .iter_mut()
        .map(|client| client.response().unwrap().unwrap().status)
        .collect();
    assert!(statuses.contains(&200), "{statuses:?}");
    assert!(
        statuses.iter().all(|status| [200, 503].contains(status)),
        "{statuses:?}"
    );
    assert_eq!(kept.get("/echo").unwrap().status, 200);
    let refused = &switch.status().services["web"].refused;
    let without = statuses.iter().filter(|status| **status == 503).count() as u64;
    assert_eq!(refused.get("no_resources").copied().unwrap_or(0), without);
    let server = switch.server(python.address);
    assert_eq!((server.state, server.failures), (ServerState::Up, 0));
    assert!(metric(&switch, "accept_failures_total") > 3);
    assert_eq!(
        said(&switch, "connections cannot be accepted"),
        1,
        "{}",
        switch.log()
    );
    assert_eq!(said(&switch, "connections are accepted again"), 1);
    assert!(
        said(&switch, "no connections to servers") <= 1,
        "{}",
        switch.log()
    );
    until("checks go on", || checked() > before);
}

/// As many connections are accepted as there are descriptors for, with one towards a server for each. More wait.
#[test]
fn more_connections_than_descriptors_wait() {
    let python = Python::start("python");
    let folder = tempfile::tempdir().unwrap();
    let address = free_port(LOCALHOST);
    let rules = simple(&[python.address], "", "").replace("127.0.0.1:0", &address.to_string());
    std::fs::write(folder.path().join("rules.toml"), rules).unwrap();
    let front = command(folder.path(), &[]);
    let mut limited = program("prlimit", "util-linux");
    limited
        .args(["--nofile=128:128"])
        .arg(front.get_program())
        .args(front.get_args());
    with_log(&mut limited, folder.path());
    let switch = Process::start(limited);
    switch.line("l7switch: ready");
    let log = || std::fs::read_to_string(folder.path().join("log")).unwrap();
    let mut clients: Vec<Raw> = Vec::new();
    for _ in 0..80 {
        clients.push(Raw::connect(address).unwrap());
    }
    // (128 − 64) / 2.
    for client in &mut clients[..32] {
        assert_eq!(client.get("/echo").unwrap().status, 200);
    }
    for client in &mut clients[32..] {
        client
            .send("GET /echo HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
    }
    until("it is said", || {
        log().contains("32 client connections are open")
    });
    // Each that ends makes room for another.
    for number in 0..48 {
        clients[number].finish();
        assert_eq!(
            clients[32 + number].response().unwrap().unwrap().status,
            200
        );
    }
    assert_eq!(log().matches("client connections are open").count(), 1);
    assert!(!log().contains("cannot be accepted"), "{}", log());
}

/// The environment and the log of the switch for another program that runs it.
fn with_log(command: &mut Command, folder: &Path) {
    let mut log = std::fs::OpenOptions::new();
    let log = log.create(true).append(true).open(folder.join("log"));
    command.stderr(log.unwrap()).env("L7SWITCH_KERNEL", "off");
}

#[test]
fn an_admin_socket_that_is_deleted_is_opened_again() {
    let python = Python::start("python");
    let mut switch = Switch::start(&simple(&[python.address], "", ""));
    let path = switch.folder().join("admin");
    for times in 1..=2 {
        std::fs::remove_file(&path).unwrap();
        until("it is there again", || path.exists());
        assert_eq!(switch.status().pid, switch.id());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(said(&switch, "is gone, or another file is there"), times);
        assert_eq!(said(&switch, "is opened again"), times);
    }
    // The new one is the one that goes over.
    let first = switch.id();
    switch.take_over();
    let status = switch.status();
    assert_eq!((status.pid, status.take_overs.taken), (switch.id(), 1));
    assert_ne!(status.pid, first);
    assert!(switch.all_before_end());
    // Where it cannot be opened, as something else is there, that is said once, until it can.
    let url = switch.url("web") + "/echo";
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    std::thread::sleep(Duration::from_millis(3200));
    assert_eq!(said(&switch, "is gone, or another file is there"), 3);
    assert_eq!(curl().get(&url).status, 200);
    std::fs::remove_dir(&path).unwrap();
    until("it is there again", || path.exists());
    assert_eq!(switch.status().pid, switch.id());
    assert_eq!(said(&switch, "is opened again"), 3);
    // Another switch that has the path keeps it.
    let mut other = Switch::start(&simple(&[python.address], "", ""));
    let its = other.folder().join("admin");
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&its, &path).unwrap();
    std::thread::sleep(Duration::from_millis(2200));
    assert_eq!(switch.status().pid, other.id());
    other.signal("TERM");
    other.wait();
    until("its place is free", || {
        let answer = curl().arg("--unix-socket").arg(&path);
        let answer = answer.get("http://switch/v1/status");
        serde_json::from_slice::<l7switch_admin_api::Status>(&answer.body)
            .is_ok_and(|status| status.pid == switch.id())
    });
}

/// The clock is set by days: what is measured is not, and what is shown follows.
#[test]
fn a_clock_that_is_set_changes_only_what_is_shown() {
    let python = Python::start("python");
    let folder = tempfile::tempdir().unwrap();
    let (clock, address) = (folder.path().join("clock"), free_port(LOCALHOST));
    let set = |offset: &str| {
        let new = folder.path().join("new");
        std::fs::write(&new, offset).unwrap();
        std::fs::rename(&new, &clock).unwrap();
    };
    set("+0");
    let rules = format!(
        "[service.web]\nlisten = '{address}'\n\
         [[service.web.route]]\npath = {{ prefix = '/echo/limited' }}\npool = 'main'\n\
         rate_limit = {{ requests = 4, per = '1h', burst = 4 }}\n\
         [[service.web.route]]\npool = 'main'\nsticky = {{ cookie = 'lb', max_age = '1h' }}\n\
         [pool.main]\nservers = ['{}']\nresponse_timeout = '60s'\n\
         health = {{ http = '/healthz', interval = '100ms' }}\n",
        python.address
    );
    std::fs::write(folder.path().join("rules.toml"), rules).unwrap();
    let mut faked = command(folder.path(), &[]);
    // What libfaketime reads (its README): the monotonic clock is left alone, as Linux does. `faketime` itself would stay between.
    let preload = run(
        "faketime",
        "faketime",
        ["-m", "-f", "+0", "printenv", "LD_PRELOAD"],
    );
    faked
        .env("LD_PRELOAD", preload.trim())
        .env("FAKETIME_TIMESTAMP_FILE", &clock)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let switch = Process::start(faked);
    switch.line("l7switch: ready");
    let log = || std::fs::read_to_string(folder.path().join("log")).unwrap();
    let admin = folder.path().join("admin");
    let checks = || {
        let answer = curl()
            .arg("--unix-socket")
            .arg(&admin)
            .ok("http://switch/v1/servers");
        let servers: l7switch_admin_api::Servers = serde_json::from_slice(&answer.body).unwrap();
        let server = &servers.servers[0];
        assert_eq!((server.state, server.failures), (ServerState::Up, 0));
        python.seen().len()
    };
    let mut kept = Raw::connect(address).unwrap();
    let mut slow = Raw::connect(address).unwrap();
    let gate = python.gate("open");
    slow.send(format!(
        "GET /before?file={} HTTP/1.1\r\nHost: a\r\n\r\n",
        gate.display()
    ))
    .unwrap();
    let limited = || curl().get(&format!("http://{address}/echo/limited")).status;
    assert_eq!(limited(), 200);
    let mut cookie = String::new();
    for (said, offset, way) in [
        (1, "+86400", "forward"),
        (2, "-86400", "back"),
        (3, "+315360000", "forward"),
    ] {
        set(offset);
        until("it is said", || {
            log().matches("the clock was set ").count() == said
        });
        let last = log()
            .lines()
            .rfind(|line| line.contains("the clock was set "))
            .unwrap()
            .to_owned();
        assert!(last.contains(&format!("set {way} by ")), "{last}");
        // Connections, limits, checks and cookies go on as they were.
        let answer = kept.get("/echo").unwrap();
        assert_eq!((answer.status, answer.field("connection")), (200, None));
        assert_eq!(limited(), 200);
        let answer = curl()
            .header(&format!("Cookie: {cookie}"))
            .ok(&format!("http://{address}/echo"));
        match answer.field("set-cookie") {
            Some(set) => cookie = set.split(';').next().unwrap().to_owned(),
            None => assert!(!cookie.is_empty()),
        }
        let before = checks();
        std::thread::sleep(Duration::from_secs(1));
        let more = checks() - before;
        assert!((3..=15).contains(&more), "{more} checks in a second");
    }
    assert_eq!(limited(), 429, "no hour has passed");
    std::fs::write(gate, "").unwrap();
    assert_eq!(slow.response().unwrap().unwrap().status, 200);
    // It is ten years later for those who read.
    let answer = curl().get(&format!("http://{address}/echo/limited"));
    assert!(
        answer.field("date").unwrap().contains(&year(10)),
        "{answer:?}"
    );
}

/// The year, so many years from now.
fn year(later: u64) -> String {
    let now = std::time::SystemTime::now();
    let then = now + Duration::from_secs(later * 31_536_000);
    let text = httpdate::fmt_http_date(then);
    text.split(' ').nth(3).unwrap().to_owned()
}
