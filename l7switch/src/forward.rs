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

use crate::body::RequestBody;
use crate::client::Client;
use crate::exchange::Exchange;
use crate::forwarded;
use crate::forwarded::Facts;
use crate::headers;
use crate::headers::Present;
use crate::plan;
use crate::proxy::Onward;
use crate::reason::Reason;
use crate::reason::Refusal;
use crate::response_body::ResponseBody;
use crate::tunnel;
use crate::upstream;
use crate::upstream::Ending;
use crate::upstream::Lease;

/// Why a 101 is no response to a request that asked for no upgrade.
pub const CHANGED_UNASKED: &str = "the server changed the protocol unasked";

/// Why a response with a transfer coding beside chunked is none.
pub const CODED_UNASKED: &str = "the server used a transfer coding that nobody asked for";

/// A request on its way to a pool.
pub struct Forward<'a> {
    /// The connection on which it came.
    pub client: &'a Arc<Client>,
    /// Where it goes.
    pub onward: Onward<'a>,
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
        let target = match self.target(&parts) {
            Ok(target) => target,
            Err(refusal) => return Err((refusal, exchange)),
        };
        let Onward { pool, hash, .. } = self.onward;
        let (body, progress) = RequestBody::new(body);
        exchange.uploading(Arc::clone(&progress));
        self.request_fields(&mut parts, present, &asked, &body);
        let mut request = Request::new(body);
        *request.method_mut() = parts.method;
        *request.uri_mut() = target;
        *request.headers_mut() = parts.headers;
        // The names as the client wrote them: RFC 9110, 5.1, says that case does not matter, and programs say otherwise.
        *request.extensions_mut() = parts.extensions;
        let patience = self.onward.patience();
        let sent = upstream::send(pool, hash, &self.client.own, request, &progress, patience).await;
        let (sent, server) = match sent {
            Ok(sent) => {
                let server = Some(Arc::clone(sent.lease.server()));
                (Ok(sent), server)
            }
            Err(failure) => (Err(failure.refusal), failure.server),
        };
        exchange.describe(|line| {
            line.pool.clone_from(&pool.config().name);
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
        let empty = head
            .headers
            .get(header::CONTENT_LENGTH)
            .is_some_and(|n| n == "0");
        if let Err(refusal) = self.response_fields(&mut head, &asked) {
            sent.lease.failed();
            return Err((refusal, exchange));
        }
        exchange.responded(head.status);
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(self.change_protocol(head, content, asked, sent.lease, exchange));
        }
        let ending = ending(&asked.method, head.status, empty);
        let body = ResponseBody::server(content, sent.lease, ending, exchange, patience.response);
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
            match tokio::time::timeout(self.onward.service.limits.idle_timeout, body.frame()).await
            {
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

    /// Target in origin or asterisk form.
    fn target(&self, parts: &request::Parts) -> Result<Uri, Refusal> {
        match &self.onward.rewritten {
            Some(rewritten) => Ok(rewritten.clone()),
            None if parts.uri.authority().is_none() => Ok(parts.uri.clone()),
            None => plan::target(parts.uri.path(), parts.uri.query()),
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
                trusted: forwarded::is_trusted(&self.onward.service.trusted, client.peer.ip()),
                scheme: client.scheme,
                host: self.host.as_ref(),
                version: parts.version,
            },
        );
        self.onward.state.filters.request.apply(fields);
        if let Some(host) = &self.onward.state.filters.hostname {
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
            return Err(invalid(CHANGED_UNASKED));
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
                return Err(invalid(CODED_UNASKED));
            }
            if present.has(Present::CONTENT_LENGTH) {
                return Err(invalid(
                    "the server's response has a length and a transfer coding (RFC 9112, 6.3)",
                ));
            }
        }
        if present.has(Present::CONTENT_LENGTH) && !has_one_length(fields) {
            return Err(invalid("the server's response has no clear length"));
        }
        headers::remove_hop_by_hop(fields, present);
        if head.status == StatusCode::NO_CONTENT {
            fields.remove(header::CONTENT_LENGTH);
        }
        forwarded::via(fields, present, head.version);
        self.onward.state.filters.response.apply(fields);
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
            // hyper would say keep-alive, and close.
            let said = if ends_by_itself {
                "keep-alive"
            } else {
                "close"
            };
            fields.insert(header::CONNECTION, HeaderValue::from_static(said));
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
        let idle = self.onward.service.limits.idle_timeout;
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

/// How a response ends. `empty`: it says that there is no content.
pub fn ending(method: &Method, status: StatusCode, empty: bool) -> Ending {
    if *method == Method::HEAD && !empty {
        Ending::Withheld
    } else if [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status) {
        Ending::Empty
    } else {
        Ending::Clear
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

/// Whether Content-Length is one decimal number, said once: who reads more of them, even if they agree, may read another one
/// than the client (RFC 9112, 6.3).
fn has_one_length(fields: &HeaderMap) -> bool {
    let mut lines = fields.get_all(header::CONTENT_LENGTH).into_iter();
    let (Some(length), None) = (lines.next(), lines.next()) else {
        return false;
    };
    let digits = length.as_bytes().trim_ascii();
    digits.iter().all(u8::is_ascii_digit)
        && std::str::from_utf8(digits).is_ok_and(|digits| digits.parse::<u64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_said_once() {
        for (values, wanted) in [
            (&["5"][..], true),
            (&["0"], true),
            (&["005"], true),
            (&["5 "], true),
            (&["5", "5"], false),
            (&["5, 5"], false),
            (&["5", "6"], false),
            (&["+5"], false),
            (&[""], false),
            (&["18446744073709551616"], false),
        ] {
            let mut fields = HeaderMap::new();
            for value in values {
                fields.append(header::CONTENT_LENGTH, HeaderValue::from_static(value));
            }
            assert_eq!(has_one_length(&fields), wanted, "{values:?}");
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
