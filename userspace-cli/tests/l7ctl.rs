// SPDX-License-Identifier: MIT
//! l7ctl as a person or a script runs it, with rules alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::path::Path;
use std::process::Command;
use std::process::Output;

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

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/examples");
    path.join(name).to_string_lossy().into_owned()
}

fn bad(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/tests/bad");
    path.join(name).to_string_lossy().into_owned()
}

#[test]
fn the_readme_shows_what_explain_says() {
    let readme = include_str!("../../README.md");
    let shown = l7ctl(&[
        "explain",
        &example("quickstart.toml"),
        "http://127.0.0.1:8080/img/x",
        "-H",
        "Host: api.example.com",
    ]);
    let text = out(&shown);
    assert!(readme.contains(&format!("\n{text}```\n")), "{text}");
}

#[test]
fn check_tells_good_from_bad() {
    let good = l7ctl(&["check", &example("canary.toml")]);
    assert_eq!(good.status.code(), Some(0));
    assert!(out(&good).contains("valid: 1 service, 5 routes, 2 pools"));
    let good = json(&l7ctl(&["check", "--json", &example("canary.toml")]));
    assert_eq!(good["ok"], true);
    assert_eq!(good["routes"], 5);

    let wrong = l7ctl(&["check", &bad("unknown-key.toml")]);
    assert_eq!(wrong.status.code(), Some(1));
    let text = out(&wrong);
    assert!(
        text.contains("unknown key `protocl`") && text.contains("3 errors"),
        "{text}"
    );
    let wrong = l7ctl(&["check", "--json", &bad("unknown-key.toml")]);
    assert_eq!(wrong.status.code(), Some(1));
    let errors = json(&wrong)["errors"].as_array().unwrap().clone();
    assert_eq!(errors.len(), 3);
    assert_eq!(errors[0]["line"], 4);
    assert_eq!(errors[0]["help"], "did you mean `protocol`?");

    let warned = l7ctl(&["check", &bad("warnings.toml")]);
    assert_eq!(warned.status.code(), Some(0), "a warning is no error");
    assert!(out(&warned).contains("no route uses pool `unused`"));
    let absent = l7ctl(&["check", "/nonexistent/rules.toml"]);
    assert_eq!(absent.status.code(), Some(1));
    assert!(out(&absent).contains("/nonexistent/rules.toml: No such file"));
}

#[test]
fn check_reads_pages_and_keys() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let text = "[service.web]\nlisten = '127.0.0.1:1'\nerror_pages = { 404 = 'none.html' }\n\
                [[service.web.route]]\npool = 'p'\nsticky = { cookie = 'lb', key = 'key' }\n\
                [pool.p]\nservers = '10.0.0.1:80'\n";
    std::fs::write(path("rules.toml"), text).unwrap();
    std::fs::create_dir(path("key")).unwrap();
    let rules = path("rules.toml").to_string_lossy().into_owned();
    let wrong = l7ctl(&["check", &rules]);
    let text = out(&wrong);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(
        text.contains("No such file") && text.contains("rules.toml:3:23"),
        "{text}"
    );
    assert!(
        text.contains("not a regular file") && text.contains("rules.toml:6:33"),
        "{text}"
    );
    assert_eq!(
        l7ctl(&["check", "--no-files", &rules]).status.code(),
        Some(0)
    );
    std::fs::remove_dir(path("key")).unwrap();
    std::fs::write(path("key"), "a key that is long enough").unwrap();
    std::fs::write(path("none.html"), "none").unwrap();
    assert_eq!(l7ctl(&["check", &rules]).status.code(), Some(0));
}

/// A key that belongs to another certificate was found out by the front alone, at the start.
#[test]
fn check_reads_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let make = || rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
    let (pair, other) = (make(), make());
    std::fs::write(path("a.pem"), pair.cert.pem()).unwrap();
    std::fs::write(path("a.key"), other.signing_key.serialize_pem()).unwrap();
    let text = "[service.web]\nlisten = '127.0.0.1:1'\nprotocol = 'https'\n\
                certificates = { cert = 'a.pem', key = 'a.key' }\nroute = [{ respond = { status = 204 } }]\n";
    std::fs::write(path("rules.toml"), text).unwrap();
    let rules = path("rules.toml").to_string_lossy().into_owned();
    let wrong = l7ctl(&["check", &rules]);
    assert_eq!(wrong.status.code(), Some(1));
    let text = out(&wrong);
    assert!(
        text.contains("the key does not belong to the certificate"),
        "{text}"
    );
    assert!(
        text.contains("rules.toml:4:25") && text.contains("1 error"),
        "{text}"
    );
    let wrong = json(&l7ctl(&["check", "--json", &rules]));
    assert_eq!(wrong["ok"], false);
    assert_eq!(wrong["errors"][0]["code"], "bad-certificate");
    assert_eq!(wrong["errors"][0]["line"], 4);
    assert_eq!(
        l7ctl(&["check", "--no-files", &rules]).status.code(),
        Some(0)
    );
    std::fs::write(path("a.key"), pair.signing_key.serialize_pem()).unwrap();
    assert_eq!(l7ctl(&["check", &rules]).status.code(), Some(0));
}

#[test]
fn explain_has_its_keys() {
    let explained = l7ctl(&[
        "explain",
        &example("canary.toml"),
        "http://www.example.com/a?b=c",
        "-H",
        "Cookie: x=y; canary=1",
        "--json",
    ]);
    assert_eq!(explained.status.code(), Some(0));
    let answer = json(&explained);
    assert_eq!(answer["service"], "web");
    assert_eq!(answer["route"], "testers");
    assert_eq!(answer["pool"], "v2");
    assert_eq!(answer["action"], "forward");
    assert_eq!(answer["datapath"], "kernel");
    let loopback = l7ctl(&["explain", &example("quickstart.toml"), "/", "--json"]);
    assert_eq!(json(&loopback)["datapath"], "front");
    let considered = answer["considered"].as_array().unwrap();
    assert_eq!(considered.len(), 5);
    let of = |name: &str| {
        considered
            .iter()
            .find(|c| c["route"] == name)
            .unwrap()
            .clone()
    };
    assert_eq!(of("split")["beaten_by"], "more cookies");
    assert_eq!(of("asked-for")["failed"][0]["condition"], "header x-canary");
    assert_eq!(of("asked-for")["failed"][0]["found"], Value::Null);

    let by_source = l7ctl(&[
        "explain",
        &example("canary.toml"),
        "/",
        "-H",
        "Host: www.example.com",
        "--source",
        "10.20.30.1",
    ]);
    assert!(out(&by_source).contains("route    office"));
    let by_name = l7ctl(&[
        "explain",
        &example("tls-passthrough.toml"),
        "tls://203.0.113.1",
        "--sni",
        "MAIL.example.com",
        "--json",
    ]);
    assert_eq!(json(&by_name)["route"], "mail");
    let refused = l7ctl(&[
        "explain",
        &example("canary.toml"),
        "http://www.example.com/a%2f..",
        "--json",
    ]);
    assert_eq!(json(&refused)["action"], "refuse");
    assert_eq!(json(&refused)["status"], 400);
    let unnamed = l7ctl(&[
        "explain",
        &bad("warnings.toml"),
        "http://a/",
        "--service",
        "web",
        "--json",
    ]);
    assert_eq!(json(&unnamed)["route"], "#1");
    let nonsense = l7ctl(&["explain", &example("https.toml"), "gopher://a/"]);
    assert_eq!(nonsense.status.code(), Some(2));
}

#[test]
fn compile_writes_the_table_that_the_kernel_takes() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("table");
    let target = target.to_str().unwrap();
    let compiled = l7ctl(&["compile", &example("canary.toml"), "-o", target]);
    assert_eq!(compiled.status.code(), Some(0));
    assert!(out(&compiled).contains("5 routes"), "{}", out(&compiled));
    let table = std::fs::read(target).unwrap();
    assert!(table.starts_with(b"L7ST"));
    let piped = l7ctl(&["compile", &example("canary.toml"), "-o", "-"]);
    assert_eq!(piped.stdout, table);

    std::fs::remove_file(target).unwrap();
    let wrong = l7ctl(&["compile", &bad("unknown-key.toml"), "-o", target]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(wrong.stdout.is_empty());
    let message = String::from_utf8(wrong.stderr).unwrap();
    assert!(message.contains("unknown key `protocl`"), "{message}");
    assert!(!Path::new(target).exists());
}

#[test]
fn names_of_servers_are_shown_and_not_resolved() {
    let example = example("servers-by-name.toml");
    let site = l7ctl(&["explain", &example, "http://www.example.com/"]);
    let line = "pool     site  scheduler wlc: app:8080 weight 1\n";
    assert!(out(&site).contains(line), "{}", out(&site));
    let api = l7ctl(&["explain", &example, "http://www.example.com/api", "--json"]);
    let pool = &json(&api)["pools"][0];
    assert_eq!(pool["names"][0]["name"], "api.internal");
    assert_eq!(pool["names"][0]["resolve"], "one");
    assert_eq!(pool["servers"][0]["address"], "10.0.0.9:8080");
    let shop = l7ctl(&["explain", &example, "http://shop.example.com/"]);
    let line = "scheduler wlc: srv:_https._tcp.app.internal\n";
    assert!(out(&shop).contains(line), "{}", out(&shop));
    let compiled = l7ctl(&["compile", &example, "-o", "/dev/null"]);
    let line = "without servers in the table: api.internal, srv:_https._tcp.app.internal, app\n";
    assert!(out(&compiled).contains(line), "{}", out(&compiled));
}

#[test]
fn the_kernel_is_asked_only_what_can_be_asked() {
    // Rules are checked before the kernel is.
    let wrong = l7ctl(&["kernel", "load", &bad("unknown-key.toml"), "--json"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert_eq!(json(&wrong)["ok"], false);
    let nothing = l7ctl(&["kernel", "set", "127.0.0.1:80"]);
    assert_eq!(nothing.status.code(), Some(2), "neither state nor weight");
    let neither = l7ctl(&["kernel", "match"]);
    assert_eq!(neither.status.code(), Some(2), "neither URL nor bytes");
    let status = l7ctl(&["kernel", "status"]);
    // Where these tests run the module may be there or not, and the user may be allowed to ask it or not.
    if !status.status.success() {
        assert_eq!(status.status.code(), Some(2));
        let message = String::from_utf8(status.stderr).unwrap();
        assert!(
            message.contains("modprobe l7switch")
                || message.contains("CAP_NET_ADMIN")
                || message.contains("generic netlink"),
            "{message}"
        );
    }
}

#[test]
fn completions_and_man_pages_are_made() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(out(&l7ctl(&["completions", shell])).contains("explain"));
    }
    let folder = tempfile::tempdir().unwrap();
    assert!(
        l7ctl(&["man", folder.path().to_str().unwrap()])
            .status
            .success()
    );
    let page = std::fs::read_to_string(folder.path().join("l7ctl-explain.1")).unwrap();
    assert!(page.contains("source"));
    let page = std::fs::read_to_string(folder.path().join("l7ctl-kernel-set.1")).unwrap();
    assert!(page.contains("draining"));
}
