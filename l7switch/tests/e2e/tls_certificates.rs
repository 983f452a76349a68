// SPDX-License-Identifier: MIT
//! Certificates with keys of several kinds, and certificates of clients, as OpenSSL and curl see them.

use std::path::Path;
use std::path::PathBuf;

use crate::support::certs::Authority;
use crate::support::process::program;
use crate::support::python::Echo;
use crate::support::python::Python;
use crate::support::switch::Switch;
use crate::tls::ask;
use crate::tls::handshake;
use crate::tls::rules;

/// What openssl prints.
fn openssl(arguments: &[&str]) -> String {
    let out = program("openssl", "openssl")
        .args(arguments)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

/// A self-signed certificate; `key`: as `-newkey` and `-pkeyopt` have it.
fn make(folder: &Path, stem: &str, key: &[&str], subject: &str) -> (PathBuf, PathBuf) {
    let path = |end: &str| folder.join(format!("{stem}.{end}"));
    let (cert, secret) = (path("pem"), path("key"));
    let mut arguments = vec![
        "req", "-x509", "-nodes", "-days", "2", "-utf8", "-subj", subject,
    ];
    arguments.extend(["-addext", "subjectAltName=DNS:a.example"]);
    // As its own authority it is good, as an authority it would be no client.
    arguments.extend(["-addext", "basicConstraints=critical,CA:FALSE", "-newkey"]);
    arguments.extend(key);
    arguments.extend([
        "-out",
        cert.to_str().unwrap(),
        "-keyout",
        secret.to_str().unwrap(),
    ]);
    openssl(&arguments);
    (cert, secret)
}

const P256: &[&str] = &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];

#[test]
fn the_kind_of_key_that_the_client_takes() {
    let folder = tempfile::tempdir().unwrap();
    let python = Python::start("python");
    let p521 = ["ec", "-pkeyopt", "ec_paramgen_curve:P-521"];
    let pairs = [
        make(folder.path(), "ec", P256, "/CN=ec"),
        make(folder.path(), "rsa", &["rsa:2048"], "/CN=rsa"),
        make(folder.path(), "p521", &p521, "/CN=p521"),
    ];
    let switch = Switch::start(&rules(&pairs, &python));
    let address = switch.address("web");
    for (arguments, shown) in [
        (&["-servername", "a.example"][..], "ec"),
        (&["-noservername"], "ec"),
        (&["-tls1_3", "-sigalgs", "RSA-PSS+SHA256"], "rsa"),
        (&["-tls1_3", "-sigalgs", "ECDSA+SHA512"], "p521"),
        (
            &["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"],
            "rsa",
        ),
        (
            &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"],
            "ec",
        ),
    ] {
        let told = handshake(address, arguments);
        assert!(
            told.contains(&format!("subject=CN = {shown}\n")),
            "{arguments:?}: {told}"
        );
        assert!(!told.contains("Cipher is (NONE)"), "{arguments:?}: {told}");
    }
}

#[test]
fn a_client_certificate_as_openssl_shows_it() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let python = Python::start("python");
    let fields = "request_headers = { set = { X-Subject = '$client_subject', \
                  X-Fingerprint = '$client_fingerprint', X-Verified = '$client_verified' } }\n";
    let subject = "/C=DE/O=Example, Inc./OU=a+b \"c\" <d>;/CN=#alice\\/admin ";
    let (cert, key) = make(folder.path(), "client", P256, subject);
    let clients = format!("client_certificates = {{ ca = '{}' }}\n", cert.display());
    let text = rules(&[authority.issue(&["a.example"])], &python)
        .replace("[[", &format!("{clients}[["))
        .replace("pool = 'main'\n", &format!("pool = 'main'\n{fields}"));
    let switch = Switch::start(&text);
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let told = |arguments: &[&str]| {
        let mut all = vec!["x509", "-noout", "-in", cert];
        all.extend(arguments);
        let text = openssl(&all);
        text.split_once('=').unwrap().1.to_owned()
    };
    for version in ["--http1.1", "--http2"] {
        let answer = ask(
            &switch,
            &authority,
            "a.example",
            &[version, "--cert", cert, "--key", key],
        );
        assert_eq!((answer.exit, answer.status), (0, 200), "{}", answer.errors);
        let echo = Echo::parse(&answer.body);
        assert_eq!(
            echo.field("x-subject"),
            told(&["-subject", "-nameopt", "RFC2253"])
        );
        let fingerprint = told(&["-fingerprint", "-sha256"]).replace(':', "");
        assert_eq!(echo.field("x-fingerprint"), fingerprint.to_lowercase());
        assert_eq!(echo.field("x-verified"), "yes");
    }
    // CURLE_SSL_CLIENTCERT or CURLE_RECV_ERROR, by when the version tells it.
    for version in [&["--tlsv1.3"][..], &["--tls-max", "1.2"]] {
        let answer = ask(&switch, &authority, "a.example", version);
        assert!([56, 98].contains(&answer.exit), "{answer:?}");
    }
    let refused = &switch.status().services["web"].refused;
    assert_eq!(refused.get("client_certificate"), Some(&2));
}

#[test]
fn an_ocsp_response_that_openssl_takes() {
    let folder = tempfile::tempdir().unwrap();
    let python = Python::start("python");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (cert, key) = make(folder.path(), "leaf", P256, "/CN=leaf");
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let serial = openssl(&["x509", "-noout", "-serial", "-in", cert]);
    let serial = serial.trim_start_matches("serial=");
    // The index of openssl-ca: status, expiry, revocation, serial, file, subject.
    let index = format!("V\t491231235959Z\t\t{serial}\tunknown\t/CN=leaf\n");
    std::fs::write(path("index"), index).unwrap();
    let ask = [
        "ocsp",
        "-no_nonce",
        "-issuer",
        cert,
        "-cert",
        cert,
        "-reqout",
    ];
    openssl(&[&ask[..], &[&path("ask")]].concat());
    let answer = [
        "ocsp", "-ndays", "2", "-CA", cert, "-rsigner", cert, "-rkey", key,
    ];
    let files = [
        "-index",
        &path("index"),
        "-reqin",
        &path("ask"),
        "-respout",
        &path("ocsp"),
    ];
    openssl(&[&answer[..], &files].concat());
    let pair = [(cert.into(), key.into())];
    let text =
        rules(&pair, &python).replace("key = ", &format!("ocsp = '{}', key = ", path("ocsp")));
    let switch = Switch::start(&text);
    for version in ["-tls1_2", "-tls1_3"] {
        let told = handshake(switch.address("web"), &[version, "-status"]);
        assert!(told.contains("OCSP Response Status: successful"), "{told}");
        assert!(told.contains("Cert Status: good"), "{told}");
    }
}

#[test]
fn openssl_resumes_its_session_after_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let python = Python::start("python");
    let text = rules(&[make(folder.path(), "leaf", P256, "/CN=leaf")], &python);
    let switch = Switch::start(&text);
    let session = folder.path().join("session").display().to_string();
    let told = handshake(switch.address("web"), &["-tls1_2", "-sess_out", &session]);
    assert!(told.contains("New, TLSv1.2"), "{told}");
    switch.reload(&text);
    let told = handshake(switch.address("web"), &["-tls1_2", "-sess_in", &session]);
    assert!(told.contains("Reused, TLSv1.2"), "{told}");
}
