// SPDX-License-Identifier: MIT
//! A response's content on its way to the client: counted, never collected, and given up where a server goes
//! silent or a client takes nothing.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use http_body::Frame;
use http_body::SizeHint;
use hyper::body::Incoming;
use tokio::time::Sleep;
use tokio::time::sleep;

use crate::body::length;
use crate::clock::now_ns;
use crate::exchange::Exchange;
use crate::headers;
use crate::reason::Reason;
use crate::upstream::Ending;
use crate::upstream::Lease;

#[derive(Debug)]
enum Content {
    Own(Option<Bytes>),
    Server {
        inner: Incoming,
        lease: Option<Lease>,
        ending: Ending,
        /// How long the server may be silent.
        patience: Duration,
        /// Runs while it is.
        silence: Option<Pin<Box<Sleep>>>,
    },
}

/// Why a response's content ended early.
#[derive(Debug)]
pub enum Broken {
    /// The connection to the server failed.
    Connection(hyper::Error),
    /// The server went silent in the middle.
    Silent,
    /// The client took nothing for too long.
    NotTaken,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(error) => error.fmt(f),
            Self::Silent => f.write_str("the server went silent in the middle of its response"),
            Self::NotTaken => f.write_str("the client did not take the response"),
        }
    }
}

impl std::error::Error for Broken {}

impl Content {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self {
            Self::Own(content) => Poll::Ready(content.take().map(|data| Ok(Frame::data(data)))),
            Self::Server {
                inner,
                patience,
                silence,
                ..
            } => match Pin::new(inner).poll_frame(cx) {
                Poll::Ready(frame) => {
                    *silence = None;
                    Poll::Ready(frame.map(|frame| {
                        let mut frame = frame.map_err(Broken::Connection)?;
                        if let Some(trailers) = frame.trailers_mut() {
                            headers::clean_trailers(trailers);
                        }
                        Ok(frame)
                    }))
                }
                Poll::Pending => {
                    let timer = silence.get_or_insert_with(|| Box::pin(sleep(*patience)));
                    ready!(timer.as_mut().poll(cx));
                    Poll::Ready(Some(Err(Broken::Silent)))
                }
            },
        }
    }
}

/// Content with the record of the exchange, which is closed when the content has ended or is dropped.
#[derive(Debug)]
struct Parts {
    content: Content,
    exchange: Option<Box<Exchange>>,
}

impl Parts {
    /// The exchange is over: in order, or for this reason.
    fn close(&mut self, reason: Option<Reason>) {
        if let Content::Server { lease, ending, .. } = &mut self.content
            && let Some(lease) = lease.take()
        {
            match reason {
                None => lease.completed(*ending),
                Some(Reason::BadResponse | Reason::ResponseTimeout) => lease.failed(),
                Some(_) => (),
            }
        }
        if let Some(exchange) = self.exchange.take() {
            exchange.close(reason);
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let polled = ready!(self.content.poll_frame(cx));
        match &polled {
            Some(Ok(frame)) => {
                if let (Some(data), Some(exchange)) = (frame.data_ref(), &mut self.exchange) {
                    exchange.sent(length(data));
                }
                if frame.is_trailers() || self.is_end_stream() {
                    self.close(None);
                }
            }
            Some(Err(Broken::Connection(_))) => self.close(Some(Reason::BadResponse)),
            Some(Err(Broken::Silent)) => self.close(Some(Reason::ResponseTimeout)),
            Some(Err(Broken::NotTaken)) => self.close(Some(Reason::IdleTimeout)),
            None => self.close(None),
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Own(content) => content.is_none(),
            Content::Server { inner, .. } => inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Own(content) => SizeHint::with_exact(content.as_ref().map_or(0, length)),
            Content::Server { inner, .. } => inner.size_hint(),
        }
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        self.close(Some(Reason::ClientGone));
    }
}

/// A response over HTTP/2, whose content is not asked for while the client's window is closed: from outside it
/// can be seen to stand still, and be given up.
#[derive(Debug)]
pub struct Watched {
    /// `None`: given up.
    parts: Mutex<Option<Parts>>,
    /// When content was last asked for or handed over, as [`now_ns`].
    moved_ns: AtomicU64,
    /// Whether the server is to go on.
    waits_for_server: AtomicBool,
}

impl Watched {
    fn with<T>(&self, look: impl FnOnce(&mut Option<Parts>) -> T) -> T {
        look(&mut self.parts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives the response up where the client has taken nothing for this long: the server is free again, the
    /// stream is reset as soon as the client wants more.
    pub fn give_up_after(&self, patience: Duration) {
        let still = Duration::from_nanos(now_ns().saturating_sub(self.moved_ns.load(Relaxed)));
        if self.waits_for_server.load(Relaxed) || still < patience {
            return;
        }
        if let Some(mut parts) = self.with(Option::take) {
            parts.close(Some(Reason::IdleTimeout));
        }
    }

    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let polled = self.with(|parts| match parts {
            Some(parts) => parts.poll_frame(cx),
            None => Poll::Ready(Some(Err(Broken::NotTaken))),
        });
        self.moved_ns.store(now_ns(), Relaxed);
        self.waits_for_server.store(polled.is_pending(), Relaxed);
        polled
    }
}

#[derive(Debug)]
enum Holder {
    Plain(Parts),
    Watched(Arc<Watched>),
}

/// A response's content.
#[derive(Debug)]
pub struct ResponseBody(Holder);

impl ResponseBody {
    /// Content from the switch.
    pub fn own(content: Bytes, exchange: Option<Box<Exchange>>) -> Self {
        let content = Some(content).filter(|content| !content.is_empty());
        Self::of(Parts {
            content: Content::Own(content),
            exchange,
        })
    }

    /// Content from a server, which may be silent for as long as `patience`.
    pub fn server(
        inner: Incoming,
        lease: Lease,
        ending: Ending,
        exchange: Box<Exchange>,
        patience: Duration,
    ) -> Self {
        Self::of(Parts {
            content: Content::Server {
                inner,
                lease: Some(lease),
                ending,
                patience,
                silence: None,
            },
            exchange: Some(exchange),
        })
    }

    /// hyper does not ask an empty body for its end.
    fn of(mut parts: Parts) -> Self {
        if parts.is_end_stream() {
            parts.close(None);
        }
        Self(Holder::Plain(parts))
    }

    /// The same, so that it can be given up from outside; with what can do so, unless it has ended.
    pub fn watched(self) -> (Self, Option<Arc<Watched>>) {
        match self.0 {
            Holder::Plain(parts) if !parts.is_end_stream() => {
                let watched = Arc::new(Watched {
                    parts: Mutex::new(Some(parts)),
                    moved_ns: AtomicU64::new(now_ns()),
                    waits_for_server: AtomicBool::new(false),
                });
                let same = Arc::clone(&watched);
                (Self(Holder::Watched(watched)), Some(same))
            }
            holder => (Self(holder), None),
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut self.0 {
            Holder::Plain(parts) => parts.poll_frame(cx),
            Holder::Watched(watched) => watched.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Holder::Plain(parts) => parts.is_end_stream(),
            Holder::Watched(watched) => {
                watched.with(|parts| parts.as_ref().is_some_and(Parts::is_end_stream))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Holder::Plain(parts) => parts.size_hint(),
            Holder::Watched(watched) => watched.with(|parts| {
                parts
                    .as_ref()
                    .map_or_else(SizeHint::default, Parts::size_hint)
            }),
        }
    }
}
