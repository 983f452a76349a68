// SPDX-License-Identifier: MIT
//! Starting: what is printed, and what two switches on one machine do to each other.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use crate::support::curl::curl;
use crate::support::free_port;
use crate::support::process::Process;
use crate::support::process::run;

fn rules(folder: &Path, name: &str) -> (std::path::PathBuf, String) {
    let address = free_port(Ipv4Addr::LOCALHOST);
    let file = folder.join(name);
    let text = format!(
        "[service.web]\nlisten = '{address}'\n[[service.web.route]]\nrespond = {{ status = 200, body = '{name}' }}\n"
    );
    std::fs::write(&file, text).unwrap();
    (file, format!("http://{address}/"))
}

fn switch(runtime_dir: &Path, rules: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_l7switch"));
    command
        .arg(rules)
        .env("XDG_RUNTIME_DIR", runtime_dir)
        .env_remove("L7SWITCH_ADMIN");
    command
}

#[test]
fn two_switches_do_not_fight_over_the_usual_admin_socket() {
    let folder = tempfile::tempdir().unwrap();
    let (first_rules, first_url) = rules(folder.path(), "first.toml");
    let (second_rules, second_url) = rules(folder.path(), "second.toml");
    let first = Process::start(switch(folder.path(), &first_rules));
    first.line("l7switch: ready");
    let second = Process::start(switch(folder.path(), &second_rules));
    second.line("l7switch: ready");
    assert_eq!(curl().get(&first_url).text(), "first.toml");
    assert_eq!(curl().get(&second_url).text(), "second.toml");
    // The socket is still the first one's.
    let socket = folder.path().join("l7switch.sock");
    let status = run(
        "curl",
        "curl",
        [
            "-s",
            "--unix-socket",
            socket.to_str().unwrap(),
            "http://l7switch/v1/status",
        ],
    );
    assert!(
        status.contains(&format!("\"pid\":{}", first.id())),
        "{status}"
    );
    // One that is asked for is another matter.
    let out = switch(folder.path(), &second_rules)
        .arg("--admin")
        .arg(&socket)
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(1));
}

#[test]
fn no_folder_for_the_usual_admin_socket() {
    let folder = tempfile::tempdir().unwrap();
    let (rules, url) = rules(folder.path(), "only.toml");
    let running = Process::start(switch(&folder.path().join("absent"), &rules));
    running.line("l7switch: ready");
    assert_eq!(curl().get(&url).text(), "only.toml");
}
