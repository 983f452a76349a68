// SPDX-License-Identifier: MIT
//! Checking routes: conditions that the protocol shows, one action, pools that exist.

use std::collections::HashMap;

use ipnet::IpNet;
use ipnet::Ipv4Net;
use ipnet::Ipv6Net;

use super::Check;
use super::fields::Kind;
use super::fields::is_token;
use super::hosts::Port;
use crate::model::*;
use crate::template::Template;
use crate::text::diagnostic::Diagnostic;
use crate::text::language::*;
use crate::text::read::nearest;
use crate::text::source::At;
use crate::text::source::Span;
use crate::text::value::OneOrMany;
use crate::text::value::SourcePrefix;

/// The pools that routes may name.
pub(super) struct Pools<'p> {
    pub(super) numbers: &'p HashMap<&'p str, usize>,
    pub(super) used: &'p mut Vec<bool>,
    /// Whether all files could be read: otherwise a pool may be there and not be known.
    pub(super) known: bool,
}

/// What a route may do, as it was given: pool, pools, respond, redirect.
type Actions = (
    Option<At<String>>,
    Option<At<Vec<At<ShareText>>>>,
    Option<At<RespondText>>,
    Option<At<RedirectText>>,
);

/// Names of routes of one service so far, and their cookies.
#[derive(Default)]
pub(super) struct Seen {
    names: HashMap<String, Span>,
    /// Cookies by which clients stay, with the pools among which they do.
    pub(super) cookies: HashMap<String, (Span, Vec<usize>)>,
}

impl Check<'_> {
    pub(super) fn route(
        &mut self,
        service: &Service,
        route: At<RouteText>,
        pools: &mut Pools<'_>,
        seen: &mut Seen,
    ) -> Route {
        let At { value: text, span } = route;
        self.visible(service.protocol, &text);
        if let Some(name) = &text.name {
            self.route_name(name, seen);
        }
        if let Some(hosts) = text.host.as_ref().filter(|h| h.value.0.is_empty()) {
            self.empty_list(hosts.span, "`host`");
        }
        if let Some(sources) = text.source.as_ref().filter(|s| s.value.0.is_empty()) {
            self.empty_list(sources.span, "`source`");
        }
        let paths = self.paths(service, text.path);
        if let Some(limit) = &text.body_limit
            && text.pool.is_none()
            && text.pools.is_none()
        {
            let message = "`body_limit` is for routes with `pool` or `pools`";
            self.note(
                Diagnostic::error("impossible", limit.span, message)
                    .help("the content of requests that the switch answers itself is not read"),
            );
        }
        let filters = Filters {
            request_headers: self.header_edit(text.request_headers),
            response_headers: self.header_edit(text.response_headers),
            rewrite_hostname: text
                .rewrite
                .as_ref()
                .and_then(|r| r.value.hostname.as_ref())
                .and_then(|h| self.hostname(h, Port::Allowed)),
            rewrite_path: text
                .rewrite
                .as_ref()
                .and_then(|r| r.value.path.as_ref())
                .and_then(|p| self.path_rewrite(p, &paths)),
            response_timeout: text.response_timeout.map(|t| t.value.0),
            request_timeout: text.request_timeout.map(|t| t.value.0),
            idle_timeout: text.idle_timeout.map(|t| t.value.0),
            tunnel_timeout: text.tunnel_timeout.map(|t| t.value.0),
        };
        let (sources, not_sources) = self.sources(text.source);
        let (hosts, host_regexes) = self.hosts(text.host);
        if let Some(strict) = &text.strict
            && text.pools.is_none()
        {
            let message = "`strict` is for routes with `pools`";
            self.note(Diagnostic::error("impossible", strict.span, message));
        }
        let action = self.action(
            (text.broken, span),
            (text.pool, text.pools, text.respond, text.redirect),
            &paths,
            pools,
        );
        Route {
            name: text.name.map(|n| n.value),
            priority: text
                .priority
                .and_then(|p| self.number(&p, i64::from(i32::MIN), i64::from(i32::MAX)))
                .unwrap_or(0),
            hosts,
            host_regexes,
            paths,
            methods: self.methods(text.method),
            headers: self.conditions(Kind::Header, text.headers),
            query: self.conditions(Kind::Query, text.query),
            cookies: self.conditions(Kind::Cookie, text.cookies),
            sources,
            not_sources,
            filters,
            rate_limit: text.rate_limit.and_then(|limit| self.rate_limit(limit)),
            body_limit: self.body_limit(text.body_limit),
            error_pages: self.error_pages(text.error_pages),
            cors: text.cors.and_then(|cors| self.cors(cors)),
            basic_auth: text
                .basic_auth
                .and_then(|auth| self.basic_auth(auth, &service.name)),
            external_auth: text
                .external_auth
                .and_then(|auth| self.external_auth(auth, pools)),
            mirror: text
                .mirror
                .and_then(|mirror| self.mirror(mirror, &action, pools)),
            sticky: text
                .sticky
                .and_then(|sticky| self.sticky(sticky, &action, seen)),
            strict: text.strict.is_some_and(|strict| strict.value),
            action,
        }
    }

    /// The clients' addresses that a route takes, and those of them that it does not.
    fn sources(&mut self, given: Option<At<OneOrMany<SourcePrefix>>>) -> (Vec<IpNet>, Vec<IpNet>) {
        let Some(At { value, span }) = given else {
            return (Vec::new(), Vec::new());
        };
        let of = |negated: bool| {
            let wanted = value.0.iter().filter(|source| source.negated == negated);
            let mut prefixes: Vec<_> = wanted.map(|source| source.prefix).collect();
            prefixes.sort_unstable();
            prefixes.dedup();
            prefixes
        };
        let (mut sources, not_sources) = (of(false), of(true));
        let is_covered = |net: &IpNet| not_sources.iter().any(|not| not.contains(net));
        if sources.is_empty() && !not_sources.is_empty() {
            sources = vec![Ipv4Net::default().into(), Ipv6Net::default().into()];
        }
        if !sources.is_empty() && sources.iter().all(is_covered) {
            let message = "no address is left";
            self.note(
                Diagnostic::error("bad-value", span, message)
                    .help("what stands behind `!` is taken from the other prefixes"),
            );
        }
        (sources, not_sources)
    }

    /// Notes conditions and actions that need a request where the protocol shows none.
    fn visible(&mut self, protocol: Protocol, text: &RouteText) {
        let mut hidden: Vec<(&str, Span)> = Vec::new();
        macro_rules! hide {
            ($($key:ident),*) => {$(
                hidden.extend(text.$key.as_ref().map(|given| (stringify!($key), given.span)));
            )*};
        }
        if protocol.is_http() {
            return;
        }
        hide!(
            path,
            method,
            headers,
            query,
            cookies,
            respond,
            redirect,
            request_headers,
            response_headers,
            rewrite,
            response_timeout,
            request_timeout,
            idle_timeout,
            tunnel_timeout,
            rate_limit,
            body_limit,
            error_pages,
            cors,
            basic_auth,
            external_auth,
            mirror,
            sticky
        );
        if protocol == Protocol::Tcp {
            hide!(host);
        }
        let shown = match protocol {
            Protocol::Tls => {
                "a tls service is not decrypted: only the server name (`host`) and the client's \
                              address (`source`) are known"
            }
            _ => "in a tcp service only the client's address (`source`) is known",
        };
        for (key, span) in hidden {
            let message = format!(
                "`{key}` cannot be used with protocol = \"{}\"",
                protocol.as_str()
            );
            self.note(Diagnostic::error("impossible", span, message).help(shown));
        }
    }

    fn route_name(&mut self, name: &At<String>, seen: &mut Seen) {
        if name.value.is_empty()
            || name.value.starts_with('#')
            || name.value.chars().any(char::is_control)
        {
            let message =
                "a route's name is not empty, does not start with # and holds no control character";
            self.note(Diagnostic::error("bad-name", name.span, message));
        }
        match seen.names.get(&name.value) {
            Some(&first) => {
                let message = format!("two routes are named `{}`", name.value);
                let diagnostic = Diagnostic::error("duplicate", name.span, message)
                    .label("again")
                    .related(first, "first here");
                self.note(diagnostic);
            }
            None => {
                seen.names.insert(name.value.clone(), name.span);
            }
        }
    }

    fn methods(
        &mut self,
        given: Option<At<crate::text::value::OneOrMany<At<String>>>>,
    ) -> Vec<String> {
        let Some(At { value: given, span }) = given else {
            return Vec::new();
        };
        if given.0.is_empty() {
            self.empty_list(span, "`method`");
        }
        let mut methods: Vec<String> = Vec::with_capacity(given.0.len());
        for At { value, span } in given.0 {
            let upper = value.to_ascii_uppercase();
            let known = l7switch_engine::table::METHODS.contains(&upper.as_bytes());
            if !is_token(&value) {
                self.note(
                    Diagnostic::error("bad-name", span, format!("`{value}` is not a method"))
                        .help("methods are tokens (RFC 9110, 9.1)"),
                );
            } else if known && upper != value {
                self.note(
                    Diagnostic::error(
                        "bad-name",
                        span,
                        "methods are case-sensitive (RFC 9110, 9.1)",
                    )
                    .help(format!("write \"{upper}\"")),
                );
            } else if !methods.contains(&value) {
                methods.push(value);
            }
        }
        methods
    }

    fn action(
        &mut self,
        (broken, span): (bool, Span),
        given: Actions,
        paths: &[PathMatch],
        pools: &mut Pools<'_>,
    ) -> Action {
        match given {
            (Some(pool), None, None, None) => {
                let pool = self.pool_number(&pool, pools);
                Action::Forward(
                    pool.map(|pool| PoolShare { pool, weight: 1 })
                        .into_iter()
                        .collect(),
                )
            }
            (None, Some(shares), None, None) => Action::Forward(self.shares(shares, pools)),
            (None, None, Some(respond), None) => Action::Respond(self.respond(respond)),
            (None, None, None, Some(redirect)) => Action::Redirect(self.redirect(redirect, paths)),
            (None, None, None, None) => {
                self.missing(
                    broken,
                    span,
                    "the route has no action".to_owned(),
                    "add one of: pool, pools, respond, redirect",
                );
                Action::Forward(Vec::new())
            }
            (pool, shares, respond, redirect) => {
                let second = [
                    redirect.map(|r| r.span),
                    respond.map(|r| r.span),
                    shares.map(|s| s.span),
                    pool.map(|p| p.span),
                ];
                let at = second.into_iter().flatten().next().unwrap_or(span);
                self.note(
                    Diagnostic::error("not-one", at, "the route has more than one action")
                        .help("keep one of: pool, pools, respond, redirect"),
                );
                Action::Forward(Vec::new())
            }
        }
    }

    pub(super) fn pool_number(
        &mut self,
        name: &At<String>,
        pools: &mut Pools<'_>,
    ) -> Option<usize> {
        if let Some(&number) = pools.numbers.get(name.value.as_str()) {
            if let Some(used) = pools.used.get_mut(number) {
                *used = true;
            }
            return Some(number);
        }
        if pools.known {
            let help = match nearest(&name.value, pools.numbers.keys().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("add a table [pool.{}] with its servers", name.value),
            };
            let message = format!("there is no pool `{}`", name.value);
            self.note(
                Diagnostic::error("unknown-pool", name.span, message)
                    .label("unknown")
                    .help(help),
            );
        }
        None
    }

    fn shares(&mut self, given: At<Vec<At<ShareText>>>, pools: &mut Pools<'_>) -> Vec<PoolShare> {
        if given.value.is_empty() {
            let message = "the route has no pool".to_owned();
            let help =
                "add: pools = [{ name = \"v1\", weight = 9 }, { name = \"v2\", weight = 1 }]";
            self.absent(false, (given.span, Some(given.span)), message, help);
            return Vec::new();
        }
        let mut shares: Vec<PoolShare> = Vec::with_capacity(given.value.len());
        for At { value, span } in given.value {
            let Some(name) = value.name else {
                self.missing(
                    value.broken,
                    span,
                    "the entry has no pool name".to_owned(),
                    "add: name = \"…\"",
                );
                continue;
            };
            let weight = value
                .weight
                .map_or(Some(1), |w| self.number(&w, 0, 1_000_000));
            let pool = self.pool_number(&name, pools);
            let (Some(pool), Some(weight)) = (pool, weight) else {
                continue;
            };
            if shares.iter().any(|s| s.pool == pool) {
                let message = format!("pool `{}` is listed twice", name.value);
                self.note(
                    Diagnostic::error("duplicate", name.span, message)
                        .help("list it once, with the sum of the weights"),
                );
                continue;
            }
            shares.push(PoolShare { pool, weight });
        }
        if shares.iter().all(|s| s.weight == 0) && !self.has_errors_in(given.span) {
            let message = "no pool gets requests: the weights sum to zero";
            self.note(Diagnostic::error("bad-value", given.span, message));
        }
        shares
    }

    fn redirect(&mut self, given: At<RedirectText>, paths: &[PathMatch]) -> Redirect {
        let At { value, span } = given;
        let status = value.status.unwrap_or(At { value: 302, span });
        if ![301, 302, 303, 307, 308].contains(&status.value) {
            let message = format!("{} is not a redirect", status.value);
            self.note(
                Diagnostic::error("out-of-range", status.span, message)
                    .help("use 301, 302, 303, 307 or 308"),
            );
        }
        let nothing = value.scheme.is_none()
            && value.hostname.is_none()
            && value.port.is_none()
            && value.path.is_none();
        if !nothing && let Some(location) = &value.location {
            let message = "`location` is the whole of where the redirect leads";
            self.note(
                Diagnostic::error("not-one", location.span, message)
                    .help("give it without scheme, hostname, port and path"),
            );
        }
        if nothing && value.location.is_none() {
            let message = "the redirect leads to the same URL".to_owned();
            self.missing(
                value.broken,
                span,
                message,
                "add one of: scheme, hostname, port, path, location",
            );
        }
        Redirect {
            scheme: value.scheme.map(|s| s.0.to_owned()),
            hostname: value.hostname.and_then(|h| self.hostname(&h, Port::Apart)),
            port: value.port.and_then(|p| self.number(&p, 1, 65_535)),
            path: value.path.and_then(|p| self.path_rewrite(&p, paths)),
            location: value.location.and_then(|l| self.location(&l)),
            status: u16::try_from(status.value).unwrap_or(302),
        }
    }

    /// The whole of Location: a URI reference (RFC 9110, 10.2.2).
    fn location(&mut self, given: &At<String>) -> Option<Template> {
        let template = self.template(given)?;
        let is_uri = given
            .value
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"\"<>\\^`|".contains(&b));
        if given.value.is_empty() || !is_uri {
            let message = "this is not a URI";
            self.note(
                Diagnostic::error("bad-value", given.span, message)
                    .help("write it as \"https://$host$uri\", other characters as %XX"),
            );
        }
        Some(template)
    }
}
