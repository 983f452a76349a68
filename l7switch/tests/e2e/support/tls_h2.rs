// SPDX-License-Identifier: MIT
//! Clients that go on asking by HTTP/2 over TLS in the background, as browsers do: several requests at a time on one connection,
//! another connection when the server says that it ends.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::thread::JoinHandle;

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Requests at a time.
const STREAMS: usize = 4;

/// Clients at work. They stop when they are asked to, or dropped.
#[derive(Debug)]
pub(crate) struct Clients {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    answers: AtomicU64,
    connections: AtomicU64,
    failures: Mutex<Vec<String>>,
}

impl Seen {
    fn fail(&self, what: String) {
        self.failures.lock().unwrap().push(what);
    }
}

/// A client's TLS, which believes one authority.
pub(crate) fn config(authority: &Path, protocol: &[u8]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(authority).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    config
}

impl Clients {
    /// Starts clients that go on asking for a path of a server name.
    pub(crate) fn start(
        count: usize,
        address: SocketAddr,
        name: &'static str,
        path: &'static str,
        authority: &Path,
    ) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let seen = Arc::<Seen>::default();
        let tls = TlsConnector::from(Arc::new(config(authority, b"h2")));
        let (ends, sees) = (Arc::clone(&stop), Arc::clone(&seen));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let clients = (0..count).map(|_| async {
                    while !ends.load(SeqCst) {
                        connection(address, name, path, &tls, &ends, &sees).await;
                    }
                });
                futures_util::future::join_all(clients).await;
            });
        });
        let clients = Self {
            stop,
            thread: Some(thread),
            seen,
        };
        super::until("the clients have asked", || {
            clients.answers() >= 10 || !clients.seen.failures.lock().unwrap().is_empty()
        });
        clients
    }

    /// Answers so far.
    pub(crate) fn answers(&self) -> u64 {
        self.seen.answers.load(SeqCst)
    }

    /// Stops them. Gives what has failed, and how many answers and connections there were.
    pub(crate) fn stop(mut self) -> (Vec<String>, u64, u64) {
        self.end();
        let failures = self.seen.failures.lock().unwrap().clone();
        (failures, self.answers(), self.seen.connections.load(SeqCst))
    }

    fn end(&mut self) {
        self.stop.store(true, SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.end();
    }
}

/// Asks on one connection until its end is told.
async fn connection(
    address: SocketAddr,
    name: &'static str,
    path: &str,
    tls: &TlsConnector,
    stop: &AtomicBool,
    seen: &Seen,
) {
    let stream = match TcpStream::connect(address).await {
        Ok(stream) => stream,
        Err(error) => return seen.fail(format!("connect: {error}")),
    };
    let name_of_server = ServerName::try_from(name).unwrap();
    let stream = match tls.connect(name_of_server, stream).await {
        Ok(stream) => stream,
        Err(error) => return seen.fail(format!("TLS: {error}")),
    };
    let (sender, connection) = match h2::client::handshake(stream).await {
        Ok(both) => both,
        Err(error) => return seen.fail(format!("HTTP/2: {error}")),
    };
    seen.connections.fetch_add(1, SeqCst);
    let url = format!("https://{name}{path}");
    let asking = async {
        let streams = (0..STREAMS).map(|_| ask(sender.clone(), &url, stop, seen));
        futures_util::future::join_all(streams).await;
    };
    // What ends the connection is seen by the requests.
    let mut connection = Box::pin(connection);
    let mut asking = Box::pin(asking);
    tokio::select! {
        _ = &mut connection => asking.await,
        () = &mut asking => (),
    }
}

/// Asks again and again until no request can be begun any more. What was begun has to be answered.
async fn ask(mut sender: SendRequest<Bytes>, url: &str, stop: &AtomicBool, seen: &Seen) {
    while !stop.load(SeqCst) {
        sender = match sender.ready().await {
            Ok(sender) => sender,
            // It was told that the connection ends.
            Err(_) => return,
        };
        let request = Request::get(url).body(()).unwrap();
        let Ok((response, _)) = sender.send_request(request, true) else {
            return;
        };
        let answer = async {
            let response = response.await?;
            let (head, mut body) = response.into_parts();
            let mut length = 0;
            while let Some(part) = body.data().await {
                let part = part?;
                length += part.len();
                body.flow_control().release_capacity(part.len())?;
            }
            Ok::<_, h2::Error>((head.status.as_u16(), length))
        };
        match answer.await {
            Ok((200, 1..)) => drop(seen.answers.fetch_add(1, SeqCst)),
            Ok(other) => seen.fail(format!("{other:?}")),
            // The server has not seen it, and it may be asked again (RFC 9113, 6.8): it was begun here before the end was told, and
            // written behind what answers that.
            Err(error) if error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR) => {
                return;
            }
            Err(error) => seen.fail(format!("request: {error}")),
        }
    }
}
