// SPDX-License-Identifier: MIT
//! Certificates of clients.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::CertificateRevocationListParams;
use rcgen::CertifiedIssuer;
use rcgen::DnType;
use rcgen::IsCa;
use rcgen::KeyIdMethod;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;
use rcgen::RevokedCertParams;
use rcgen::SerialNumber;
use rcgen::date_time_ymd;
use rustls::ALL_VERSIONS;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::SupportedProtocolVersion;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

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

/// An authority of clients.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// Its certificate, in a file.
    pub(crate) fn file(&self, folder: &Path) -> String {
        let path = folder.join("ca.pem");
        std::fs::write(&path, self.0.pem()).unwrap();
        path.display().to_string()
    }

    /// A certificate of a client.
    pub(crate) fn issue(&self, name: &str, serial: u64) -> (CertificateDer<'static>, KeyPair) {
        self.issue_until(name, serial, SystemTime::now() + Duration::from_secs(3600))
    }

    /// The same, good until then.
    pub(crate) fn issue_until(
        &self,
        name: &str,
        serial: u64,
        end: SystemTime,
    ) -> (CertificateDer<'static>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.not_after = end.into();
        params.serial_number = Some(SerialNumber::from(serial));
        params.distinguished_name = rcgen::DistinguishedName::new();
        let names = &mut params.distinguished_name;
        names.push(DnType::OrganizationName, "Example, Inc.");
        names.push(DnType::CommonName, name);
        (params.signed_by(&key, &self.0).unwrap().der().clone(), key)
    }

    /// A list of what it has revoked, in a file.
    pub(crate) fn revoke(&self, folder: &Path, serials: &[u64], next_update: i32) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(next_update, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let path = folder.join("crl.pem");
        std::fs::write(&path, list.signed_by(&self.0).unwrap().pem().unwrap()).unwrap();
        path.display().to_string()
    }
}

/// A client that believes `server`, with a certificate or without.
pub(crate) fn client(
    server: &CertificateDer<'static>,
    own: Option<&(CertificateDer<'static>, KeyPair)>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(server.clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    Arc::new(match own {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            builder
                .with_client_auth_cert(vec![cert.clone()], key)
                .unwrap()
        }
    })
}

/// Asks and reads to the end. An error is that of the handshake, which TLS 1.3 tells with the first read.
pub(crate) async fn ask(
    config: &Arc<ClientConfig>,
    address: SocketAddr,
) -> std::io::Result<(String, TlsStream<TcpStream>)> {
    let mut stream = connect(config, address, "one.example").await?;
    let request = "GET / HTTP/1.1\r\nHost: one.example\r\nConnection: close\r\n\
                   X-Subject: CN=root\r\nX-Fingerprint: forged\r\nX-Verified: yes\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await?;
    Ok((answer, stream))
}

/// Rules of an https service that asks for certificates so, and passes them on.
pub(crate) fn rules(server: &Server, pair: (String, String), clients: &str) -> String {
    let fields = "request_headers = { set = { X-Subject = \"$client_subject\", \
                  X-Fingerprint = \"$client_fingerprint\", X-Verified = \"$client_verified\" } }\n";
    https(server.address, &[pair])
        .replace(
            "protocol = \"https\"\n",
            &format!("protocol = \"https\"\nclient_certificates = {{ {clients} }}\n"),
        )
        .replace("pool = \"p\"\n", &format!("pool = \"p\"\n{fields}"))
}

fn refused(switch: &l7switch::Switch) -> Option<u64> {
    let services = l7switch::admin::status(switch).services;
    let refused = &services["secure"].refused;
    refused.get("client_certificate").copied()
}

#[tokio::test]
async fn a_required_certificate_is_verified_and_passed_on() {
    let folder = tempfile::tempdir().unwrap();
    let (pair, ours, others) = (
        certificate(&["one.example"]),
        Authority::new("ours"),
        Authority::new("others"),
    );
    let server = Server::saying("fine").await;
    let clients = format!("ca = \"{}\"", ours.file(folder.path()));
    let files = write(folder.path(), "first", &pair);
    let switch = start(&rules(&server, files, &clients));
    let secure = address(&switch, "secure");

    let alice = ours.issue("alice", 7);
    let config = client(pair.cert.der(), Some(&alice), ALL_VERSIONS);
    let (answer, _) = ask(&config, secure).await.unwrap();
    assert!(answer.ends_with("fine"), "{answer}");
    let head = &server.heads()[0];
    assert_eq!(
        field(head, "x-subject").unwrap(),
        "CN=alice,O=Example\\, Inc."
    );
    let digest = aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256
        .tls13()
        .unwrap()
        .common
        .hash_provider
        .hash(&alice.0);
    let hex: String = digest.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(field(head, "x-fingerprint").unwrap(), hex);
    assert_eq!(field(head, "x-verified").unwrap(), "yes");

    let stranger = others.issue("alice", 7);
    for (own, alert) in [
        (None, "CertificateRequired"),
        (Some(&stranger), "UnknownCA"),
    ] {
        let error = ask(&client(pair.cert.der(), own, ALL_VERSIONS), secure)
            .await
            .unwrap_err();
        assert!(error.to_string().contains(alert), "{error}");
    }
    until(|| refused(&switch) == Some(2)).await;
    assert_eq!(server.heads().len(), 1);
}

#[tokio::test]
async fn an_optional_certificate_may_be_absent_and_not_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let (pair, ours, others) = (
        certificate(&["one.example"]),
        Authority::new("ours"),
        Authority::new("others"),
    );
    let server = Server::saying("fine").await;
    let clients = format!("ca = \"{}\", required = false", ours.file(folder.path()));
    let files = write(folder.path(), "first", &pair);
    let switch = start(&rules(&server, files, &clients));
    let secure = address(&switch, "secure");
    let (answer, _) = ask(&client(pair.cert.der(), None, ALL_VERSIONS), secure)
        .await
        .unwrap();
    assert!(answer.ends_with("fine"), "{answer}");
    let bob = ours.issue("bob", 8);
    ask(&client(pair.cert.der(), Some(&bob), ALL_VERSIONS), secure)
        .await
        .unwrap();
    let stranger = others.issue("bob", 8);
    let wrong = ask(
        &client(pair.cert.der(), Some(&stranger), ALL_VERSIONS),
        secure,
    )
    .await;
    assert!(wrong.is_err());
    let heads = server.heads();
    assert_eq!(heads.len(), 2);
    // What a client says of itself is not passed on.
    assert_eq!(field(&heads[0], "x-subject"), None);
    assert_eq!(field(&heads[0], "x-fingerprint"), None);
    assert_eq!(field(&heads[0], "x-verified").unwrap(), "no");
    assert!(field(&heads[1], "x-subject").unwrap().starts_with("CN=bob"));
    until(|| refused(&switch) == Some(1)).await;
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_and_so_is_an_old_list() {
    let folder = tempfile::tempdir().unwrap();
    let (pair, ours) = (certificate(&["one.example"]), Authority::new("ours"));
    let server = Server::saying("fine").await;
    let clients = format!(
        "ca = \"{}\", crl = \"{}\"",
        ours.file(folder.path()),
        ours.revoke(folder.path(), &[7], 2400)
    );
    let files = write(folder.path(), "first", &pair);
    let rules = rules(&server, files, &clients);
    let switch = start(&rules);
    let secure = address(&switch, "secure");
    let (alice, bob) = (ours.issue("alice", 7), ours.issue("bob", 8));
    let alice = client(pair.cert.der(), Some(&alice), ALL_VERSIONS);
    let bob = client(pair.cert.der(), Some(&bob), ALL_VERSIONS);
    let error = ask(&alice, secure).await.unwrap_err();
    assert!(error.to_string().contains("CertificateRevoked"), "{error}");
    assert!(ask(&bob, secure).await.is_ok());
    // The list is another after a reload, also for a session that began before.
    ours.revoke(folder.path(), &[8], 2400);
    switch.set(load(&rules)).unwrap();
    assert!(ask(&alice, secure).await.is_ok());
    let error = ask(&bob, secure).await.unwrap_err();
    assert!(error.to_string().contains("CertificateRevoked"), "{error}");
    ours.revoke(folder.path(), &[], 2025);
    let warnings = switch.set(load(&rules)).unwrap();
    let expected = "the revocation list of CN=ours ended on 2025-01-01";
    assert!(warnings[0].contains(expected), "{warnings:?}");
    assert!(ask(&alice, secure).await.is_err());
    until(|| refused(&switch) == Some(3)).await;
}
