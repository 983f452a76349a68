// SPDX-License-Identifier: MIT
//! One client connection of an `http` or `https` service, from its first byte to its last.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::pin::pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use ::h2::Ping;
use ::h2::PingPong;
use ::h2::server;
use bytes::BytesMut;
use l7switch_engine::http1::Preface;
use l7switch_engine::http1::h2_preface;
use l7switch_rules::model::Limits;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio::time::sleep_until;
use tokio_util::io::poll_read_buf;

use crate::accept::handshake;
use crate::accept::proxied;
use crate::client::Client;
use crate::http::h1;
use crate::http::h1::End;
use crate::http::h2;
use crate::limit::sources;
use crate::net::stream::MaybeRaw;
use crate::net::stream::Prefixed;
use crate::net::stream::SharedStream;
use crate::net::stream::StreamHandle;
use crate::net::timer::Expired;
use crate::net::timer::Timer;
use crate::net::tls::ServiceTls;
use crate::observe::log_limit;
use crate::observe::reason::Reason;

/// Requests of one HTTP/2 connection at a time.
const MAX_STREAMS: u32 = 128;

/// Content of one HTTP/2 request that may be on its way, and wait for its server. The connection's window is as large as
/// those of all its streams together: uploads whose servers do not take them never stop the others (RFC 9113, 5.2.1).
const STREAM_WINDOW: u32 = 256 * 1024;

/// Content of one HTTP/2 response that is held for a client that does not take it.
const SEND_BUFFER: usize = 256 * 1024;

/// Read at a time where a connection begins.
const PREFACE_READ: usize = 1024;

/// How often an HTTP/2 connection is asked whether it still lives.
const PING: Duration = Duration::from_secs(20);

/// Serves a connection.
pub async fn serve(
    mut client: Box<Client>,
    stream: TcpStream,
    limits: Limits,
    tls: Option<Arc<ServiceTls>>,
) {
    let (mut stream, handle) = SharedStream::new(stream);
    client.has_socket(&handle);
    if client.is_proxied {
        let learned = proxied::learn(&mut client, &mut stream, limits.head_timeout);
        if !Box::pin(learned).await {
            return;
        }
    }
    if !sources::admit(&mut client, &limits) {
        return stream.abort();
    }
    match tls {
        // Apart, as HTTP/2 below: what a connection in clear text does not need is not part of its task.
        Some(tls) => Box::pin(secure(client, stream, handle, limits, tls)).await,
        None => clear(client, stream, handle, limits).await,
    }
}

/// TLS, and in it the protocol that was agreed upon.
async fn secure(
    mut client: Box<Client>,
    stream: SharedStream,
    handle: StreamHandle,
    limits: Limits,
    tls: Arc<ServiceTls>,
) {
    let time = limits.head_timeout;
    let shaken = handshake::shake(&mut client, stream, &handle, &tls, time).await;
    let Some(stream) = shaken else {
        return;
    };
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        Box::pin(http2(client, stream, handle, limits)).await;
    } else {
        let draining = pin!(client.core.shutdown.draining());
        let (received, timer) = (BytesMut::new(), Timer::default());
        http1(client, stream, received, handle, limits, timer, draining).await;
    }
}

/// Clear text: HTTP/2 with prior knowledge, or HTTP/1.
async fn clear(
    client: Box<Client>,
    mut stream: SharedStream,
    handle: StreamHandle,
    limits: Limits,
) {
    let mut received = BytesMut::with_capacity(PREFACE_READ);
    let mut timer = Timer::default();
    let mut draining = pin!(client.core.shutdown.draining());
    let outcome = tokio::select! {
        biased;
        outcome = preface(&mut stream, &mut received, &limits, &mut timer) => outcome,
        () = async { draining.as_mut().await; client.core.shutdown.last_chance().await } => return,
    };
    match outcome {
        Ok(Preface::Yes) => {
            let stream = Prefixed::new(received.freeze(), stream);
            Box::pin(http2(client, stream, handle, limits)).await;
        }
        // What was begun and not ended is refused there.
        Ok(Preface::No | Preface::Maybe) if !received.is_empty() => {
            http1(client, stream, received, handle, limits, timer, draining).await;
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
    timer: &mut Timer,
) -> io::Result<Preface> {
    timer.start(limits.idle_timeout);
    loop {
        received.reserve(PREFACE_READ);
        let read = timer.within(|cx| poll_read_buf(Pin::new(&mut *stream), cx, received));
        match read.await {
            Err(Expired) | Ok(Ok(0)) => return Ok(Preface::Maybe),
            Ok(Err(error)) => return Err(error),
            Ok(Ok(_)) => match h2_preface(received) {
                Preface::Maybe => timer.start(limits.head_timeout),
                known => return Ok(known),
            },
        }
    }
}

/// HTTP/1.
async fn http1<S>(
    client: Box<Client>,
    mut stream: S,
    received: BytesMut,
    handle: StreamHandle,
    limits: Limits,
    timer: Timer,
    draining: Pin<&mut impl Future<Output = ()>>,
) where
    S: AsyncRead + AsyncWrite + MaybeRaw + Unpin + Send + 'static,
{
    let end = {
        let serving = h1::serve(&client, &mut stream, received, &limits, timer, draining);
        let mut serving = pin!(serving);
        let mut broken = pin!(handle.broken());
        poll_fn(|cx| match serving.as_mut().poll(cx) {
            Poll::Ready(end) => Poll::Ready(Some(end)),
            // What is in progress for a client that has gone is dropped with the connection.
            Poll::Pending => broken.as_mut().poll(cx).map(|()| None),
        })
        .await
    };
    match end {
        None => (),
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

/// HTTP/2. Its streams end with the connection.
async fn http2<S>(client: Box<Client>, stream: S, handle: StreamHandle, limits: Limits)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let client = Arc::<Client>::from(client);
    let mut builder = server::Builder::new();
    builder
        .enable_connect_protocol()
        .max_concurrent_streams(MAX_STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAM_WINDOW.saturating_mul(MAX_STREAMS))
        .max_header_list_size(u32::try_from(limits.head).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER);
    let handshake = tokio::time::timeout(limits.head_timeout, builder.handshake(stream));
    let mut connection = match handshake.await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return ended_by_error(&client, &error),
        Err(_) => {
            client.stats.refused(Reason::HeadTimeout);
            let detail = "the HTTP/2 preface did not arrive in time";
            return log_limit::hostile(Reason::HeadTimeout, client.peer, detail);
        }
    };
    let mut draining = pin!(client.core.shutdown.draining());
    let mut streams = JoinSet::new();
    let mut pings = connection.ping_pong();
    let mut ending = false;
    let mut is_pinged = false;
    let mut quiet_since = Instant::now();
    let mut ping_at = Instant::now() + PING;
    loop {
        let is_quiet = streams.is_empty();
        let idle_at = quiet_since + limits.idle_timeout;
        tokio::select! {
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    streams.spawn(h2::serve(Arc::clone(&client), limits, request, respond));
                }
                Some(Err(error)) => return ended_by_error(&client, &error),
                None => return,
            },
            () = handle.broken() => return,
            Some(_) = streams.join_next() => quiet_since = Instant::now(),
            () = &mut draining, if !ending => {
                ending = true;
                connection.graceful_shutdown();
            }
            pong = poll_fn(|cx| poll_pong(pings.as_mut(), cx)), if is_pinged => {
                if !pong {
                    return;
                }
                is_pinged = false;
                ping_at = Instant::now() + PING;
            }
            () = sleep_until(ping_at) => {
                // The last one was not answered.
                if is_pinged {
                    return;
                }
                let sent = pings.as_mut().map(|pings| pings.send_ping(Ping::opaque()));
                if !matches!(sent, Some(Ok(()))) {
                    return;
                }
                is_pinged = true;
                ping_at = Instant::now() + PING;
            }
            () = sleep_until(idle_at), if is_quiet => {
                if ending {
                    // It was told before and has not gone.
                    return;
                }
                ending = true;
                connection.graceful_shutdown();
                // So long it has to go.
                quiet_since = Instant::now() + limits.head_timeout;
                quiet_since = quiet_since.checked_sub(limits.idle_timeout).unwrap_or(quiet_since);
            }
        }
    }
}

/// Ready when a ping was answered, or cannot be any more: `false`.
fn poll_pong(pings: Option<&mut PingPong>, cx: &mut Context<'_>) -> Poll<bool> {
    match pings {
        Some(pings) => pings.poll_pong(cx).map(|pong| pong.is_ok()),
        None => Poll::Pending,
    }
}

/// Counts and logs what a client has done for which its HTTP/2 connection was ended.
fn ended_by_error(client: &Client, error: &::h2::Error) {
    tracing::debug!(%error, client = %client.peer, "HTTP/2 connection");
    if error.is_io() || error.is_remote() {
        return;
    }
    let reason = match error.reason() {
        Some(::h2::Reason::ENHANCE_YOUR_CALM) => Reason::H2Flood,
        Some(::h2::Reason::NO_ERROR) => return,
        _ => Reason::H2Protocol,
    };
    client.stats.refused(reason);
    log_limit::hostile(reason, client.peer, &error.to_string());
}
