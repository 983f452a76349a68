// SPDX-License-Identifier: MIT
//! Responses of the switch's own.

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderValue;
use http::Method;
use http::Response;
use http::StatusCode;
use http::header;
use l7switch_rules::model::Respond;

use crate::observe::reason::Reason;
use crate::observe::reason::Refusal;
use crate::ruleset::pages::Page;

/// A response that the switch makes, with all of its content.
pub type Answer = Response<Bytes>;

/// A response with this content. To HEAD it has the head only, with the length of what GET would
/// get (RFC 9110, 9.3.2).
fn respond(
    status: StatusCode,
    content_type: Option<&str>,
    content: Bytes,
    method: &Method,
) -> Answer {
    let bodiless = status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    let length = content.len();
    let mut response = Response::new(if bodiless || *method == Method::HEAD {
        Bytes::new()
    } else {
        content
    });
    *response.status_mut() = status;
    if !bodiless {
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        let content_type = content_type.map(HeaderValue::from_str);
        if let Some(Ok(value)) = content_type.filter(|_| length > 0) {
            headers.insert(header::CONTENT_TYPE, value);
        }
    }
    response
}

/// The answer to a request that is refused.
pub fn refuse(refusal: &Refusal, method: &Method) -> Answer {
    let status = refusal.status;
    let text = format!(
        "{} {}: {}\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or("Error"),
        refusal.detail
    );
    let mut response = respond(
        status,
        Some("text/plain; charset=utf-8"),
        Bytes::from(text),
        method,
    );
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// An error as a gRPC client reads it: status 200, and what it means in fields of the head, which is the whole response ("Trailers-Only",
/// gRPC over HTTP2; the numbers are those of its page "HTTP to gRPC Status Code Mapping").
pub fn for_grpc(answer: &Answer) -> Answer {
    let code = match answer.status().as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    };
    let mut message = String::new();
    for byte in answer.body().trim_ascii() {
        match byte {
            b' '..=b'~' if *byte != b'%' => message.push(char::from(*byte)),
            _ => message.push_str(&format!("%{byte:02X}")),
        }
    }
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    headers.insert("grpc-status", HeaderValue::from(code));
    if let Ok(message) = HeaderValue::try_from(message) {
        headers.insert("grpc-message", message);
    }
    response
}

/// A route's fixed response, with this content.
pub fn fixed(fixed: &Respond, content: &Bytes, method: &Method) -> Answer {
    let status = StatusCode::from_u16(fixed.status).unwrap_or(StatusCode::OK);
    respond(status, Some(&fixed.content_type), content.clone(), method)
}

/// A page in place of an error. What the error's head says beside its content stays.
pub fn page(page: &Page, error: &Answer, method: &Method) -> Answer {
    let status = page.status(error.status());
    let mut response = respond(
        status,
        Some(&page.rules.content_type),
        page.content.clone(),
        method,
    );
    let headers = response.headers_mut();
    for (name, value) in error.headers() {
        if ![header::CONTENT_LENGTH, header::CONTENT_TYPE].contains(name) {
            headers.append(name, value.clone());
        }
    }
    response
}

/// A response that another server has given, with these fields.
pub fn of_server(status: StatusCode, fields: HeaderMap, content: Bytes, method: &Method) -> Answer {
    let mut response = respond(status, None, content, method);
    let headers = response.headers_mut();
    for (name, value) in &fields {
        headers.append(name, value.clone());
    }
    response
}

/// The answer to a challenge of ACME (RFC 8555, 8.3).
pub fn challenge(answer: String, method: &Method) -> Answer {
    let kind = "application/octet-stream";
    respond(StatusCode::OK, Some(kind), Bytes::from(answer), method)
}

/// A response without content.
pub fn empty(status: StatusCode) -> Answer {
    respond(status, None, Bytes::new(), &Method::GET)
}

/// A redirect.
pub fn redirect(status: StatusCode, location: HeaderValue, method: &Method) -> Answer {
    let mut text = b"see ".to_vec();
    text.extend_from_slice(location.as_bytes());
    text.push(b'\n');
    let mut response = respond(
        status,
        Some("text/plain; charset=utf-8"),
        Bytes::from(text),
        method,
    );
    response.headers_mut().insert(header::LOCATION, location);
    response
}

/// The answer to OPTIONS or TRACE that may go no further (RFC 9110, 7.6.2): the switch is its
/// recipient. It does not echo a TRACE, which may hold credentials.
///
/// # Errors
///
/// It is a TRACE.
pub fn last_stop(method: &Method) -> Result<Answer, Refusal> {
    if *method == Method::TRACE {
        return Err(Refusal::new(
            Reason::NotImplemented,
            StatusCode::NOT_IMPLEMENTED,
            "the switch does not echo requests",
        ));
    }
    Ok(respond(StatusCode::OK, None, Bytes::new(), method))
}
