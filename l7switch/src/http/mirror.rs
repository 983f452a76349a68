// SPDX-License-Identifier: MIT
//! Copies of requests to another pool, whose responses go to nobody.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use http::Method;
use l7switch_engine::http1::Framing;

use super::Codec;
use super::edit;
use super::edit::Request;
use super::exchange;
use super::onward::Onward;
use super::session::Session;
use super::upload::Upload;
use crate::net::shutdown::Busy;
use crate::net::timer::Timer;
use crate::observe::spans::Context;
use crate::observe::stats::Copying;
use crate::upstream::Keeps;
use crate::upstream::Lacks;
use crate::upstream::Message;
use crate::upstream::Nobody;
use crate::upstream::Own;
use crate::upstream::Patience;
use crate::upstream::Pool;
use crate::upstream::Told;
use crate::upstream::call;

/// Most content of a response that is read, so that its connection can be kept, bytes.
const MOST: usize = 1 << 20;

/// A copy that is to be sent when the request has come as a whole.
#[derive(Debug)]
pub(super) struct Mirror {
    pool: Arc<Pool>,
    own: Arc<Own>,
    head: Vec<u8>,
    lacks: Lacks,
    trace: Option<Context>,
    hash: u64,
    told: Option<Told>,
    method: Method,
    is_chunked: bool,
    content: Vec<u8>,
    /// Longest content that is copied.
    most: u64,
    copying: Copying,
    _busy: Busy,
}

impl<C: Codec> Session<'_, C> {
    /// A copy of a request that is about to be sent, if the route wants one. Its content is kept as it passes.
    pub(super) fn mirror(
        &self,
        request: &Request<'_>,
        onward: &Onward<'_>,
        source: SocketAddr,
        trace: Option<Context>,
        upload: &mut Upload,
    ) -> Option<Box<Mirror>> {
        let (rules, hash) = (onward.route.mirror.as_ref()?, onward.mirror?);
        let pool = onward.generation.pools.get(rules.pool)?;
        let most = match request.head.framing() {
            Framing::None => 0,
            Framing::Length(length) => length,
            Framing::Chunked => rules.body_limit,
        };
        let stats = &self.client.stats;
        if most > rules.body_limit || request.upgrade.is_some() {
            stats.mirrored.skipped.fetch_add(1, Relaxed);
            return None;
        }
        let copying = Copying::begin(stats, most)?;
        let mut head = Vec::new();
        // Nobody waits for 100 (Continue).
        let copied = Request {
            is_streamed: false,
            ..*request
        };
        let lacks = edit::request(
            &copied,
            &self.buffers.fields,
            onward,
            self.client,
            &self.own,
            &mut head,
        );
        if request.is_streamed {
            upload.copy(most);
        }
        Some(Box::new(Mirror {
            pool: Arc::clone(pool),
            own: Arc::clone(&self.client.own),
            head,
            lacks,
            trace,
            hash,
            told: self.told(pool, source),
            method: request.method.clone(),
            is_chunked: request.is_chunked,
            content: request.content.to_vec(),
            most,
            copying,
            _busy: self.client.busy(),
        }))
    }
}

impl Mirror {
    /// Sends the copy, if the request has come as a whole by now. Gives it back otherwise.
    pub(super) fn send_whole(mut self: Box<Self>, upload: &mut Upload) -> Option<Box<Self>> {
        if upload.is_copied() {
            let copy = upload.copied();
            // More may be kept for another server.
            if exchange::wide(copy.len()) > self.most {
                return None;
            }
            self.content = match (self.is_chunked, copy.is_empty()) {
                (false, _) => copy.to_vec(),
                (true, true) => b"0\r\n\r\n".to_vec(),
                (true, false) => {
                    let mut framed = format!("{:x}\r\n", copy.len()).into_bytes();
                    framed.extend_from_slice(copy);
                    framed.extend_from_slice(b"\r\n0\r\n\r\n");
                    framed
                }
            };
        } else if upload.is_copying() {
            return Some(self);
        } else if upload.was_streamed() {
            // It was longer than it may be.
            return None;
        }
        self.copying.sends();
        tokio::spawn(self.send());
        None
    }

    async fn send(mut self: Box<Self>) {
        let response = self.pool.config().response_timeout;
        let mut message = Message {
            head: &self.head,
            lacks: self.lacks,
            trace: self.trace,
            hash: self.hash,
            is_full: false,
            stays: None,
            told: self.told,
            content: &self.content,
            method: &self.method,
            falls_back: false,
            is_upgrade: false,
            patience: Patience {
                response,
                client: response,
            },
            began: Instant::now(),
        };
        let mut timer = Timer::default();
        let (pool, own) = (&self.pool, &self.own);
        timer.set_limit(message.began.checked_add(response));
        let keeps = Keeps::Nothing(MOST);
        let answered = call(pool, own, &mut message, &mut Nobody, &mut timer, keeps).await;
        match answered {
            Ok(_) => self.copying.answered(),
            Err(refusal) => {
                let reason = refusal.reason.as_str();
                tracing::debug!(pool = pool.config().name, reason, "a copy failed");
            }
        }
    }
}
