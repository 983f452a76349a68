// SPDX-License-Identifier: MIT
//! What the listeners for operators share, that of the metrics and that of the admin API: what a peer may take, and TLS.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use http::HeaderValue;
use http::StatusCode;
use http::header;
use hyper::server::conn::http1;
use hyper_util::rt::TokioTimer;
use l7switch_certificates::TlsError;
use l7switch_certificates::provider;
use l7switch_certificates::read_pair;
use l7switch_rules::model::SourcePrefix;
use rustls::InconsistentKeys;
use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::ClientCertVerifier;
use socket2::SockRef;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::accept::listen;
use crate::admin::Answer;
use crate::limit::sources::Sources;
use crate::observe::log_limit::Gate;
use crate::switch::Switch;

/// Most connections at a time; more wait to be accepted.
const CONNECTIONS: usize = 256;

/// Most of them of one address (of a /64, for IPv6): whoever has no certificate, and no more than an address, keeps nobody out.
const OF_ADDRESS: u32 = 16;

/// How long a handshake of TLS and a request's head may take, a connection be silent, and a peer leave unread what was sent.
pub(crate) const HEAD_TIME: Duration = Duration::from_secs(10);

/// How long a request's content may take.
pub(crate) const CONTENT_TIME: Duration = Duration::from_secs(10);

/// How long a peer may take to read why its handshake has failed, and how many bytes it may send meanwhile.
const COURTESY: (Duration, u64) = (Duration::from_secs(1), 64 * 1024);

/// Accepts until another process has the place, a task for each connection. `refused` counts those of addresses that have as many as they
/// may.
pub(crate) async fn accept<F, S>(
    switch: &Switch,
    socket: &TcpListener,
    refused: &AtomicU64,
    serve: F,
) where
    F: Fn(TcpStream, SocketAddr) -> S,
    S: Future<Output = ()> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let sources = Arc::<Sources>::default();
    let mut given = pin!(switch.place().given());
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            biased;
            // What waits in the kernel is the successor's.
            _ = &mut given => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let source = SourcePrefix::default().of(peer.ip().to_canonical());
                let Some(counted) = sources.enter(source, OF_ADDRESS) else {
                    refused.fetch_add(1, Relaxed);
                    continue;
                };
                // tcp(7): also for a peer that is there and reads nothing. A socket that has no such time is none any more.
                let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(HEAD_TIME));
                let served = serve(stream, peer);
                // Whoever comes while the switch ends already is not waited for.
                let busy = switch.core().shutdown.busy();
                tokio::spawn(async move {
                    served.await;
                    drop((permit, counted, busy));
                });
            }
            Err(error) => listen::rest(&error).await,
        }
    }
}

/// Serves a connection to its end. Where the switch ends, that is after the request in progress, or after the last chance for one. Where
/// another process goes on, the next request gets its answer, which says that it is the last ([`tell_the_last`]). `shut_down` is how
/// hyper has the connection end after a request.
///
/// # Errors
///
/// The connection's.
pub(crate) async fn finish<C: Future<Output = hyper::Result<()>>>(
    switch: &Switch,
    connection: C,
    shut_down: fn(Pin<&mut C>),
) -> hyper::Result<()> {
    let mut connection = pin!(connection);
    tokio::select! {
        result = connection.as_mut() => return result,
        () = ends(switch) => shut_down(connection.as_mut()),
    }
    connection.await
}

/// Waits until the switch ends, and its last chance is over. Who comes while it ends already gets an answer all the same, such as how far
/// that is.
async fn ends(switch: &Switch) {
    let shutdown = &switch.core().shutdown;
    if shutdown.is_draining() {
        std::future::pending().await
    }
    shutdown.draining().await;
    shutdown.last_chance().await;
}

/// Says in an answer that it is the connection's last, if the switch ends.
pub(crate) fn tell_the_last(switch: &Switch, answer: &mut Answer) {
    if switch.core().shutdown.is_draining() && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let close = HeaderValue::from_static("close");
        answer.headers_mut().insert(header::CONNECTION, close);
    }
}

/// HTTP/1 with bounds.
pub(crate) fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME);
    builder
}

/// TLS 1.2 and 1.3 with HTTP/1.1, of a certificate chain and its key. Where clients are asked for certificates, no session is resumed:
/// each handshake looks at one.
///
/// # Errors
///
/// See [`TlsError`].
pub(crate) fn server_config(
    certificate: &Path,
    key: &Path,
    clients: Arc<dyn ClientCertVerifier>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let (chain, private) = read_pair(certificate, key)?;
    let resumes = !clients.offer_client_auth();
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, private);
    let mut config = config.map_err(|error| TlsError::Pair {
        cert: certificate.display().to_string(),
        key: key.display().to_string(),
        why: match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                "the key does not belong to the certificate".to_owned()
            }
            other => other.to_string(),
        },
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    if !resumes {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Arc::new(config))
}

/// What becomes of handshakes that fail.
#[derive(Debug)]
pub(crate) struct Failed<'a> {
    /// Counts them.
    pub(crate) count: &'a AtomicU64,
    /// Lets some lines into the log.
    pub(crate) gate: &'a Gate,
    /// Where they come.
    pub(crate) listener: &'static str,
}

/// Shakes hands. `None`: that has failed, and was counted and logged; or the switch ends.
pub(crate) async fn shake_hands(
    switch: &Switch,
    tls: Arc<ServerConfig>,
    stream: TcpStream,
    peer: SocketAddr,
    failed: Failed<'_>,
) -> Option<TlsStream<TcpStream>> {
    let accepting = TlsAcceptor::from(tls).accept(stream).into_fallible();
    let accepted = tokio::select! {
        accepted = timeout(HEAD_TIME, accepting) => accepted,
        () = ends(switch) => return None,
    };
    let (error, stream) = match accepted {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err((error, stream))) => (error, Some(stream)),
        Err(elapsed) => (elapsed.into(), None),
    };
    failed.count.fetch_add(1, Relaxed);
    if let Some(suppressed) = failed.gate.due() {
        let listener = failed.listener;
        tracing::info!(client = %peer, %error, suppressed, listener, "a TLS handshake has failed");
    }
    if let Some(stream) = stream {
        let _ = timeout(COURTESY.0, part(stream)).await;
    }
    None
}

/// Ends a connection so that the peer gets to read the alert: closed with something unread, it would be reset (RFC 9293, 3.10.4), and
/// a client that has sent its request already would learn no more than that.
async fn part(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut rest = stream.take(COURTESY.1);
    tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
    Ok(())
}
