// SPDX-License-Identifier: MIT
//! Rules with certificates in files, and what is said of them.

use std::path::Path;
use std::time::Duration;
use std::time::SystemTime;

use l7switch_rules::text::diagnostic::Severity;
use rcgen::CertificateParams;
use rcgen::DistinguishedName;
use rcgen::DnType;
use rcgen::KeyPair;
use rcgen::SanType;
use rcgen::SignatureAlgorithm;
use rcgen::date_time_ymd;

use super::*;

const EC: &SignatureAlgorithm = &rcgen::PKCS_ECDSA_P256_SHA256;

/// 2030-01-01, in days since 1970.
const NEW_YEAR: u64 = 21_915;

/// A certificate that is good in 2029 and to the end of 2030-01-01.
fn make(folder: &Path, stem: &str, kind: &'static SignatureAlgorithm, names: &[&str]) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let key = KeyPair::generate_for(kind).unwrap();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = date_time_ymd(2029, 1, 1);
    params.not_after = date_time_ymd(2030, 1, 1);
    let cert = params.self_signed(&key).unwrap();
    std::fs::write(folder.join(format!("{stem}.pem")), cert.pem()).unwrap();
    std::fs::write(folder.join(format!("{stem}.key")), key.serialize_pem()).unwrap();
}

/// What is said of a service with these certificates, so many days before the end of 2029; a line of code, line and text each.
fn said(folder: &Path, stems: &[&str], more: &str, days_left: u64) -> Vec<String> {
    let certificates: Vec<String> = stems
        .iter()
        .map(|stem| format!("{{ cert = '{stem}.pem', key = '{stem}.key' }}"))
        .collect();
    let rules = folder.join("rules.toml");
    let text = format!(
        "[service.a]\nlisten = '127.0.0.1:1'\nprotocol = 'https'\ncertificates = [\n{}\n]\n{more}\n\
         [[service.a.route]]\nrespond = {{ status = 204 }}\n",
        certificates.join(",\n")
    );
    std::fs::write(&rules, text).unwrap();
    let rules = l7switch_rules::load(&rules).unwrap();
    assert!(rules.warnings.is_empty());
    let days = Duration::from_secs((NEW_YEAR - days_left) * 24 * 3600);
    let report = check(&rules, SystemTime::UNIX_EPOCH + days);
    let json = report.to_json();
    let lines = report.diagnostics().iter().zip(json.as_array().unwrap());
    lines
        .map(|(one, json)| {
            let bad = one.code == "bad-certificate";
            assert_eq!(one.severity == Severity::Error, bad);
            let message = one.message.replace(&format!("{}/", folder.display()), "");
            format!("{}:{}: {message}", json["line"], one.code)
        })
        .collect()
}

#[test]
fn time_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    make(folder, "a", EC, &["a.example"]);
    let none: [&str; 0] = [];
    assert_eq!(said(folder, &["a"], "", 14), none);
    for (days_left, says) in [
        (13, "expires on 2030-01-01T00:00:00Z"),
        (0, "expires on 2030-01-01T00:00:00Z"),
        (400, "is not good before 2029-01-01T00:00:00Z"),
    ] {
        let expected = format!("5:expiry: the certificate of a.example {says}");
        assert_eq!(said(folder, &["a"], "", days_left), [expected]);
    }
    let rules = l7switch_rules::load(&folder.join("rules.toml")).unwrap();
    let later = SystemTime::UNIX_EPOCH + Duration::from_secs((NEW_YEAR + 1) * 24 * 3600);
    let report = check(&rules, later);
    let says = &report.diagnostics()[0].message;
    assert!(says.contains("a.example expired on 2030-01-01"), "{says}");
}

#[test]
fn what_cannot_be_used_is_an_error_where_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for stem in ["a", "b", "c", "d"] {
        make(folder, stem, EC, &["a.example"]);
    }
    std::fs::copy(folder.join("a.key"), folder.join("b.key")).unwrap();
    std::fs::remove_file(folder.join("c.key")).unwrap();
    std::fs::write(folder.join("d.pem"), "none").unwrap();
    let clients = "client_certificates = { ca = 'a.key', required = false }";
    assert_eq!(
        said(folder, &["a", "b", "c", "d"], clients, 100),
        [
            "6:bad-certificate: b.pem with b.key: the key does not belong to the certificate",
            "7:bad-certificate: c.key: No such file or directory (os error 2)",
            "8:bad-certificate: d.pem: it contains no certificate",
            "10:bad-certificate: a.key: it contains no certificate",
        ]
    );
    let crl = "client_certificates = { ca = 'a.pem', crl = 'b.key' }";
    assert_eq!(
        said(folder, &["a"], crl, 100),
        ["7:bad-certificate: b.key: it contains no revocation list (X509 CRL)"]
    );
}

#[test]
fn certificates_that_are_never_shown_are_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    make(folder, "ec", EC, &["a.example", "b.example"]);
    make(folder, "rsa", &rcgen::PKCS_RSA_SHA256, &["a.example"]);
    make(
        folder,
        "p384",
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &["a.example"],
    );
    make(folder, "wild", EC, &["*.example"]);
    make(
        folder,
        "again",
        EC,
        &["c.example", "A.example", "b.example"],
    );
    assert_eq!(
        said(folder, &["ec", "rsa", "p384", "wild", "again"], "", 100),
        [
            "9:name-clash: two certificates are for a.example with the same kind of key: \
             the second, again.pem, is not used for it; the first is ec.pem"
        ]
    );
}

/// A certificate with this common name and these alternative names.
fn make_with_common_name(folder: &Path, stem: &str, common: &str, names: Vec<SanType>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common.to_owned());
    params.subject_alt_names = names;
    params.not_before = date_time_ymd(2029, 1, 1);
    params.not_after = date_time_ymd(2030, 1, 1);
    let cert = params.self_signed(&key).unwrap();
    // Certificate and key in one file: both keys of the rules may name it.
    let both = format!("{}{}", cert.pem(), key.serialize_pem());
    std::fs::write(folder.join(format!("{stem}.pem")), &both).unwrap();
    std::fs::write(folder.join(format!("{stem}.key")), both).unwrap();
}

#[test]
fn certificates_without_an_alternative_name_are_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mail = SanType::Rfc822Name("admin@a.example".try_into().unwrap());
    let name = SanType::DnsName("a.example".try_into().unwrap());
    let address = SanType::IpAddress("192.0.2.1".parse().unwrap());
    make_with_common_name(folder, "common", "a.example", Vec::new());
    make_with_common_name(folder, "mail", "a.example", vec![mail]);
    make_with_common_name(folder, "name", "b.example", vec![name]);
    make_with_common_name(folder, "address", "c.example", vec![address]);
    let said_of = |line: u32, stem: &str| {
        format!(
            "{line}:no-name: the certificate {stem}.pem (CN=a.example) has no name among its subject alternative names: \
             no client finds it by name, a common name is not looked at"
        )
    };
    assert_eq!(
        said(folder, &["common", "mail", "name", "address"], "", 100),
        [said_of(5, "common"), said_of(6, "mail")]
    );
}

/// A certificate and its key in one PEM file, as HAProxy's `crt` has it.
#[test]
fn one_file_may_be_named_twice() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let name = SanType::DnsName("a.example".try_into().unwrap());
    make_with_common_name(folder, "a", "a.example", vec![name]);
    std::fs::remove_file(folder.join("a.key")).unwrap();
    let path = folder.join("a.pem");
    let pair = Pair::read(&l7switch_rules::model::Certificate {
        cert: path.clone(),
        key: path,
        ocsp: None,
    })
    .unwrap();
    assert_eq!(pair.names, ["a.example"]);
}

#[test]
fn keys_of_every_kind_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let kinds: [&'static SignatureAlgorithm; 5] = [
        &rcgen::PKCS_RSA_SHA256,
        EC,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ECDSA_P521_SHA512,
        &rcgen::PKCS_ED25519,
    ];
    for kind in kinds {
        make(folder, "a", kind, &["a.example"]);
        let none: [&str; 0] = [];
        assert_eq!(said(folder, &["a"], "", 100), none, "{kind:?}");
    }
}

#[test]
fn files_towards_servers_are_read_too() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    make(folder, "a", EC, &["a.example"]);
    let pool = "route = [{ pool = 'p' }]\n[pool.p]\nservers = '127.0.0.1:2'\n\
                tls = { ca = 'none.pem', certificate = { cert = 'a.pem', key = 'a.key' } }\n";
    let rules = folder.join("rules.toml");
    std::fs::write(
        &rules,
        format!("[service.a]\nlisten = '127.0.0.1:1'\n{pool}"),
    )
    .unwrap();
    let rules = l7switch_rules::load(&rules).unwrap();
    let soon = SystemTime::UNIX_EPOCH + Duration::from_secs((NEW_YEAR - 1) * 24 * 3600);
    let report = check(&rules, soon);
    let codes: Vec<_> = report.diagnostics().iter().map(|one| one.code).collect();
    assert_eq!(codes, ["bad-certificate", "expiry"]);
}

/// Rules with a certificate that is ordered, and what is said of their state folder `state`: severity, code, line and text.
fn said_of_state(folder: &Path) -> Vec<String> {
    let rules = folder.join("rules.toml");
    let text = "[acme]\nterms_agreed = true\nstate = 'state'\n\
                [service.plain]\nlisten = '127.0.0.1:80'\nroute = [{ respond = { status = 204 } }]\n\
                [service.a]\nlisten = '127.0.0.1:443'\nprotocol = 'https'\n\
                certificates = [{ acme = ['a.example'] }]\nroute = [{ respond = { status = 204 } }]\n";
    std::fs::write(&rules, text).unwrap();
    let rules = l7switch_rules::load(&rules).unwrap();
    let report = check(&rules, SystemTime::UNIX_EPOCH);
    let json = report.to_json();
    let lines = report.diagnostics().iter().zip(json.as_array().unwrap());
    lines
        .map(|(one, json)| {
            assert_eq!(one.code, "bad-state");
            let message = one.message.replace(&format!("{}/", folder.display()), "");
            format!("{:?}:{}: {message}", one.severity, json["line"])
        })
        .collect()
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn the_state_folder_is_looked_at_and_not_made() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let state = folder.join("state");
    let none: [&str; 0] = [];
    assert_eq!(said_of_state(folder), none);
    assert!(!state.exists());
    std::fs::write(&state, "").unwrap();
    assert_eq!(said_of_state(folder), ["Error:3: state: this is no folder"]);
    std::fs::remove_file(&state).unwrap();
    std::fs::create_dir(&state).unwrap();
    set_mode(&state, 0o750);
    assert_eq!(
        said_of_state(folder),
        [format!(
            "Error:3: state: private keys are kept there, and others have access (mode 0750): chmod 700 {}",
            state.display()
        )
        .replace(&format!("700 {}/", folder.display()), "700 ")]
    );
    set_mode(&state, 0o700);
    assert_eq!(said_of_state(folder), none);
}

#[test]
fn files_of_the_state_folder_are_read() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let acme = l7switch_rules::model::Acme {
        directory: "https://acme-v02.api.letsencrypt.org/directory".to_owned(),
        contact: Vec::new(),
        state: folder.join("state"),
        challenge: l7switch_rules::model::Challenge::Http,
        ca: None,
        profile: None,
        external_account: None,
    };
    let opened = state::Folder::open(&acme).unwrap();
    let none: [&str; 0] = [];
    assert_eq!(said_of_state(folder), none);
    let certificate = opened.certificate(&["a.example".to_owned()]);
    let own = certificate.parent().unwrap().to_owned();
    let pause = certificate.with_extension("retry.json");
    for (path, content) in [
        (own.join("account.json"), "{"),
        (certificate.clone(), "none"),
        (pause.clone(), "[]x"),
        // Names that the rules do not have.
        (own.join("other.pem"), "none"),
    ] {
        std::fs::write(&path, content).unwrap();
        set_mode(&path, 0o600);
    }
    let found = said_of_state(folder);
    let expected = [
        ("Error:3:", "account.json: it holds no account"),
        ("Warning:3:", "it is ordered anew"),
        ("Warning:3:", "it holds no pause"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (found, (begin, part)) in found.iter().zip(expected) {
        assert!(found.starts_with(begin) && found.contains(part), "{found}");
    }
    set_mode(&certificate, 0o644);
    let found = said_of_state(folder);
    let open = "others have access (mode 0644): chmod 600";
    assert!(found[1].starts_with("Error:3:") && found[1].contains(open));
    // As the front says it.
    assert!(state::read_certificate(&certificate).is_err());
    set_mode(&own, 0o711);
    let found = said_of_state(folder);
    assert!(found.len() == 1 && found[0].contains("(mode 0711): chmod 700"));
}
