// SPDX-License-Identifier: MIT
//! Authorities: pebble, Let's Encrypt's for tests, with a name server that has all names at one loopback address; and scripts.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;

use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::support::soon;
use crate::tls::connect;

/// Ports at the address of a test.
pub(super) const DIRECTORY: u16 = 14000;
const MANAGEMENT: u16 = 15000;
const NAMES: u16 = 8053;
const NAMES_MANAGEMENT: u16 = 8055;
pub(super) const HTTP: u16 = 5002;
pub(super) const HTTPS: u16 = 5001;

/// A loopback address that no other test has, of this run or of one beside it.
pub(super) fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let own = NEXT.fetch_add(1, SeqCst);
    assert!(own < 32, "more tests than addresses");
    // 22 bits of the process's number, of which the highest are rarely in use.
    let process = std::process::id();
    Ipv4Addr::from_bits(127 << 24 | 1 << 23 | (process & 0x3_ffff) << 5 | own)
}

/// Who vouches for the directory itself, and the directory's certificate.
pub(super) struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: KeyPair,
    pub(super) issuer: Issuer<'static, KeyPair>,
    ca: rcgen::Certificate,
}

impl Identity {
    pub(super) fn new(address: Ipv4Addr) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([address.to_string()]).unwrap();
        let cert = params.signed_by(&key, &issuer).unwrap();
        Self {
            chain: vec![cert.der().clone()],
            key,
            issuer,
            ca,
        }
    }

    /// Writes the root for the rules, and certificate and key for pebble.
    pub(super) fn write(&self, folder: &Path) {
        let pem = pem(&self.chain[0]);
        std::fs::write(folder.join("ca.pem"), self.ca.pem()).unwrap();
        std::fs::write(folder.join("directory.pem"), pem).unwrap();
        std::fs::write(folder.join("directory.key"), self.key.serialize_pem()).unwrap();
    }

    fn server(&self) -> TlsAcceptor {
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

fn pem(der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::prelude::BASE64_STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}

/// TLS of a client that believes this root.
pub(super) fn believing(root: &CertificateDer<'static>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// How pebble is set up.
#[derive(Clone, Copy)]
pub(super) struct Pebble {
    /// Nonces that it refuses though they are good, in percent.
    pub(super) bad_nonces: u32,
    /// The port at which it looks for the answers to HTTP-01.
    pub(super) http: u16,
    /// Whether accounts have to be bound to one that it knows: `kid-1`, with [`KEY`].
    pub(super) wants_account: bool,
}

/// The key of an external account: from Debian's example.
pub(super) const KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

/// Processes that end with the test.
pub(super) struct Running {
    address: Ipv4Addr,
    children: Vec<Child>,
}

impl Drop for Running {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn spawn(command: &mut Command) -> Child {
    let spawned = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    spawned.unwrap_or_else(|error| {
        panic!(
            "{:?}: {error}; `.ci/install test` installs pebble",
            command.get_program()
        )
    })
}

impl Pebble {
    /// Starts it, and its name server; both are ready.
    pub(super) async fn start(self, folder: &Path, address: Ipv4Addr) -> Running {
        let at = |port: u16| format!("{address}:{port}");
        let names = spawn(
            Command::new("pebble-challtestsrv")
                .args(["-dns01", &at(NAMES), "-management", &at(NAMES_MANAGEMENT)])
                .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
                .args(["-defaultIPv4", &address.to_string(), "-defaultIPv6", ""]),
        );
        let config = serde_json::json!({ "pebble": {
            "listenAddress": at(DIRECTORY),
            "managementListenAddress": at(MANAGEMENT),
            "certificate": folder.join("directory.pem"),
            "privateKey": folder.join("directory.key"),
            "httpPort": self.http,
            "tlsPort": HTTPS,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": self.wants_account,
            "externalAccountMACKeys": { "kid-1": KEY },
        }});
        let path = folder.join("pebble.json");
        std::fs::write(&path, config.to_string()).unwrap();
        let pebble = spawn(
            Command::new("pebble")
                .arg("-config")
                .arg(&path)
                .args(["-dnsserver", &at(NAMES)])
                .env("PEBBLE_VA_NOSLEEP", "1")
                .env("PEBBLE_AUTHZREUSE", "0")
                .env("PEBBLE_WFE_NONCEREJECT", self.bad_nonces.to_string()),
        );
        let running = Running {
            address,
            children: vec![names, pebble],
        };
        for port in [NAMES, NAMES_MANAGEMENT, DIRECTORY, MANAGEMENT] {
            soon(async {
                while TcpStream::connect((address, port)).await.is_err() {
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
            })
            .await;
        }
        running
    }
}

impl Running {
    /// The root of the certificates that pebble gives.
    pub(super) async fn root(&self, folder: &Path) -> CertificateDer<'static> {
        let ca = CertificateDer::from_pem_file(folder.join("ca.pem")).unwrap();
        let address = SocketAddr::new(IpAddr::V4(self.address), MANAGEMENT);
        let name = self.address.to_string();
        let mut stream = connect(&believing(&ca), address, &name).await.unwrap();
        let request = format!("GET /roots/0 HTTP/1.0\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        CertificateDer::from_pem_slice(&answer).unwrap()
    }
}

/// A directory that is a script: it gets the first line of each request, and gives the whole response.
pub(super) struct Scripted {
    /// First lines of requests.
    pub(super) seen: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Scripted {
    pub(super) async fn start(
        identity: &Identity,
        address: Ipv4Addr,
        script: impl Fn(&str) -> String + Send + Sync + 'static,
    ) -> Self {
        let acceptor = identity.server();
        let socket = soon(async {
            loop {
                // The one before it may not have ended yet.
                if let Ok(socket) = TcpListener::bind((address, DIRECTORY)).await {
                    return socket;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let (lines, script) = (Arc::clone(&seen), Arc::new(script));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = socket.accept().await.unwrap();
                let (acceptor, lines) = (acceptor.clone(), Arc::clone(&lines));
                let script = Arc::clone(&script);
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        answer(stream, &lines, &*script).await;
                    }
                });
            }
        });
        Self { seen, task }
    }
}

async fn answer(
    mut stream: TlsStream<TcpStream>,
    lines: &Mutex<Vec<String>>,
    script: &(dyn Fn(&str) -> String + Send + Sync),
) {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.unwrap_or_default() == 0 {
            return;
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let line = head.lines().next().unwrap_or_default().to_owned();
    lines.lock().unwrap().push(line.clone());
    let response = script(&line);
    let is_endless = response.contains("ENDLESS");
    let _ = stream.write_all(response.as_bytes()).await;
    while is_endless && stream.write_all(&[b' '; 4096]).await.is_ok() {}
    let _ = stream.shutdown().await;
}
