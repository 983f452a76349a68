// SPDX-License-Identifier: MIT
//! Message bodies on their way: counted, never collected.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Acquire;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::Ordering::Release;
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

use crate::clock::now_ns;
use crate::exchange::Exchange;
use crate::reason::Reason;
use crate::upstream::Lease;

/// Nobody has asked for more content yet, or the server is to take what was handed over.
const SERVER: u8 = 0;
/// More content was asked for and has not come.
const CLIENT: u8 = 1;
/// All of it was handed over.
const DONE: u8 = 2;

/// How far a request's content has come.
#[derive(Debug)]
pub struct Progress {
    bytes: AtomicU64,
    waiting_for: AtomicU8,
    failed: AtomicBool,
    moved_ns: AtomicU64,
}

impl Progress {
    /// Content bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Whether all content was handed over.
    pub fn is_done(&self) -> bool {
        self.waiting_for.load(Acquire) == DONE
    }

    /// Whether the client broke off within the content.
    pub fn failed(&self) -> bool {
        self.failed.load(Acquire)
    }

    /// Whether the client is to send, and the server has all that it can have.
    pub fn waiting_for_client(&self) -> bool {
        self.waiting_for.load(Acquire) == CLIENT
    }

    /// When content was last handed over, as [`now_ns`]; at first, when the request came.
    pub fn moved_ns(&self) -> u64 {
        self.moved_ns.load(Relaxed)
    }

    fn moved(&self, waiting_for: u8) {
        self.moved_ns.store(now_ns(), Relaxed);
        self.waiting_for.store(waiting_for, Release);
    }
}

/// A request's content on its way to a server.
#[derive(Debug)]
pub struct RequestBody {
    /// `None`: there is none.
    inner: Option<Incoming>,
    progress: Arc<Progress>,
}

impl RequestBody {
    /// The content of a request, and where its progress can be read.
    pub fn new(inner: Incoming) -> (Self, Arc<Progress>) {
        let done = inner.is_end_stream();
        let progress = Arc::new(Progress {
            bytes: AtomicU64::new(0),
            waiting_for: AtomicU8::new(if done { DONE } else { SERVER }),
            failed: AtomicBool::new(false),
            moved_ns: AtomicU64::new(now_ns()),
        });
        (
            Self {
                inner: Some(inner),
                progress: Arc::clone(&progress),
            },
            progress,
        )
    }

    /// The same again, where there is no content.
    pub fn again(&self) -> Option<Self> {
        self.is_end_stream().then(|| Self {
            inner: None,
            progress: Arc::clone(&self.progress),
        })
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(inner) = &mut self.inner else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(&mut *inner).poll_frame(cx);
        let ended = inner.is_end_stream();
        let progress = &self.progress;
        match &polled {
            Poll::Pending => progress.waiting_for.store(CLIENT, Release),
            Poll::Ready(None) => progress.moved(DONE),
            Poll::Ready(Some(Err(_))) => progress.failed.store(true, Release),
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    progress.bytes.fetch_add(length(data), Relaxed);
                }
                let done = frame.is_trailers() || ended;
                progress.moved(if done { DONE } else { SERVER });
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Some(inner) => inner.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

fn length(data: &Bytes) -> u64 {
    u64::try_from(data.len()).unwrap_or(u64::MAX)
}

#[derive(Debug)]
enum Content {
    Own(Option<Bytes>),
    Server {
        inner: Incoming,
        lease: Option<Lease>,
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
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(error) => error.fmt(f),
            Self::Silent => f.write_str("the server went silent in the middle of its response"),
        }
    }
}

impl std::error::Error for Broken {}

/// A response's content on its way to the client, with the record of the exchange, which is closed
/// when the content has ended or is dropped.
#[derive(Debug)]
pub struct ResponseBody {
    content: Content,
    exchange: Option<Box<Exchange>>,
}

impl ResponseBody {
    /// Content from the switch.
    pub fn own(content: Bytes, exchange: Option<Box<Exchange>>) -> Self {
        let content = Some(content).filter(|content| !content.is_empty());
        Self {
            content: Content::Own(content),
            exchange,
        }
        .closed_if_empty()
    }

    /// Content from a server, which may be silent for as long as `patience`.
    pub fn server(
        inner: Incoming,
        lease: Lease,
        exchange: Box<Exchange>,
        patience: Duration,
    ) -> Self {
        Self {
            content: Content::Server {
                inner,
                lease: Some(lease),
                patience,
                silence: None,
            },
            exchange: Some(exchange),
        }
        .closed_if_empty()
    }

    /// hyper does not ask an empty body for its end.
    fn closed_if_empty(mut self) -> Self {
        if self.is_end_stream() {
            self.close(None);
        }
        self
    }

    /// The exchange is over: in order, or for this reason.
    fn close(&mut self, reason: Option<Reason>) {
        if let Content::Server { lease, .. } = &mut self.content
            && let Some(lease) = lease.take()
        {
            match reason {
                None => lease.completed(),
                Some(Reason::BadResponse | Reason::ResponseTimeout) => lease.failed(),
                Some(_) => (),
            }
        }
        if let Some(exchange) = self.exchange.take() {
            exchange.close(reason);
        }
    }
}

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
                    Poll::Ready(frame.map(|frame| frame.map_err(Broken::Connection)))
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

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = &mut *self;
        let polled = ready!(this.content.poll_frame(cx));
        match &polled {
            Some(Ok(frame)) => {
                if let (Some(data), Some(exchange)) = (frame.data_ref(), &mut this.exchange) {
                    exchange.sent(length(data));
                }
                if frame.is_trailers() || this.is_end_stream() {
                    this.close(None);
                }
            }
            Some(Err(Broken::Connection(_))) => this.close(Some(Reason::BadResponse)),
            Some(Err(Broken::Silent)) => this.close(Some(Reason::ResponseTimeout)),
            None => this.close(None),
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

impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.close(Some(Reason::ClientGone));
    }
}
