// SPDX-License-Identifier: MIT
//! One client connection of HTTP/2. Its streams are served by the connection's own task, one after another, before the
//! connection sends: what many of them have for the client goes out together.

use std::future::poll_fn;
use std::pin::Pin;
use std::pin::pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use ::h2::Ping;
use ::h2::PingPong;
use ::h2::server;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use l7switch_rules::model::Limits;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::task::coop::unconstrained;
use tokio::time::Instant;
use tokio::time::Sleep;
use tokio::time::sleep_until;

use crate::client::Client;
use crate::http::h2;
use crate::net::stream::StreamHandle;
use crate::observe::log_limit;
use crate::observe::reason::Reason;

/// Requests of one connection at a time.
const MAX_STREAMS: u32 = 128;

/// Content of one request that may be on its way, and wait for its server. The connection's window is as large as
/// those of all its streams together: uploads whose servers do not take them never stop the others (RFC 9113, 5.2.1).
const STREAM_WINDOW: u32 = 256 * 1024;

/// Content of one response that is held for a client that does not take it.
const SEND_BUFFER: usize = 256 * 1024;

/// How often a connection is asked whether it still lives.
const PING: Duration = Duration::from_secs(20);

/// Serves a connection. Its streams end with it.
pub(super) async fn serve<S>(client: Box<Client>, stream: S, handle: StreamHandle, limits: Limits)
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
    let connection = match handshake.await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return ended_by_error(&client, &error),
        Err(_) => {
            client.stats.refused(Reason::HeadTimeout);
            let detail = "the HTTP/2 preface did not arrive in time";
            return log_limit::hostile(Reason::HeadTimeout, client.peer, detail);
        }
    };
    let mut draining = pin!(client.core.shutdown.draining());
    let mut broken = pin!(handle.broken());
    let begin = |request, respond| {
        // A stream gives way where it waits for its client or server, and what it can do without that is bounded by their
        // windows. So it needs no part of the connection's budget, which is for one stream, not for all.
        unconstrained(h2::serve(Arc::clone(&client), limits, request, respond))
    };
    let mut serving = Serving::new(connection, &client, limits, begin);
    poll_fn(|cx| {
        if broken.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if !serving.ending && draining.as_mut().poll(cx).is_ready() {
            serving.end();
        }
        serving.poll(cx)
    })
    .await;
}

/// A connection, and its streams, each of which is a future `F`.
struct Serving<'a, S, F, B> {
    client: &'a Client,
    limits: Limits,
    connection: server::Connection<S, Bytes>,
    begin: B,
    streams: FuturesUnordered<F>,
    pings: Option<PingPong>,
    /// A ping was sent, and not answered yet.
    is_pinged: bool,
    ping_at: Instant,
    /// When a connection without streams has been so for long enough.
    idle_at: Instant,
    /// The client was told that the connection ends.
    ending: bool,
    /// Fires at the earlier of the two, or before.
    alarm: Pin<Box<Sleep>>,
}

impl<'a, S, F, B> Serving<'a, S, F, B>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = ()>,
    B: Fn(http::Request<::h2::RecvStream>, server::SendResponse<Bytes>) -> F,
{
    fn new(
        mut connection: server::Connection<S, Bytes>,
        client: &'a Client,
        limits: Limits,
        begin: B,
    ) -> Self {
        let now = Instant::now();
        let (ping_at, idle_at) = (now + PING, now + limits.idle_timeout);
        Self {
            client,
            limits,
            pings: connection.ping_pong(),
            connection,
            begin,
            streams: FuturesUnordered::new(),
            is_pinged: false,
            ping_at,
            idle_at,
            ending: false,
            alarm: Box::pin(sleep_until(ping_at.min(idle_at))),
        }
    }

    /// Tells the client that the connection ends with the requests that it has.
    fn end(&mut self) {
        self.ending = true;
        self.connection.graceful_shutdown();
    }

    /// Ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_streams(cx);
        let mut is_new = false;
        // Sends what the streams have said, too.
        while let Poll::Ready(accepted) = self.connection.poll_accept(cx) {
            match accepted {
                Some(Ok((request, respond))) => {
                    is_new = true;
                    self.streams.push((self.begin)(request, respond));
                }
                Some(Err(error)) => {
                    ended_by_error(self.client, &error);
                    return Poll::Ready(());
                }
                None => return Poll::Ready(()),
            }
        }
        if is_new {
            // What they say already wakes the connection.
            self.poll_streams(cx);
        }
        if self.is_pinged
            && let Some(pings) = &mut self.pings
            && let Poll::Ready(pong) = pings.poll_pong(cx)
        {
            if pong.is_err() {
                return Poll::Ready(());
            }
            self.is_pinged = false;
            self.ping_at = Instant::now() + PING;
        }
        self.poll_alarm(cx)
    }

    /// Goes on with all streams that can.
    fn poll_streams(&mut self, cx: &mut Context<'_>) {
        if self.streams.is_empty() {
            return;
        }
        while let Poll::Ready(Some(())) = self.streams.poll_next_unpin(cx) {}
        if self.streams.is_empty() {
            self.idle_at = Instant::now() + self.limits.idle_timeout;
        }
    }

    /// Does what is due. Ready when the connection has lived too long.
    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let is_quiet = self.streams.is_empty();
            let mut next = self.ping_at;
            if is_quiet {
                next = next.min(self.idle_at);
            }
            if next < self.alarm.deadline() {
                self.alarm.as_mut().reset(next);
            }
            if self.alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if next > self.alarm.deadline() {
                self.alarm.as_mut().reset(next);
                continue;
            }
            if is_quiet && self.idle_at == next {
                if self.ending {
                    // It was told before and has not gone.
                    return Poll::Ready(());
                }
                self.end();
                // So long it has to go.
                self.idle_at = Instant::now() + self.limits.head_timeout;
                // What it is told is sent when the connection is polled.
                cx.waker().wake_by_ref();
                continue;
            }
            // The last one was not answered.
            if self.is_pinged {
                return Poll::Ready(());
            }
            let sent = self
                .pings
                .as_mut()
                .map(|pings| pings.send_ping(Ping::opaque()));
            if !matches!(sent, Some(Ok(()))) {
                return Poll::Ready(());
            }
            self.is_pinged = true;
            self.ping_at = Instant::now() + PING;
            // As above, and the answer is waited for.
            cx.waker().wake_by_ref();
        }
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
