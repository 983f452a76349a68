// SPDX-License-Identifier: MIT
//! Starting: what is printed, and what two switches on one machine do to each other.

use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use crate::support::curl::curl;
use crate::support::free_port;
use crate::support::process::Process;
use crate::support::process::run;
use crate::support::until;

/// A port of `::1` that is free now.
fn free_v6() -> std::net::SocketAddr {
    let probe = std::net::TcpListener::bind("[::1]:0").unwrap();
    probe.local_addr().unwrap()
}

fn rules(folder: &Path, name: &str) -> (std::path::PathBuf, String) {
    let address = free_port(Ipv4Addr::LOCALHOST);
    let file = folder.join(name);
    let text = format!(
        "[service.web]\nlisten = '{address}'\n[[service.web.route]]\nrespond = {{ status = 200, body = '{name}' }}\n"
    );
    std::fs::write(&file, text).unwrap();
    (file, format!("http://{address}/"))
}

/// The switch in a session of a user's. Root has none; as root it runs as somebody else, who may not reach cargo's folder.
fn switch(runtime_dir: &Path, rules: &Path) -> Command {
    const SOMEBODY: u32 = 65534;
    let mut program = PathBuf::from(env!("CARGO_BIN_EXE_l7switch"));
    let folder = rules.parent().unwrap();
    let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    if is_root {
        let copy = folder.join("l7switch");
        if !copy.exists() {
            std::fs::copy(&program, &copy).unwrap();
        }
        std::os::unix::fs::chown(folder, Some(SOMEBODY), None).unwrap();
        program = copy;
    }
    let mut command = Command::new(program);
    if is_root {
        command.uid(SOMEBODY).gid(SOMEBODY);
    }
    command
        .arg(rules)
        .env("XDG_RUNTIME_DIR", runtime_dir)
        .env("L7SWITCH_KERNEL", "off")
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

/// A folder of rule files, IPv6 on both sides, a file added while the switch runs, and the access log in JSON with
/// one line for each request.
#[test]
fn a_folder_of_rules_over_ipv6_with_an_access_log() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules");
    std::fs::create_dir(&rules).unwrap();
    let (front, server) = (free_v6(), free_v6());
    let write = |name: &str, text: String| std::fs::write(rules.join(name), text).unwrap();
    write(
        "10-web.toml",
        format!("[service.web]\nlisten = '{front}'\n[pool.v6]\nservers = ['{server}']\n"),
    );
    write(
        "20-team.toml",
        "[[service.web.route]]\nname = 'team'\npath = { prefix = '/team' }\npool = 'v6'\n"
            .to_owned(),
    );
    let served = folder.path().join("served");
    std::fs::create_dir_all(served.join("team")).unwrap();
    std::fs::write(served.join("team/page"), "over IPv6").unwrap();
    let mut python = crate::support::process::program("python3", "python3");
    python
        .args(["-u", "-m", "http.server", "--bind", "::1", "--directory"])
        .arg(&served)
        .arg(server.port().to_string());
    let python = Process::start(python);
    python.line("Serving HTTP");

    let log = folder.path().join("access.log");
    let mut command = switch(folder.path(), &rules);
    command
        .args(["--log-format", "json", "--access-log"])
        .arg(&log);
    let running = Process::start(command);
    running.line("l7switch: ready");
    let url = |path: &str| format!("http://{front}{path}");
    assert_eq!(curl().get(&url("/team/page")).text(), "over IPv6");
    assert_eq!(curl().get(&url("/other")).status, 404);

    // Another team's file is taken up as soon as it is there.
    write(
        "30-other.toml",
        "[[service.web.route]]\nname = 'other'\npath = { prefix = '/other' }\nrespond = { status = 299 }\n"
            .to_owned(),
    );
    until("the new file is in force", || {
        curl().get(&url("/other")).status == 299
    });

    let lines = || -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let whole = text.lines().filter(|line| line.ends_with('}'));
        whole
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    until("the log has the last request", || {
        lines().iter().any(|line| line["status"] == 299)
    });
    let lines = lines();
    let first = &lines[0];
    assert_eq!(first["service"], "web");
    assert_eq!(first["route"], "team");
    assert_eq!(first["pool"], "v6");
    assert_eq!(first["server"], server.to_string());
    assert_eq!(first["method"], "GET");
    assert_eq!(first["path"], "/team/page");
    assert_eq!(first["status"], 200);
    assert_eq!(first["bytes_out"], 9);
    assert_eq!(first["end"], "ok");
    assert!(first["client"].as_str().unwrap().starts_with("[::1]:"));
    let second = &lines[1];
    assert_eq!(
        (&second["status"], &second["end"]),
        (&404.into(), &"no_route".into())
    );
}

/// The rules are checked, and the files that they name, while another switch has the addresses.
#[test]
fn rules_can_be_tested_without_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let (good, _) = rules(folder.path(), "good.toml");
    let running = Process::start(switch(folder.path(), &good));
    running.line("l7switch: ready");
    let test = |file: &Path, option: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_l7switch"));
        let out = command.arg(option).arg(file).output().unwrap();
        let text = [out.stdout, out.stderr].concat();
        (
            out.status.code(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    };
    for option in ["-t", "-c", "--test", "--check"] {
        let valid = (Some(0), "l7switch: the rules are valid\n".to_owned());
        assert_eq!(test(&good, option), valid);
    }
    let bad = folder.path().join("bad.toml");
    for (text, why) in [
        ("[service.web]\n", "missing"),
        (
            "[service.web]\nlisten = '127.0.0.1:1'\nprotocol = 'https'\ncertificates = { cert = 'no.pem', key = 'no.pem' }\n\
             route = [{ respond = { status = 200 } }]\n",
            "no.pem",
        ),
    ] {
        std::fs::write(&bad, text).unwrap();
        let (code, said) = test(&bad, "-t");
        assert!(code == Some(1) && said.contains(why), "{said}");
    }
}
