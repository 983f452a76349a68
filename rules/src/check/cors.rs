// SPDX-License-Identifier: MIT
//! Checking what is said of requests of pages of other origins.

use super::Check;
use super::fields::is_token;
use crate::model::*;
use crate::text::diagnostic::Diagnostic;
use crate::text::language::CorsText;
use crate::text::source::At;
use crate::text::value::OneOrMany;

impl Check<'_> {
    pub(super) fn cors(&mut self, given: At<CorsText>) -> Option<Cors> {
        let At { value, span } = given;
        let Some(origins) = value.allow_origins else {
            self.missing(
                value.broken,
                span,
                "no origin is allowed".to_owned(),
                "add: allow_origins = \"https://app.example.com\"",
            );
            return None;
        };
        if origins.value.0.is_empty() {
            self.empty_list(origins.span, "`allow_origins`");
        }
        let given = origins.value.0.iter();
        let found: Vec<_> = given.filter_map(|origin| self.origin(origin)).collect();
        let credentials = value.allow_credentials.as_ref().is_some_and(|c| c.value);
        if let Some(allowed) = value
            .allow_credentials
            .filter(|_| found.contains(&OriginMatch::Any))
            && allowed.value
        {
            let message = "browsers take no credentials where all origins are allowed";
            self.note(
                Diagnostic::error("impossible", allowed.span, message)
                    .help("list the origins (Fetch, 3.3.5)"),
            );
        }
        let methods = match value.allow_methods {
            Some(methods) => self.tokens(methods, "method"),
            None => ["GET", "HEAD", "POST"].map(str::to_owned).to_vec(),
        };
        let headers = value.allow_headers.unwrap_or_else(|| At {
            value: OneOrMany::default(),
            span,
        });
        let are_all = headers.value.0.iter().any(|name| name.value == "*");
        let headers = (!are_all).then(|| self.tokens(headers, "field name"));
        let expose = value.expose_headers;
        Some(Cors {
            origins: found,
            methods,
            headers,
            expose: expose.map_or_else(Vec::new, |names| self.tokens(names, "field name")),
            credentials,
            max_age: value.max_age.map(|time| time.0),
        })
    }

    fn tokens(&mut self, given: At<OneOrMany<At<String>>>, what: &str) -> Vec<String> {
        let mut tokens = Vec::new();
        for At { value, span } in given.value.0 {
            if is_token(&value) {
                tokens.push(value);
            } else {
                let message = format!("`{value}` is not a {what}");
                self.note(Diagnostic::error("bad-name", span, message));
            }
        }
        tokens
    }

    fn origin(&mut self, given: &At<String>) -> Option<OriginMatch> {
        let text = given.value.as_str();
        if text == "*" {
            return Some(OriginMatch::Any);
        }
        let is_origin = |text: &str| {
            let Some((scheme, rest)) = text.split_once("://") else {
                return false;
            };
            let is_plain =
                |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._:[]".contains(&b);
            !scheme.is_empty()
                && scheme
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b))
                && !rest.is_empty()
                && rest.bytes().all(is_plain)
        };
        if let Some((start, end)) = text.split_once("*.")
            && start.ends_with("://")
            && is_origin(&format!("{start}{end}"))
        {
            return Some(OriginMatch::Between(start.to_owned(), format!(".{end}")));
        }
        if is_origin(text) {
            return Some(OriginMatch::Exact(text.to_owned()));
        }
        let message = format!("`{text}` is not an origin");
        self.note(
            Diagnostic::error("bad-value", given.span, message)
                .help("write it as \"https://app.example.com\", \"https://*.example.com\" or \"*\", in lower case, without path and a port that is the scheme's own"),
        );
        None
    }
}
