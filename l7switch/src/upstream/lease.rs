// SPDX-License-Identifier: MIT
//! A server that is in use: counted as outstanding until the lease ends, its connection kept or
//! closed by how it ended.

use std::io;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Instant;

use bytes::BytesMut;
use l7switch_engine::http1::ResponseHead;

use super::feed::Broke;
use super::feed::Feed;
use super::feed::Patience;
use super::feed::wait;
use super::idle::Ending;
use super::idle::Link;
use super::idle::Own;
use super::pool::Fault;
use super::pool::Pool;
use super::refusals::no_response;
use super::repeat::Repeating;
use super::response::NoHead;
use super::response::read_head;
use super::server::RealServer;
use super::stream::ServerStream;
use crate::net::stream::MaybeRaw;
use crate::net::timer::Timer;
use crate::observe::reason::Refusal;

/// Why a response that began has failed.
pub const BROKE_OFF: &str = "the response broke off";

/// A request or connection that a server has. Counted until it is dropped.
#[derive(Debug)]
pub struct Outstanding {
    server: Arc<RealServer>,
    /// It was sent to another server before.
    repeating: Option<Repeating>,
}

impl Outstanding {
    pub(super) fn new(server: Arc<RealServer>) -> Self {
        server.start();
        Self {
            server,
            repeating: None,
        }
    }

    /// It was sent to another server before, and counts as such a one for as long as it lasts.
    pub fn repeats(&mut self, repeating: Option<Repeating>) {
        self.repeating = repeating;
    }

    /// The server.
    pub const fn server(&self) -> &Arc<RealServer> {
        &self.server
    }
}

impl Drop for Outstanding {
    fn drop(&mut self) {
        match self.server.queue() {
            None => self.server.sched().finish(),
            Some(queue) => queue.release(|| self.server.sched().finish()),
        }
    }
}

/// A server whose response is being read. Dropped, the connection is reset.
#[derive(Debug)]
pub struct Lease {
    pub(super) pool: Arc<Pool>,
    pub(super) outstanding: Outstanding,
    pub(super) link: Link<ServerStream>,
    pub(super) own: Arc<Own>,
    /// When the server could begin.
    pub(super) began: Instant,
}

impl Lease {
    /// The server.
    pub const fn server(&self) -> &Arc<RealServer> {
        self.outstanding.server()
    }

    /// When the request was sent to it.
    pub const fn began(&self) -> Instant {
        self.began
    }

    /// The server's pool.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Whether the kernel can move its bytes.
    pub fn is_clear(&self) -> bool {
        self.link.connection.raw().is_some()
    }

    /// Reads the next head, behind one of an interim response.
    ///
    /// # Errors
    ///
    /// What the client is told.
    pub async fn read_head<F: Feed>(
        &mut self,
        feed: &mut F,
        timer: &mut Timer,
        patience: Patience,
        buffer: &mut BytesMut,
    ) -> Result<(ResponseHead, usize), Refusal> {
        let server = &mut self.link.connection;
        let read = read_head(feed, server, timer, patience, buffer).await;
        read.map_err(|error| match error {
            NoHead::Broke(broke) => broke.refusal(),
            NoHead::Closed | NoHead::Certificate(_) | NoHead::Malformed(_) => no_response(),
        })
    }

    /// Reads on, into the room that the buffer has. 0: the server has ended the connection.
    ///
    /// # Errors
    ///
    /// Nobody waits for it any more.
    pub async fn read<F: Feed>(
        &mut self,
        feed: &mut F,
        timer: &mut Timer,
        patience: Patience,
        buffer: &mut BytesMut,
    ) -> Result<io::Result<usize>, Broke> {
        self.wait(feed, timer, patience, |_, server, cx| {
            server.poll_read_buf(cx, buffer)
        })
        .await
    }

    /// Waits for what `poll` gives, while content goes on.
    ///
    /// # Errors
    ///
    /// See [`Broke`].
    pub async fn wait<F: Feed, T>(
        &mut self,
        feed: &mut F,
        timer: &mut Timer,
        patience: Patience,
        poll: impl FnMut(&mut F, &mut ServerStream, &mut Context<'_>) -> Poll<T>,
    ) -> Result<T, Broke> {
        wait(feed, &mut self.link.connection, timer, patience, poll).await
    }

    /// The request was sent, and the response read, to the end, at this time; the connection can have another request.
    pub fn completed(mut self, ending: Ending, now: Instant) {
        self.link.connection.set_within(false);
        self.timed(now);
        if ending != Ending::Withheld {
            self.link.answered(ending == Ending::Clear);
            let most = self.pool.config().keepalive;
            self.outstanding
                .server()
                .keep_idle(self.link, &self.own, most, now);
        }
    }

    /// The response was read to its end, and the connection can have no other request.
    pub fn ended(&mut self) {
        self.link.connection.set_within(false);
        self.timed(Instant::now());
    }

    /// The response was read to its end, and something stood behind it.
    pub fn surplus(self) {
        self.timed(Instant::now());
        self.server().sent_surplus();
    }

    fn timed(&self, now: Instant) {
        let duration = now.saturating_duration_since(self.began);
        self.server().times.ended(duration);
    }

    /// The response broke off, or is none, for this reason.
    pub fn failed(self, why: &str) {
        self.pool.failed(self.server(), Fault::Answer, why);
    }

    /// The connection becomes another protocol's.
    pub fn into_tunnel(mut self) -> (ServerStream, Outstanding) {
        self.link.connection.set_within(false);
        (self.link.connection, self.outstanding)
    }
}
