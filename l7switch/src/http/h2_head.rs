// SPDX-License-Identifier: MIT
//! The head of a request of HTTP/2, written as one of HTTP/1.

use h2::ext::Protocol;
use http::HeaderValue;
use http::Method;
use http::StatusCode;
use http::header;
use http::request::Parts;
use l7switch_engine::uri;

use super::fields::push;
use crate::http::headers;
use crate::net::websocket::Handshake;
use crate::observe::reason::Reason;
use crate::observe::reason::Refusal;

/// Writes a request as a head of HTTP/1.
pub(super) fn head(
    parts: &Parts,
    is_read: bool,
    handshake: Option<&Handshake>,
    out: &mut Vec<u8>,
) -> Result<(), Refusal> {
    let is_connect = parts.method == Method::CONNECT && handshake.is_none();
    malformed(parts, is_connect)?;
    let method = match handshake {
        Some(_) => "GET",
        None => parts.method.as_str(),
    };
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    let target = match parts.uri.path_and_query() {
        Some(target) if !is_connect => target.as_str(),
        _ => parts.uri.authority().map_or("", |host| host.as_str()),
    };
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    push(out, b"host", authority(parts)?);
    for (name, value) in &parts.headers {
        let is_own = handshake.is_some() && *name == header::SEC_WEBSOCKET_KEY;
        if !is_own && ![header::HOST, header::COOKIE].contains(name) {
            push(out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    // It may have come in pieces (RFC 9113, 8.2.3).
    let cookies: Vec<_> = parts
        .headers
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if !cookies.is_empty() {
        push(out, b"cookie", &cookies.join(&b"; "[..]));
    }
    if let Some(handshake) = handshake {
        push(out, b"connection", b"upgrade");
        push(out, b"upgrade", b"websocket");
        push(out, b"sec-websocket-key", handshake.key.as_bytes());
    }
    if !is_read && !parts.headers.contains_key(header::CONTENT_LENGTH) {
        push(out, b"transfer-encoding", b"chunked");
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// What makes a request malformed, could not be seen in HTTP/1 any more, and the library lets pass.
fn malformed(parts: &Parts, is_connect: bool) -> Result<(), Refusal> {
    if let Some(protocol) = parts.extensions.get::<Protocol>() {
        if protocol.as_str() != "websocket" {
            return Err(Refusal::new(
                Reason::NotImplemented,
                StatusCode::NOT_IMPLEMENTED,
                "the only protocol of an extended CONNECT is websocket (RFC 8441)",
            ));
        }
        if parts.headers.contains_key(header::CONTENT_LENGTH) {
            return Err(Refusal::bad_request(
                "a CONNECT has no content (RFC 9110, 9.3.6)",
            ));
        }
    }
    if !parts.headers.values().all(headers::is_well_formed) {
        return Err(Refusal::bad_request(
            "white space around a field value (RFC 9113, 8.2.1)",
        ));
    }
    let scheme = parts.uri.scheme_str().unwrap_or("http");
    if !["http", "https"].contains(&scheme) {
        return Err(Refusal::bad_request(
            "the scheme is neither http nor https (RFC 9110, 4.2)",
        ));
    }
    let path = parts.uri.path();
    let is_asterisk = path == "*" && parts.method == Method::OPTIONS;
    if !path.starts_with('/') && !is_asterisk && !is_connect {
        return Err(Refusal::bad_request(
            "the path does not begin with / (RFC 9113, 8.3.1)",
        ));
    }
    Ok(())
}

/// The host that a request names: of `:authority`, else of Host; where both are there they have to mean the same
/// (RFC 9113, 8.3.1).
fn authority(parts: &Parts) -> Result<&[u8], Refusal> {
    let mut fields = parts.headers.get_all(header::HOST).into_iter();
    let field = fields.next().map(HeaderValue::as_bytes);
    if fields.next().is_some() {
        return Err(Refusal::bad_request("more than one Host (RFC 9112, 3.2)"));
    }
    let authority = parts.uri.authority().map(|host| host.as_str().as_bytes());
    match (authority, field) {
        (None, None) => Err(Refusal::bad_request(
            "neither :authority nor Host (RFC 9113, 8.3.1)",
        )),
        (None, Some(host)) | (Some(host), None) => Ok(host),
        (Some(host), Some(field)) if is_same_host(host, field, parts.uri.scheme_str()) => Ok(host),
        (Some(_), Some(_)) => Err(Refusal::bad_request(
            ":authority and Host differ (RFC 9113, 8.3.1)",
        )),
    }
}

/// Whether two hosts mean the same: names in comparison form, ports with that of the scheme where there is none.
fn is_same_host(one: &[u8], other: &[u8], scheme: Option<&str>) -> bool {
    let default: &[u8] = if scheme == Some("https") {
        b"443"
    } else {
        b"80"
    };
    let port = |host: &'_ [u8]| -> Vec<u8> {
        let colon = host.iter().rposition(|byte| *byte == b':');
        let port = colon
            .filter(|_| host.last() != Some(&b']'))
            .and_then(|colon| host.get(colon.saturating_add(1)..))
            .filter(|port| !port.is_empty());
        port.unwrap_or(default).to_vec()
    };
    let (mut first, mut second) = ([0; uri::MAX_HOST], [0; uri::MAX_HOST]);
    let names = (uri::host(one, &mut first), uri::host(other, &mut second));
    matches!(names, (Ok(first), Ok(second)) if first == second) && port(one) == port(other)
}
