// SPDX-License-Identifier: MIT
//! A request's content on its way to a server: counted, never collected.

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

use bytes::Bytes;
use http_body::Body;
use http_body::Frame;
use http_body::SizeHint;
use hyper::body::Incoming;
use thiserror::Error;

use crate::clock::now_ns;
use crate::headers;

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

/// Why a request's content ended early.
#[derive(Debug, Error)]
pub enum Broken {
    /// It broke off.
    #[error("{0}")]
    Client(hyper::Error),
    /// Its trailer section is malformed.
    #[error("white space around a trailer field's value (RFC 9113, 8.2.1)")]
    Trailers,
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
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Some(inner) = &mut self.inner else {
            return Poll::Ready(None);
        };
        let mut polled = Pin::new(&mut *inner).poll_frame(cx).map_err(Broken::Client);
        if let Poll::Ready(Some(Ok(frame))) = &mut polled
            && let Some(trailers) = frame.trailers_mut()
        {
            if trailers.values().all(headers::is_well_formed) {
                headers::clean_trailers(trailers);
            } else {
                polled = Poll::Ready(Some(Err(Broken::Trailers)));
            }
        }
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

/// Bytes of a piece of content.
pub(crate) fn length(data: &Bytes) -> u64 {
    u64::try_from(data.len()).unwrap_or(u64::MAX)
}
