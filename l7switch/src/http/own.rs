// SPDX-License-Identifier: MIT
//! The answer phase of an exchange where the switch itself answers.

use std::time::Instant;

use bytes::Buf;
use http::HeaderMap;
use http::HeaderValue;
use http::Method;
use http::StatusCode;
use http::header;
use l7switch_engine::http1::ResponseBody as Follows;

use super::Codec;
use super::NotTaken;
use super::Sends;
use super::answer;
use super::answer::Answer;
use super::edit;
use super::edit::Request;
use super::exchange::Next;
use super::exchange::wide;
use super::fields::Fields;
use super::fields::push_map;
use super::onward::Onward;
use super::session::Session;
use super::upload::Upload;
use crate::http::headers::Present;
use crate::net::content::Decoder;
use crate::observe::log_limit;
use crate::observe::reason::Reason;
use crate::observe::reason::Refusal;
use crate::record::Record;
use crate::ruleset::filters::Edit;
use crate::ruleset::pages::Page;
use crate::ruleset::pages::Pages;
use crate::upstream::Answered;
use crate::upstream::Ending;

impl<C: Codec> Session<'_, C> {
    /// Answers with an error, edited as the route's responses are. For callers to whom it is rare.
    pub(super) async fn refuse(
        &mut self,
        refusal: &Refusal,
        method: &Method,
        mut record: Box<Record>,
        onward: &Onward<'_>,
    ) -> Next {
        record.refused(refusal.reason);
        let mut answer = self.page(answer::refuse(refusal, method), onward.pages, method);
        onward.response_edit().apply(answer.headers_mut());
        Box::pin(self.answer(answer, record)).await
    }

    /// The same where no route has taken the request.
    pub(super) async fn refuse_unrouted(
        &mut self,
        refusal: &Refusal,
        method: &Method,
        mut record: Box<Record>,
    ) -> Next {
        record.refused(refusal.reason);
        let generation = self.client.core.active.load_full();
        let pages = generation.service(&self.client.service);
        let pages = pages.map_or_else(Pages::default, |(_, _, service)| {
            Pages([&[], &service.pages])
        });
        let answer = self.page(answer::refuse(refusal, method), pages, method);
        Box::pin(self.answer(answer, record)).await
    }

    /// The page that is sent in place of an error. Who calls by gRPC reads none.
    fn page(&self, error: Answer, pages: Pages<'_>, method: &Method) -> Answer {
        match pages.of(error.status()) {
            Some(page) if !self.is_grpc => answer::page(page, &error, method),
            _ => error,
        }
    }

    /// Answers what is no request: `describe` fills in what is known of it.
    pub(super) async fn reject(
        &mut self,
        refusal: &Refusal,
        describe: impl FnOnce(&mut crate::observe::access_log::Line),
    ) -> Next {
        log_limit::hostile(refusal.reason, self.client.peer, &refusal.detail);
        self.is_persistent = true;
        self.may_go_on = false;
        let trace = self.trace(Present::NONE, b"");
        let record = Record::begin(self.client, trace, describe);
        self.refuse_unrouted(refusal, &Method::GET, record).await
    }

    /// Sends a response of the switch's own. For callers to box: a connection's task has no room for what is rare.
    pub(super) async fn answer(&mut self, mut answer: Answer, mut record: Box<Record>) -> Next {
        // To a client that opens a WebSocket, every 2xx would say that it is open.
        if self.codec.wanted_accept().is_some() && answer.status().is_success() {
            let refusal = Refusal::new(
                Reason::NotImplemented,
                StatusCode::NOT_IMPLEMENTED,
                "there is no WebSocket here",
            );
            answer = answer::refuse(&refusal, &Method::GET);
        }
        if self.is_grpc && answer.status().as_u16() >= 400 {
            answer = answer::for_grpc(&answer);
        }
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
            Err(NotTaken(_)) => Next::Cut,
            Ok(()) if last => Next::Last,
            Ok(()) => Next::Request,
        }
    }

    /// Sends a page in place of a server's error, of which this is to be said all the same.
    pub(super) async fn page_instead(
        &mut self,
        page: &Page,
        error: &Answer,
        request: &Request<'_>,
        onward: &Onward<'_>,
        record: Box<Record>,
    ) -> Next {
        let mut answer = answer::page(page, error, request.method);
        let headers = answer.headers_mut();
        onward.response_edit().apply(headers);
        let cookie = onward.set_cookie.as_deref().map(HeaderValue::from_str);
        if let Some(Ok(cookie)) = cookie {
            headers.append(header::SET_COOKIE, cookie);
        }
        self.answer(answer, record).await
    }

    /// Another response is sent in place of a server's. Its connection is kept where all of its content has come already, as that of
    /// an error often has.
    pub(super) fn replaced(
        &mut self,
        request: &Request<'_>,
        answered: Answered,
        follows: Follows,
        upload: &Upload,
    ) {
        let Answered {
            head,
            length,
            lease,
            ..
        } = answered;
        let buffer = &mut self.buffers.from_server;
        buffer.advance(length);
        let mut decoder = Decoder::of_response(follows);
        let Ok(decoded) = decoder.decode(buffer) else {
            return lease.failed("its content is not HTTP");
        };
        let is_whole = decoded.ended && decoded.length == buffer.len();
        if is_whole && upload.is_done() && head.persistent {
            // What it says of its length is not looked at: it counts as the least that it may be.
            let ending = Ending::of(request.method, head.status, false);
            lease.completed(ending, Instant::now());
        }
    }
}

/// What of a server's error is said with the page in its place.
pub(super) fn kept_fields(status: StatusCode, fields: &Fields, bytes: &[u8]) -> Answer {
    let mut error = Answer::default();
    *error.status_mut() = status;
    *error.headers_mut() = fields.of(
        bytes,
        &[header::WWW_AUTHENTICATE, header::RETRY_AFTER, header::ALLOW],
    );
    error
}
