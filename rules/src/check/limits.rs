// SPDX-License-Identifier: MIT
//! Checking limits: of a service, and of a route.

use super::Check;
use crate::model::*;
use crate::text::diagnostic::Diagnostic;
use crate::text::language::LimitsText;
use crate::text::language::RateKeyChoice;
use crate::text::language::RateKeyWord;
use crate::text::language::RateLimitText;
use crate::text::quantity::Size;
use crate::text::source::At;

/// Most requests of a rate limit, and most that a bucket holds.
const MOST_REQUESTS: i64 = 1_000_000;

impl Check<'_> {
    /// The limits of a service.
    pub(super) fn limits(&mut self, protocol: Protocol, given: Option<LimitsText>) -> Limits {
        let mut limits = Limits::default();
        let Some(given) = given else { return limits };
        if let Some(head) = given.head {
            if (256..=1 << 20).contains(&head.value.0) {
                limits.head = head.value.0;
            } else {
                let message = format!("{} bytes is out of range", head.value.0);
                self.note(
                    Diagnostic::error("out-of-range", head.span, message)
                        .help("give a size from 256 to 1MiB"),
                );
            }
        }
        if let Some(fields) = given.fields.and_then(|f| self.number(&f, 1, 1000)) {
            limits.fields = fields;
        }
        if let Some(connections) = given
            .connections
            .and_then(|c| self.number(&c, 1, 10_000_000))
        {
            limits.connections = connections;
        }
        if let Some(time) = given.head_timeout {
            limits.head_timeout = time.0;
        }
        if let Some(time) = given.idle_timeout {
            limits.idle_timeout = time.0;
        }
        if let Some(time) = given.tunnel_timeout {
            if !protocol.is_http() {
                let word = protocol.as_str();
                let message = format!("`tunnel_timeout` cannot be used with protocol = \"{word}\"");
                self.note(
                    Diagnostic::error("impossible", time.span, message)
                        .help("use: limits = { idle_timeout = \"1h\" }"),
                );
            }
            limits.tunnel_timeout = Some(time.value.0);
        }
        let prefixes = [&given.prefix_v4, &given.prefix_v6];
        if given.connections_per_source.is_none() {
            self.without_effect(prefixes, "limits.connections_per_source");
        }
        limits.source_prefix = self.source_prefix(prefixes);
        limits.connections_per_source = given
            .connections_per_source
            .and_then(|c| self.number(&c, 1, 10_000_000));
        if let Some(body) = &given.body
            && !protocol.is_http()
        {
            let word = protocol.as_str();
            let message = format!("`body` cannot be used with protocol = \"{word}\"");
            self.note(
                Diagnostic::error("impossible", body.span, message)
                    .help("there are no requests to be seen, only bytes"),
            );
        }
        limits.body = self.body_limit(given.body);
        limits
    }

    /// Longest content of a request.
    pub(super) fn body_limit(&mut self, given: Option<At<Size>>) -> Option<u64> {
        let given = given?;
        if given.value.0 == 0 {
            let message = "0 bytes is out of range";
            self.note(
                Diagnostic::error("out-of-range", given.span, message)
                    .help("give a size from 1; without this key there is no limit"),
            );
        }
        u64::try_from(given.value.0).ok()
    }

    /// A rate limit of a route.
    pub(super) fn rate_limit(&mut self, given: At<RateLimitText>) -> Option<RateLimit> {
        let At { value: text, span } = given;
        let prefixes = [&text.prefix_v4, &text.prefix_v6];
        let source_prefix = self.source_prefix(prefixes);
        let key = match text.key {
            None => RateKey::Source,
            Some(key) => match key.value {
                RateKeyChoice::Word(RateKeyWord::Source) => RateKey::Source,
                RateKeyChoice::Word(RateKeyWord::Route) => RateKey::Route,
                RateKeyChoice::Table(table) => match self.named_key(key.span, &table)? {
                    HashKey::Header(name) => RateKey::Header(name),
                    HashKey::Cookie(name) => RateKey::Cookie(name),
                    _ => RateKey::Source,
                },
            },
        };
        if key == RateKey::Route {
            self.without_effect(prefixes, "a key that tells clients apart");
        }
        let (Some(requests), Some(per)) = (text.requests, text.per) else {
            self.missing(
                text.broken,
                span,
                "a rate limit needs `requests` and `per`".to_owned(),
                "write it as { requests = 100, per = \"1s\" }",
            );
            return None;
        };
        let requests = self.number(&requests, 1, MOST_REQUESTS)?;
        Some(RateLimit {
            requests,
            per: per.0,
            burst: match text.burst {
                None => requests,
                Some(burst) => self.number(&burst, 1, MOST_REQUESTS)?,
            },
            key,
            source_prefix,
        })
    }

    fn source_prefix(&mut self, [v4, v6]: [&Option<At<i64>>; 2]) -> SourcePrefix {
        let mut prefix = SourcePrefix::default();
        if let Some(length) = v4.as_ref().and_then(|v4| self.number(v4, 1, 32)) {
            prefix.v4 = length;
        }
        if let Some(length) = v6.as_ref().and_then(|v6| self.number(v6, 1, 128)) {
            prefix.v6 = length;
        }
        prefix
    }

    /// Notes lengths of prefixes that are given and not used.
    fn without_effect(&mut self, prefixes: [&Option<At<i64>>; 2], wanted: &str) {
        for (given, key) in prefixes.into_iter().zip(["prefix_v4", "prefix_v6"]) {
            if let Some(given) = given {
                let message = format!("`{key}` has no effect without {wanted}");
                self.note(Diagnostic::error("impossible", given.span, message));
            }
        }
    }
}
