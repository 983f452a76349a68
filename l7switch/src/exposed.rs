// SPDX-License-Identifier: MIT
//! The metrics listener: what everybody may read who reaches it, or who has its token. It changes nothing: that is the admin socket's.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::HeaderMap;
use http::HeaderValue;
use http::Method;
use http::Request;
use http::StatusCode;
use http::header;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use thiserror::Error;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::accept::listen;
use crate::admin;
use crate::admin::Answer;
use crate::observe::exposition::Format;
use crate::switch::Switch;

pub mod access;

use self::access::Access;
use self::access::AccessError;
use self::access::Files;

/// Most connections at a time; more wait to be accepted.
const CONNECTIONS: usize = 64;

/// How long a handshake of TLS and a request's head may take, and a connection be silent.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// What there is to be read.
const PATHS: &str = "there are /metrics, /live and /ready\n";

/// The listener. Dropped, it is closed.
#[derive(Debug)]
pub struct Exposed {
    bound: SocketAddr,
    files: Files,
    access: Arc<ArcSwap<Access>>,
    task: JoinHandle<()>,
}

impl Drop for Exposed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Why the listener cannot be opened.
#[derive(Debug, Error)]
pub enum StartError {
    /// The address cannot be bound.
    #[error("{0}")]
    Bind(#[from] io::Error),
    /// Certificate, key or token cannot be used.
    #[error("{0}")]
    Access(#[from] AccessError),
}

impl Exposed {
    /// Opens the listener, unless its socket was given by another process.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start(
        switch: Arc<Switch>,
        address: SocketAddr,
        files: Files,
        given: Option<TcpListener>,
    ) -> Result<Self, StartError> {
        let access = Access::read(&files)?;
        let access = Arc::new(ArcSwap::from_pointee(access));
        let socket = Arc::new(match given {
            Some(socket) => socket,
            None => listen::bind(address, switch.sharing())?,
        });
        let bound = socket.local_addr()?;
        switch.place().expose(address, &socket);
        let task = tokio::spawn(accept(switch, socket, Arc::clone(&access)));
        Ok(Self {
            bound,
            files,
            access,
            task,
        })
    }

    /// Reads certificate, key and token again, for connections and requests from now on.
    ///
    /// # Errors
    ///
    /// One of them cannot be used; all stay as they were.
    pub fn reload(&self) -> Result<(), AccessError> {
        self.access.store(Arc::new(Access::read(&self.files)?));
        Ok(())
    }

    /// Whether it speaks TLS.
    pub const fn is_https(&self) -> bool {
        self.files.pair.is_some()
    }

    /// Where it listens.
    pub const fn bound(&self) -> SocketAddr {
        self.bound
    }
}

async fn accept(switch: Arc<Switch>, socket: Arc<TcpListener>, access: Arc<ArcSwap<Access>>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut given = pin!(switch.place().given());
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            biased;
            // What waits in the kernel is the successor's.
            _ = &mut given => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (switch, access) = (Arc::clone(&switch), Arc::clone(&access));
                tokio::spawn(async move {
                    let tls = access.load().tls.clone();
                    match tls {
                        None => converse(&switch, &access, stream).await,
                        Some(tls) => match shake_hands(TlsAcceptor::from(tls), stream).await {
                            Ok(stream) => converse(&switch, &access, stream).await,
                            Err(error) => {
                                let refused = &switch.core().metrics_refused;
                                refused.tls.fetch_add(1, Relaxed);
                                tracing::debug!(%error, "metrics handshake");
                            }
                        },
                    }
                    drop(place);
                });
            }
            Err(error) => listen::rest(&error).await,
        }
    }
}

async fn shake_hands(acceptor: TlsAcceptor, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    timeout(HEAD_TIME, acceptor.accept(stream)).await?
}

async fn converse(
    switch: &Switch,
    access: &ArcSwap<Access>,
    stream: impl AsyncRead + AsyncWrite + Unpin,
) {
    let handler = service_fn(|request| serve(switch, access, request));
    let result = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .serve_connection(TokioIo::new(stream), handler)
        .await;
    if let Err(error) = result {
        tracing::debug!(%error, "metrics connection");
    }
}

async fn serve(
    switch: &Switch,
    access: &ArcSwap<Access>,
    request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    let path = request.uri().path();
    if !matches!(path, "/metrics" | "/live" | "/ready") {
        return Ok(say(StatusCode::NOT_FOUND, PATHS));
    }
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut answer = say(StatusCode::METHOD_NOT_ALLOWED, "this is read only\n");
        let allowed = HeaderValue::from_static("GET, HEAD");
        answer.headers_mut().insert(header::ALLOW, allowed);
        return Ok(answer);
    }
    Ok(match path {
        "/metrics" => {
            if let Err(challenge) = access.load().permits(request.headers()) {
                let refused = &switch.core().metrics_refused;
                refused.token.fetch_add(1, Relaxed);
                let mut answer = say(StatusCode::UNAUTHORIZED, "metrics need the token\n");
                let challenge = HeaderValue::from_static(challenge);
                let headers = answer.headers_mut();
                headers.insert(header::WWW_AUTHENTICATE, challenge);
                return Ok(answer);
            }
            let format = wanted(request.headers());
            let text = admin::metrics(switch, format).await;
            content(StatusCode::OK, format.content_type(), text)
        }
        "/ready" if switch.core().shutdown.is_draining() => {
            say(StatusCode::SERVICE_UNAVAILABLE, "draining\n")
        }
        "/ready" => say(StatusCode::OK, "ready\n"),
        _ => say(StatusCode::OK, "live\n"),
    })
}

/// The format that a scraper prefers: OpenMetrics where it is named, as Prometheus does, which takes the other with less weight.
fn wanted(headers: &HeaderMap) -> Format {
    let accepted = headers.get_all(header::ACCEPT).iter();
    let mut accepted = accepted
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|range| range.split(';').next().unwrap_or_default().trim());
    match accepted.any(|range| range.eq_ignore_ascii_case("application/openmetrics-text")) {
        true => Format::OpenMetrics,
        false => Format::Prometheus,
    }
}

fn say(status: StatusCode, text: &'static str) -> Answer {
    content(status, "text/plain; charset=utf-8", text)
}

fn content(status: StatusCode, kind: &'static str, content: impl Into<Bytes>) -> Answer {
    let mut answer = admin::answer(status, kind, content);
    // A state of now: no cache may say it later.
    let stays_nowhere = HeaderValue::from_static("no-store");
    answer
        .headers_mut()
        .insert(header::CACHE_CONTROL, stays_nowhere);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_those_who_name_it() {
        for (accept, format) in [
            (None, Format::Prometheus),
            (Some("*/*"), Format::Prometheus),
            (Some("text/plain;version=0.0.4"), Format::Prometheus),
            (
                Some("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.4,*/*;q=0.1"),
                Format::OpenMetrics,
            ),
            (
                Some("text/html, Application/OpenMetrics-Text"),
                Format::OpenMetrics,
            ),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            }
            assert_eq!(wanted(&headers), format, "{accept:?}");
        }
    }
}
