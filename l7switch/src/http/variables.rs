// SPDX-License-Identifier: MIT
//! What variables of a rule file stand for in one exchange, and edits made with them.

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
use crate::observe::spans::Context;
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
        trace: Option<Context>,
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
            traceparent: trace
                .unwrap_or_else(|| {
                    match told(b"traceparent").and_then(|told| Context::read(told.as_bytes())) {
                        Some(told) => told.child(),
                        None => Context::new(false),
                    }
                })
                .to_string(),
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

#[cfg(test)]
mod tests {
    use super::*;

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
