// SPDX-License-Identifier: MIT
//! A request forwarded to a real server and its response sent back (RFC 9110, 7.6 and 7.7; RFC
//! 9112, 6 and 9).

use std::sync::Arc;

use http::HeaderMap;
use http::HeaderValue;
use http::Method;
use http::Request;
use http::Response;
use http::StatusCode;
use http::Uri;
use http::Version;
use http::header;
use http::request;
use http::response;
use http_body_util::BodyExt as _;
use hyper::body::Body;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use l7switch_rules::model;

use crate::body::RequestBody;
use crate::client::Client;
use crate::exchange::Exchange;
use crate::forwarded;
use crate::forwarded::Facts;
use crate::headers;
use crate::headers::Present;
use crate::reason::Reason;
use crate::reason::Refusal;
use crate::response_body::ResponseBody;
use crate::state;
use crate::tunnel;
use crate::upstream;
use crate::upstream::Lease;
use crate::upstream::Patience;
use crate::upstream::Pool;

/// A request on its way to a pool.
pub struct Forward<'a> {
    /// The connection on which it came.
    pub client: &'a Arc<Client>,
    /// The service, as the rules say.
    pub service: &'a model::Service,
    /// The route, as the rules say.
    pub route: &'a model::Route,
    /// The route's filters.
    pub state: &'a state::Route,
    /// The pool.
    pub pool: &'a Arc<Pool>,
    /// Target in origin form.
    pub target: Uri,
    /// Hash of the scheduler's key.
    pub hash: u64,
    /// The client's host.
    pub host: Option<HeaderValue>,
}

/// What of a request decides how its response may look.
struct Asked {
    method: Method,
    version: Version,
    /// Whether an HTTP/1.0 client would keep the connection.
    keep_alive: bool,
    /// The protocol to change to, and how to get at the client's connection then.
    upgrade: Option<(HeaderValue, OnUpgrade)>,
}

impl Forward<'_> {
    /// Forwards.
    ///
    /// # Errors
    ///
    /// There is no response; the exchange comes back with the refusal.
    pub async fn run(
        self,
        mut parts: request::Parts,
        mut body: Incoming,
        mut exchange: Box<Exchange>,
    ) -> Result<Response<ResponseBody>, (Refusal, Box<Exchange>)> {
        let present = Present::of(&parts.headers);
        let connection = present.has(Present::CONNECTION);
        let asked = Asked {
            method: parts.method.clone(),
            version: parts.version,
            keep_alive: connection
                && headers::has_token(&parts.headers, header::CONNECTION, "keep-alive"),
            upgrade: (connection && parts.version == Version::HTTP_11)
                .then(|| headers::upgrade_wanted(&parts.headers))
                .flatten()
                .zip(parts.extensions.remove::<OnUpgrade>()),
        };
        if let Err(refusal) = self.really_empty(&parts, &mut body).await {
            return Err((refusal, exchange));
        }
        let (body, progress) = RequestBody::new(body);
        exchange.uploading(Arc::clone(&progress));
        self.request_fields(&mut parts, present, &asked, &body);
        let mut request = Request::new(body);
        *request.method_mut() = parts.method;
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = parts.headers;
        let patience = self.patience();
        let sent = upstream::send(self.pool, self.hash, request, &progress, patience).await;
        let (sent, server) = match sent {
            Ok(sent) => {
                let server = Some(Arc::clone(sent.lease.server()));
                (Ok(sent), server)
            }
            Err(failure) => (Err(failure.refusal), failure.server),
        };
        exchange.describe(|line| {
            line.pool.clone_from(&self.pool.config().name);
            if let Some(server) = server {
                line.server = server.address().to_string();
            }
        });
        let sent = match sent {
            Ok(sent) => sent,
            Err(refusal) => {
                // The gate knows better why the content broke off.
                let cause = match (&refusal.reason, self.client.gate()) {
                    (Reason::BodyBroken, Some(gate)) => gate.broken_body(),
                    _ => None,
                };
                return Err((cause.unwrap_or(refusal), exchange));
            }
        };
        let (mut head, content) = sent.response.into_parts();
        if let Err(refusal) = self.response_fields(&mut head, &asked) {
            sent.lease.failed();
            return Err((refusal, exchange));
        }
        exchange.responded(head.status);
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(self.change_protocol(head, content, asked, sent.lease, exchange));
        }
        let body = ResponseBody::server(content, sent.lease, exchange, patience.response);
        Ok(Response::from_parts(head, self.client.watch(body)))
    }

    /// Waits for the end of an HTTP/2 request that says to have no content and has not ended: with content it is
    /// malformed (RFC 9113, 8.1.1), and nobody should have acted on it by then.
    async fn really_empty(
        &self,
        parts: &request::Parts,
        body: &mut Incoming,
    ) -> Result<(), Refusal> {
        let says_empty = parts
            .headers
            .get(header::CONTENT_LENGTH)
            .is_some_and(|n| n == "0");
        if parts.version != Version::HTTP_2 || !says_empty {
            return Ok(());
        }
        while !body.is_end_stream() {
            match tokio::time::timeout(self.service.limits.idle_timeout, body.frame()).await {
                Ok(Some(Ok(_))) => (),
                Ok(None) => break,
                Ok(Some(Err(_))) => {
                    return Err(Refusal::bad_request(
                        "content where Content-Length says there is none (RFC 9113, 8.1.1)",
                    ));
                }
                Err(_) => {
                    return Err(Refusal::new(
                        Reason::BodyTimeout,
                        StatusCode::REQUEST_TIMEOUT,
                        "the end of the request did not arrive in time",
                    ));
                }
            }
        }
        Ok(())
    }

    fn patience(&self) -> Patience {
        let own = self.route.filters.response_timeout;
        Patience {
            response: own.unwrap_or(self.pool.config().response_timeout),
            upload: self.service.limits.idle_timeout,
        }
    }

    fn request_fields(
        &self,
        parts: &mut request::Parts,
        present: Present,
        asked: &Asked,
        body: &RequestBody,
    ) {
        let fields = &mut parts.headers;
        let trailers = present.has(Present::TE) && headers::takes_trailers(fields);
        headers::remove_hop_by_hop(fields, present);
        // The switch itself says 100 when a server takes the content.
        if present.has(Present::EXPECT) {
            fields.remove(header::EXPECT);
        }
        if present.has(Present::COOKIE) {
            join_cookies(fields);
        }
        match &self.host {
            // It is Host's.
            Some(_) if parts.uri.authority().is_none() => (),
            Some(host) => drop(fields.insert(header::HOST, host.clone())),
            // Each server then gets its own, see `upstream::send`.
            None => drop(fields.remove(header::HOST)),
        }
        let client = self.client;
        forwarded::apply(
            fields,
            present,
            &Facts {
                peer: client.peer.ip(),
                peer_text: &client.peer_text,
                trusted: forwarded::is_trusted(&self.service.trusted, client.peer.ip()),
                scheme: client.scheme,
                host: self.host.as_ref(),
                version: parts.version,
            },
        );
        self.state.filters.request.apply(fields);
        if let Some(host) = &self.state.filters.hostname {
            fields.insert(header::HOST, host.clone());
        }
        let options = match (asked.upgrade.is_some(), trailers) {
            (true, true) => Some("upgrade, te"),
            (true, false) => Some("upgrade"),
            (false, true) => Some("te"),
            (false, false) => None,
        };
        if let Some(options) = options {
            fields.insert(header::CONNECTION, HeaderValue::from_static(options));
        }
        if trailers {
            fields.insert(header::TE, HeaderValue::from_static("trailers"));
        }
        if let Some((protocol, _)) = &asked.upgrade {
            fields.insert(header::UPGRADE, protocol.clone());
        }
        if !body.is_end_stream() && !fields.contains_key(header::CONTENT_LENGTH) {
            // Said here, because hyper would send a GET without length without its content.
            fields.insert(
                header::TRANSFER_ENCODING,
                HeaderValue::from_static("chunked"),
            );
        }
    }

    fn response_fields(&self, head: &mut response::Parts, asked: &Asked) -> Result<(), Refusal> {
        let invalid = |what| Refusal::new(Reason::BadResponse, StatusCode::BAD_GATEWAY, what);
        let switching = head.status == StatusCode::SWITCHING_PROTOCOLS;
        if switching && asked.upgrade.is_none() {
            return Err(invalid("the server changed the protocol unasked"));
        }
        let fields = &mut head.headers;
        let present = Present::of(fields);
        let protocol = switching
            .then(|| fields.get(header::UPGRADE).cloned())
            .flatten();
        if present.has(Present::TRANSFER_ENCODING) {
            let mut codings = headers::tokens(fields, header::TRANSFER_ENCODING);
            let only = codings
                .next()
                .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
                && codings.next().is_none();
            drop(codings);
            if !only {
                return Err(invalid(
                    "the server used a transfer coding that nobody asked for",
                ));
            }
            // Chunked overrides it (RFC 9112, 6.3).
            fields.remove(header::CONTENT_LENGTH);
        }
        if present.has(Present::CONTENT_LENGTH) {
            one_length(fields)
                .map_err(|()| invalid("the server's response has no clear length"))?;
        }
        headers::remove_hop_by_hop(fields, present);
        if head.status == StatusCode::NO_CONTENT {
            fields.remove(header::CONTENT_LENGTH);
        }
        forwarded::via(fields, present, head.version);
        self.state.filters.response.apply(fields);
        if switching {
            fields.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            if let Some(protocol) = protocol {
                fields.insert(header::UPGRADE, protocol);
            }
        } else if asked.version == Version::HTTP_10 && asked.keep_alive {
            let ends_by_itself = fields.contains_key(header::CONTENT_LENGTH)
                || asked.method == Method::HEAD
                || head.status == StatusCode::NO_CONTENT
                || head.status == StatusCode::NOT_MODIFIED;
            if ends_by_itself {
                fields.insert(header::CONNECTION, HeaderValue::from_static("keep-alive"));
            }
        }
        head.version = Version::HTTP_11;
        Ok(())
    }

    /// Answers 101 and joins the two connections.
    fn change_protocol(
        &self,
        head: response::Parts,
        content: Incoming,
        asked: Asked,
        lease: Lease,
        mut exchange: Box<Exchange>,
    ) -> Response<ResponseBody> {
        let mut from_server = Response::from_parts(head, content);
        let server = hyper::upgrade::on(&mut from_server);
        let (head, _) = from_server.into_parts();
        let idle = self.service.limits.idle_timeout;
        let connection = Arc::clone(self.client);
        let outstanding = lease.into_outstanding();
        if let Some((_, client)) = asked.upgrade {
            tokio::spawn(async move {
                // Keeps the connection, and the request at the server, counted as open.
                let _held = (connection, outstanding);
                let (Ok(client), Ok(server)) = tokio::join!(client, server) else {
                    return exchange.close(Some(Reason::ClientGone));
                };
                let outcome = tunnel::join(TokioIo::new(client), TokioIo::new(server), idle).await;
                exchange.received(outcome.forth);
                exchange.sent(outcome.back);
                exchange.close(outcome.reason);
            });
        }
        Response::from_parts(head, ResponseBody::own(bytes::Bytes::new(), None))
    }
}

/// HTTP/2 may have split a Cookie field into its pairs, which HTTP/1 may not (RFC 9113, 8.2.3).
fn join_cookies(fields: &mut HeaderMap) {
    let mut all = fields.get_all(header::COOKIE).into_iter();
    let Some(first) = all.next() else { return };
    let mut joined = first.as_bytes().to_vec();
    let mut more = false;
    for value in all {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(value.as_bytes());
        more = true;
    }
    if let Ok(value) = HeaderValue::from_bytes(&joined)
        && more
    {
        fields.insert(header::COOKIE, value);
    }
}

/// Makes Content-Length one field with one number, if every one that is there says the same
/// (RFC 9110, 8.6).
fn one_length(fields: &mut HeaderMap) -> Result<(), ()> {
    let mut lines = fields.get_all(header::CONTENT_LENGTH).into_iter();
    let (first, more) = (lines.next(), lines.next());
    let Some(first) = first else { return Ok(()) };
    let mut lengths = fields
        .get_all(header::CONTENT_LENGTH)
        .into_iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(|number| {
            let number = number.trim_ascii();
            if number.is_empty() || !number.iter().all(u8::is_ascii_digit) {
                return None;
            }
            std::str::from_utf8(number).ok()?.parse::<u64>().ok()
        });
    let length = lengths.next().flatten().ok_or(())?;
    if lengths.any(|other| other != Some(length)) {
        return Err(());
    }
    let plain =
        first.as_bytes().iter().all(u8::is_ascii_digit) && !first.as_bytes().starts_with(b"0");
    if more.is_some() || !plain {
        fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_must_agree() {
        for (values, wanted) in [
            (&["5"][..], Some("5")),
            (&["0"], Some("0")),
            (&["005"], Some("5")),
            (&["5 "], Some("5")),
            (&["5", "5"], Some("5")),
            (&["5, 5"], Some("5")),
            (&["5", "6"], None),
            (&["+5"], None),
            (&[""], None),
        ] {
            let mut fields = HeaderMap::new();
            for value in values {
                fields.append(header::CONTENT_LENGTH, HeaderValue::from_static(value));
            }
            let result = one_length(&mut fields).ok().map(|()| {
                assert_eq!(fields.get_all(header::CONTENT_LENGTH).iter().count(), 1);
                fields[header::CONTENT_LENGTH].to_str().unwrap().to_owned()
            });
            assert_eq!(result.as_deref(), wanted, "{values:?}");
        }
    }

    #[test]
    fn split_cookies_are_joined() {
        let mut fields = HeaderMap::new();
        fields.append(header::COOKIE, HeaderValue::from_static("a=1"));
        fields.append(header::COOKIE, HeaderValue::from_static("b=2"));
        join_cookies(&mut fields);
        assert_eq!(
            fields.get_all(header::COOKIE).iter().collect::<Vec<_>>(),
            ["a=1; b=2"]
        );
    }
}
