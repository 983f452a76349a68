// SPDX-License-Identifier: MIT
//! A request sent as it stands in a buffer, and the head of its response, read by the engine's parser.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use bytes::Buf;
use bytes::BytesMut;
use l7switch_engine::http1::ResponseHead;
use l7switch_engine::http1::ResponseParser;
use tokio_util::io::poll_read_buf;

use super::connect::ConnectError;
use super::connect::connect_tcp;
use super::idle::Ending;
use super::idle::Link;
use super::idle::Own;
use super::lease::Outstanding;
use super::pool::Fault;
use super::pool::Pool;
use super::send::Attempt;
use super::send::Courier;
use super::send::Failure;
use super::send::deliver;
use super::send::no_response;
use super::send::too_late;
use super::server::RealServer;
use crate::clock::now_ns;
use crate::io::SharedStream;
use crate::io::poll_write_both;
use crate::timer::Timer;

/// Read at a time where a response begins.
const READ: usize = 8 * 1024;

/// A request that is to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Its head.
    pub head: &'a [u8],
    /// All of its content.
    pub content: &'a [u8],
    /// Whether its method is safe.
    pub safe: bool,
    /// How long the server may take until it answers.
    pub patience: Duration,
}

/// The beginning of a response.
#[derive(Debug)]
pub struct Answered {
    /// What its head says.
    pub head: ResponseHead,
    /// Bytes of its head in the buffer, from its start.
    pub length: usize,
    /// The server in use.
    pub lease: StreamLease,
}

/// A server whose response is being read. Dropped, the connection is closed.
#[derive(Debug)]
pub struct StreamLease {
    pool: Arc<Pool>,
    outstanding: Outstanding,
    link: Link<SharedStream>,
    own: Arc<Own>,
}

impl StreamLease {
    /// The server.
    pub const fn server(&self) -> &Arc<RealServer> {
        self.outstanding.server()
    }

    /// Reads on, into the room that the buffer has.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        poll_read_buf(Pin::new(&mut self.link.connection), cx, buffer)
    }

    /// The response was read to its end, and the connection can have another request.
    pub fn completed(mut self, ending: Ending) {
        if ending != Ending::Withheld {
            let most = self.pool.config().keepalive;
            self.link.answered(ending == Ending::Clear);
            self.outstanding
                .server()
                .keep_idle_stream(self.link, &self.own, most);
        }
    }

    /// The response was read to its end, and something stood behind it.
    pub fn surplus(self) {
        self.server().sent_surplus();
    }

    /// The response broke off, or is none.
    pub fn failed(self) {
        self.pool.failed(self.server(), Fault::Answer);
    }
}

/// Sends a request to a server of the pool, and reads the head of its response into the buffer; something of the content may
/// stand behind it.
///
/// # Errors
///
/// No server, no connection, or no response.
pub async fn relay(
    pool: &Arc<Pool>,
    hash: u64,
    own: &Arc<Own>,
    message: Message<'_>,
    timer: &mut Timer,
    buffer: &mut BytesMut,
) -> Result<Answered, Failure> {
    let mut courier = AsItIs {
        message,
        own,
        timer,
        buffer,
    };
    let ((head, length, link), outstanding) = deliver(pool, hash, &mut courier).await?;
    let lease = StreamLease {
        pool: Arc::clone(pool),
        outstanding,
        link,
        own: Arc::clone(own),
    };
    Ok(Answered {
        head,
        length,
        lease,
    })
}

/// A request on its way.
struct AsItIs<'a> {
    message: Message<'a>,
    own: &'a Own,
    timer: &'a mut Timer,
    buffer: &'a mut BytesMut,
}

impl AsItIs<'_> {
    /// Sends the request. A server that answers before it has read the whole request and closes, resets the connection when more
    /// comes: what is read next tells, so that a write that fails is taken for done.
    async fn send(&mut self, stream: &mut SharedStream) -> Result<(), Attempt> {
        let (mut head, mut content) = (self.message.head, self.message.content);
        while !head.is_empty() || !content.is_empty() {
            let written = self
                .timer
                .within(|cx| poll_write_both(Pin::new(&mut *stream), cx, &mut head, &mut content))
                .await
                .map_err(|_| Attempt::Spent(too_late()))?;
            if written.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// The connection ended before there was a response.
    fn closed(&self) -> Attempt {
        if self.message.safe && self.message.content.is_empty() {
            Attempt::Closed(no_response())
        } else {
            Attempt::Spent(no_response())
        }
    }
}

impl Courier for AsItIs<'_> {
    type Connection = Link<SharedStream>;
    type Answer = (ResponseHead, usize, Link<SharedStream>);

    // A relayed request names its host.
    fn address(&mut self, _: &RealServer) {}

    fn kept(&mut self, server: &RealServer) -> Option<Link<SharedStream>> {
        server.take_idle_stream(self.own)
    }

    async fn connect(
        &mut self,
        server: &RealServer,
        patience: Duration,
    ) -> Result<Link<SharedStream>, ConnectError> {
        let (stream, _) = SharedStream::new(connect_tcp(server.address(), patience).await?);
        Ok(Link::new(stream))
    }

    async fn attempt(
        &mut self,
        server: &RealServer,
        mut link: Link<SharedStream>,
    ) -> Result<Self::Answer, Attempt> {
        let began = now_ns();
        self.buffer.clear();
        self.timer.start(self.message.patience);
        let stream = &mut link.connection;
        self.send(stream).await?;
        let mut parser = ResponseParser::new();
        let mut parsed = 0_usize;
        loop {
            self.buffer.reserve(READ);
            let buffer = &mut *self.buffer;
            let read = self
                .timer
                .within(|cx| poll_read_buf(Pin::new(&mut *stream), cx, buffer))
                .await
                .map_err(|_| Attempt::Spent(too_late()))?;
            if !matches!(read, Ok(1..)) {
                return Err(self.closed());
            }
            while let Some(rest) = self.buffer.get(parsed..)
                && !rest.is_empty()
            {
                let progress = parser.consume(rest).map_err(|error| {
                    tracing::debug!(server = %server.address(), %error, "no response");
                    Attempt::Spent(no_response())
                })?;
                parsed = parsed.saturating_add(progress.consumed);
                match progress.head {
                    None => (),
                    Some(head) if head.interim() => {
                        // It is the switch's affair (RFC 9110, 15.2): the client asked for none.
                        self.buffer.advance(parsed);
                        parsed = 0;
                        parser = ResponseParser::new();
                    }
                    Some(head) => {
                        let now = now_ns();
                        server.observe(now.saturating_sub(began), now);
                        server.succeeded();
                        return Ok((head, parsed, link));
                    }
                }
            }
        }
    }
}
