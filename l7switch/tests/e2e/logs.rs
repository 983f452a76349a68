// SPDX-License-Identifier: MIT
//! What the switch prints and logs: each line is of one kind, whoever reads it.

use crate::support::curl::curl;
use crate::support::process::Process;
use crate::support::switch::Switch;
use crate::support::switch::command;
use crate::support::switch::simple;
use crate::support::until;

/// Standard error in JSON: whatever is said is one line, and mistakes in rules are, too.
#[test]
fn errors_in_json_are_a_line_each() {
    let running = Switch::start_with(
        &simple(&["127.0.0.1:9".parse().unwrap()], "", ""),
        &["--error-log-format", "json"],
    );
    running.overwrite_rules("[service.web]\nlisten = '127.0.0.1:9'\npol = 'x'\n");
    running.signal("HUP");
    let lines = || -> Vec<serde_json::Value> {
        let log = running.log();
        let whole = log.lines().filter(|line| line.ends_with('}'));
        whole
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let refused = |line: &&serde_json::Value| {
        let message = line["message"].as_str().unwrap_or_default();
        message.starts_with("the reload failed") && message.contains("unknown key `pol`")
    };
    until("the reload is refused", || {
        lines().iter().any(|line| refused(&line))
    });
    assert_eq!(lines().iter().filter(refused).count(), 1);
    assert_eq!(lines().len(), running.log().lines().count());
    // At a start that fails, too.
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rules.toml"), "[service.web]\n").unwrap();
    let mut failing = command(folder.path(), &["--error-log-format", "json"]);
    let status = failing.status().unwrap();
    let errors = std::fs::read_to_string(folder.path().join("log")).unwrap();
    assert_eq!(
        (status.code(), errors.lines().count()),
        (Some(1), 1),
        "{errors}"
    );
    let line: serde_json::Value = serde_json::from_str(&errors).unwrap();
    assert!(
        line["message"].as_str().unwrap().contains("missing"),
        "{line}"
    );
}

/// The access log at standard output has nothing beside it.
#[test]
fn an_access_log_at_standard_output_stands_alone() {
    let folder = tempfile::tempdir().unwrap();
    let address = crate::support::free_port(std::net::Ipv4Addr::LOCALHOST);
    let rules = format!(
        "[service.web]\nlisten = '{address}'\nroute = [{{ respond = {{ status = 200 }} }}]\n"
    );
    std::fs::write(folder.path().join("rules.toml"), rules).unwrap();
    let template = "$method $path $status $user_agent|$scheme";
    let arguments = ["--access-log", "-", "--log-format", template];
    let running = Process::start(command(folder.path(), &arguments));
    let url = format!("http://{address}/");
    until("it serves", || curl().arg("-Aa b").get(&url).status == 200);
    assert_eq!(running.line(""), "GET / 200 a b|http");
}
