// SPDX-License-Identifier: MIT
//! One client connection of an `http` or `https` service, from its first byte to its last.

use std::convert::Infallible;
use std::error::Error as _;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use http::Request;
use http::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use l7switch_engine::http1::Preface;
use l7switch_engine::http1::h2_preface;
use l7switch_rules::model::Limits;
use rustls::ServerConfig;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::client::Client;
use crate::gate::Gate;
use crate::io::Prefixed;
use crate::io::SharedStream;
use crate::io::StreamHandle;
use crate::limit;
use crate::proxy;
use crate::reason::Reason;
use crate::reason::Refusal;
use crate::relay;
use crate::relay::End;
use crate::response_body::ResponseBody;

/// hyper's least buffer for a connection, and ours for each direction.
const BUFFER: usize = 128 * 1024;

/// Requests of one HTTP/2 connection at a time.
const MAX_STREAMS: u32 = 128;

/// Content of one HTTP/2 request that may be on its way, and wait for its server. The connection's window is as large as
/// those of all its streams together: uploads whose servers do not take them never stop the others (RFC 9113, 5.2.1).
const STREAM_WINDOW: u32 = 256 * 1024;

/// How often an HTTP/2 connection is asked whether it still lives.
const PING: Duration = Duration::from_secs(20);

/// Serves a connection.
pub async fn serve(
    client: Box<Client>,
    stream: TcpStream,
    limits: Limits,
    tls: Option<Arc<ServerConfig>>,
) {
    let (stream, handle) = SharedStream::new(stream);
    match tls {
        // Apart, as HTTP/2 below: what a connection in clear text does not need is not part of its task.
        Some(config) => Box::pin(secure(client, stream, handle, limits, config)).await,
        None => clear(client, stream, handle, limits).await,
    }
}

/// TLS, and in it the protocol that was agreed upon.
async fn secure(
    client: Box<Client>,
    stream: SharedStream,
    handle: StreamHandle,
    limits: Limits,
    config: Arc<ServerConfig>,
) {
    let handshake = TlsAcceptor::from(config).accept(stream);
    let stream = match tokio::time::timeout(limits.head_timeout, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            client.stats.refused(Reason::TlsHandshake);
            limit::hostile(Reason::TlsHandshake, client.peer, &error.to_string());
            // The alert that tells the client why must not be overtaken by a reset.
            return handle.linger().await;
        }
        Err(_) => {
            client.stats.refused(Reason::TlsHandshake);
            limit::hostile(Reason::TlsHandshake, client.peer, "not done in time");
            return;
        }
    };
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        Box::pin(h2(client, stream, handle, limits)).await;
    } else {
        h1(client, stream, BytesMut::new(), handle, limits).await;
    }
}

/// Clear text: HTTP/2 with prior knowledge, or HTTP/1.
async fn clear(
    client: Box<Client>,
    mut stream: SharedStream,
    handle: StreamHandle,
    limits: Limits,
) {
    let mut received = BytesMut::with_capacity(1024);
    let first = client.core.shutdown.draining();
    let outcome = tokio::select! {
        outcome = preface(&mut stream, &mut received, &limits) => outcome,
        () = async { first.await; client.core.shutdown.last_chance().await } => return,
    };
    match outcome {
        Ok(Preface::Yes) => {
            let stream = Prefixed::new(received.freeze(), stream);
            Box::pin(h2(client, stream, handle, limits)).await;
        }
        // What was begun and not ended is for the gate to judge.
        Ok(Preface::No | Preface::Maybe) if !received.is_empty() => {
            h1(client, stream, received, handle, limits).await;
        }
        Ok(_) | Err(_) => (),
    }
}

/// Reads until it is clear whether the connection begins with HTTP/2's preface, it ends, or the
/// time for it has passed.
async fn preface(
    stream: &mut SharedStream,
    received: &mut BytesMut,
    limits: &Limits,
) -> io::Result<Preface> {
    let mut patience = limits.idle_timeout;
    loop {
        let read = stream.read_buf(received);
        match tokio::time::timeout(patience, read).await {
            Err(_) | Ok(Ok(0)) => return Ok(Preface::Maybe),
            Ok(Err(error)) => return Err(error),
            Ok(Ok(_)) => match h2_preface(received) {
                Preface::Maybe => patience = limits.head_timeout,
                known => return Ok(known),
            },
        }
    }
}

fn service(
    client: Arc<Client>,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = Response<ResponseBody>,
    Error = Infallible,
    Future = impl Future<Output = Result<Response<ResponseBody>, Infallible>> + Send,
> {
    service_fn(move |request| proxy::serve(Arc::clone(&client), request))
}

/// HTTP/1: usual exchanges are relayed, from the first that is not on the connection is hyper's.
async fn h1<S>(
    client: Box<Client>,
    mut stream: S,
    mut received: BytesMut,
    handle: StreamHandle,
    limits: Limits,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let end = {
        let mut relay = pin!(relay::serve(&client, &mut stream, &mut received, &limits));
        let mut broken = pin!(handle.broken());
        poll_fn(|cx| match relay.as_mut().poll(cx) {
            Poll::Ready(end) => Poll::Ready(Some(end)),
            // What is in progress for a client that has gone is dropped with the connection.
            Poll::Pending => broken.as_mut().poll(cx).map(|()| None),
        })
        .await
    };
    match end {
        None => (),
        Some(End::Unusual(refusal)) => {
            Box::pin(by_hyper(client, stream, received, handle, limits, refusal)).await;
        }
        // The client must not take what it has for the whole.
        Some(End::Cut) => handle.abort(),
        Some(End::Over { unread }) => {
            if client.scheme == "https" {
                // TLS has an end of its own.
                let shutdown = tokio::time::timeout(limits.idle_timeout, stream.shutdown());
                let _ = Box::pin(shutdown).await;
            }
            if unread || handle.has_unread() {
                Box::pin(handle.linger()).await;
            }
        }
    }
}

async fn by_hyper<S>(
    client: Box<Client>,
    stream: S,
    received: BytesMut,
    handle: StreamHandle,
    limits: Limits,
    refusal: Option<Refusal>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (gate, shared) = Gate::new(stream, received, limits, refusal);
    let client = Arc::new(client.behind(Arc::clone(&shared)));
    let mut builder = http1::Builder::new();
    builder
        .half_close(true)
        .keep_alive(true)
        .preserve_header_case(true)
        .timer(TokioTimer::new())
        // The gate keeps the time.
        .header_read_timeout(None)
        .max_buf_size(BUFFER.max(limits.head.saturating_mul(2)));
    if limits.fields > 100 {
        builder.max_headers(limits.fields);
    }
    let connection = builder
        .serve_connection(TokioIo::new(gate), service(Arc::clone(&client)))
        .with_upgrades();
    tokio::pin!(connection);
    let draining = client.core.shutdown.draining();
    tokio::pin!(draining);
    let mut told = false;
    let result = loop {
        tokio::select! {
            result = &mut connection => break result,
            // What is in progress for a client that has gone is dropped with the connection.
            () = handle.broken() => return,
            () = &mut draining, if !told => {
                told = true;
                if shared.seen() == 0 {
                    // Accepted and not served yet: its first answer says that it is the last.
                    tokio::select! {
                        result = &mut connection => break result,
                        () = handle.broken() => return,
                        () = client.core.shutdown.last_chance() => (),
                    }
                }
                connection.as_mut().graceful_shutdown();
            }
        }
    };
    match result {
        // A response was cut short, or not taken: the client must not take what it has for the
        // whole.
        Err(error) => {
            tracing::debug!(%error, client = %client.peer, "connection");
            handle.abort();
        }
        // Others have the stream now.
        Ok(()) if shared.has_changed() => (),
        Ok(()) if !shared.is_clean() || handle.has_unread() => Box::pin(handle.linger()).await,
        Ok(()) => (),
    }
}

async fn h2<S>(client: Box<Client>, stream: S, handle: StreamHandle, limits: Limits)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let client = Arc::<Client>::from(client);
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAM_WINDOW.saturating_mul(MAX_STREAMS))
        .max_header_list_size(u32::try_from(limits.head).unwrap_or(u32::MAX))
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    let connection = builder.serve_connection(TokioIo::new(stream), service(Arc::clone(&client)));
    tokio::pin!(connection);
    let draining = client.core.shutdown.draining();
    tokio::pin!(draining);
    let mut ending = false;
    let mut look = Instant::now() + limits.idle_timeout;
    loop {
        tokio::select! {
            result = &mut connection => {
                if let Err(error) = result {
                    ended_by_error(&client, &error);
                }
                return;
            }
            () = handle.broken() => return,
            () = &mut draining, if !ending => {
                ending = true;
                connection.as_mut().graceful_shutdown();
            }
            () = tokio::time::sleep_until(look) => {
                client.give_up_after(limits.idle_timeout);
                let quiet = client.quiet_for();
                if quiet < limits.idle_timeout {
                    look = Instant::now() + limits.idle_timeout.saturating_sub(quiet);
                } else if ending {
                    // It was told before and has not gone.
                    return;
                } else {
                    ending = true;
                    connection.as_mut().graceful_shutdown();
                    look = Instant::now() + limits.head_timeout;
                }
            }
        }
    }
}

/// Counts and logs what a client has done for which its HTTP/2 connection was ended.
fn ended_by_error(client: &Client, error: &hyper::Error) {
    tracing::debug!(%error, client = %client.peer, "HTTP/2 connection");
    let cause = error.source().and_then(|e| e.downcast_ref::<h2::Error>());
    let Some(cause) = cause.filter(|cause| !cause.is_io() && !cause.is_remote()) else {
        return;
    };
    let reason = match cause.reason() {
        Some(h2::Reason::ENHANCE_YOUR_CALM) => Reason::H2Flood,
        Some(h2::Reason::NO_ERROR) => return,
        _ => Reason::H2Protocol,
    };
    client.stats.refused(reason);
    limit::hostile(reason, client.peer, &cause.to_string());
}
