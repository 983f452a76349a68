// SPDX-License-Identifier: MIT
//! Spans as OpenTelemetry has them, by its semantic conventions for HTTP.

use std::str::FromStr;
use std::time::Duration;
use std::time::SystemTime;

use opentelemetry::InstrumentationScope;
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanContext;
use opentelemetry::trace::SpanId;
use opentelemetry::trace::SpanKind;
use opentelemetry::trace::Status;
use opentelemetry::trace::TraceFlags;
use opentelemetry::trace::TraceId;
use opentelemetry::trace::TraceState;
use opentelemetry_sdk::trace::SpanData;
use opentelemetry_sdk::trace::SpanEvents;
use opentelemetry_sdk::trace::SpanLinks;
use opentelemetry_semantic_conventions::attribute;

use super::context::Context;
use super::trace::Attempt;
use super::trace::Finished;

const SERVICE: &str = "l7switch.service";
const ROUTE: &str = "l7switch.route";
const POOL: &str = "l7switch.pool";
const SERVER: &str = "l7switch.server";

/// Methods that a span may name; others might be any number (RFC 9110, 9.3; RFC 5789).
const METHODS: [&str; 9] = [
    "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE",
];

/// The spans of a request: its own, and one for each attempt.
pub(super) fn spans(finished: &Finished, scope: &InstrumentationScope) -> Vec<SpanData> {
    let maker = Maker {
        finished,
        scope,
        state: TraceState::from_str(finished.trace.state()).unwrap_or_default(),
    };
    let attempts = finished.trace.attempts().iter().enumerate();
    let mut spans = vec![maker.server()];
    spans.extend(attempts.map(|(before, attempt)| maker.client(before, attempt)));
    spans
}

struct Maker<'a> {
    finished: &'a Finished,
    scope: &'a InstrumentationScope,
    state: TraceState,
}

impl Maker<'_> {
    /// The request's own span.
    fn server(&self) -> SpanData {
        let (trace, line) = (&self.finished.trace, &self.finished.line);
        let mut attributes = Attributes::of_method(&line.method);
        attributes.text(attribute::URL_PATH, &line.path);
        attributes.text(attribute::URL_SCHEME, line.scheme);
        attributes.address(&line.host);
        attributes.text(attribute::CLIENT_ADDRESS, line.client_address());
        attributes.text(attribute::NETWORK_PROTOCOL_VERSION, line.version);
        attributes.text(attribute::USER_AGENT_ORIGINAL, &line.user_agent);
        attributes.text(SERVICE, &line.service);
        attributes.text(ROUTE, &line.route);
        attributes.text(POOL, &line.pool);
        attributes.text(SERVER, &line.server);
        let error = (line.end != "ok").then_some(line.end);
        let status = Some(line.status).filter(|&status| status != 0);
        attributes.outcome(status, error, 500);
        // Who asks for what there is not is wrong, not the switch.
        let is_error = match status {
            Some(400..500) => false,
            Some(status) => status >= 500 || error.is_some(),
            None => true,
        };
        let name = named(&line.method, &line.route);
        let duration = Duration::try_from_secs_f64(line.duration).unwrap_or_default();
        SpanData {
            parent_span_id: SpanId::from(trace.parent().unwrap_or_default()),
            parent_span_is_remote: trace.is_continued(),
            ..self.span(
                trace.context(),
                SpanKind::Server,
                name,
                (line.time, line.time + duration),
                is_error,
                attributes,
            )
        }
    }

    /// The span of an attempt, with so many before it.
    fn client(&self, before: usize, attempt: &Attempt) -> SpanData {
        let (trace, line) = (&self.finished.trace, &self.finished.line);
        let mut attributes = Attributes::of_method(&line.method);
        attributes.address(&attempt.server);
        attributes.text(POOL, &attempt.pool);
        attributes.text(SERVER, &attempt.server);
        if let Some(before) = i64::try_from(before).ok().filter(|&before| before > 0) {
            attributes.number(attribute::HTTP_REQUEST_RESEND_COUNT, before);
        }
        attributes.outcome(attempt.status, attempt.error, 400);
        let is_error = attempt.status.is_none_or(|status| status >= 400) || attempt.error.is_some();
        let time =
            |at: std::time::Instant| line.time + at.saturating_duration_since(self.finished.began);
        let began = time(attempt.began);
        let times = (began, attempt.ended.map_or(began, time));
        SpanData {
            parent_span_id: SpanId::from(trace.context().span()),
            ..self.span(
                attempt.context,
                SpanKind::Client,
                named(&line.method, &attempt.pool),
                times,
                is_error,
                attributes,
            )
        }
    }

    fn span(
        &self,
        context: Context,
        span_kind: SpanKind,
        name: String,
        (start_time, end_time): (SystemTime, SystemTime),
        is_error: bool,
        attributes: Attributes,
    ) -> SpanData {
        SpanData {
            span_context: SpanContext::new(
                TraceId::from(context.trace()),
                SpanId::from(context.span()),
                TraceFlags::SAMPLED,
                false,
                self.state.clone(),
            ),
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind,
            name: name.into(),
            start_time,
            end_time,
            attributes: attributes.0,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: match is_error {
                true => Status::error(""),
                false => Status::Unset,
            },
            instrumentation_scope: self.scope.clone(),
        }
    }
}

/// A name of which there are few: no path.
fn named(method: &str, target: &str) -> String {
    let method = match METHODS.contains(&method) {
        true => method,
        false => "HTTP",
    };
    match target {
        "" => method.to_owned(),
        _ => format!("{method} {target}"),
    }
}

#[derive(Default)]
struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn of_method(method: &str) -> Self {
        let mut attributes = Self(Vec::with_capacity(16));
        if METHODS.contains(&method) {
            attributes.text(attribute::HTTP_REQUEST_METHOD, method);
        } else {
            attributes.text(attribute::HTTP_REQUEST_METHOD, "_OTHER");
            attributes.text(attribute::HTTP_REQUEST_METHOD_ORIGINAL, method);
        }
        attributes
    }

    /// What is known; empty: it is not.
    fn text(&mut self, key: &'static str, value: &str) {
        if !value.is_empty() {
            self.0.push(KeyValue::new(key, value.to_owned()));
        }
    }

    fn number(&mut self, key: &'static str, value: i64) {
        self.0.push(KeyValue::new(key, value));
    }

    /// A host with or without a port, or the path of a Unix socket.
    fn address(&mut self, address: &str) {
        if let Some(path) = address
            .strip_prefix("unix:")
            .filter(|path| path.starts_with('/'))
        {
            return self.text(attribute::SERVER_ADDRESS, path);
        }
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !address.ends_with(']') => (host, port.parse::<u16>().ok()),
            _ => (address, None),
        };
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        self.text(attribute::SERVER_ADDRESS, bare.unwrap_or(host));
        if let Some(port) = port {
            self.number(attribute::SERVER_PORT, port.into());
        }
    }

    /// The status, and the error: what the switch says, else a status from `least`.
    fn outcome(&mut self, status: Option<u16>, error: Option<&str>, least: u16) {
        if let Some(status) = status {
            self.number(attribute::HTTP_RESPONSE_STATUS_CODE, status.into());
        }
        let failed = status.filter(|&status| status >= least);
        match (error, failed) {
            (Some(error), _) => self.text(attribute::ERROR_TYPE, error),
            (None, Some(status)) => self.text(attribute::ERROR_TYPE, &status.to_string()),
            (None, None) => (),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_few() {
        assert_eq!(named("GET", "site"), "GET site");
        assert_eq!(named("BREW", "site"), "HTTP site");
        assert_eq!(named("", ""), "HTTP");
    }

    #[test]
    fn addresses_have_two_parts() {
        for (text, host, port) in [
            ("a.example", "a.example", None),
            ("a.example:80", "a.example", Some(80)),
            ("127.0.0.1:65535", "127.0.0.1", Some(65535)),
            ("[2001:db8::1]:443", "2001:db8::1", Some(443)),
            ("[2001:db8::1]", "2001:db8::1", None),
            ("unix:/run/a:1.sock", "/run/a:1.sock", None),
            ("unix:80", "unix", Some(80)),
            ("a:", "a", None),
        ] {
            let mut attributes = Attributes::default();
            attributes.address(text);
            let mut expected = vec![KeyValue::new("server.address", host)];
            expected.extend(port.map(|port: i64| KeyValue::new("server.port", port)));
            assert_eq!(attributes.0, expected, "{text}");
        }
    }
}
