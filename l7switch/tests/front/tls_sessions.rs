// SPDX-License-Identifier: MIT
//! Sessions that are resumed, versions, what is stapled, and what is told of certificates.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::SystemTime;

use rustls::ClientConfig;
use rustls::DigitallySignedStruct;
use rustls::HandshakeKind;
use rustls::NamedGroup;
use rustls::SignatureScheme;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::danger::ServerCertVerified;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::UnixTime;

use crate::support::Server;
use crate::support::address;
use crate::support::field;
use crate::support::load;
use crate::support::soon;
use crate::support::start;
use crate::support::until;
use crate::tls::certificate;
use crate::tls::connect;
use crate::tls::https;
use crate::tls::write;
use crate::tls_clients::Authority;
use crate::tls_clients::ask;
use crate::tls_clients::client;
use crate::tls_clients::rules;

const FULL: Option<HandshakeKind> = Some(HandshakeKind::Full);
const RESUMED: Option<HandshakeKind> = Some(HandshakeKind::Resumed);

/// How the handshake was of a request that has been answered.
async fn kind(config: &Arc<ClientConfig>, secure: std::net::SocketAddr) -> Option<HandshakeKind> {
    let (answer, stream) = ask(config, secure).await.unwrap();
    assert!(answer.ends_with("fine"), "{answer}");
    // Not HelloRetryRequest's: the client offers what the switch prefers.
    stream.get_ref().1.handshake_kind()
}

#[tokio::test]
async fn a_session_is_resumed_after_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let (pair, ours) = (certificate(&["one.example"]), Authority::new("ours"));
    let server = Server::saying("fine").await;
    let files = write(folder.path(), "first", &pair);
    let clients = format!("ca = \"{}\", required = false", ours.file(folder.path()));
    let rules = rules(&server, files, &clients);
    let switch = start(&rules);
    let secure = address(&switch, "secure");
    let alice = ours.issue("alice", 1);
    for (version, own) in [
        (&rustls::version::TLS13, None),
        (&rustls::version::TLS12, None),
        (&rustls::version::TLS13, Some(&alice)),
        (&rustls::version::TLS12, Some(&alice)),
    ] {
        let config = client(pair.cert.der(), own, &[version]);
        assert_eq!(kind(&config, secure).await, FULL, "{version:?}");
        assert_eq!(kind(&config, secure).await, RESUMED, "{version:?}");
        switch.set(load(&rules)).unwrap();
        assert_eq!(kind(&config, secure).await, RESUMED, "{version:?}");
        // What is known of the client is known of the session that is resumed.
        let seen = server.heads().pop().unwrap();
        let verified = if own.is_some() { "yes" } else { "no" };
        assert_eq!(field(&seen, "x-verified").unwrap(), verified);
        assert_eq!(field(&seen, "x-subject").is_some(), own.is_some());
    }
    // It ends with the trust in the authority.
    let config = client(pair.cert.der(), Some(&alice), &[&rustls::version::TLS13]);
    assert_eq!(kind(&config, secure).await, FULL);
    Authority::new("new").file(folder.path());
    switch.set(load(&rules)).unwrap();
    assert!(ask(&config, secure).await.is_err());
}

/// It comes with the response, and is good for the next connection, which gets another one.
#[tokio::test]
async fn a_connection_gets_one_ticket() {
    let folder = tempfile::tempdir().unwrap();
    let pair = certificate(&["one.example"]);
    let server = Server::saying("fine").await;
    let switch = start(&https(
        server.address,
        &[write(folder.path(), "first", &pair)],
    ));
    let secure = address(&switch, "secure");
    let config = client(pair.cert.der(), None, &[&rustls::version::TLS13]);
    for expected in [FULL, RESUMED, RESUMED] {
        let (answer, stream) = ask(&config, secure).await.unwrap();
        assert!(answer.ends_with("fine"), "{answer}");
        let connection = stream.get_ref().1;
        assert_eq!(connection.handshake_kind(), expected);
        assert_eq!(connection.tls13_tickets_received(), 1);
    }
}

/// Each resumption gives new tickets: who came back often enough was believed for ever.
#[tokio::test]
async fn a_certificate_that_has_expired_is_not_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let (pair, ours) = (certificate(&["one.example"]), Authority::new("ours"));
    let server = Server::saying("fine").await;
    let files = write(folder.path(), "first", &pair);
    let clients = format!("ca = \"{}\"", ours.file(folder.path()));
    let switch = start(&rules(&server, files, &clients));
    let secure = address(&switch, "secure");
    let end = SystemTime::now() + Duration::from_secs(3);
    let short = ours.issue_until("short", 2, end);
    let both = [&rustls::version::TLS13, &rustls::version::TLS12];
    let configs = both.map(|version| client(pair.cert.der(), Some(&short), &[version]));
    for config in &configs {
        assert_eq!(kind(config, secure).await, FULL);
        assert_eq!(kind(config, secure).await, RESUMED);
    }
    soon(async {
        for config in &configs {
            while let Ok((_, stream)) = ask(config, secure).await {
                assert_eq!(stream.get_ref().1.handshake_kind(), RESUMED);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            assert!(SystemTime::now() > end - Duration::from_secs(1));
        }
    })
    .await;
    until(|| {
        let refused = &l7switch::admin::status(&switch).services["secure"].refused;
        refused.get("client_certificate") == Some(&2)
    })
    .await;
}

#[tokio::test]
async fn the_least_version_is_that_of_the_rules() {
    let folder = tempfile::tempdir().unwrap();
    let pair = certificate(&["one.example"]);
    let server = Server::saying("fine").await;
    let rules = https(server.address, &[write(folder.path(), "first", &pair)]);
    let rules = rules.replace(
        "protocol = \"https\"\n",
        "protocol = \"https\"\ntls = { min_version = \"1.3\" }\n",
    );
    let switch = start(&rules);
    let secure = address(&switch, "secure");
    let old = client(pair.cert.der(), None, &[&rustls::version::TLS12]);
    let error = ask(&old, secure).await.unwrap_err().to_string();
    assert!(error.contains("ProtocolVersion"), "{error}");
    let new = client(pair.cert.der(), None, &[&rustls::version::TLS13]);
    assert!(ask(&new, secure).await.is_ok());
    until(|| {
        let refused = &l7switch::admin::status(&switch).services["secure"].refused;
        refused.get("tls_handshake") == Some(&1)
    })
    .await;
    switch.set(load(&rules.replace("1.3", "1.2"))).unwrap();
    assert!(ask(&old, secure).await.is_ok());
}

/// Of those, the client's first choice is taken.
#[tokio::test]
async fn the_curves_are_those_of_the_rules() {
    let folder = tempfile::tempdir().unwrap();
    let pair = certificate(&["one.example"]);
    let server = Server::saying("fine").await;
    let rules = https(server.address, &[write(folder.path(), "first", &pair)]);
    let with = |curves: &str| {
        rules.replace(
            "protocol = \"https\"\n",
            &format!("protocol = \"https\"\ntls = {{ curves = {curves} }}\n"),
        )
    };
    let switch = start(&rules);
    let secure = address(&switch, "secure");
    let all = client(pair.cert.der(), None, &[&rustls::version::TLS13]);
    for (curves, expected) in [
        ("[\"P-384\", \"X25519\"]", NamedGroup::X25519),
        (
            "[\"X25519MLKEM768\", \"X25519\"]",
            NamedGroup::X25519MLKEM768,
        ),
        // None for which the client has sent a key: it is asked for another one.
        ("\"P-384\"", NamedGroup::secp384r1),
        ("\"P-256\"", NamedGroup::secp256r1),
    ] {
        switch.set(load(&with(curves))).unwrap();
        let stream = connect(&all, secure, "one.example").await.unwrap();
        let group = stream.get_ref().1.negotiated_key_exchange_group();
        assert_eq!(group.unwrap().name(), expected, "{curves}");
    }
}

/// Believes everybody, and notes what was stapled.
#[derive(Debug, Default)]
struct Stapled(Mutex<Vec<u8>>);

impl ServerCertVerifier for Stapled {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp_response: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.0.lock().unwrap() = ocsp_response.to_vec();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let provider = aws_lc_rs::default_provider();
        provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[tokio::test]
async fn an_ocsp_response_is_stapled() {
    let folder = tempfile::tempdir().unwrap();
    let pair = certificate(&["one.example"]);
    let server = Server::saying("fine").await;
    let response = folder.path().join("ocsp.der");
    let first = [0x30, 3, 0x0a, 1, 0];
    std::fs::write(&response, first).unwrap();
    let rules = https(server.address, &[write(folder.path(), "first", &pair)]).replace(
        "key = ",
        &format!("ocsp = \"{}\", key = ", response.display()),
    );
    let switch = start(&rules);
    let secure = address(&switch, "secure");
    let stapled = Arc::new(Stapled::default());
    for versions in [&[&rustls::version::TLS13], &[&rustls::version::TLS12]] {
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&stapled) as Arc<_>)
            .with_no_client_auth();
        let config = Arc::new(config);
        stapled.0.lock().unwrap().clear();
        connect(&config, secure, "one.example").await.unwrap();
        assert_eq!(*stapled.0.lock().unwrap(), first);
        // A renewed one comes with a reload; one that is none is refused, and the old one stays.
        let renewed = [0x30, 5, 0x0a, 1, 0, 0xa0, 0];
        std::fs::write(&response, renewed).unwrap();
        switch.set(load(&rules)).unwrap();
        std::fs::write(&response, "no response").unwrap();
        let error = switch.set(load(&rules)).unwrap_err().to_string();
        assert!(error.contains("ocsp.der: it contains no OCSP"), "{error}");
        let mut fresh = ClientConfig::clone(&config);
        fresh.resumption = rustls::client::Resumption::disabled();
        connect(&Arc::new(fresh), secure, "one.example")
            .await
            .unwrap();
        assert_eq!(*stapled.0.lock().unwrap(), renewed);
        std::fs::write(&response, first).unwrap();
        switch.set(load(&rules)).unwrap();
    }
}

#[tokio::test]
async fn status_and_metrics_tell_when_certificates_expire() {
    let folder = tempfile::tempdir().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["One.example".to_owned()]).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let server = Server::saying("fine").await;
    let mut pairs = Vec::new();
    // The second is an older one of the same name; 2023-01-01 and 2400-01-01.
    for (name, year) in [("new", 2400), ("old", 2023)] {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let pair = rcgen::CertifiedKey {
            cert: params.self_signed(&key).unwrap(),
            signing_key: rcgen::KeyPair::from_pem(&key.serialize_pem()).unwrap(),
        };
        pairs.push(write(folder.path(), name, &pair));
    }
    let rules = https(server.address, &pairs);
    let switch = start(&rules);
    let status = l7switch::admin::status(&switch);
    let told = &status.services["secure"].certificates;
    let expected = [
        ("one.example", 13_569_465_600),
        ("one.example", 1_672_531_200),
    ];
    assert_eq!(told.len(), 2);
    for (told, (name, end)) in told.iter().zip(expected) {
        assert_eq!((told.name.as_str(), told.not_after), (name, Some(end)));
        assert_eq!(told.not_before, Some(1_577_836_800));
    }
    assert_eq!(told[1].file.display().to_string(), pairs[1].0);
    let metrics = crate::support::metrics(&switch).await;
    let line =
        "l7switch_certificate_expiry_seconds{service=\"secure\",name=\"one.example\"} 1672531200\n";
    assert!(metrics.contains(line), "{metrics}");
    assert_eq!(metrics.matches("certificate_expiry_seconds{").count(), 1);
    let warnings = switch.set(load(&rules)).unwrap();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("`secure`: the certificate of one.example expired on 2023-01-01"));
    assert!(warnings[1].contains("two certificates are for one.example"));
}
