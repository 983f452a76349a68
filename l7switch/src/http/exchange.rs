// SPDX-License-Identifier: MIT
//! One exchange, in phases: the request is read, planned by the rules, edited and sent, its response answers it, and what
//! came of it is recorded.

use std::task::Poll;
use std::time::Duration;
use std::time::Instant;

use bytes::Buf;
use bytes::Bytes;
use bytes::BytesMut;
use http::HeaderMap;
use http::Method;
use http::StatusCode;
use http::Version;
use http::header;
use l7switch_engine::http1::Framing;
use l7switch_engine::http1::Head;
use l7switch_engine::http1::RequestKind;
use l7switch_engine::http1::ResponseBody as Follows;
use l7switch_engine::http1::ResponseHead;
use l7switch_engine::http1::Target;

use super::Codec;
use super::NotTaken;
use super::Sends;
use super::content::Decoder;
use super::edit;
use super::edit::Request;
use super::fields::Fields;
use super::fields::push_map;
use super::session::Session;
use super::upload::From;
use super::upload::Upload;
use crate::answer;
use crate::answer::Answer;
use crate::filters::Edit;
use crate::forwarded::version_word;
use crate::headers;
use crate::headers::Present;
use crate::io::SharedStream;
use crate::limit;
use crate::plan;
use crate::plan::Asked;
use crate::plan::Onward;
use crate::reason::Reason;
use crate::reason::Refusal;
use crate::record::Record;
use crate::splice::Pipe;
use crate::upstream;
use crate::upstream::Answered;
use crate::upstream::Broke;
use crate::upstream::Ending;
use crate::upstream::Lease;
use crate::upstream::Message;
use crate::upstream::Outstanding;
use crate::upstream::Patience;
use crate::upstream::WaitsFor;

/// Read at a time of a response's content.
const READ: usize = 64 * 1024;

/// Content of which so much is still to come is not read, but spliced.
const SPLICED: u64 = 32 * 1024;

/// So long the rest of a request may stand still whose response is over.
const REST: Duration = Duration::from_secs(60);

/// Most content of a request that is passed over behind an answer of the switch's own.
pub(super) const MOST_PASSED_OVER: u64 = 64 * 1024;

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
    pub(super) server: SharedStream,
    /// What the server has sent behind its response.
    pub(super) received: Bytes,
    pub(super) idle: Duration,
    pub(super) record: Box<Record>,
    /// The request stays counted.
    pub(super) _outstanding: Outstanding,
}

/// A response whose head has come.
struct Response<'a, 'b> {
    onward: &'a Onward<'b>,
    answered: Answered,
    follows: Follows,
    ending: Ending,
    /// The client's connection ends behind it.
    last: bool,
}

impl<C: Codec> Session<'_, C> {
    /// Answers a request, of which these are the head's bytes, and the content if it has come with it as a whole.
    pub(super) async fn exchange(&mut self, head: &Head<'_>, bytes: &[u8], content: &[u8]) -> Next {
        self.may_go_on = head.persistent() && can_be_passed_over(head);
        let version = self.codec.version();
        let method = Method::from_bytes(head.method()).unwrap_or_default();
        let mut record = Record::begin(self.client, |line| {
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
        let present = self.buffers.fields.scan(bytes);
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
        };
        if present.has(Present::UPGRADE) && version == Version::HTTP_11 {
            request.upgrade = self.upgrade(head, bytes);
        }
        if let Some(refusal) = unwanted(head, &self.buffers.fields, bytes) {
            return self.refuse(&refusal, &method, record, None).await;
        }
        let generation = self.client.core.active.load_full();
        let asked = Asked {
            peer: self.client.peer.ip(),
            scheme: self.client.scheme,
            host: head.host().unwrap_or_default(),
            plain_host: head.plain_host(),
            method: head.method(),
            path: head.path(),
            plain_path: head.plain_path(),
            query: head.query(),
            fields: head,
        };
        let onward = match plan::onward(self.client, &generation, &asked, &method, &mut record) {
            Ok(onward) => onward,
            Err(answer) => return Box::pin(self.answer(*answer, record)).await,
        };
        if present.has(Present::MAX_FORWARDS) && [Method::OPTIONS, Method::TRACE].contains(&method)
        {
            request.max_forwards = max_forwards(&self.buffers.fields, bytes);
            if request.max_forwards == Some(0) {
                return match answer::last_stop(&method) {
                    Ok(answer) => Box::pin(self.answer(answer, record)).await,
                    Err(refusal) => self.refuse(&refusal, &method, record, None).await,
                };
            }
        }
        self.forward(&request, &onward, record).await
    }

    /// Answers with an error, edited as the route's responses are. For callers to whom it is rare.
    async fn refuse(
        &mut self,
        refusal: &Refusal,
        method: &Method,
        mut record: Box<Record>,
        edit: Option<&Edit>,
    ) -> Next {
        record.refused(refusal.reason);
        let mut answer = answer::refuse(refusal, method);
        if let Some(edit) = edit {
            edit.apply(answer.headers_mut());
        }
        Box::pin(self.answer(answer, record)).await
    }

    /// Answers what is no request: `describe` fills in what is known of it.
    pub(super) async fn reject(
        &mut self,
        refusal: &Refusal,
        describe: impl FnOnce(&mut crate::access_log::Line),
    ) -> Next {
        limit::hostile(refusal.reason, self.client.peer, &refusal.detail);
        self.may_go_on = false;
        let mut record = Record::begin(self.client, describe);
        record.refused(refusal.reason);
        let answer = answer::refuse(refusal, &Method::GET);
        Box::pin(self.answer(answer, record)).await
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
        onward: &Onward<'_>,
        mut record: Box<Record>,
    ) -> Next {
        let mut upload = if request.is_streamed {
            Upload::new(request.is_chunked, request.expects())
        } else {
            Upload::nothing()
        };
        let patience = onward.patience();
        let is_named = edit::request(
            request,
            &self.buffers.fields,
            onward,
            self.client,
            &self.own,
            &mut self.buffers.out,
        );
        let message = Message {
            head: &self.buffers.out,
            is_unnamed: !is_named,
            content: request.content,
            is_safe: upstream::is_safe(request.method) && request.upgrade.is_none(),
            patience,
            began: record.began(),
        };
        record.describe(|line| line.pool.clone_from(&onward.pool.config().name));
        let mut from = From {
            codec: &mut self.codec,
            upload: &mut upload,
        };
        let sent = upstream::send(
            onward.pool,
            onward.hash,
            &self.client.own,
            message,
            &mut from,
            &mut self.timer,
            &mut self.buffers.from_server,
        )
        .await;
        record.describe(|line| {
            let server = match &sent {
                Ok(answered) => Some(answered.lease.server()),
                Err(failure) => failure.server.as_ref(),
            };
            if let Some(server) = server {
                line.server = server.address().to_string();
            }
        });
        let sent = match sent {
            Ok(answered) if answered.head.interim() => {
                Box::pin(self.pass_interim(answered, &mut upload, patience)).await
            }
            Ok(answered) => Ok(answered),
            Err(failure) => Err(failure.refusal),
        };
        match sent {
            Ok(answered) => {
                self.respond(request, onward, answered, &mut upload, record)
                    .await
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
                let edit = Some(&onward.state.filters.response);
                self.refuse(&refusal, request.method, record, edit).await
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
        while answered.head.interim() {
            let is_wanted = self.codec.version() != Version::HTTP_10
                && (answered.head.status != 100 || upload.take_continue());
            if is_wanted {
                let bytes = self.buffers.from_server.get(..answered.length);
                let bytes = bytes.unwrap_or_default();
                self.buffers.fields.scan(bytes);
                let out = self.codec.head();
                edit::interim(&answered.head, bytes, &self.buffers.fields, out);
                self.codec.interim();
                self.timer.start(self.limits.idle_timeout);
                let codec = &mut self.codec;
                let mut nothing = BytesMut::new();
                let sent = self.timer.within(|cx| codec.poll_send(cx, &mut nothing));
                if !matches!(sent.await, Ok(Ok(()))) {
                    return Err(Broke::Gone.refusal());
                }
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
                        answered.lease.failed();
                    }
                    return Err(refusal);
                }
            }
        }
        Ok(answered)
    }

    async fn respond(
        &mut self,
        request: &Request<'_>,
        onward: &Onward<'_>,
        answered: Answered,
        upload: &mut Upload,
        mut record: Box<Record>,
    ) -> Next {
        let kind = if *request.method == Method::HEAD {
            RequestKind::Head
        } else {
            RequestKind::Normal
        };
        let follows = answered.head.body(kind);
        let bytes = self.buffers.from_server.get(..answered.length);
        let bytes = bytes.unwrap_or_default();
        self.buffers.fields.scan(bytes);
        let fields = &self.buffers.fields;
        let is_changing = follows == Follows::Opaque && request.upgrade.is_some();
        if let Err(what) = check(fields, bytes, follows, is_changing) {
            answered.lease.failed();
            record.received(upload.bytes());
            let refusal = Refusal::new(Reason::BadResponse, StatusCode::BAD_GATEWAY, what);
            let edit = Some(&onward.state.filters.response);
            return self.refuse(&refusal, request.method, record, edit).await;
        }
        let status = StatusCode::from_u16(answered.head.status).unwrap_or(StatusCode::BAD_GATEWAY);
        record.responded(status, answered.now);
        let says_empty = {
            let mut lengths = fields.values(bytes, Present::CONTENT_LENGTH);
            lengths.next().is_some_and(|length| length == b"0")
        };
        let is_until_close = matches!(follows, Follows::Chunked | Follows::UntilClose)
            && request.version == Version::HTTP_10;
        let last =
            is_until_close || !request.head.persistent() || self.client.core.shutdown.is_draining();
        let out = self.codec.head();
        edit::response(&answered.head, bytes, fields, onward, is_changing, out);
        self.buffers.from_server.advance(answered.length);
        if is_changing {
            return Box::pin(self.change_protocol(answered, onward, record)).await;
        }
        self.codec.begin(
            match follows {
                Follows::None | Follows::Length(0) => Sends::Nothing,
                Follows::Length(_) => Sends::Length,
                _ => Sends::Unknown,
            },
            last,
        );
        let response = Response {
            onward,
            follows,
            ending: ending(request.method, &answered.head, says_empty),
            answered,
            last,
        };
        match self.content(response, upload, record).await {
            Err(NotTaken) => Next::Cut,
            Ok(true) => Next::Last,
            Ok(false) => Next::Request,
        }
    }

    /// Answers 101. What follows is another protocol's.
    async fn change_protocol(
        &mut self,
        answered: Answered,
        onward: &Onward<'_>,
        mut record: Box<Record>,
    ) -> Next {
        self.codec.interim();
        let received = self.buffers.from_server.split().freeze();
        if self.send().await.is_err() {
            record.close(Some(Reason::ClientGone));
            return Next::Cut;
        }
        let (server, outstanding) = answered.lease.into_tunnel();
        Next::Tunnel(Box::new(Tunnel {
            server,
            received,
            idle: onward.service.limits.idle_timeout,
            record,
            _outstanding: outstanding,
        }))
    }

    /// Sends a response's head, and its content as it comes, while the request's content may still go on. The server is free,
    /// and the exchange recorded, before the client has the last of it. Gives whether the connection ends.
    async fn content(
        &mut self,
        response: Response<'_, '_>,
        upload: &mut Upload,
        mut record: Box<Record>,
    ) -> Result<bool, NotTaken> {
        let Response {
            onward,
            answered,
            follows,
            ending,
            last,
            ..
        } = response;
        let head: ResponseHead = answered.head;
        let mut lease = answered.lease;
        // As long as nothing had to be waited for.
        let mut now = Some(answered.now);
        let mut patience = onward.patience();
        let mut decoder = Decoder::of_response(follows);
        loop {
            let Ok(decoded) = decoder.decode(&mut self.buffers.from_server) else {
                return Err(cut(lease, &mut record, upload, Reason::BadResponse));
            };
            let has_surplus = decoded.length < self.buffers.from_server.len();
            self.buffers.from_server.truncate(decoded.data.end);
            self.buffers.from_server.advance(decoded.data.start);
            let length = self.buffers.from_server.len();
            record.sent(wide(length));
            self.codec.data(length);
            if decoded.ended {
                self.codec.end(decoder.trailers());
                if upload.is_done() {
                    if has_surplus {
                        lease.surplus();
                    } else if head.persistent {
                        let now = now.unwrap_or_else(Instant::now);
                        self.timer.set_now(now);
                        lease.completed(ending, now);
                    } else {
                        lease.ended();
                    }
                    record.received(upload.bytes());
                    record.close(None);
                    self.send().await?;
                    return Ok(last || !self.codec.is_read());
                }
                return self.rest(lease, upload, record, last).await;
            }
            now = None;
            self.send_with(&mut lease, upload, patience)
                .await
                .map_err(|reason| {
                    let reason = reason.unwrap_or(Reason::ClientGone);
                    record_end(&mut record, upload, reason)
                })?;
            self.buffers.from_server.clear();
            if upload.is_done() && decoder.next_data() >= SPLICED && self.codec.raw().is_some() {
                match Box::pin(self.splice(&mut lease, &mut decoder, patience)).await {
                    Ok(bytes) => record.sent(bytes),
                    Err((bytes, reason)) => {
                        record.sent(bytes);
                        if matches!(reason, Reason::BadResponse | Reason::ResponseTimeout) {
                            return Err(cut(lease, &mut record, upload, reason));
                        }
                        return Err(record_end(&mut record, upload, reason));
                    }
                }
                if decoder.has_ended() {
                    continue;
                }
            }
            self.buffers.from_server.reserve(READ);
            // A server that waits for its client may be silent for as long as that one.
            if !upload.is_done() {
                patience.client = patience.client.max(patience.response);
            }
            let mut from = From {
                codec: &mut self.codec,
                upload,
            };
            let buffer = &mut self.buffers.from_server;
            let read = lease
                .read(&mut from, &mut self.timer, patience, buffer)
                .await;
            let reason = match read {
                Ok(Ok(1..)) => continue,
                Ok(Ok(0)) if decoder.ends_with_connection() => {
                    lease.ended();
                    self.codec.end(b"");
                    record.received(upload.bytes());
                    record.close(None);
                    self.send().await?;
                    return Ok(last || !self.codec.is_read());
                }
                Ok(_) => Reason::BadResponse,
                Err(Broke::Expired(WaitsFor::Server)) => Reason::ResponseTimeout,
                Err(broke) => {
                    let reason = broke.refusal().reason;
                    return Err(record_end(&mut record, upload, reason));
                }
            };
            return Err(cut(lease, &mut record, upload, reason));
        }
    }

    /// Has the kernel move the data that come next, without them being seen here. Gives how many those were.
    async fn splice(
        &mut self,
        lease: &mut Lease,
        decoder: &mut Decoder,
        patience: Patience,
    ) -> Result<u64, (u64, Reason)> {
        let mut moved = 0_u64;
        let Ok(pipe) = Pipe::take() else {
            return Ok(0);
        };
        let mut upload = Upload::nothing();
        while decoder.next_data() > 0 {
            let most = usize::try_from(decoder.next_data()).unwrap_or(usize::MAX);
            let mut from = From {
                codec: &mut self.codec,
                upload: &mut upload,
            };
            let filled = lease.wait(&mut from, &mut self.timer, patience, |_, server, cx| {
                pipe.poll_fill(server.stream(), cx, most)
            });
            let mut inside = match filled.await {
                Ok(Ok(filled @ 1..)) => filled,
                Ok(_) => return Err((moved, Reason::BadResponse)),
                Err(Broke::Expired(_)) => return Err((moved, Reason::ResponseTimeout)),
                Err(broke) => return Err((moved, broke.refusal().reason)),
            };
            decoder.skip(wide(inside));
            moved = moved.saturating_add(wide(inside));
            while inside > 0 {
                let Some(stream) = self.codec.raw() else {
                    return Err((moved, Reason::Internal));
                };
                self.timer.start(self.limits.idle_timeout);
                let emptied = self.timer.within(|cx| pipe.poll_empty(stream, cx, inside));
                match emptied.await {
                    Ok(Ok(emptied @ 1..)) => inside = inside.saturating_sub(emptied),
                    Ok(_) => return Err((moved, Reason::ClientGone)),
                    Err(_) => return Err((moved, Reason::IdleTimeout)),
                }
            }
        }
        pipe.leave();
        Ok(moved)
    }

    /// Sends what was said to be sent and the server's bytes, while the request's content goes on.
    async fn send_with(
        &mut self,
        lease: &mut Lease,
        upload: &mut Upload,
        patience: Patience,
    ) -> Result<(), Option<Reason>> {
        if upload.is_done() {
            return self.send().await.map_err(|NotTaken| None);
        }
        let client = Patience {
            response: patience.client,
            client: patience.client,
        };
        let buffer = &mut self.buffers.from_server;
        let mut from = From {
            codec: &mut self.codec,
            upload,
        };
        let sent = lease.wait(&mut from, &mut self.timer, client, |from, _, cx| {
            let before = buffer.len();
            let polled = from.codec.poll_send(cx, buffer);
            if buffer.len() < before {
                from.upload.has_moved();
            }
            polled
        });
        match sent.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(NotTaken)) | Err(Broke::Gone) => Err(None),
            Err(Broke::Expired(_)) => Err(Some(Reason::IdleTimeout)),
            Err(Broke::Content(refusal)) => Err(Some(refusal.reason)),
        }
    }

    /// The response is over, and the request is not: a server that has answered early may read on, and gets the rest while
    /// it does. Gives whether the client's connection ends.
    async fn rest(
        &mut self,
        mut lease: Lease,
        upload: &mut Upload,
        mut record: Box<Record>,
        last: bool,
    ) -> Result<bool, NotTaken> {
        let patience = Patience {
            response: REST,
            client: REST.min(self.limits.idle_timeout),
        };
        let sent = self.send_with(&mut lease, upload, patience).await;
        let sent = sent.map_err(|reason| {
            record_end(&mut record, upload, reason.unwrap_or(Reason::ClientGone))
        });
        sent?;
        let mut from = From {
            codec: &mut self.codec,
            upload,
        };
        let mut waste = BytesMut::new();
        let ended = lease.wait(&mut from, &mut self.timer, patience, |from, server, cx| {
            if from.upload.is_over() {
                return Poll::Ready(());
            }
            waste.reserve(1024);
            // What the server sends now is for nobody; its end ends the request.
            tokio_util::io::poll_read_buf(std::pin::Pin::new(server.stream()), cx, &mut waste)
                .map(|_| ())
        });
        let _ = ended.await;
        record.received(upload.bytes());
        record.close(None);
        if upload.is_done() && waste.is_empty() {
            lease.ended();
        }
        Ok(last || !self.codec.is_read())
    }

    /// Sends a response of the switch's own. For callers to box: a connection's task has no room for what is rare.
    pub(super) async fn answer(&mut self, answer: Answer, mut record: Box<Record>) -> Next {
        let (parts, content) = answer.into_parts();
        record.responded(parts.status, Instant::now());
        let says_last = parts.headers.contains_key(header::CONNECTION);
        let last = says_last || !self.may_go_on || self.client.core.shutdown.is_draining();
        let out = self.codec.head();
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(parts.status.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(
            parts
                .status
                .canonical_reason()
                .unwrap_or_default()
                .as_bytes(),
        );
        out.extend_from_slice(b"\r\n");
        let mut fields: HeaderMap = parts.headers;
        fields.remove(header::CONNECTION);
        push_map(out, &fields, &Edit::default());
        if !fields.contains_key(header::DATE) {
            edit::push_date(out);
        }
        let sends = if content.is_empty() {
            Sends::Nothing
        } else {
            Sends::Length
        };
        self.codec.begin(sends, last);
        self.buffers.from_server.clear();
        self.buffers.from_server.extend_from_slice(&content);
        self.codec.data(content.len());
        self.codec.end(b"");
        record.sent(wide(content.len()));
        record.close(None);
        match self.send().await {
            Err(NotTaken) => Next::Cut,
            Ok(()) if last => Next::Last,
            Ok(()) => Next::Request,
        }
    }
}

/// Records that the client has not got its response.
fn record_end(record: &mut Record, upload: &Upload, reason: Reason) -> NotTaken {
    record.received(upload.bytes());
    record.close(Some(reason));
    NotTaken
}

/// Records that a server's response broke off.
fn cut(lease: Lease, record: &mut Record, upload: &Upload, reason: Reason) -> NotTaken {
    lease.failed();
    record.received(upload.bytes());
    record.close(Some(reason));
    NotTaken
}

/// Whether a request's content can be passed over behind an answer of the switch's own: it is not much, and it comes for
/// sure. How much of it has come by then is TCP's affair, and makes no difference.
const fn can_be_passed_over(head: &Head<'_>) -> bool {
    match head.framing() {
        Framing::None => true,
        Framing::Length(length) => length <= MOST_PASSED_OVER && !head.expect_continue(),
        Framing::Chunked => !head.expect_continue(),
    }
}

/// Requests that no rule can allow.
fn unwanted(head: &Head<'_>, fields: &Fields, bytes: &[u8]) -> Option<Refusal> {
    if matches!(head.target(), Target::Authority(_)) {
        return Some(Refusal::new(
            Reason::NotImplemented,
            StatusCode::NOT_IMPLEMENTED,
            "the switch opens no tunnels",
        ));
    }
    let mut expectations = fields.values(bytes, Present::EXPECT);
    (fields.present().has(Present::EXPECT)
        && expectations.any(|value| !value.eq_ignore_ascii_case(b"100-continue")))
    .then(|| {
        Refusal::new(
            Reason::BadRequest,
            StatusCode::EXPECTATION_FAILED,
            "the only expectation that can be met is 100-continue (RFC 9110, 10.1.1)",
        )
    })
}

/// What Max-Forwards says, if it is a number (RFC 9110, 7.6.2).
fn max_forwards(fields: &Fields, bytes: &[u8]) -> Option<u32> {
    let value = fields.values(bytes, Present::MAX_FORWARDS).next()?;
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Whether a response may be sent back.
fn check(
    fields: &Fields,
    bytes: &[u8],
    follows: Follows,
    is_changing: bool,
) -> Result<(), &'static str> {
    if follows == Follows::Opaque && !is_changing {
        return Err("the server changed the protocol unasked");
    }
    if fields.present().has(Present::TRANSFER_ENCODING) {
        let mut codings = fields.values(bytes, Present::TRANSFER_ENCODING);
        let is_chunked = codings
            .next()
            .is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"));
        if !is_chunked || codings.next().is_some() {
            return Err("the server used a transfer coding that nobody asked for");
        }
    }
    Ok(())
}

/// How a response ends. `says_empty`: it says that there is no content.
fn ending(method: &Method, head: &ResponseHead, says_empty: bool) -> Ending {
    if *method == Method::HEAD && !says_empty {
        Ending::Withheld
    } else if [204, 304].contains(&head.status) {
        Ending::Empty
    } else {
        Ending::Clear
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
