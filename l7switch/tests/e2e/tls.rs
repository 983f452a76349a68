// SPDX-License-Identifier: MIT
//! TLS that the switch terminates: the certificate by server name, versions, ALPN, new certificates by
//! reload.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::support::certs::Authority;
use crate::support::certs::entry;
use crate::support::curl::Answer;
use crate::support::curl::curl;
use crate::support::process::program;
use crate::support::python::Echo;
use crate::support::python::Python;
use crate::support::raw::Raw;
use crate::support::switch::Switch;
use crate::support::switch::list;
use crate::support::until;

pub(crate) fn rules(pairs: &[(PathBuf, PathBuf)], python: &Python) -> String {
    let entries: Vec<String> = pairs.iter().map(entry).collect();
    format!(
        "[service.web]\nlisten = '127.0.0.1:0'\nprotocol = 'https'\ncertificates = [{}]\n\
         [[service.web.route]]\npool = 'main'\n[pool.main]\nservers = {}\n",
        entries.join(", "),
        list(&[python.address])
    )
}

/// What `openssl s_client` tells of a handshake.
pub(crate) fn handshake(address: SocketAddr, arguments: &[&str]) -> String {
    let out = program("openssl", "openssl")
        .args(["s_client", "-connect", &address.to_string()])
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    format!(
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    )
}

pub(crate) fn ask(
    switch: &Switch,
    authority: &Authority,
    name: &str,
    arguments: &[&str],
) -> Answer {
    let port = switch.address("web").port();
    curl()
        .arg("--cacert")
        .arg(authority.file())
        .args(["--resolve", &format!("{name}:{port}:127.0.0.1")])
        .args(arguments)
        .get(&format!("https://{name}:{port}/echo"))
}

#[test]
fn the_certificate_by_server_name() {
    let authority = Authority::new();
    let pairs = [
        authority.issue(&["first.example"]),
        authority.issue(&["second.example"]),
        authority.issue(&["*.wild.example"]),
    ];
    let python = Python::start("python");
    let switch = Switch::start(&rules(&pairs, &python));
    let address = switch.address("web");
    for (asked, shown) in [
        ("first.example", "first.example"),
        ("second.example", "second.example"),
        ("SECOND.example", "second.example"),
        ("a.wild.example", "any.wild.example"),
        ("unknown.example", "first.example"),
    ] {
        let told = handshake(address, &["-servername", asked]);
        assert!(
            told.contains(&format!("subject=CN = {shown}")),
            "{asked}: {told}"
        );
    }
    let told = handshake(address, &["-noservername"]);
    assert!(told.contains("subject=CN = first.example"), "{told}");
    for name in ["first.example", "second.example", "a.wild.example"] {
        let answer = ask(&switch, &authority, name, &[]);
        assert_eq!(
            (answer.exit, answer.status),
            (0, 200),
            "{name}: {}",
            answer.errors
        );
        let echo = Echo::parse(&answer.body);
        assert_eq!(echo.field("x-forwarded-proto"), "https");
    }
    // CURLE_PEER_FAILED_VERIFICATION
    assert_eq!(ask(&switch, &authority, "unknown.example", &[]).exit, 60);
}

#[test]
fn versions_and_alpn() {
    let authority = Authority::new();
    let python = Python::start("python");
    let switch = Switch::start(&rules(&[authority.issue(&["a.example"])], &python));
    for (arguments, version) in [
        (&["--http1.1", "--tls-max", "1.2"][..], "1.1"),
        (&["--http1.1", "--tlsv1.3"], "1.1"),
        (&["--http2", "--tls-max", "1.2"], "2"),
        (&["--http2", "--tlsv1.3"], "2"),
        (&["--no-alpn"], "1.1"),
    ] {
        let answer = ask(&switch, &authority, "a.example", arguments);
        assert_eq!(
            (answer.exit, answer.version.as_str()),
            (0, version),
            "{arguments:?}"
        );
    }
    let told = handshake(
        switch.address("web"),
        &["-alpn", "h2,http/1.1", "-servername", "a.example"],
    );
    assert!(told.contains("ALPN protocol: h2"), "{told}");
    let told = handshake(
        switch.address("web"),
        &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"],
    );
    assert!(
        told.contains("SSL alert number") && told.contains("Cipher is (NONE)"),
        "{told}"
    );
}

#[test]
fn clear_text_is_refused() {
    let authority = Authority::new();
    let python = Python::start("python");
    let switch = Switch::start(&rules(&[authority.issue(&["a.example"])], &python));
    let mut client = Raw::connect(switch.address("web")).unwrap();
    client
        .send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
        .unwrap();
    let rest = String::from_utf8(client.rest().unwrap()).unwrap();
    assert!(rest.starts_with("HTTP/1.1 400 "), "{rest}");
    assert!(python.seen().is_empty());
    assert_eq!(ask(&switch, &authority, "a.example", &[]).status, 200);
}

#[test]
fn a_reload_brings_new_certificates() {
    let authority = Authority::new();
    let python = Python::start("python");
    let switch = Switch::start(&rules(&[authority.issue(&["old.example"])], &python));
    assert_eq!(ask(&switch, &authority, "old.example", &[]).status, 200);
    switch.reload(&rules(&[authority.issue(&["new.example"])], &python));
    assert_eq!(ask(&switch, &authority, "new.example", &[]).status, 200);
    assert_eq!(ask(&switch, &authority, "old.example", &[]).exit, 60);
}

/// Certificate and key are replaced, one after the other, and nobody says so.
#[test]
fn a_renewed_certificate_is_seen() {
    let authority = Authority::new();
    let python = Python::start("python");
    let pair = authority.issue(&["old.example"]);
    let switch = Switch::start_with(&rules(std::slice::from_ref(&pair), &python), &["--watch"]);
    assert_eq!(ask(&switch, &authority, "old.example", &[]).status, 200);
    let fresh = authority.issue(&["new.example"]);
    for (from, to) in [(&fresh.0, &pair.0), (&fresh.1, &pair.1)] {
        let beside = to.with_extension("fresh");
        std::fs::copy(from, &beside).unwrap();
        std::fs::rename(&beside, to).unwrap();
    }
    until("the new one is served", || {
        ask(&switch, &authority, "new.example", &[]).status == 200
    });
    assert_eq!(ask(&switch, &authority, "old.example", &[]).exit, 60);
}

#[test]
fn a_megabyte_each_way_over_tls() {
    let authority = Authority::new();
    let python = Python::start("python");
    let switch = Switch::start(&rules(&[authority.issue(&["a.example"])], &python));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, crate::support::pattern(5_000_000)).unwrap();
    let hash = crate::support::sha256(&file);
    let port = switch.address("web").port();
    for version in ["--http1.1", "--http2"] {
        let base = || {
            curl()
                .args([version, "--cacert"])
                .arg(authority.file())
                .args(["--resolve", &format!("a.example:{port}:127.0.0.1")])
        };
        let url = format!("https://a.example:{port}");
        let answer = base().upload_stream(&file).ok(&format!("{url}/echo"));
        assert_eq!(Echo::parse(&answer.body).sha256, hash, "{version}");
        let answer = base().ok(&format!("{url}/length?bytes=5000000"));
        assert!(
            answer.body == crate::support::pattern(5_000_000),
            "{version}"
        );
    }
}

#[test]
fn an_upgrade_over_tls() {
    let authority = Authority::new();
    let python = Python::start("python");
    let switch = Switch::start(&rules(&[authority.issue(&["a.example"])], &python));
    let port = switch.address("web").port();
    let answer = curl()
        .arg("--cacert")
        .arg(authority.file())
        .args([
            "--http1.1",
            "-N",
            "--resolve",
            &format!("a.example:{port}:127.0.0.1"),
        ])
        .args(["-H", "Connection: Upgrade", "-H", "Upgrade: parrot"])
        .get(&format!("https://a.example:{port}/speak?text=hello"));
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (101, "hello"),
        "{answer:?}"
    );
}

/// Servers are told what the handshake was, by variables.
#[test]
fn what_the_handshake_has_told() {
    let authority = Authority::new();
    let python = Python::start("python");
    let pair = authority.issue(&["first.example"]);
    let fields = "request_headers = { set = { X-Told = '$server_name $tls_version $scheme' } }\n";
    let switch = Switch::start(
        &rules(&[pair], &python).replace("pool = 'main'\n", &format!("pool = 'main'\n{fields}")),
    );
    for (arguments, version) in [
        (["--http1.1", "--tls-max", "1.2"], "TLSv1.2"),
        (["--http2", "--tlsv1.3", "--compressed"], "TLSv1.3"),
    ] {
        let answer = ask(&switch, &authority, "first.example", &arguments);
        let echo = Echo::parse(&answer.body);
        let expected = format!("first.example {version} https");
        assert_eq!(echo.field("x-told"), expected);
    }
}
