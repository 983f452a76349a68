// SPDX-License-Identifier: MIT
//! The gate under hyper: no byte of an HTTP/1 connection passes that the engine's strict parser has
//! not read and found right.
//!
//! Complete heads go up, bodies as they come, one message at a time. What breaks a rule, a limit or
//! a time is kept back; in its place hyper reads one synthetic request, which the handler knows by
//! its number and answers with the right status (see [`Shared::begin`]). Because that request
//! stands in the stream where the bad one stood, the answers to earlier pipelined requests go out
//! before it. After an upgrade the gate is opaque.

mod shared;

use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use bytes::Buf;
use bytes::Bytes;
use bytes::BytesMut;
use http::StatusCode;
use http::Uri;
use l7switch_engine::http1;
use l7switch_engine::http1::BodyTracker;
use l7switch_engine::http1::HeadParser;
use l7switch_engine::http1::Target;
use l7switch_rules::model::Limits;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::time::Instant;
use tokio::time::Sleep;
use tokio_util::io::poll_read_buf;

use crate::reason::Reason;
use crate::reason::Refusal;

pub use shared::Shared;
pub use shared::Ticket;

/// Stands in the stream where a refused request stood.
const SYNTHETIC: &[u8] = b"GET / HTTP/1.1\r\nHost: l7switch\r\nConnection: close\r\n\r\n";

/// Read at a time where bytes have to be looked at before they can be passed.
const READ: usize = 16 * 1024;

enum State {
    /// Between requests, or within a head.
    Head(Box<HeadParser>),
    /// Within a body.
    Body {
        tracker: BodyTracker,
        /// Whether the request asked for an upgrade.
        upgrade: bool,
    },
    /// Behind a request that asked for an upgrade.
    Hold,
    /// Behind an upgrade.
    Opaque,
    /// Behind a refusal, or behind what the client sent last.
    Ended,
}

/// The gate over a stream.
pub struct Gate<S> {
    stream: S,
    shared: Arc<Shared>,
    limits: Limits,
    /// Received and not handed up.
    inbound: BytesMut,
    /// How much of it may be handed up.
    passable: usize,
    /// Where the synthetic request is being handed up: what is left of it.
    synthetic: Bytes,
    state: State,
    read_timer: Option<Pin<Box<Sleep>>>,
    write_timer: Option<Pin<Box<Sleep>>>,
}

impl<S> std::fmt::Debug for Gate<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate")
            .field("waiting", &self.inbound.len())
            .finish_non_exhaustive()
    }
}

/// What a time that passed is for.
enum Waiting {
    /// For the first byte of a head.
    Idle,
    /// For the rest of a head.
    Head,
    /// For content.
    Body,
}

impl<S> Gate<S> {
    /// A gate at the start of a connection of which `received` was read already.
    /// With a refusal, the request that it begins with is refused.
    pub fn new(
        stream: S,
        received: BytesMut,
        limits: Limits,
        refusal: Option<Refusal>,
    ) -> (Self, Arc<Shared>) {
        let shared = Arc::<Shared>::default();
        let mut gate = Self {
            stream,
            shared: Arc::clone(&shared),
            limits,
            inbound: received,
            passable: 0,
            synthetic: Bytes::new(),
            state: State::Head(Box::new(fresh(&limits))),
            read_timer: None,
            write_timer: None,
        };
        if let Some(refusal) = refusal {
            gate.refuse(refusal);
        }
        (gate, shared)
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.shared.refuse(refusal);
        self.inbound.clear();
        self.synthetic = Bytes::from_static(SYNTHETIC);
        self.state = State::Ended;
        self.read_timer = None;
    }

    fn cut_body(&mut self, refusal: Refusal) -> io::Error {
        let error = io::Error::new(io::ErrorKind::InvalidData, refusal.detail.clone());
        self.shared.cut_body(refusal);
        self.state = State::Ended;
        error
    }

    fn next_head(&mut self) {
        self.state = State::Head(Box::new(fresh(&self.limits)));
        self.shared.set_clean(self.inbound.len() == self.passable);
    }

    /// Looks at what was received; true when there is something to hand up or the state changed.
    fn advance(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        match &mut self.state {
            State::Head(parser) => {
                if self.inbound.is_empty() {
                    return Ok(false);
                }
                self.shared.set_clean(false);
                match parser.parse(&self.inbound) {
                    Ok(None) => Ok(false),
                    Ok(Some(head)) if !is_uri(&self.inbound, head.len()) => {
                        self.refuse(Refusal::bad_request(
                            "character not allowed in request target (RFC 3986, 3.3)",
                        ));
                        Ok(true)
                    }
                    Ok(Some(head)) => {
                        self.passable = head.len();
                        let upgrade = head.upgrade().is_some();
                        let tracker = BodyTracker::new(head.framing());
                        let number = self.shared.pass();
                        if head.path() == b"*" && matches!(head.target(), Target::Absolute { .. }) {
                            self.shared.pass_asterisk(number);
                        }
                        self.read_timer = None;
                        self.after_head(tracker, upgrade);
                        Ok(true)
                    }
                    Err(error) => {
                        self.refuse(refusal_of(error));
                        Ok(true)
                    }
                }
            }
            State::Body { tracker, upgrade } => {
                if self.inbound.is_empty() {
                    return Ok(false);
                }
                let upgrade = *upgrade;
                match tracker.consume(&self.inbound) {
                    Ok(progress) => {
                        self.passable = progress.consumed;
                        self.read_timer = None;
                        if progress.done {
                            self.after_body(upgrade);
                        }
                        Ok(true)
                    }
                    Err(error) => Err(self.cut_body(body_refusal(error))),
                }
            }
            State::Hold => match self.shared.poll_decision(cx) {
                Poll::Pending => Ok(false),
                Poll::Ready(true) => {
                    self.state = State::Opaque;
                    Ok(true)
                }
                Poll::Ready(false) => {
                    self.next_head();
                    Ok(true)
                }
            },
            State::Opaque => {
                self.passable = self.inbound.len();
                Ok(self.passable > 0)
            }
            State::Ended => Ok(false),
        }
    }

    fn after_head(&mut self, tracker: BodyTracker, upgrade: bool) {
        if tracker.done() {
            self.after_body(upgrade);
        } else {
            self.state = State::Body { tracker, upgrade };
        }
    }

    fn after_body(&mut self, upgrade: bool) {
        if upgrade {
            self.state = State::Hold;
            self.shared.set_clean(self.inbound.len() == self.passable);
        } else {
            self.next_head();
        }
    }

    fn waiting(&self) -> Option<Waiting> {
        match &self.state {
            State::Head(_) if self.inbound.is_empty() => Some(Waiting::Idle),
            State::Head(_) => Some(Waiting::Head),
            State::Body { .. } => Some(Waiting::Body),
            State::Hold | State::Opaque | State::Ended => None,
        }
    }

    /// Called when nothing can be read: whether the time for it has passed.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<Waiting> {
        let Some(waiting) = self.waiting() else {
            return Poll::Pending;
        };
        let patience = match waiting {
            Waiting::Idle | Waiting::Body => self.limits.idle_timeout,
            Waiting::Head => self.limits.head_timeout,
        };
        let timer = self
            .read_timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(timer.as_mut().poll(cx));
        self.read_timer = None;
        Poll::Ready(waiting)
    }
}

/// Whether the target is one that hyper reads too. hyper would answer others itself, with nothing
/// counted and nothing logged.
fn is_uri(received: &[u8], head: usize) -> bool {
    let line = received.get(..head).unwrap_or_default().trim_ascii_start();
    let target = line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    is_usual(target) || Uri::try_from(target).is_ok()
}

/// A short target in origin form of characters that every reader takes: no need to try.
fn is_usual(target: &[u8]) -> bool {
    target.starts_with(b"/")
        && target.len() < 4096
        && target.iter().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'-' | b'_' | b'~')
        })
}

/// A parser of the next request's head.
pub fn fresh(limits: &Limits) -> HeadParser {
    HeadParser::new(http1::Limits {
        head: limits.head,
        target: limits.head,
        fields: limits.fields,
    })
}

/// The refusal of a head that takes too long.
pub fn too_slow() -> Refusal {
    Refusal::new(
        Reason::HeadTimeout,
        StatusCode::REQUEST_TIMEOUT,
        "the request head did not arrive in time",
    )
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_REQUEST)
}

fn refusal_of(error: http1::HeadError) -> Refusal {
    let status = status(error.status());
    let reason = match status {
        StatusCode::URI_TOO_LONG => Reason::TargetTooLong,
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Reason::HeadTooLarge,
        StatusCode::NOT_IMPLEMENTED => Reason::NotImplemented,
        StatusCode::HTTP_VERSION_NOT_SUPPORTED => Reason::BadVersion,
        _ => Reason::BadRequest,
    };
    Refusal::new(reason, status, error.to_string())
}

fn body_refusal(error: http1::BodyError) -> Refusal {
    Refusal::new(
        Reason::BadRequest,
        status(error.status()),
        error.to_string(),
    )
}

impl<S: AsyncRead + Unpin> Gate<S> {
    /// Bytes of the current body that may be read straight into the reader's buffer, because
    /// nothing is waiting before them.
    fn poll_direct(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => (),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
        self.read_timer = None;
        let fresh = buf.filled().get(before..).unwrap_or_default();
        if fresh.is_empty() {
            self.state = State::Ended;
            return Poll::Ready(Ok(()));
        }
        let State::Body { tracker, upgrade } = &mut self.state else {
            // Opaque: whatever comes goes up.
            return Poll::Ready(Ok(()));
        };
        let upgrade = *upgrade;
        match tracker.consume(fresh) {
            Ok(progress) => {
                let rest = fresh.get(progress.consumed..).unwrap_or_default();
                self.inbound.extend_from_slice(rest);
                buf.set_filled(before.saturating_add(progress.consumed));
                if progress.done {
                    self.after_body(upgrade);
                }
                Poll::Ready(Ok(()))
            }
            Err(error) => {
                buf.set_filled(before);
                Poll::Ready(Err(self.cut_body(body_refusal(error))))
            }
        }
    }

    /// Called when nothing can be read: ready when the time for it has passed, and what then is
    /// done is done.
    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(self.poll_patience(cx)) {
            // To hyper this is an orderly end between two requests.
            Waiting::Idle => self.state = State::Ended,
            Waiting::Head => self.refuse(too_slow()),
            Waiting::Body => {
                return Poll::Ready(Err(self.cut_body(Refusal::new(
                    Reason::BodyTimeout,
                    StatusCode::REQUEST_TIMEOUT,
                    "the content of the request did not arrive in time",
                ))));
            }
        }
        Poll::Ready(Ok(()))
    }

    fn on_end(&mut self) {
        if matches!(self.state, State::Head(_)) && !self.inbound.is_empty() {
            self.refuse(Refusal::bad_request(
                "the connection ended within a request head",
            ));
        } else {
            self.state = State::Ended;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gate<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let gate = &mut *self;
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if gate.passable > 0 {
                let count = gate.passable.min(buf.remaining());
                buf.put_slice(gate.inbound.get(..count).unwrap_or_default());
                gate.inbound.advance(count);
                gate.passable = gate.passable.saturating_sub(count);
                return Poll::Ready(Ok(()));
            }
            if !gate.synthetic.is_empty() {
                let count = gate.synthetic.len().min(buf.remaining());
                buf.put_slice(gate.synthetic.get(..count).unwrap_or_default());
                gate.synthetic.advance(count);
                return Poll::Ready(Ok(()));
            }
            if gate.advance(cx)? {
                continue;
            }
            match &gate.state {
                State::Ended => return Poll::Ready(Ok(())),
                State::Hold => return Poll::Pending,
                State::Body { .. } | State::Opaque => match gate.poll_direct(cx, buf) {
                    Poll::Pending => {
                        ready!(gate.poll_expired(cx))?;
                        continue;
                    }
                    result => return result,
                },
                State::Head(_) => (),
            }
            gate.inbound.reserve(READ);
            let was_idle = gate.inbound.is_empty();
            match poll_read_buf(Pin::new(&mut gate.stream), cx, &mut gate.inbound) {
                Poll::Ready(Ok(0)) => gate.on_end(),
                Poll::Ready(Ok(_)) => {
                    if was_idle {
                        // The time for a head begins with its first byte.
                        gate.read_timer = None;
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => ready!(gate.poll_expired(cx))?,
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> Gate<S> {
    /// Ends a connection whose client takes nothing for as long as it may be idle.
    fn poll_stalled<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() || matches!(self.state, State::Opaque) {
            self.write_timer = None;
            return result;
        }
        let patience = self.limits.idle_timeout;
        let timer = self
            .write_timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(timer.as_mut().poll(cx));
        timer.as_mut().reset(Instant::now() + patience);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gate<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.poll_stalled(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.poll_stalled(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        self.poll_stalled(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.poll_stalled(cx, result)
    }
}

#[cfg(test)]
mod tests;
