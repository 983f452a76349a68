// SPDX-License-Identifier: MIT
//! Heads that go on: what belongs to one connection is left out, what the switch says of itself and of the client is added,
//! and a route's edits are made (RFC 9110, 7.6; RFC 9112, 3.2 and 9).

use std::time::SystemTime;

use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::Version;
use http::header;
use l7switch_engine::http1;
use l7switch_engine::http1::Head;
use l7switch_engine::http1::ResponseHead;
use l7switch_engine::http1::Target;

use super::fields::Fields;
use super::fields::push;
use super::fields::push_map;
use crate::client::Client;
use crate::http::forwarded;
use crate::http::forwarded::Facts;
use crate::http::headers;
use crate::http::headers::Present;
use crate::http::onward::Onward;
use crate::ruleset::filters::Edit;
use crate::upstream::Lacks;

/// Where in its trace a request stands (W3C Trace Context, 3.2).
const TRACEPARENT: &str = "traceparent";

/// Bytes of the shortest status line that has the space behind its code (RFC 9112, 4).
const STATUS_LINE: usize = b"HTTP/1.1 200 \r\n".len();

/// A request as it came.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) head: &'a Head<'a>,
    /// The head's bytes.
    pub(super) bytes: &'a [u8],
    /// Content that has come with it: all of it, or nothing.
    pub(super) content: &'a [u8],
    pub(super) method: &'a Method,
    /// The version that the client speaks.
    pub(super) version: Version,
    /// Content is still to come.
    pub(super) is_streamed: bool,
    /// Content is to come whose length is not known.
    pub(super) is_chunked: bool,
    /// The protocol to which the client would change.
    pub(super) upgrade: Option<&'a [u8]>,
    /// How much further it may go.
    pub(super) max_forwards: Option<u32>,
    /// What of its trace the switch says in its place: fields of these kinds do not go on.
    pub(super) retraced: Present,
}

impl Request<'_> {
    /// Whether the client waits for 100 (Continue).
    pub(super) const fn expects(&self) -> bool {
        self.is_streamed && self.head.expect_continue()
    }

    /// Whether servers are told where in the trace they stand. A route that takes `traceparent` out does so for the switch's, too;
    /// one that sets it has the switch's.
    fn is_traced(&self, edit: &Edit) -> bool {
        self.retraced.has(Present::TRACEPARENT)
            && (!edit.replaces(TRACEPARENT.as_bytes()) || edit.written().any(is_traceparent))
    }
}

fn is_traceparent((name, _): &(HeaderName, HeaderValue)) -> bool {
    name.as_str() == TRACEPARENT
}

/// Writes the head of a request that goes on. Where something is said that is another for each server, the empty line at its end is
/// absent.
pub(super) fn request(
    request: &Request<'_>,
    fields: &Fields,
    onward: &Onward<'_>,
    client: &Client,
    own: &[u8],
    out: &mut Vec<u8>,
) -> Lacks {
    let filters = &onward.state.filters;
    let edit = &*onward.request_edit();
    let head = request.head;
    let present = fields.present();
    let host = head.host();
    let mut without = Present::HOP_BY_HOP
        .and(Present::FORWARDED)
        .and(request.retraced);
    if onward.service.via {
        without = without.and(Present::VIA);
    }
    let keeps_host = filters.hostname.is_none() && host.is_some() && host == head.host_field();
    if !keeps_host {
        without = without.and(Present::HOST);
    }
    if !request.expects() {
        without = without.and(Present::EXPECT);
    }
    // RFC 6265, 5.4, has one of it; several come from programs that do not know that.
    let cookies = present.has(Present::COOKIE)
        && !fields.names(request.bytes, b"cookie")
        && fields
            .values(request.bytes, Present::COOKIE)
            .nth(1)
            .is_some();
    if cookies {
        without = without.and(Present::COOKIE);
    }
    if request.max_forwards.is_some() {
        without = without.and(Present::MAX_FORWARDS);
    }
    let first = first_line(request, onward);
    out.clear();
    fields.write(request.bytes, first.as_deref(), without, edit, out);
    if cookies && !edit.replaces(b"cookie") {
        let all: Vec<_> = fields.values(request.bytes, Present::COOKIE).collect();
        push(out, b"cookie", &all.join(&b"; "[..]));
    }
    if let Some(left) = request.max_forwards {
        push(
            out,
            b"max-forwards",
            left.saturating_sub(1).to_string().as_bytes(),
        );
    }
    let named = Present::FORWARDED.and(Present::VIA);
    if host.is_none() || onward.service.via || present.has(named) || !edit.is_empty() {
        let mut kinds = Present::FORWARDED;
        if onward.service.via {
            kinds = kinds.and(Present::VIA);
        }
        let mut map = fields.map(request.bytes, kinds);
        let host = host.and_then(|host| HeaderValue::from_bytes(host).ok());
        let facts = Facts {
            peer: client.peer.ip(),
            peer_text: &client.peer_text,
            trusted: forwarded::trusting(&onward.service.trusted, client.peer.ip()),
            scheme: client.scheme,
            host: host.as_ref(),
        };
        forwarded::apply(&mut map, present, &facts);
        if onward.service.via {
            forwarded::via(&mut map, present, request.version);
        }
        push_map(out, &map, edit);
    } else {
        out.extend_from_slice(own);
        out.extend_from_slice(host.unwrap_or_default());
        out.extend_from_slice(b"\r\n");
    }
    let is_traced = request.is_traced(edit);
    for field in edit.written() {
        let (name, value) = field;
        let is_said = *name == header::HOST && filters.hostname.is_some()
            || is_traced && is_traceparent(field);
        if !is_said {
            push(out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    hop_by_hop(request, fields, out);
    let edits_host = edit.replaces(b"host");
    let is_named = match (&filters.hostname, host) {
        (Some(name), _) => {
            push(out, b"host", name.as_bytes());
            true
        }
        (None, Some(host)) => {
            if !keeps_host && !edits_host {
                push(out, b"host", host);
            }
            true
        }
        (None, None) => edit.written().any(|(name, _)| *name == header::HOST),
    };
    let lacks = Lacks {
        host: !is_named,
        trace: is_traced,
    };
    if !lacks.something() {
        out.extend_from_slice(b"\r\n");
    }
    lacks
}

/// What the switch says on its own connection to the server.
fn hop_by_hop(request: &Request<'_>, fields: &Fields, out: &mut Vec<u8>) {
    let takes_trailers = fields.present().has(Present::TE)
        && fields
            .values(request.bytes, Present::TE)
            .any(headers::takes_trailers);
    let options: &[u8] = match (request.upgrade.is_some(), takes_trailers) {
        (true, true) => b"upgrade, te",
        (true, false) => b"upgrade",
        (false, true) => b"te",
        (false, false) => b"",
    };
    if !options.is_empty() {
        push(out, b"connection", options);
    }
    if takes_trailers {
        push(out, b"te", b"trailers");
    }
    if let Some(protocol) = request.upgrade {
        push(out, b"upgrade", protocol);
    }
    if request.is_chunked {
        push(out, b"transfer-encoding", b"chunked");
    }
}

/// The request line, where it is not the one that came.
fn first_line(request: &Request<'_>, onward: &Onward<'_>) -> Option<Vec<u8>> {
    let head = request.head;
    let method = request.method;
    if let Some(target) = &onward.rewritten {
        return Some(format!("{method} {target} HTTP/1.1\r\n").into_bytes());
    }
    let is_absolute = matches!(head.target(), Target::Absolute { .. });
    if head.version() == http1::Version::Http11 && !is_absolute {
        return None;
    }
    let mut line = format!("{method} ").into_bytes();
    line.extend_from_slice(head.path());
    if let Some(query) = head.query() {
        line.push(b'?');
        line.extend_from_slice(query);
    }
    line.extend_from_slice(b" HTTP/1.1\r\n");
    Some(line)
}

/// Writes the head of a response that goes back, up to what the client's protocol says of the connection.
pub(super) fn response(
    said: &ResponseHead,
    bytes: &[u8],
    fields: &Fields,
    onward: &Onward<'_>,
    is_changing: bool,
    out: &mut Vec<u8>,
) {
    let edit = &*onward.response_edit();
    let present = fields.present();
    let via = onward.service.via;
    let mut without = Present::HOP_BY_HOP;
    if said.status == 204 {
        without = without.and(Present::CONTENT_LENGTH);
    }
    if via {
        without = without.and(Present::VIA);
    }
    let first = status_line(said, bytes);
    fields.write(bytes, first.as_deref(), without, edit, out);
    if via {
        out.extend_from_slice(b"via: ");
        for value in fields.values(bytes, Present::VIA) {
            out.extend_from_slice(value);
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(match said.version {
            http1::Version::Http10 => b"1.0 l7switch\r\n",
            http1::Version::Http11 => b"1.1 l7switch\r\n",
        });
    }
    for (name, value) in edit.written() {
        push(out, name.as_str().as_bytes(), value.as_bytes());
    }
    if let Some(cookie) = &onward.set_cookie {
        push(out, b"set-cookie", cookie.as_bytes());
    }
    let dated = present.has(Present::DATE) && !edit.replaces(b"date")
        || edit.written().any(|(name, _)| *name == header::DATE);
    if !dated {
        push_date(out);
    }
    if is_changing {
        push(out, b"connection", b"upgrade");
        for protocol in fields.values(bytes, Present::UPGRADE) {
            push(out, b"upgrade", protocol);
        }
    }
}

/// Writes the head of an interim response.
pub(super) fn interim(said: &ResponseHead, bytes: &[u8], fields: &Fields, out: &mut Vec<u8>) {
    let without = Present::HOP_BY_HOP.and(Present::CONTENT_LENGTH);
    let first = status_line(said, bytes);
    fields.write(bytes, first.as_deref(), without, &Edit::default(), out);
}

/// The status line, where it is not the one that came: the switch answers in HTTP/1.1 (RFC 9110, 6.2).
fn status_line(said: &ResponseHead, bytes: &[u8]) -> Option<Vec<u8>> {
    let line = bytes.split_inclusive(|byte| *byte == b'\n').next()?;
    if said.version == http1::Version::Http11 && line.len() >= STATUS_LINE {
        return None;
    }
    let rest = line.get(b"HTTP/1.0 200".len()..).unwrap_or_default();
    let code = said.status;
    let mut line = format!("HTTP/1.1 {code} ").into_bytes();
    line.extend_from_slice(rest.trim_ascii());
    line.extend_from_slice(b"\r\n");
    Some(line)
}

/// Writes the Date of now.
pub(super) fn push_date(out: &mut Vec<u8>) {
    let now = httpdate::fmt_http_date(SystemTime::now());
    push(out, b"date", now.as_bytes());
}
