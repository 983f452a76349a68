// SPDX-License-Identifier: MIT
//! The admin API over TCP: who may do what by which certificate, and what a peer may take.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::time::SystemTime;

use l7switch::Switch;
use l7switch::admin::remote::Files;
use l7switch::admin::remote::Remote;
use l7switch::handover::PROTOCOL;
use rcgen::CertifiedKey;
use rcgen::KeyPair;
use rustls::ALL_VERSIONS;
use rustls::ClientConfig;
use rustls::HandshakeKind;
use rustls::pki_types::CertificateDer;
use rustls::version::TLS12;
use rustls::version::TLS13;
use tempfile::TempDir;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::support::Raw;
use crate::support::metrics;
use crate::support::placed;
use crate::support::simple;
use crate::support::soon;
use crate::support::start;
use crate::support::status;
use crate::support::until;
use crate::tls;
use crate::tls_clients::Authority;
use crate::tls_clients::client;

pub(crate) type Own = (CertificateDer<'static>, KeyPair);

const NAME: &str = "admin.test";
pub(crate) const SERVER: &str = "/v1/servers/p/127.0.0.1:1";
pub(crate) const DRAIN: &str = r#"{"state":"drain"}"#;

pub(crate) struct World {
    pub(crate) switch: Arc<Switch>,
    pub(crate) remote: Remote,
    /// Of clients.
    pub(crate) authority: Authority,
    pair: CertifiedKey<KeyPair>,
    pub(crate) folder: TempDir,
}

/// A switch for whose clients `ours` stands, and `cn:alice` operates.
pub(crate) fn world() -> World {
    world_with(|_, _| None)
}

fn world_with(crl: impl Fn(&Authority, &TempDir) -> Option<String>) -> World {
    let folder = tempfile::tempdir().unwrap();
    let (pair, authority) = (tls::certificate(&[NAME]), Authority::new("ours"));
    let (certificate, key) = tls::write(folder.path(), "pair", &pair);
    let files = Files {
        certificate: certificate.into(),
        key: key.into(),
        clients: authority.file(folder.path()).into(),
        crl: crl(&authority, &folder).map(Into::into),
        operators: vec!["cn:alice".parse().unwrap()],
    };
    let switch = start(&simple(&["127.0.0.1:1".parse().unwrap()], "", ""));
    let any = "127.0.0.1:0".parse().unwrap();
    let mut remote = Remote::open(&switch, any, files, None).unwrap();
    remote.serve(Arc::clone(&switch));
    World {
        switch,
        remote,
        authority,
        pair,
        folder,
    }
}

impl World {
    fn client(&self, own: Option<&Own>) -> Arc<ClientConfig> {
        client(self.pair.cert.der(), own, ALL_VERSIONS)
    }

    pub(crate) async fn connect(&self, own: &Own) -> TlsStream<TcpStream> {
        let config = self.client(Some(own));
        let stream = tls::connect(&config, self.remote.bound(), NAME).await;
        stream.unwrap()
    }

    /// One request on a connection of its own.
    pub(crate) async fn ask(&self, own: &Own, line: (&str, &str, &str)) -> (u16, String) {
        let config = self.client(Some(own));
        ask(&config, self.remote.bound(), line).await.unwrap()
    }

    pub(crate) fn refused_handshakes(&self) -> u64 {
        self.switch.core().admin_api.tls.load(Relaxed)
    }

    /// The files are read again; this switch has no rule file.
    async fn reload(&self) {
        let error = self.switch.reload().await.unwrap_err().to_string();
        assert!(error.contains("no rule file"), "{error}");
    }
}

pub(crate) fn request((method, target, body): (&str, &str, &str), fields: &str) -> String {
    let length = body.len();
    format!(
        "{method} {target} HTTP/1.1\r\nHost: {NAME}\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
    )
}

/// An error is that of the handshake, which TLS 1.3 tells with the first read.
async fn ask(
    config: &Arc<ClientConfig>,
    address: SocketAddr,
    line: (&str, &str, &str),
) -> std::io::Result<(u16, String)> {
    let mut stream = tls::connect(config, address, NAME).await?;
    let text = request(line, "Connection: close\r\n");
    stream.write_all(text.as_bytes()).await?;
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Ok((status(head), body.to_owned()))
}

/// An answer on a connection that goes on: status, whether it is closed after that, content.
pub(crate) async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> (u16, bool, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(stream.read_u8()).await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head.split_once("content-length: ").unwrap().1;
    let length = length.split_once('\r').unwrap().0.parse().unwrap();
    let mut body = vec![0; length];
    soon(stream.read_exact(&mut body)).await.unwrap();
    let closes = head.contains("\r\nconnection: close\r\n");
    (status(&head), closes, String::from_utf8(body).unwrap())
}

/// Whether the peer has ended the connection, with nothing before.
pub(crate) async fn has_ended(stream: &mut (impl AsyncRead + Unpin)) -> bool {
    matches!(soon(stream.read(&mut [0])).await, Ok(0) | Err(_))
}

#[tokio::test]
async fn without_a_certificate_that_is_believed_nobody_gets_in() {
    let world = world();
    let to = world.remote.bound();
    let line = ("GET", "/v1/status", "");
    let (hour, now) = (Duration::from_secs(3600), SystemTime::now());
    let good = world.authority.issue("alice", 1);
    let expired = world.authority.issue_until("alice", 2, now - hour);
    let other = Authority::new("ours").issue("alice", 1);
    let mut refused = 0;
    for version in [&TLS12, &TLS13] {
        let ask = async |own: Option<&Own>| {
            let config = client(world.pair.cert.der(), own, &[version]);
            ask(&config, to, line).await
        };
        assert_eq!(ask(Some(&good)).await.unwrap().0, 200);
        // What was shown once is shown each time.
        let config = client(world.pair.cert.der(), Some(&good), &[version]);
        for _ in 0..2 {
            let mut stream = tls::connect(&config, to, NAME).await.unwrap();
            let text = request(line, "");
            stream.write_all(text.as_bytes()).await.unwrap();
            assert_eq!(answer(&mut stream).await.0, 200);
            let kind = stream.get_ref().1.handshake_kind();
            assert_eq!(kind, Some(HandshakeKind::Full));
        }
        for (own, why) in [
            (None, ["CertificateRequired", "HandshakeFailure"]),
            (Some(&expired), ["CertificateExpired", ""]),
            (Some(&other), ["DecryptError", "UnknownCA"]),
        ] {
            let error = ask(own).await.unwrap_err().to_string();
            // The alert is read: the connection was not reset.
            assert!(why.iter().any(|why| error.contains(why)), "{error}");
            refused += 1;
            until(|| world.refused_handshakes() == refused).await;
        }
    }
    // Clear text is none of its languages.
    let mut clear = Raw::connect(to).await;
    clear
        .send("GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    let said = clear.rest().await.unwrap_or_default();
    assert!(!said.starts_with(b"HTTP/"), "{said:?}");
    until(|| world.refused_handshakes() == refused + 1).await;
    let counted = "l7switch_admin_refused_total{reason=\"tls\"} 7\n";
    let text = metrics(&world.switch).await;
    assert!(text.contains(counted), "{text}");
}

#[tokio::test]
async fn whoever_is_named_operates_and_others_read() {
    let world = world();
    let alice = world.authority.issue("alice", 1);
    let bob = world.authority.issue("bob", 2);
    for (line, read, operate) in [
        (("GET", "/v1/status", ""), 200, 200),
        (("HEAD", "/v1/servers", ""), 200, 200),
        (("GET", "/v1/rules", ""), 200, 200),
        (("GET", "/metrics", ""), 200, 200),
        (("POST", "/v1/explain", r#"{"url":"/"}"#), 200, 200),
        (("PATCH", SERVER, DRAIN), 403, 200),
        (("PATCH", "/v1/servers/127.0.0.1:1", "none"), 403, 400),
        (("PATCH", "/v1/services/web", "{}"), 403, 200),
        // There is no rule file.
        (("POST", "/v1/reload", ""), 403, 422),
        (("POST", "/v1/take-over", ""), 403, 403),
        (("GET", "/v1/take-over", ""), 405, 405),
        (("DELETE", SERVER, ""), 405, 405),
        (("GET", "/v1/nothing", ""), 404, 404),
    ] {
        assert_eq!(world.ask(&bob, line).await.0, read, "{line:?}");
        let state = l7switch::admin::servers(&world.switch)[0].state;
        let (_, told) = world.ask(&alice, line).await;
        let (code, _) = world.ask(&alice, line).await;
        assert_eq!(code, operate, "{line:?}: {told}");
        if line == ("PATCH", SERVER, DRAIN) {
            assert_eq!(state.as_str(), "up", "bob has changed nothing");
        }
    }
    let server = &l7switch::admin::servers(&world.switch)[0];
    assert_eq!(server.state.as_str(), "draining");
    let why = server.why.as_deref().unwrap();
    assert!(
        why.starts_with("by CN=alice,") && why.ends_with(" at 127.0.0.1"),
        "{why}"
    );
    let role = ("GET", "/v1/role", "");
    let told = async |own| world.ask(own, role).await.1;
    assert_eq!(told(&bob).await, "{\"role\":\"read\",\"operable\":true}\n");
    assert!(told(&alice).await.contains("\"operate\""));
    let (_, why) = world.ask(&bob, ("PATCH", SERVER, DRAIN)).await;
    assert!(
        why.contains("CN=bob") && why.contains("--admin-operators"),
        "{why}"
    );
    let text = metrics(&world.switch).await;
    for (reason, count) in [("role", 5), ("take_over", 3), ("tls", 0)] {
        let counted = format!("l7switch_admin_refused_total{{reason=\"{reason}\"}} {count}\n");
        assert!(text.contains(&counted), "{counted}{text}");
    }
}

/// Not even by the protocol's name: the place goes by descriptors.
#[tokio::test]
async fn the_place_is_not_given_over_tcp() {
    let world = world();
    let alice = world.authority.issue("alice", 1);
    let mut stream = world.connect(&alice).await;
    let fields = format!("Connection: upgrade\r\nUpgrade: {PROTOCOL}\r\n");
    let asked = request(("POST", "/v1/take-over", ""), &fields);
    stream.write_all(asked.as_bytes()).await.unwrap();
    let (code, _, why) = answer(&mut stream).await;
    assert_eq!(code, 403);
    assert!(why.contains("at the admin socket only"), "{why}");
    let counts = world.switch.place().counts();
    assert_eq!((counts.taken, counts.refused), (0, 0));
}

/// Another authority is believed from the reload on: new connections, and those that are there.
#[tokio::test]
async fn what_the_files_say_is_in_force_with_a_reload() {
    let world = world();
    let alice = world.authority.issue("alice", 1);
    let line = ("GET", "/v1/status", "");
    let mut open = world.connect(&alice).await;
    let text = request(line, "");
    open.write_all(text.as_bytes()).await.unwrap();
    assert_eq!(answer(&mut open).await.0, 200);

    // What cannot be used changes nothing.
    let ca = world.folder.path().join("ca.pem");
    let before = std::fs::read(&ca).unwrap();
    std::fs::write(&ca, "none").unwrap();
    world.reload().await;
    assert_eq!(world.ask(&alice, line).await.0, 200);
    std::fs::write(&ca, before).unwrap();
    let key = world.folder.path().join("pair.key");
    std::fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    world.reload().await;
    assert_eq!(world.ask(&alice, line).await.0, 200);

    let next = Authority::new("next");
    next.file(world.folder.path());
    let pair = tls::certificate(&[NAME]);
    tls::write(world.folder.path(), "pair", &pair);
    world.reload().await;
    // Not even what there is, is told.
    let text = request(("GET", "/v1/nothing", ""), "");
    open.write_all(text.as_bytes()).await.unwrap();
    let (code, closes, why) = answer(&mut open).await;
    assert_eq!((code, closes), (403, true), "{why}");
    assert!(
        why.contains("the certificate CN=alice") && why.contains("UnknownIssuer"),
        "{why}"
    );
    assert!(has_ended(&mut open).await);
    let (old, to) = (world.client(Some(&alice)), world.remote.bound());
    assert!(ask(&old, to, line).await.is_err(), "another certificate");
    let new = client(pair.cert.der(), Some(&alice), ALL_VERSIONS);
    assert!(ask(&new, to, line).await.is_err(), "another authority");
    let carol = next.issue("carol", 1);
    let new = client(pair.cert.der(), Some(&carol), ALL_VERSIONS);
    assert_eq!(ask(&new, to, line).await.unwrap().0, 200);
}

/// The same switch without operators, and with a rule file: nobody operates, and a reload tells of files.
#[tokio::test]
async fn a_wrong_file_is_told_by_the_reload() {
    let world = world();
    let folder = world.folder.path();
    let path = |name: &str| folder.join(name);
    let text = "[service.web]\nlisten = \"127.0.0.1:1\"\n[[service.web.route]]\nrespond = { status = 204 }\n";
    std::fs::write(path("rules.toml"), placed(text).await).unwrap();
    let rules = l7switch_rules::load(&path("rules.toml")).unwrap();
    let options = l7switch::Options::default();
    let switch = Switch::start(rules, Some(path("rules.toml")), &options).unwrap();
    let files = Files {
        certificate: path("pair.pem"),
        key: path("pair.key"),
        clients: path("ca.pem"),
        crl: None,
        operators: Vec::new(),
    };
    let any = "127.0.0.1:0".parse().unwrap();
    let mut remote = Remote::open(&switch, any, files, None).unwrap();
    remote.serve(Arc::clone(&switch));
    let config = world.client(Some(&world.authority.issue("alice", 1)));
    let role = ask(&config, remote.bound(), ("GET", "/v1/role", "")).await;
    assert_eq!(role.unwrap().1, "{\"role\":\"read\",\"operable\":false}\n");
    let reload = async || switch.reload().await.unwrap();
    let of_api = |warnings: Vec<String>| {
        let mut found = warnings.into_iter();
        found.find(|warning| warning.starts_with("the listener of the admin API stays as it is: "))
    };
    assert_eq!(of_api(reload().await), None);
    std::fs::write(path("ca.pem"), "none").unwrap();
    let warning = of_api(reload().await).unwrap();
    assert!(warning.contains("ca.pem"), "{warning}");
    // Once it is closed, nobody reads its files.
    drop(remote);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(of_api(reload().await), None);
}

#[tokio::test]
async fn what_is_revoked_is_refused() {
    let world = world_with(|authority, folder| Some(authority.revoke(folder.path(), &[7], 2099)));
    let line = ("GET", "/v1/status", "");
    let good = world.authority.issue("alice", 1);
    let revoked = world.authority.issue("alice", 7);
    assert_eq!(world.ask(&good, line).await.0, 200);
    let config = world.client(Some(&revoked));
    let error = ask(&config, world.remote.bound(), line).await.unwrap_err();
    assert!(error.to_string().contains("CertificateRevoked"), "{error}");
    // And who is in already.
    let mut open = world.connect(&good).await;
    world.authority.revoke(world.folder.path(), &[1, 7], 2099);
    world.reload().await;
    open.write_all(request(line, "").as_bytes()).await.unwrap();
    let (code, closes, why) = answer(&mut open).await;
    assert_eq!((code, closes), (403, true), "{why}");
    assert!(why.contains("Revoked"), "{why}");
}
