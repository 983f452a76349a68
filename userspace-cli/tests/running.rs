// SPDX-License-Identifier: MIT
//! l7ctl against a running switch.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::path::PathBuf;
use std::process::Command;
use std::process::Output;

use l7switch::admin::Admin;
use l7switch::switch::Options;
use l7switch::switch::Switch;
use serde_json::Value;

fn l7ctl(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_l7ctl"))
        .args(args)
        .env_remove("L7SWITCH_ADMIN")
        .output()
        .unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A switch in this process, with its admin socket.
struct Running {
    _runtime: tokio::runtime::Runtime,
    _admin: Admin,
    _folder: tempfile::TempDir,
    socket: PathBuf,
    rules: PathBuf,
}

const RULES: &str = "[service.web]
listen = \"127.0.0.1:LISTEN\"
[[service.web.route]]
pool = \"one\"
[[service.web.route]]
path = { prefix = \"/two\" }
pool = \"two\"
[pool.one]
servers = [\"127.0.0.1:1\", { address = \"127.0.0.1:2\", weight = 3 }]
[pool.two]
servers = [\"127.0.0.1:1\", \"[::1]:2\"]
";

fn running() -> Running {
    // Rules name no port 0: one that is free now.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.toml");
    std::fs::write(&rules, RULES.replace("LISTEN", &port.to_string())).unwrap();
    let socket = folder.path().join("admin.sock");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let admin = runtime.block_on(async {
        let set = l7switch_rules::load(&rules).unwrap();
        let switch = Switch::start(set, Some(rules.clone()), &Options::default()).unwrap();
        Admin::start(switch, &socket).await.unwrap()
    });
    Running {
        _runtime: runtime,
        _admin: admin,
        _folder: folder,
        socket,
        rules,
    }
}

impl Running {
    fn l7ctl(&self, args: &[&str]) -> Output {
        let socket = self.socket.to_str().unwrap();
        l7ctl(&[&["--admin", socket], args].concat())
    }

    fn server(&self, pool: &str, address: &str) -> Value {
        let servers = json(&self.l7ctl(&["servers", "--json"]));
        let all = servers["servers"].as_array().unwrap().clone();
        all.into_iter()
            .find(|s| s["pool"] == pool && s["address"] == address)
            .unwrap()
    }
}

#[test]
fn a_running_switch_is_shown_and_changed() {
    let switch = running();
    let status = switch.l7ctl(&["status"]);
    assert_eq!(status.status.code(), Some(0));
    assert!(out(&status).contains("generation 1"), "{}", out(&status));
    assert_eq!(json(&switch.l7ctl(&["status", "--json"]))["generation"], 1);

    let drained = switch.l7ctl(&["drain", "127.0.0.1:1"]);
    assert!(drained.status.success());
    assert_eq!(
        out(&drained).matches("draining").count(),
        2,
        "in both pools"
    );
    assert!(
        switch
            .l7ctl(&["undrain", "two/127.0.0.1:1"])
            .status
            .success()
    );
    assert!(
        switch
            .l7ctl(&["weight", "one/127.0.0.1:2", "7"])
            .status
            .success()
    );
    assert!(switch.l7ctl(&["drain", "[::1]:2"]).status.success());

    // What was changed by hand survives a reload.
    let reloaded = switch.l7ctl(&["reload"]);
    assert_eq!(out(&reloaded), "reloaded: generation 2\n");
    assert_eq!(switch.server("one", "127.0.0.1:1")["state"], "draining");
    assert_eq!(switch.server("two", "127.0.0.1:1")["state"], "up");
    assert_eq!(switch.server("two", "[::1]:2")["state"], "draining");
    assert_eq!(switch.server("one", "127.0.0.1:2")["effective_weight"], 7);
    assert!(
        switch
            .l7ctl(&["weight", "127.0.0.1:2", "default"])
            .status
            .success()
    );
    assert_eq!(switch.server("one", "127.0.0.1:2")["effective_weight"], 3);

    // Disabled, it gets nothing more, of nobody.
    for (command, state) in [
        ("disable", "down"),
        ("drain", "draining"),
        ("disable", "down"),
        ("enable", "up"),
    ] {
        let changed = switch.l7ctl(&[command, "two/127.0.0.1:1"]);
        assert!(changed.status.success());
        assert_eq!(switch.server("two", "127.0.0.1:1")["state"], state);
    }

    let unknown = switch.l7ctl(&["drain", "127.0.0.1:9"]);
    assert_eq!(unknown.status.code(), Some(2));
    let message = String::from_utf8(unknown.stderr).unwrap();
    assert!(message.contains("127.0.0.1:2"), "{message}");
}

/// What an operator looks at: servers with why, routes, events, certificates; once, and again and again.
#[test]
fn what_happens_is_shown() {
    let switch = running();
    assert_eq!(out(&switch.l7ctl(&["events"])), "nothing has happened\n");
    assert!(switch.l7ctl(&["drain", "one/127.0.0.1:1"]).status.success());
    let servers = out(&switch.l7ctl(&["servers"]));
    assert!(servers.contains("\n    by an administrator\n"), "{servers}");
    let drained = switch.server("one", "127.0.0.1:1");
    assert_eq!(drained["why"], "by an administrator");
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let since = drained["since"].as_u64().unwrap();
    assert!((now - 60..=now).contains(&since), "{since} {now}");

    let events = switch.l7ctl(&["events"]);
    let text = out(&events);
    assert!(
        text.contains("server_changed  one/127.0.0.1:1\n    drained by an administrator\n"),
        "{text}"
    );
    let events = json(&switch.l7ctl(&["events", "--json"]));
    assert_eq!(events["events"][0]["count"], 1);

    let watched =
        out(&switch.l7ctl(&["servers", "--watch", "--interval", "100ms", "--count", "2"]));
    assert_eq!(watched.matches("REQ/S").count(), 1, "{watched}");
    assert_eq!(watched.matches("TOTAL").count(), 1, "{watched}");
    let routes = out(&switch.l7ctl(&["routes"]));
    assert!(routes.contains("\n    path prefix /two\n"), "{routes}");
    let routes = json(&switch.l7ctl(&["routes", "web", "--json"]));
    assert_eq!(routes["routes"][1]["action"], "pool two");
    assert_eq!(switch.l7ctl(&["routes", "none"]).status.code(), Some(2));
    let none = "no service has a certificate\n";
    assert_eq!(out(&switch.l7ctl(&["certs"])), none);
    assert_eq!(
        json(&switch.l7ctl(&["certs", "--json"])),
        serde_json::json!({})
    );
    for wrong in [
        &["servers", "--count", "2"][..],
        &["routes", "--json", "--watch"],
        &["servers", "--watch", "--interval", "1ms"],
    ] {
        assert_eq!(switch.l7ctl(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn a_service_is_closed_for_maintenance() {
    let switch = running();
    let status = json(&switch.l7ctl(&["status", "--json"]));
    let services = status["services"].as_object().unwrap();
    let name = services.keys().next().unwrap().as_str();
    let maintain = |rest: &[&str]| switch.l7ctl(&[&["maintenance", name], rest].concat());
    let said = |rest: &[&str]| out(&maintain(rest));
    let closed = format!("{name}: closed for maintenance by an administrator");
    assert_eq!(said(&["on"]), format!("{closed}\n"));
    assert!(out(&switch.l7ctl(&["status"])).contains(&format!("service {closed}\n")));
    let but = ["on", "--except", "192.0.2.0/24", "--except", "::1/128"];
    assert_eq!(
        said(&but),
        format!("{closed}, but to 192.0.2.0/24, ::1/128\n")
    );
    assert_eq!(
        said(&["off"]),
        format!("{name}: opened by an administrator\n")
    );
    assert_eq!(said(&["default"]), format!("{name}: open\n"));
    for wrong in [
        &["off", "--except", "::1/128"][..],
        &["on", "--except", "x"],
        &["maybe"],
    ] {
        assert_eq!(maintain(wrong).status.code(), Some(2), "{wrong:?}");
    }
    assert_eq!(
        switch.l7ctl(&["maintenance", "none", "on"]).status.code(),
        Some(2)
    );
}

#[test]
fn a_refused_reload_says_why() {
    let switch = running();
    std::fs::write(&switch.rules, "[service.web]\nlisten = 5\n").unwrap();
    let refused = switch.l7ctl(&["reload"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        out(&refused).contains("rules.toml:2:10"),
        "{}",
        out(&refused)
    );
    let status = json(&switch.l7ctl(&["status", "--json"]));
    assert_eq!(status["generation"], 1);
    assert_eq!(status["reload_failures"], 1);
    assert!(out(&switch.l7ctl(&["status"])).contains("the last reload was refused"));
}

#[test]
fn explain_asks_the_running_switch_where_no_file_is_given() {
    let switch = running();
    let services = json(&switch.l7ctl(&["status", "--json"]));
    let name = services["services"].as_object().unwrap().keys().next();
    let listen = services["services"][name.unwrap()]["listen"][0].as_str();
    let url = format!("http://{}/", listen.unwrap());
    let drained = switch.l7ctl(&["drain", "one/127.0.0.1:1"]);
    assert!(drained.status.success());
    let explained = out(&switch.l7ctl(&["explain", &url]));
    assert!(explained.contains("pool     one"), "{explained}");
    assert!(
        explained.contains("path     front: its servers have loopback addresses"),
        "{explained}"
    );
    assert!(explained.contains("draining"), "{explained}");
    let told = json(&switch.l7ctl(&["explain", &url, "--json"]));
    assert_eq!(told["servers"][0]["state"], "draining");
    let of_file = json(&l7ctl(&[
        "explain",
        switch.rules.to_str().unwrap(),
        &url,
        "--json",
    ]));
    assert_eq!(told["explanation"]["route"], of_file["route"]);
    let nonsense = switch.l7ctl(&["explain", "gopher://a/"]);
    assert_eq!(nonsense.status.code(), Some(2));
}

#[test]
fn diff_shows_what_a_reload_would_change() {
    let switch = running();
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.toml");
    let rules = std::fs::read_to_string(&switch.rules).unwrap();
    let differs = |text: String| {
        std::fs::write(&other, text).unwrap();
        let diff = switch.l7ctl(&["diff", other.to_str().unwrap()]);
        (diff.status.code(), out(&diff))
    };
    // Other words for the same are the same.
    let (code, text) = differs(rules.replace("weight = 3", "weight = 0x3, backup = false"));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.ends_with("the same as generation 1\n"), "{text}");
    let changed = rules.replace("weight = 3", "weight = 4").replace(
        "servers = [\"127.0.0.1:1\", \"[::1]:2\"]",
        "servers = [\"127.0.0.1:1\", \"[::1]:3\"]\nconnect_timeout = \"3s\"",
    );
    let (code, text) = differs(format!(
        "{changed}\n[pool.three]\nservers = \"127.0.0.1:9\"\n"
    ));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        (code, lines),
        (
            Some(1),
            vec![
                "- pools.one.servers.127.0.0.1:2.weight = 3",
                "+ pools.one.servers.127.0.0.1:2.weight = 4",
                "+ pools.three",
                "- pools.two.connect_timeout = \"2s\"",
                "+ pools.two.connect_timeout = \"3s\"",
                "- pools.two.servers.[::1]:2",
                "+ pools.two.servers.[::1]:3",
            ]
        )
    );
    let told = json(&switch.l7ctl(&["diff", other.to_str().unwrap(), "--json"]));
    assert_eq!(told["same"], false);
    assert_eq!(told["differences"].as_array().unwrap().len(), 5);
    let (code, text) = differs("[service.web]\nlisten = 5\n".to_owned());
    assert_eq!(code, Some(1));
    assert!(text.contains("other.toml:2:10"), "{text}");
}

#[test]
fn drain_waits_until_nothing_is_left() {
    let switch = running();
    let drained = switch.l7ctl(&["drain", "one/127.0.0.1:1", "--wait=5s"]);
    assert_eq!(drained.status.code(), Some(0));
    let text = out(&drained);
    assert!(text.ends_with("nothing is left\n"), "{text}");
    assert!(
        switch
            .l7ctl(&["drain", "127.0.0.1:2", "--wait"])
            .status
            .success()
    );
    let wrong = switch.l7ctl(&["drain", "127.0.0.1:2", "--wait=soon"]);
    assert_eq!(wrong.status.code(), Some(2));
}
