// SPDX-License-Identifier: MIT
//! `l7ctl check` looks names of servers up.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::net::SocketAddr;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;

/// A name server that has one address, 10.0.0.9, for names that begin with `known`, and says of all others that they do not exist
/// (RFC 1035, 4.1).
fn name_server() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            // Header and question; what stands behind them is left away.
            let name = buffer[12..length].iter().position(|&byte| byte == 0);
            let question = 12 + name.unwrap() + 5;
            let mut answer = buffer[..question].to_vec();
            let is_known = answer[13..].starts_with(b"known");
            let has_address = is_known && answer[question - 3] == 1;
            answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
            if !is_known {
                answer[3] |= 3;
            }
            if has_address {
                answer[7] = 1;
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, 9]);
            }
            socket.send_to(&answer, peer).unwrap();
        }
    });
    address
}

fn check(rules: &Path, options: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_l7ctl"));
    let output = command.arg("check").args(options).arg(rules).output();
    let output = output.unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
    )
}

#[test]
fn names_that_are_not_resolved_are_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.toml");
    let text = "[service.web]\nlisten = '127.0.0.1:8080'\nroute = [{ pool = 'p' }]\n[pool.p]\n\
                servers = ['known.example:80', 'unknown.example:80', 'srv:_http._tcp.unknown.example', '10.0.0.1:80']\n";
    std::fs::write(&rules, text).unwrap();
    let server = name_server().to_string();
    let (code, text) = check(&rules, &["--name-server", &server]);
    assert_eq!(code, Some(0), "{text}");
    let said = text.matches("is not resolved: there is no such name");
    assert_eq!(said.count(), 2, "{text}");
    for part in [
        "`unknown.example`",
        "`srv:_http._tcp.unknown.example`",
        "rules.toml:5:32",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (code, text) = check(&rules, &["--name-server", &server, "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, answer["ok"].as_bool()), (Some(0), Some(true)));
    let warnings = answer["warnings"].as_array().unwrap();
    assert!(warnings.iter().all(|w| w["code"] == "unresolved"), "{text}");
    assert_eq!(warnings.len(), 2);
    let (code, text) = check(&rules, &["--offline"]);
    assert_eq!(code, Some(0));
    assert!(!text.contains("resolved"), "{text}");
    // What nobody answers.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    let (code, text) = check(&rules, &["--name-server", &silent]);
    assert_eq!(code, Some(0));
    assert_eq!(text.matches("is not resolved: no ").count(), 3, "{text}");
}
