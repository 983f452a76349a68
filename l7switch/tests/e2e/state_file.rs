// SPDX-License-Identifier: MIT
//! The state file over restarts, and where it cannot be written or read.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use l7switch_admin_api::ServerState;
use l7switch_admin_api::StateFileStatus;

use crate::support::curl::curl;
use crate::support::disk::Disk;
use crate::support::python::Python;
use crate::support::switch::Switch;
use crate::support::switch::simple;
use crate::support::until;

/// A switch with three servers whose health is checked, and a state file.
struct World {
    servers: Vec<Python>,
    switch: Switch,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl World {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state");
        let servers: Vec<Python> = ["a", "b", "c"].map(Python::start).into();
        Self {
            switch: start(&servers, &file),
            servers,
            file,
            _folder: folder,
        }
    }

    fn address(&self, number: usize) -> SocketAddr {
        self.servers[number].address
    }

    /// Ends the switch, and starts one with the same file.
    fn restart(&mut self, signal: &str) {
        self.switch.signal(signal);
        self.switch.wait();
        self.switch = start(&self.servers, &self.file);
    }

    fn states(&self) -> Vec<(ServerState, u64)> {
        let states = (0..3).map(|number| self.switch.server(self.address(number)));
        states
            .map(|server| (server.state, u64::from(server.effective_weight)))
            .collect()
    }

    fn status(&self) -> StateFileStatus {
        self.switch.status().state_file.unwrap()
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.file).unwrap_or_default()
    }

    fn set_weight(&self, weight: u32) {
        let change = format!("{{\"weight\": {weight}}}");
        self.switch.change_server("main", self.address(2), &change);
    }
}

fn start(servers: &[Python], file: &Path) -> Switch {
    let addresses: Vec<SocketAddr> = servers.iter().map(|server| server.address).collect();
    // Once down, a server stays so for longer than this test takes.
    let health = "health = { http = '/healthz', interval = '50ms', fall = 1, rise = 1000 }\n";
    let rules = simple(&addresses, "", health);
    Switch::start_with(&rules, &["--state", file.to_str().unwrap()])
}

const UP: (ServerState, u64) = (ServerState::Up, 1);

#[test]
fn what_is_set_and_found_survives_restarts_and_kills() {
    let mut world = World::start();
    world.servers[0].set_sick(true);
    world
        .switch
        .until_server(world.address(0), ServerState::Down);
    world.servers[0].set_sick(false);
    until("health is written", || world.text().contains("\"down\""));
    world
        .switch
        .change_server("main", world.address(1), r#"{"state": "drain"}"#);
    world.set_weight(7);
    world.switch.admin(
        "PATCH",
        "/v1/services/web",
        r#"{"maintenance": {"except": ["10.0.0.0/8"]}}"#,
    );
    let expected = [
        (ServerState::Down, 1),
        (ServerState::Draining, 0),
        (ServerState::Up, 7),
    ];
    // Why and since when, of those that are out.
    let told = |world: &World| {
        [0, 1].map(|number| {
            let server = world.switch.server(world.address(number));
            (server.since, server.why)
        })
    };
    let (before, by) = (told(&world), Some("by an administrator".to_owned()));
    let ill = before[0].1.clone().unwrap();
    assert!(ill.starts_with("status 503, expected "), "{ill}");
    assert_eq!(before[1].1, by);
    // In order, what has changed just now is written at the end; killed, what was written before counts.
    for signal in ["TERM", "KILL", "TERM"] {
        world.restart(signal);
        assert_eq!(world.states(), expected, "{signal}");
        assert_eq!(told(&world), before, "{signal}");
        let url = world.switch.url("web") + "/echo";
        assert_eq!(curl().get(&url).status, 503);
        assert!(world.switch.status().services["web"].maintenance_told);
    }
    let mode = world.file.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    world.switch.change_server(
        "main",
        world.address(1),
        r#"{"state": "up", "weight": null}"#,
    );
    until("it is written", || !world.text().contains("draining"));
    world.restart("KILL");
    assert_eq!(world.states()[1], UP);
}

/// A successor writes the file from then on, and what it has been given counts, not what stands there.
#[test]
fn a_successor_goes_on_with_the_file() {
    let mut world = World::start();
    world.set_weight(5);
    world.switch.take_over();
    assert!(world.switch.all_before_end());
    assert_eq!(world.states()[2], (ServerState::Up, 5));
    world.set_weight(6);
    until("the successor writes", || {
        world.text().contains("\"weight\": 6")
    });
    world.restart("KILL");
    assert_eq!(world.states()[2], (ServerState::Up, 6));
}

/// One line says why a file is not used, and the switch starts without it.
#[test]
fn a_file_that_is_not_to_be_trusted_or_not_understood_is_passed_over() {
    let mut world = World::start();
    world.set_weight(5);
    until("it is written", || world.text().contains("\"weight\": 5"));
    let good = world.text();
    let mode = |mode| {
        move |file: &Path| std::fs::set_permissions(file, Permissions::from_mode(mode)).unwrap()
    };
    let content = |text: String| move |file: &Path| std::fs::write(file, &text).unwrap();
    type Damage = Box<dyn Fn(&Path)>;
    let mut cases: Vec<(Damage, &str)> = vec![
        (Box::new(mode(0o644)), "its mode is 644"),
        (
            Box::new(content(good.replace("\"version\": 1", "\"version\": 9"))),
            "it has version 9",
        ),
        (
            Box::new(content(good[..good.len() / 2].to_owned())),
            "it is not understood",
        ),
        (Box::new(content(String::new())), "it is not understood"),
    ];
    if rustix::process::geteuid().is_root() {
        cases.push((
            Box::new(|file| std::os::unix::fs::chown(file, Some(12_345), None).unwrap()),
            "it is owned by user 12345",
        ));
    }
    for (damage, said) in cases {
        world.switch.signal("TERM");
        world.switch.wait();
        std::fs::remove_file(&world.file).unwrap();
        std::fs::write(&world.file, &good).unwrap();
        mode(0o600)(&world.file);
        damage(&world.file);
        world.switch = start(&world.servers, &world.file);
        assert_eq!(world.states()[2], UP, "{said}");
        let log = world.switch.log();
        let lines: Vec<&str> = log
            .lines()
            .filter(|line| line.contains("is not used"))
            .collect();
        assert_eq!(lines.len(), 1, "{log}");
        assert!(lines[0].contains(said), "{log}");
        // It is replaced by one that can be used.
        until("it is written", || world.status().writes > 0);
        world.restart("TERM");
        assert!(!world.switch.log().contains("is not used"));
    }
}

#[test]
fn with_a_full_disk_it_serves_on_and_says_so_once() {
    let disk = Disk::new();
    let file = disk.path().join("state");
    let servers: Vec<Python> = ["a", "b", "c"].map(Python::start).into();
    let switch = start(&servers, &file);
    let world = World {
        servers,
        switch,
        file,
        _folder: tempfile::tempdir().unwrap(),
    };
    until("it is written", || world.status().writes > 0);
    let before = world.text();
    disk.fill();
    world.set_weight(5);
    until("it has failed again and again", || {
        world.status().failures >= 3
    });
    curl().ok(&(world.switch.url("web") + "/echo"));
    assert!(world.status().error.is_some());
    assert_eq!(world.text(), before, "the old one is whole");
    let said = |what: &str| world.switch.log().matches(what).count();
    assert_eq!(said("cannot be written, it is tried on"), 1);
    let (code, metrics) = world.switch.admin("GET", "/metrics", "");
    assert_eq!(code, 200);
    assert!(!metrics.contains("state_file_writes_total{result=\"failed\"} 0\n"));
    disk.clear();
    until("it is written again", || {
        world.text().contains("\"weight\": 5")
    });
    until("it says so", || said("is written again") == 1);
    assert_eq!(world.status().error, None);
}
