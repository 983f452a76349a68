// SPDX-License-Identifier: MIT
//! One exchange, in phases: the request is read, planned by the rules, edited and sent, its response answers it, and what
//! came of it is recorded.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::time::Instant;

use bytes::Buf;
use bytes::Bytes;
use bytes::BytesMut;
use http::Method;
use http::Version;
use l7switch_engine::form::SentTarget;
use l7switch_engine::http1::Framing;
use l7switch_engine::http1::Head;
use l7switch_rules::model::ServerProtocol;

use super::Codec;
use super::edit;
use super::edit::Request;
use super::feed::From;
use super::fields::Fields;
use super::refusals::too_long;
use super::refusals::unwanted;
use super::session::Session;
use super::traced;
use super::upload::Upload;
use crate::client;
use crate::http::answer;
use crate::http::forwarded;
use crate::http::forwarded::version_word;
use crate::http::headers;
use crate::http::headers::Present;
use crate::http::onward::Onward;
use crate::http::plan::Asked;
use crate::http::plan::falls_back;
use crate::http::plan::is_unsent;
use crate::http::plan::substitute;
use crate::http::routed;
use crate::observe::reason::Reason;
use crate::observe::reason::Refusal;
use crate::record::Record;
use crate::ruleset::generation::Generation;
use crate::upstream;
use crate::upstream::Answered;
use crate::upstream::Broke;
use crate::upstream::Message;
use crate::upstream::Observer as _;
use crate::upstream::Outstanding;
use crate::upstream::Patience;
use crate::upstream::ServerStream;
use l7switch_engine::flow::Refusal as Refused;

/// Most content of a request that is passed over behind an answer of the switch's own.
pub(super) const MOST_PASSED_OVER: u64 = 64 * 1024;

/// Most interim responses of an exchange that are passed on. HTTP/2 has no window for them: a client that takes none would have
/// them all kept here.
const MOST_INTERIM: u32 = 100;

/// Content that is kept to be sent again where a server of HTTP/2 says that it has not seen the request, bytes.
const REPLAY: u64 = 256 * 1024;

/// What comes after an exchange.
#[derive(Debug)]
pub(super) enum Next {
    /// Another request may follow.
    Request,
    /// It was the last.
    Last,
    /// The response was cut short, or the client did not take it.
    Cut,
    /// The connection is another protocol's now.
    Tunnel(Box<Tunnel>),
}

/// A connection that has become another protocol's.
#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) server: ServerStream,
    /// What the server has sent behind its response.
    pub(super) received: Bytes,
    /// Longest silence in both directions.
    pub(super) idle: Option<Duration>,
    pub(super) record: Box<Record>,
    /// The request stays counted.
    pub(super) _outstanding: Outstanding,
}

impl<C: Codec> Session<'_, C> {
    /// Answers a request, of which these are the head's bytes, and the content if it has come with it as a whole.
    pub(super) async fn exchange(&mut self, head: &Head<'_>, bytes: &[u8], content: &[u8]) -> Next {
        self.is_persistent = head.persistent();
        self.idle = self.limits.idle_timeout;
        self.may_go_on = self.is_persistent && can_be_passed_over(head);
        let version = self.codec.version();
        self.is_grpc = version == Version::HTTP_2 && is_grpc(head);
        let method = Method::from_bytes(head.method()).unwrap_or_default();
        let present = self.buffers.fields.scan(bytes);
        let trace = self.trace(present, bytes);
        let retraced = traced::replaced(trace.as_deref());
        let mut record = Record::begin(self.client, trace, |line| {
            line.method = method.to_string();
            line.host = text(head.host().unwrap_or_default());
            line.path = text(head.path());
            if let Some(query) = head.query() {
                line.path.push('?');
                line.path.push_str(&text(query));
            }
            line.version = version_word(version);
        });
        record.received(wide(content.len()));
        record.describe_fields(head);
        let mut request = Request {
            head,
            bytes,
            content,
            method: &method,
            version,
            is_streamed: !self.codec.is_read(),
            is_chunked: head.framing() == Framing::Chunked,
            upgrade: None,
            max_forwards: None,
            retraced,
        };
        // Behind content, both sides would have to agree where the other protocol begins.
        let has_content = !matches!(head.framing(), Framing::None | Framing::Length(0));
        let may_upgrade = version == Version::HTTP_11 || self.codec.wanted_accept().is_some();
        if present.has(Present::UPGRADE) && may_upgrade && !has_content {
            request.upgrade = self.upgrade(head, bytes);
        }
        if let Some(refusal) = unwanted(head, &self.buffers.fields, bytes) {
            return self.refuse_unrouted(&refusal, &method, record).await;
        }
        let generation = self.client.core.active.load_full();
        let (source, scheme) = self.told_by_proxies(&generation, present, bytes);
        if source != self.client.peer {
            record.describe(|line| line.client = client::shown(source));
        }
        record.describe(|line| line.scheme = scheme);
        let asked = Asked {
            source,
            scheme,
            method: head.method(),
            target: SentTarget::of(head),
            query: head.query(),
            fields: head,
            reads_pages: !self.is_grpc,
        };
        let mut routed =
            match routed::routed(self.client, &generation, &asked, &method, &mut record) {
                Ok(routed) => routed,
                Err(answer) => return Box::pin(self.answer(*answer, record)).await,
            };
        if routed.needs_permission() {
            let asked = self.authorize(&request, source, &mut routed, &mut record);
            if let Err(answer) = Box::pin(asked).await {
                return Box::pin(self.answer(*answer, record)).await;
            }
        }
        let mut onward = match routed.onward(&method, &mut record) {
            Ok(onward) => onward,
            Err(answer) => return Box::pin(self.answer(*answer, record)).await,
        };
        if present.has(Present::MAX_FORWARDS) && [Method::OPTIONS, Method::TRACE].contains(&method)
        {
            request.max_forwards = max_forwards(&self.buffers.fields, bytes);
            if request.max_forwards == Some(0) {
                return match answer::last_stop(&method) {
                    Ok(answer) => Box::pin(self.answer(answer, record)).await,
                    Err(refusal) => self.refuse(&refusal, &method, record, &onward).await,
                };
            }
        }
        self.idle = onward.idle_timeout();
        let Some(longest) = onward.route.filters.request_timeout else {
            return self.forward(&request, &mut onward, source, record).await;
        };
        self.timer.set_limit(record.began().checked_add(longest));
        let next = Box::pin(self.forward(&request, &mut onward, source, record)).await;
        self.timer.set_limit(None);
        next
    }

    /// The client's address and scheme: those of the connection, or what a proxy that the service trusts says.
    fn told_by_proxies(
        &self,
        generation: &Generation,
        present: Present,
        bytes: &[u8],
    ) -> (SocketAddr, &'static str) {
        let own = (self.client.peer, self.client.scheme);
        let peer = self.client.peer;
        if !present.has(Present::FORWARDED) {
            return own;
        }
        match generation.service(&self.client.service) {
            Some((_, service, _)) if forwarded::is_trusted(&service.trusted, peer.ip()) => {
                let map = self.buffers.fields.map(bytes, Present::FORWARDED);
                let scheme = forwarded::scheme(&map).unwrap_or(self.client.scheme);
                (forwarded::source(&map, &service.trusted, peer), scheme)
            }
            _ => own,
        }
    }

    /// The protocol to which the client would change, if it may be asked of a server.
    fn upgrade<'a>(&self, head: &Head<'a>, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let asked = head.upgrade()?;
        let mut lines = self.buffers.fields.values(bytes, Present::UPGRADE);
        lines.next()?;
        (lines.next().is_none() && headers::is_harmless_upgrade(asked)).then_some(asked)
    }

    async fn forward(
        &mut self,
        request: &Request<'_>,
        onward: &mut Onward<'_>,
        source: SocketAddr,
        mut record: Box<Record>,
    ) -> Next {
        // HTTP/2 has no upgrade (RFC 9113, 8.6) but for WebSockets another form of it (RFC 8441).
        let changed;
        let mut request = request;
        if onward.pool.config().protocol != ServerProtocol::Http1 && !is_websocket(request) {
            changed = Request {
                upgrade: None,
                ..*request
            };
            request = &changed;
        }
        if matches!(request.head.framing(), Framing::Length(length) if length > onward.longest()) {
            return self
                .refuse(&too_long(), request.method, record, onward)
                .await;
        }
        let mut upload = if request.is_streamed {
            Upload::new(request.is_chunked, request.expects(), onward.longest())
        } else {
            Upload::nothing()
        };
        let mut mirror = match onward.mirror {
            Some(_) => self.mirror(request, onward, source, record.context(), &mut upload),
            None => None,
        };
        if request.is_chunked {
            let edit = onward.request_edit();
            if !edit.is_empty() {
                upload.bar(edit.into_owned());
            }
        }
        if let Some(rule) = &onward.pool.config().retries.rule
            && request.is_streamed
            && rule
                .methods
                .iter()
                .any(|method| request.method == method.as_str())
            && !matches!(request.head.framing(), Framing::Length(length) if length > rule.body_limit)
        {
            upload.keep(rule.body_limit);
        }
        if request.is_streamed && onward.pool.config().protocol != ServerProtocol::Http1 {
            upload.copy(REPLAY);
        }
        let patience = onward.patience();
        let lacks = edit::request(
            request,
            &self.buffers.fields,
            onward,
            self.client,
            &self.own,
            &mut self.buffers.out,
        );
        let mut message = Message {
            head: &self.buffers.out,
            lacks,
            trace: record.context(),
            hash: onward.hash,
            is_full: self.client.refusal == Some(Refused::Full),
            stays: onward.stays,
            told: self.told(onward.pool, source),
            content: request.content,
            method: request.method,
            falls_back: false,
            is_upgrade: request.upgrade.is_some(),
            patience,
            // Who is asked for permission has a time of its own.
            began: match onward.granted.is_some() || onward.state.users.is_some() {
                true => Instant::now(),
                false => record.began(),
            },
        };
        record.describe(|line| line.pool.clone_from(&onward.pool.config().name));
        let mut pool = onward.pool;
        let mut asked = Vec::new();
        let sent = loop {
            message.falls_back = falls_back(onward.generation, onward.route, pool, &asked);
            let mut from = From {
                codec: &mut self.codec,
                upload: &mut upload,
            };
            let sent = upstream::send(
                pool,
                &self.client.own,
                &mut message,
                &mut *record,
                &mut from,
                &mut self.timer,
                &mut self.buffers.from_server,
            )
            .await;
            match &sent {
                Err(refusal)
                    if (is_unsent(refusal.reason) || refusal.may_repeat) && upload.can_begin() => {}
                _ => break sent,
            }
            // None of its servers has seen anything of the request, or another of its servers would have been asked: the next pool
            // is, at once, before checks know.
            asked.push(pool);
            if let Err(refusal) = &sent {
                record.failed(refusal.reason);
            }
            match substitute(onward.generation, onward.route, &asked) {
                Some(next) => {
                    pool = next;
                    message.stays = None;
                }
                None => break sent,
            }
            record.describe(|line| line.pool.clone_from(&pool.config().name));
        };
        let sent = match sent {
            Ok(answered) if answered.head.interim() => {
                Box::pin(self.pass_interim(answered, &mut upload, patience)).await
            }
            Ok(answered) => Ok(answered),
            Err(refusal) => Err(refusal),
        };
        mirror = mirror.and_then(|mirror| mirror.send_whole(&mut upload));
        match sent {
            Ok(answered) => {
                record.answered(answered.head.status);
                let (came, sent) = (record.began(), answered.lease.began());
                record.describe(|line| {
                    let between = |from, to: Instant| to.saturating_duration_since(from);
                    line.server_wait = Some(between(came, sent).as_secs_f64());
                    line.server_first_byte = Some(between(sent, answered.now).as_secs_f64());
                });
                if onward.edits.is_some() || onward.state.sticky.is_some() {
                    onward.answered(answered.lease.pool(), answered.lease.server());
                }
                let next = self
                    .respond(request, onward, answered, &mut upload, record)
                    .await;
                if let Some(mirror) = mirror {
                    let _ = mirror.send_whole(&mut upload);
                }
                next
            }
            Err(refusal) => {
                record.received(upload.bytes());
                if refusal.reason == Reason::ClientGone {
                    record.close(Some(refusal.reason));
                    return Next::Cut;
                }
                if matches!(
                    refusal.reason,
                    Reason::BodyBroken | Reason::BodyTimeout | Reason::BadRequest
                ) {
                    // Nobody knows where the next request would begin.
                    self.may_go_on = false;
                }
                self.refuse(&refusal, request.method, record, onward).await
            }
        }
    }

    /// Passes interim responses on (RFC 9110, 15.2), and gives the final one. A client that speaks HTTP/1.0 knows none.
    async fn pass_interim(
        &mut self,
        mut answered: Answered,
        upload: &mut Upload,
        patience: Patience,
    ) -> Result<Answered, Refusal> {
        let mut passed = 0_u32;
        while answered.head.interim() {
            let is_wanted = self.codec.version() != Version::HTTP_10
                && passed < MOST_INTERIM
                && (answered.head.status != 100 || upload.take_continue());
            if is_wanted {
                passed = passed.saturating_add(1);
                let bytes = self.buffers.from_server.get(..answered.length);
                let bytes = bytes.unwrap_or_default();
                self.buffers.fields.scan(bytes);
                let out = self.codec.head();
                edit::interim(&answered.head, bytes, &self.buffers.fields, out);
                self.codec.interim();
                self.timer.start(self.idle);
                let codec = &mut self.codec;
                let mut nothing = BytesMut::new();
                let sent = self.timer.within(|cx| codec.poll_send(cx, &mut nothing));
                if !matches!(sent.await, Ok(Ok(()))) {
                    return Err(Broke::Gone.refusal());
                }
            } else if passed == MOST_INTERIM {
                self.client.stats.interim_dropped.fetch_add(1, Relaxed);
                let server = answered.lease.server().address();
                tracing::debug!(%server, status = answered.head.status, "too many interim responses");
            }
            self.buffers.from_server.advance(answered.length);
            let mut from = From {
                codec: &mut self.codec,
                upload,
            };
            let read = answered
                .lease
                .read_head(
                    &mut from,
                    &mut self.timer,
                    patience,
                    &mut self.buffers.from_server,
                )
                .await;
            match read {
                Ok(read) => (answered.head, answered.length) = read,
                Err(refusal) => {
                    if matches!(
                        refusal.reason,
                        Reason::BadResponse | Reason::ResponseTimeout
                    ) {
                        answered.lease.failed(&refusal.detail);
                    }
                    return Err(refusal);
                }
            }
        }
        Ok(answered)
    }
}

/// Whether a request's content can be passed over behind an answer that came before its end: it is not known to be much. How
/// much of it has come by then is TCP's affair, and makes no difference; nor does an expectation: a client that gets another
/// answer than 100 and no `close` sends its content all the same (RFC 9110, 10.1.1).
const fn can_be_passed_over(head: &Head<'_>) -> bool {
    match head.framing() {
        Framing::None => true,
        Framing::Length(length) => length <= MOST_PASSED_OVER,
        Framing::Chunked => true,
    }
}

/// Whether a request is one for a WebSocket (RFC 6455, 4.1).
fn is_websocket(request: &Request<'_>) -> bool {
    *request.method == Method::GET
        && request
            .upgrade
            .is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
}

/// Whether a request is one of gRPC.
fn is_grpc(head: &Head<'_>) -> bool {
    head.fields().any(|(name, value)| {
        const KIND: &[u8] = b"application/grpc";
        name.eq_ignore_ascii_case(b"content-type")
            && value
                .get(..KIND.len())
                .is_some_and(|kind| kind.eq_ignore_ascii_case(KIND))
            // Not gRPC-Web, whose clients read other statuses.
            && matches!(value.get(KIND.len()), None | Some(b'+' | b';' | b' '))
    })
}

/// What Max-Forwards says, if it is a number (RFC 9110, 7.6.2).
fn max_forwards(fields: &Fields, bytes: &[u8]) -> Option<u32> {
    let value = fields.values(bytes, Present::MAX_FORWARDS).next()?;
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(super) fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
