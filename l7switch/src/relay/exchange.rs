// SPDX-License-Identifier: MIT
//! One usual exchange: the request's head made from what was received, and the response sent back as it comes.

use std::borrow::Cow;
use std::time::Duration;
use std::time::SystemTime;

use bytes::Buf;
use http::HeaderValue;
use http::Method;
use http::Response;
use http::StatusCode;
use http::Version;
use http::header;
use http_body_util::BodyExt as _;
use l7switch_engine::http1;
use l7switch_engine::http1::Framing;
use l7switch_engine::http1::Head;
use l7switch_engine::http1::RequestKind;
use l7switch_engine::http1::ResponseBody as Follows;
use l7switch_engine::http1::ResponseHead;
use l7switch_engine::http1::Target;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;

use super::Next;
use super::NotTaken;
use super::Relay;
use super::content::Content;
use super::fields::push;
use super::fields::push_map;
use super::room::Room;
use crate::answer;
use crate::exchange::Exchange;
use crate::filters::Edit;
use crate::forward;
use crate::forward::CHANGED_UNASKED;
use crate::forward::CODED_UNASKED;
use crate::forwarded;
use crate::forwarded::Facts;
use crate::forwarded::version_word;
use crate::headers::Present;
use crate::plan::Asked;
use crate::proxy;
use crate::proxy::Onward;
use crate::reason::Reason;
use crate::reason::Refusal;
use crate::response_body::ResponseBody;
use crate::timer::Expired;
use crate::upstream;
use crate::upstream::Answered;
use crate::upstream::Ending;
use crate::upstream::Message;

/// Read at a time of a response's content.
const READ: usize = 64 * 1024;

/// Content of so many bytes is copied behind its head, instead of being written as a second piece.
const SHORT: usize = 4 * 1024;

/// A request, as far as its answer depends on it.
#[derive(Clone, Copy)]
struct Question<'a> {
    method: &'a Method,
    host: &'a [u8],
    /// Its head.
    head: &'a [u8],
    content: &'a [u8],
    /// The client means to send another one.
    persistent: bool,
}

impl Question<'_> {
    const fn length(&self) -> usize {
        self.head.len().saturating_add(self.content.len())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Relay<'_, S> {
    /// Answers the request that `received` begins with.
    pub(super) async fn exchange(&mut self, head: &Head<'_>, received: &[u8]) -> Next {
        let (Some(content), Some(host), Ok(method)) = (
            whole_content(head, received),
            head.host(),
            Method::from_bytes(head.method()),
        ) else {
            return Next::Unusual;
        };
        let question = Question {
            method: &method,
            host,
            head: received.get(..head.len()).unwrap_or_default(),
            content,
            persistent: head.persistent(),
        };
        let present = self.room.fields.scan(question.head);
        if !is_usual(head, &method, present) || !self.has_usual_fields(question.head, present) {
            return Next::Unusual;
        }
        let client = self.client;
        let mut exchange = Exchange::begin(client, |line| {
            line.method = method.to_string();
            line.host = text(host).into_owned();
            line.path = text(head.path()).into_owned();
            if let Some(query) = head.query() {
                line.path.push('?');
                line.path.push_str(&text(query));
            }
            line.version = version_word(Version::HTTP_11);
        });
        exchange.received(wide(content.len()));
        let generation = client.core.active.load_full();
        let planned = {
            let asked = Asked {
                peer: client.peer.ip(),
                scheme: client.scheme,
                host,
                plain_host: head.plain_host(),
                method: head.method(),
                path: head.path(),
                plain_path: head.plain_path(),
                query: head.query(),
                fields: head,
            };
            let version = Version::HTTP_11;
            proxy::onward(client, &generation, &asked, &method, version, exchange)
        };
        let (onward, exchange) = match planned {
            Ok(planned) => planned,
            Err(response) => return Box::pin(self.answer(&question, *response)).await,
        };
        self.forward(&question, &onward, exchange).await
    }

    /// Whether the fields are such as an exchange may have that is relayed.
    fn has_usual_fields(&self, head: &[u8], present: Present) -> bool {
        let once =
            |what| !present.has(what) || self.room.fields.values(head, what).nth(1).is_none();
        // More of them are joined, as HTTP/1 wants it.
        once(Present::COOKIE) && self.room.fields.names_none(head)
    }

    async fn forward(
        &mut self,
        question: &Question<'_>,
        onward: &Onward<'_>,
        mut exchange: Box<Exchange>,
    ) -> Next {
        self.request_head(question, onward);
        let patience = onward.patience().response;
        let message = Message {
            head: &self.room.out,
            content: question.content,
            safe: upstream::is_safe(question.method),
            patience,
        };
        let sent = upstream::relay(
            onward.pool,
            onward.hash,
            &self.client.own,
            message,
            &mut self.timer,
            &mut self.room.from_server,
        )
        .await;
        exchange.describe(|line| {
            line.pool.clone_from(&onward.pool.config().name);
            let server = match &sent {
                Ok(answered) => Some(answered.lease.server()),
                Err(failure) => failure.server.as_ref(),
            };
            if let Some(server) = server {
                line.server = server.address().to_string();
            }
        });
        let answered = match sent {
            Ok(answered) => answered,
            Err(failure) => {
                let mut response = answer::refuse(&failure.refusal, question.method, exchange);
                onward.state.filters.response.apply(response.headers_mut());
                return Box::pin(self.answer(question, response)).await;
            }
        };
        let kind = if *question.method == Method::HEAD {
            RequestKind::Head
        } else {
            RequestKind::Normal
        };
        let follows = answered.head.body(kind);
        let head = self
            .room
            .from_server
            .get(..answered.length)
            .unwrap_or_default();
        let present = self.room.fields.scan(head);
        if let Err(what) = self.check(head, present, follows) {
            answered.lease.failed();
            let refusal = Refusal::new(Reason::BadResponse, StatusCode::BAD_GATEWAY, what);
            let mut response = answer::refuse(&refusal, question.method, exchange);
            onward.state.filters.response.apply(response.headers_mut());
            return Box::pin(self.answer(question, response)).await;
        }
        let status = StatusCode::from_u16(answered.head.status).unwrap_or(StatusCode::BAD_GATEWAY);
        exchange.responded(status);
        let mut lengths = self.room.fields.values(head, Present::CONTENT_LENGTH);
        let says_empty = lengths.next().is_some_and(|length| length == b"0");
        drop(lengths);
        let last = self.is_last(question.persistent);
        self.response_head(&answered, follows, &onward.state.filters.response, last);
        self.room.from_server.advance(answered.length);
        let ending = forward::ending(question.method, status, says_empty);
        match self
            .content(answered, follows, ending, patience, exchange)
            .await
        {
            Err(NotTaken) => Next::Cut,
            Ok(()) if last => Next::Last(question.length()),
            Ok(()) => Next::Request(question.length()),
        }
    }

    /// Makes the head of a request that goes on.
    fn request_head(&mut self, question: &Question<'_>, onward: &Onward<'_>) {
        let Self {
            client, own, room, ..
        } = self;
        let Room { fields, out, .. } = room;
        let filters = &onward.state.filters;
        let edit = &filters.request;
        let mut without = Present::HOP_BY_HOP
            .and(Present::FORWARDED)
            .and(Present::VIA);
        if filters.hostname.is_some() {
            without = without.and(Present::HOST);
        }
        let first = onward
            .rewritten
            .as_ref()
            .map(|target| format!("{} {target} HTTP/1.1\r\n", question.method));
        let first = first.as_deref().map(str::as_bytes);
        out.clear();
        fields.write(question.head, first, without, edit, out);
        let others = Present::FORWARDED.and(Present::VIA);
        if fields.present().has(others) || !edit.is_empty() {
            let mut map = fields.map(question.head, others);
            let host = HeaderValue::from_bytes(question.host).ok();
            let facts = Facts {
                peer: client.peer.ip(),
                peer_text: &client.peer_text,
                trusted: forwarded::is_trusted(&onward.service.trusted, client.peer.ip()),
                scheme: client.scheme,
                host: host.as_ref(),
                version: Version::HTTP_11,
            };
            forwarded::apply(&mut map, fields.present(), &facts);
            push_map(out, &map, edit);
        } else {
            out.extend_from_slice(own);
            out.extend_from_slice(question.host);
            out.extend_from_slice(b"\r\n");
        }
        for (name, value) in edit.written() {
            if *name != header::HOST || filters.hostname.is_none() {
                push(out, name.as_str().as_bytes(), value.as_bytes());
            }
        }
        if let Some(host) = &filters.hostname {
            push(out, b"host", host.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Whether a response may be sent back.
    fn check(&self, head: &[u8], present: Present, follows: Follows) -> Result<(), &'static str> {
        if follows == Follows::Opaque {
            return Err(CHANGED_UNASKED);
        }
        if present.has(Present::TRANSFER_ENCODING) {
            let mut codings = self.room.fields.values(head, Present::TRANSFER_ENCODING);
            let only = codings
                .next()
                .is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"))
                && codings.next().is_none();
            if !only {
                return Err(CODED_UNASKED);
            }
        }
        Ok(())
    }

    /// Makes the head of a response that goes back.
    fn response_head(&mut self, answered: &Answered, follows: Follows, edit: &Edit, last: bool) {
        let Room {
            fields,
            out,
            from_server,
        } = &mut self.room;
        let head = from_server.get(..answered.length).unwrap_or_default();
        let present = fields.present();
        let mut without = Present::HOP_BY_HOP.and(Present::VIA);
        if answered.head.status == 204 {
            without = without.and(Present::CONTENT_LENGTH);
        }
        let first = as_http11(&answered.head, head);
        out.clear();
        fields.write(head, first.as_deref(), without, edit, out);
        out.extend_from_slice(b"via: ");
        for value in fields.values(head, Present::VIA) {
            out.extend_from_slice(value);
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(match answered.head.version {
            http1::Version::Http10 => b"1.0 l7switch\r\n",
            http1::Version::Http11 => b"1.1 l7switch\r\n",
        });
        for (name, value) in edit.written() {
            push(out, name.as_str().as_bytes(), value.as_bytes());
        }
        let dated = present.has(Present::DATE) && !edit.replaces(b"date")
            || edit.written().any(|(name, _)| *name == header::DATE);
        if !dated {
            push_date(out);
        }
        if matches!(follows, Follows::Chunked | Follows::UntilClose) {
            push(out, b"transfer-encoding", b"chunked");
        }
        end_head(out, last);
    }

    /// Sends a response back: its head, and its content as it comes. The server is free, and the exchange over, before the
    /// client has the last of it.
    async fn content(
        &mut self,
        answered: Answered,
        follows: Follows,
        ending: Ending,
        patience: Duration,
        mut exchange: Box<Exchange>,
    ) -> Result<(), NotTaken> {
        let Answered {
            head, mut lease, ..
        } = answered;
        let mut content = Content::new(follows);
        loop {
            let Ok(found) = content.look(&self.room.from_server) else {
                lease.failed();
                exchange.close(Some(Reason::BadResponse));
                return Err(NotTaken);
            };
            exchange.sent(found.data);
            if found.ended {
                if found.length < self.room.from_server.len() {
                    lease.surplus();
                } else if head.persistent {
                    lease.completed(ending);
                }
                exchange.close(None);
                return self.write_piece(found.length).await;
            }
            content.before(found.length, &mut self.room.out);
            self.write_piece(found.length).await?;
            self.room.out.clear();
            self.room.from_server.clear();
            self.room.from_server.reserve(READ);
            self.timer.start(patience);
            let buffer = &mut self.room.from_server;
            let read = self.timer.within(|cx| lease.poll_read(cx, buffer)).await;
            let reason = match read {
                Ok(Ok(1..)) => continue,
                Ok(Ok(0)) if content.end(&mut self.room.out) => {
                    exchange.close(None);
                    return self.write_piece(0).await;
                }
                Ok(_) => Reason::BadResponse,
                Err(Expired) => Reason::ResponseTimeout,
            };
            lease.failed();
            exchange.close(Some(reason));
            return Err(NotTaken);
        }
    }

    /// Writes what was made, and so many bytes of what came from the server.
    async fn write_piece(&mut self, length: usize) -> Result<(), NotTaken> {
        if length > SHORT || self.room.out.is_empty() {
            return self.write(length).await;
        }
        let piece = self.room.from_server.get(..length).unwrap_or_default();
        self.room.out.extend_from_slice(piece);
        self.write(0).await
    }

    /// Sends a response of the switch's own. For callers to box: a connection's task has no room for what is rare.
    async fn answer(&mut self, question: &Question<'_>, response: Response<ResponseBody>) -> Next {
        let (parts, body) = response.into_parts();
        let Ok(content) = body.collect().await else {
            return Next::Cut;
        };
        let content = content.to_bytes();
        let says_last = parts.headers.contains_key(header::CONNECTION);
        let last = says_last || self.is_last(question.persistent);
        let out = &mut self.room.out;
        out.clear();
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
        push_map(out, &parts.headers, &Edit::default());
        if !parts.headers.contains_key(header::DATE) {
            push_date(out);
        }
        end_head(out, last && !says_last);
        out.extend_from_slice(&content);
        match self.write(0).await {
            Err(NotTaken) => Next::Cut,
            Ok(()) if last => Next::Last(question.length()),
            Ok(()) => Next::Request(question.length()),
        }
    }
}

/// The content of a request whose content has come as a whole.
fn whole_content<'a>(head: &Head<'_>, received: &'a [u8]) -> Option<&'a [u8]> {
    let length = match head.framing() {
        Framing::None => 0,
        Framing::Length(length) => usize::try_from(length).ok()?,
        Framing::Chunked => return None,
    };
    received.get(head.len()..)?.get(..length)
}

/// Whether a request is usual, as far as it is not a matter of its fields' values.
fn is_usual(head: &Head<'_>, method: &Method, present: Present) -> bool {
    let others = Present::TE
        .and(Present::UPGRADE)
        .and(Present::EXPECT)
        .and(Present::TRANSFER_ENCODING);
    let plain = |target: &[u8]| target.iter().all(|byte| is_plain(*byte));
    let Target::Origin { path, query } = head.target() else {
        return false;
    };
    head.version() == http1::Version::Http11
        && !present.has(others)
        && ![Method::CONNECT, Method::OPTIONS, Method::TRACE].contains(method)
        && plain(path)
        && query.is_none_or(plain)
}

/// Characters of a target that every reader takes (RFC 3986, 3.3 and 3.4).
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'/' | b'.'
                | b'-'
                | b'_'
                | b'~'
                | b'%'
                | b'='
                | b'&'
                | b'+'
                | b','
                | b';'
                | b':'
                | b'@'
                | b'!'
                | b'$'
                | b'*'
        )
}

/// The status line of a response of HTTP/1.0 as one of HTTP/1.1.
fn as_http11(said: &ResponseHead, head: &[u8]) -> Option<Vec<u8>> {
    if said.version == http1::Version::Http11 {
        return None;
    }
    let line = head.split_inclusive(|byte| *byte == b'\n').next();
    let rest = line.and_then(|line| line.get(b"HTTP/1.0".len()..));
    Some([b"HTTP/1.1", rest.unwrap_or_default()].concat())
}

fn push_date(out: &mut Vec<u8>) {
    let now = httpdate::fmt_http_date(SystemTime::now());
    push(out, b"date", now.as_bytes());
}

fn end_head(out: &mut Vec<u8>, last: bool) {
    if last {
        push(out, b"connection", b"close");
    }
    out.extend_from_slice(b"\r\n");
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
