// SPDX-License-Identifier: MIT
//! Whether a request may go on: its user and password, and what other servers say of it.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::StatusCode;
use http::header;
use l7switch_rules::model::ExternalAuth;

use super::Codec;
use super::answer;
use super::answer::Answer;
use super::edit::Request;
use super::feed::From;
use super::fields::Fields;
use super::fields::push;
use super::fields::push_map;
use super::routed::Routed;
use super::session::Session;
use super::upload::Upload;
use crate::http::forwarded;
use crate::http::forwarded::Facts;
use crate::http::headers::Present;
use crate::net::timer::Timer;
use crate::observe::log_limit;
use crate::observe::reason::Reason;
use crate::observe::reason::Refusal;
use crate::observe::spans::Context;
use crate::record::Record;
use crate::ruleset::filters::Edit;
use crate::ruleset::users::Busy;
use crate::ruleset::users::Claim;
use crate::upstream::Keeps;
use crate::upstream::Lacks;
use crate::upstream::Message;
use crate::upstream::Patience;
use crate::upstream::call;

/// Most content of the response of a server that is asked, bytes.
const MOST: usize = 256 * 1024;

/// What asks for a part of the content, or for none that is known already: a server that is asked has another.
const OF_THE_CONTENT: [HeaderName; 11] = [
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LOCATION,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::IF_UNMODIFIED_SINCE,
    header::RANGE,
];

impl<C: Codec> Session<'_, C> {
    /// Whether the rules let a request go on that a route has taken.
    ///
    /// # Errors
    ///
    /// They do not, and this is the answer.
    pub(super) async fn authorize(
        &mut self,
        request: &Request<'_>,
        source: SocketAddr,
        routed: &mut Routed<'_>,
        record: &mut Record,
    ) -> Result<(), Box<Answer>> {
        let method = request.method;
        let user = match self.user(request, source, routed).await {
            Ok(user) => user,
            Err(refusal) => {
                let challenge = routed.state.users.as_ref().map(|users| &users.challenge);
                let challenge = challenge
                    .filter(|_| refusal.status == StatusCode::UNAUTHORIZED)
                    .map(|challenge| (header::WWW_AUTHENTICATE, challenge.clone()));
                return Err(routed.refuse(&refusal, challenge, method, record));
            }
        };
        if let Some(user) = user {
            routed.has_user(&user);
            record.describe(|line| line.user = user);
        }
        let Some(auth) = &routed.route.external_auth else {
            return Ok(());
        };
        let trace = record.context();
        match self.ask(request, source, auth, routed, trace).await {
            Ok(Asked::Granted(edit)) => {
                routed.granted = Some(Box::new(edit));
                Ok(())
            }
            Ok(Asked::Denied(mut answer)) => {
                record.refused(Reason::AuthDenied);
                routed.edit_response(answer.headers_mut());
                Err(Box::new(answer))
            }
            Err(refusal) => {
                tracing::debug!(
                    reason = refusal.reason.as_str(),
                    "no answer of external_auth"
                );
                // Otherwise it is the client's affair.
                let reason = match refusal.reason {
                    Reason::ClientGone => Reason::ClientGone,
                    _ => Reason::AuthFailed,
                };
                let refusal = Refusal { reason, ..refusal };
                Err(routed.refuse(&refusal, None, method, record))
            }
        }
    }

    /// The user whose password a request has; none where the route wants none.
    async fn user(
        &self,
        request: &Request<'_>,
        source: SocketAddr,
        routed: &Routed<'_>,
    ) -> Result<Option<String>, Refusal> {
        let Some(wanted) = &routed.state.users else {
            return Ok(None);
        };
        let fields = request.head.fields();
        let mut values = fields
            .filter(|(name, _)| name.eq_ignore_ascii_case(b"authorization"))
            .map(|(_, value)| value);
        let claim = match (values.next(), values.next()) {
            (Some(value), None) => wanted.users.claim(value),
            _ => Claim::None,
        };
        let unauthorized = |detail| {
            Err(Refusal::new(
                Reason::Unauthorized,
                StatusCode::UNAUTHORIZED,
                detail,
            ))
        };
        let (user, password) = match claim {
            Claim::None => return unauthorized("a user and a password are needed"),
            Claim::Known(user) => return Ok(Some(user)),
            Claim::New(user, password) => (user, password),
        };
        match wanted.users.is_right(user.clone(), password).await {
            Ok(true) => Ok(Some(user)),
            Ok(false) => {
                let detail = "user or password is wrong";
                log_limit::hostile(Reason::Unauthorized, source, detail);
                unauthorized(detail)
            }
            Err(Busy) => Err(Refusal::new(
                Reason::AuthBusy,
                StatusCode::SERVICE_UNAVAILABLE,
                "too many passwords are compared already",
            )),
        }
    }

    /// Asks a server whether the request goes on.
    async fn ask(
        &mut self,
        request: &Request<'_>,
        source: SocketAddr,
        auth: &ExternalAuth,
        routed: &Routed<'_>,
        trace: Option<Context>,
    ) -> Result<Asked, Refusal> {
        let Some(pool) = routed.generation().pools.get(auth.pool) else {
            return Err(Refusal::internal("no such pool"));
        };
        let head = self.question(request, auth, routed);
        let began = Instant::now();
        let mut timer = Timer::default();
        timer.set_limit(began.checked_add(auth.timeout));
        let response = pool.config().response_timeout;
        let mut message = Message {
            head: &head,
            lacks: Lacks {
                host: true,
                trace: trace.is_some(),
            },
            trace,
            hash: fastrand::u64(..),
            is_full: false,
            stays: None,
            told: self.told(pool, source),
            content: b"",
            method: &Method::GET,
            falls_back: false,
            is_upgrade: false,
            patience: Patience {
                response,
                client: response,
            },
            began,
        };
        let mut from = From {
            codec: &mut self.codec,
            upload: &mut Upload::nothing(),
        };
        let own = &self.client.own;
        let whole = call(
            pool,
            own,
            &mut message,
            &mut from,
            &mut timer,
            Keeps::All(MOST),
        )
        .await?;
        let mut fields = Fields::default();
        fields.scan(&whole.bytes);
        let status = StatusCode::from_u16(whole.head.status);
        let status = status.unwrap_or(StatusCode::BAD_GATEWAY);
        if status.is_success() {
            return Ok(Asked::Granted(granted(auth, &fields, &whole.bytes)));
        }
        let without = Present::HOP_BY_HOP.and(Present::CONTENT_LENGTH);
        let headers = fields.without(&whole.bytes, without);
        let content = Bytes::from(whole.content);
        Ok(Asked::Denied(answer::of_server(
            status,
            headers,
            content,
            request.method,
        )))
    }

    /// The head of the request that a server gets which is asked. It names no host: each server gets its own.
    fn question(&self, request: &Request<'_>, auth: &ExternalAuth, routed: &Routed<'_>) -> Vec<u8> {
        let (head, fields) = (request.head, &self.buffers.fields);
        let first = format!("GET {} HTTP/1.1\r\n", auth.path);
        let mut out = Vec::new();
        let has_cookies = match &auth.request_headers {
            None => {
                let without = Present::HOP_BY_HOP
                    .and(Present::FORWARDED)
                    .and(Present::HOST)
                    .and(Present::EXPECT)
                    .and(Present::COOKIE)
                    .and(Present::CONTENT_LENGTH)
                    .and(Present::MAX_FORWARDS)
                    .and(request.retraced);
                let mut edit = Edit::default();
                for name in OF_THE_CONTENT {
                    edit.remove(name);
                }
                fields.write(
                    request.bytes,
                    Some(first.as_bytes()),
                    without,
                    &edit,
                    &mut out,
                );
                true
            }
            Some(names) => {
                out.extend_from_slice(first.as_bytes());
                let is = |name: &[u8]| {
                    let mut names = names.iter();
                    names.any(|wanted| name.eq_ignore_ascii_case(wanted.as_bytes()))
                };
                for (name, value) in head.fields() {
                    let kind = Present::named(name);
                    let is_passed = is(name) && !fields.names(request.bytes, name);
                    let others = Present::COOKIE
                        .and(Present::FORWARDED)
                        .and(request.retraced);
                    if is_passed && !kind.has(others) {
                        push(&mut out, name, value);
                    }
                }
                is(b"cookie")
            }
        };
        let cookies: Vec<_> = fields.values(request.bytes, Present::COOKIE).collect();
        let has_cookies = has_cookies && !fields.names(request.bytes, b"cookie");
        if has_cookies && !cookies.is_empty() {
            push(&mut out, b"cookie", &cookies.join(&b"; "[..]));
        }
        let mut map = fields.map(request.bytes, Present::FORWARDED);
        let host = head
            .host()
            .and_then(|host| HeaderValue::from_bytes(host).ok());
        let facts = Facts {
            peer: self.client.peer.ip(),
            peer_text: &self.client.peer_text,
            trusted: forwarded::trusting(routed.trusted(), self.client.peer.ip()),
            scheme: self.client.scheme,
            host: host.as_ref(),
        };
        forwarded::apply(&mut map, fields.present(), &facts);
        for name in ["x-forwarded-method", "x-forwarded-uri"] {
            map.remove(name);
        }
        push_map(&mut out, &map, &Edit::default());
        push(&mut out, b"x-forwarded-method", head.method());
        let mut uri = head.path().to_vec();
        if let Some(query) = head.query() {
            uri.push(b'?');
            uri.extend_from_slice(query);
        }
        push(&mut out, b"x-forwarded-uri", &uri);
        out
    }
}

/// What a server says that was asked.
enum Asked {
    /// The request goes on, with these edits of its fields.
    Granted(Edit),
    /// It does not.
    Denied(Answer),
}

/// What goes on with the request: what the server has said takes the place of what the client has.
fn granted(auth: &ExternalAuth, fields: &Fields, bytes: &[u8]) -> Edit {
    let mut edit = Edit::default();
    for name in &auth.response_headers {
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
            continue;
        };
        let said = fields.of(bytes, std::slice::from_ref(&name));
        edit.remove(name.clone());
        for value in said.get_all(&name) {
            edit.add(name.clone(), value.clone());
        }
    }
    edit
}
