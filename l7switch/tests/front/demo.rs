// SPDX-License-Identifier: MIT
//! The demonstration: what it prints to try is true.

use std::net::SocketAddr;
use std::process::Stdio;

use l7switch::demo;
use l7switch::switch::Options;
use l7switch::switch::Switch;
use tokio::process::Command;

const QUICKSTART: &str = include_str!("../../../rules/examples/quickstart.toml");

/// Addresses that are free now, all different.
fn free<const N: usize>() -> [SocketAddr; N] {
    let probes = [(); N].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    probes.map(|probe| probe.local_addr().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_that_it_prints_lead_where_they_say() {
    let [web, one, two, three] = free();
    // The quickstart with other ports: its own may be in use.
    let text = [
        ("127.0.0.1:8080", web),
        ("127.0.0.1:9001", one),
        ("127.0.0.1:9002", two),
        ("127.0.0.1:9003", three),
    ]
    .iter()
    .fold(QUICKSTART.to_owned(), |text, (from, to)| {
        text.replace(from, &to.to_string())
    });
    let rules = l7switch_rules::load_text("quickstart.toml", &text).unwrap();
    let model = rules.model.clone();
    demo::start_servers(&model).unwrap();
    let _switch = Switch::start(rules, None, &Options::default()).unwrap();
    let lines = demo::curl_lines(&model);
    assert_eq!(lines.len(), 5);
    for line in lines {
        let (command, promise) = line.split_once("# route ").unwrap();
        let (_, who) = promise.split_once(": ").unwrap();
        let out = Command::new("sh")
            .args(["-c", &command.replacen("curl", "curl -sS", 1)])
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        let answer = String::from_utf8(out.stdout).unwrap();
        let first = answer.lines().next().unwrap_or_default();
        if who == "the switch itself" {
            assert_eq!(first, "l7switch quickstart", "{line}");
        } else {
            let server = first.strip_prefix("server ").unwrap_or_default();
            assert!(
                who.split(" or ").any(|one| one == server),
                "{line}: {answer}"
            );
        }
    }
}
