// SPDX-License-Identifier: MIT
//! What variables of a rule file stand for in one exchange, and edits made with them.

use std::fmt::Write as _;
use std::net::SocketAddr;

use l7switch_certificates::ClientCertificate;
use l7switch_engine::table::Fields;
use l7switch_rules::model::Filters;
use l7switch_rules::model::HeaderEdit;
use l7switch_rules::template::Piece;
use l7switch_rules::template::Template;
use l7switch_rules::template::Variable;

use super::plan::Asked;
use crate::client::Client;
use crate::ruleset::filters::Edit;

/// Longest identifier of a request that is taken over.
const MOST_ID: usize = 128;

/// What is known of an exchange.
#[derive(Debug)]
pub struct Values {
    source: SocketAddr,
    host: Vec<u8>,
    method: Vec<u8>,
    path: Vec<u8>,
    query: Option<Vec<u8>>,
    scheme: &'static str,
    server_name: String,
    tls_version: &'static str,
    certificate: Option<ClientCertificate>,
    service: String,
    route: String,
    pool: String,
    server: String,
    user: String,
    request_id: String,
    traceparent: String,
}

impl Values {
    /// What is known of a request on its way. `is_trusted`: what it says of itself is believed.
    pub fn new<F: Fields + ?Sized>(
        client: &Client,
        asked: &Asked<'_, F>,
        is_trusted: bool,
        route: &str,
    ) -> Self {
        let told = |name: &[u8]| {
            let mut fields = asked.fields.iter().filter(|_| is_trusted);
            let (_, value) = fields.find(|(known, _)| known.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(value).ok()
        };
        let tls = client.tls.as_ref();
        Self {
            source: asked.source,
            host: asked.target.host.to_vec(),
            method: asked.method.to_vec(),
            path: asked.target.path.to_vec(),
            query: asked.query.map(<[u8]>::to_vec),
            scheme: asked.scheme,
            server_name: tls.map(|tls| tls.server_name.clone()).unwrap_or_default(),
            tls_version: tls.map_or("", |tls| tls.version),
            certificate: tls.and_then(|tls| tls.certificate.clone()),
            service: client.service.to_string(),
            route: route.to_owned(),
            pool: String::new(),
            server: String::new(),
            user: String::new(),
            request_id: told(b"x-request-id")
                .filter(|id| is_id(id))
                .map_or_else(|| format!("{:032x}", fastrand::u128(..)), str::to_owned),
            traceparent: traceparent(told(b"traceparent")),
        }
    }

    /// The identifier of the request.
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// A text with what the variables in it stand for.
    pub fn fill(&self, template: &Template) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in template.pieces() {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Variable(variable) => self.push(*variable, &mut out),
            }
        }
        out
    }

    fn push(&self, variable: Variable, out: &mut Vec<u8>) {
        let address;
        let value: &[u8] = match variable {
            Variable::ClientAddress => {
                address = self.source.ip().to_string();
                address.as_bytes()
            }
            Variable::ClientPort if self.source.port() == 0 => b"",
            Variable::ClientPort => {
                address = self.source.port().to_string();
                address.as_bytes()
            }
            Variable::Host => &self.host,
            Variable::Method => &self.method,
            Variable::Path => &self.path,
            Variable::Query => self.query.as_deref().unwrap_or_default(),
            Variable::Uri => {
                out.extend_from_slice(&self.path);
                if self.query.is_some() {
                    out.push(b'?');
                }
                self.query.as_deref().unwrap_or_default()
            }
            Variable::Scheme => self.scheme.as_bytes(),
            Variable::ServerName => self.server_name.as_bytes(),
            Variable::TlsVersion => self.tls_version.as_bytes(),
            Variable::ClientSubject => {
                let certificate = self.certificate.as_ref();
                certificate.map_or(b"", |certificate| certificate.subject.as_bytes())
            }
            Variable::ClientFingerprint => {
                let certificate = self.certificate.as_ref();
                certificate.map_or(b"", |certificate| certificate.fingerprint.as_bytes())
            }
            Variable::ClientVerified if self.certificate.is_some() => b"yes",
            Variable::ClientVerified => b"no",
            Variable::RequestId => self.request_id.as_bytes(),
            Variable::Traceparent => self.traceparent.as_bytes(),
            Variable::Service => self.service.as_bytes(),
            Variable::Route => self.route.as_bytes(),
            Variable::Pool => self.pool.as_bytes(),
            Variable::Server => self.server.as_bytes(),
            Variable::User => self.user.as_bytes(),
        };
        out.extend_from_slice(value);
    }
}

/// What is known of an exchange, and the route's edits to be made with it.
#[derive(Debug)]
pub struct Edits<'a> {
    rules: &'a Filters,
    values: Values,
}

impl<'a> Edits<'a> {
    /// The edits of a route, of a request that goes to no pool yet.
    pub const fn new(rules: &'a Filters, values: Values) -> Self {
        Self { rules, values }
    }

    /// What is known.
    pub const fn values(&self) -> &Values {
        &self.values
    }

    /// The request is this user's.
    pub fn has_user(&mut self, user: &str) {
        user.clone_into(&mut self.values.user);
    }

    /// The request goes to this pool.
    pub fn chosen(&mut self, pool: &str) {
        pool.clone_into(&mut self.values.pool);
    }

    /// This server of this pool has answered.
    pub fn answered(&mut self, pool: &str, server: String) {
        self.chosen(pool);
        self.values.server = server;
    }

    /// The edits of the request.
    pub fn request(&self) -> Edit {
        self.make(&self.rules.request_headers)
    }

    /// The edits of the response, with what is known by now.
    pub fn response(&self) -> Edit {
        self.make(&self.rules.response_headers)
    }

    fn make(&self, edit: &HeaderEdit) -> Edit {
        // A value that no message can have leaves all of the edits out: what is known of a request has none.
        Edit::new(edit, |template| self.values.fill(template)).unwrap_or_default()
    }
}

/// Whether an identifier that somebody else has given is taken over: it must be harmless wherever it is written.
fn is_id(id: &str) -> bool {
    (1..=MOST_ID).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=@:".contains(&byte))
}

/// What is said of the trace (W3C Trace Context, 3.2): the one that a request belongs to, if that is known, with the switch as
/// parent; otherwise a new one, of which nobody has said that it is recorded.
fn traceparent(told: Option<&str>) -> String {
    let (trace, flags) = told.and_then(trace_of).map_or_else(
        || (format!("{:032x}", fastrand::u128(1..)), "00".to_owned()),
        |(trace, flags)| (trace.to_owned(), flags.to_owned()),
    );
    let mut out = String::with_capacity(55);
    let _ = write!(out, "00-{trace}-{:016x}-{flags}", fastrand::u64(1..));
    out
}

/// The trace and the flags of a `traceparent`. Of later versions, what version 00 has is read (4.3).
fn trace_of(told: &str) -> Option<(&str, &str)> {
    let mut parts = told.split('-');
    let (version, trace, parent, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |part: &str, length| {
        part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_something = |part: &str| part.bytes().any(|byte| byte != b'0');
    let is_whole = is_hex(version, 2)
        && version != "ff"
        && (version != "00" || parts.next().is_none())
        && is_hex(trace, 32)
        && is_something(trace)
        && is_hex(parent, 16)
        && is_something(parent)
        && is_hex(flags, 2);
    is_whole.then_some((trace, flags))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn a_trace_goes_on_with_a_new_parent() {
        let told = format!("00-{TRACE}-b7ad6b7169203331-01");
        let made = traceparent(Some(&told));
        assert_eq!(trace_of(&made), Some((TRACE, "01")));
        assert_ne!(made, told);
        let later = format!("cc-{TRACE}-b7ad6b7169203331-01-what-comes");
        assert_eq!(trace_of(&later), Some((TRACE, "01")));
    }

    #[test]
    fn what_is_no_trace_begins_one() {
        let whole = format!("00-{TRACE}-b7ad6b7169203331-01");
        for told in [
            String::new(),
            whole.replacen("00", "ff", 1),
            format!("{whole}-more"),
            whole.to_uppercase(),
            whole.replace(TRACE, &"0".repeat(32)),
            whole.replace("b7ad6b7169203331", &"0".repeat(16)),
            whole.replace("-01", "-0"),
            whole.replace("-01", ""),
        ] {
            assert_eq!(trace_of(&told), None, "{told}");
            let made = traceparent(Some(&told));
            let (trace, flags) = trace_of(&made).unwrap();
            assert_ne!(trace, TRACE);
            assert_eq!(flags, "00");
        }
        assert_ne!(traceparent(None), traceparent(None));
    }

    #[test]
    fn identifiers_are_harmless() {
        for id in ["a", "0f8fad5b-d9cb-469f-a165-70867728950e", "1=/+@:._~"] {
            assert!(is_id(id), "{id}");
        }
        let long = "a".repeat(MOST_ID + 1);
        for id in ["", "a b", "a\"", "a,b", "\u{e4}", long.as_str()] {
            assert!(!is_id(id), "{id}");
        }
    }
}
