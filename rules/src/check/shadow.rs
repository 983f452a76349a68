// SPDX-License-Identifier: MIT
//! Routes that can never win, because another always wins before them.
//!
//! Route B loses always where, for each of its hosts and paths, some route A takes every request that B
//! takes there and ranks before it. Candidates for A lie at the hosts and paths that cover B's, so that few
//! are looked at: without priorities only routes with the very same host and path can cover one another.

use std::collections::HashMap;

use ipnet::IpNet;

use super::Check;
use crate::automata::Alphabet;
use crate::automata::Cache;
use crate::compile::ClassKey;
use crate::compile::alternatives;
use crate::model::*;
use crate::text::diagnostic::Diagnostic;
use crate::text::source::Span;

/// A route as it stands at one of its hosts and one of its paths.
struct Candidate<'m> {
    class: ClassKey,
    position: usize,
    route: &'m Route,
}

/// Candidates by host and path.
type Places<'m> =
    HashMap<Option<&'m HostMatch>, HashMap<Option<&'m PathMatch>, Vec<Candidate<'m>>>>;

/// Hosts that cover a host: itself, wildcards above, any.
fn covering_hosts(host: Option<&HostMatch>) -> Vec<Option<HostMatch>> {
    let mut covering = vec![None];
    if let Some(host) = host {
        covering.push(Some(host.clone()));
        let (HostMatch::Exact(name) | HostMatch::Wildcard(name)) = host;
        let mut rest = name.as_str();
        while let Some((_, above)) = rest.split_once('.') {
            covering.push(Some(HostMatch::Wildcard(above.to_owned())));
            rest = above;
        }
    }
    covering
}

/// Paths other than regular expressions that cover a path: itself, prefixes above, any.
fn covering_paths(path: Option<&PathMatch>) -> Vec<Option<PathMatch>> {
    let mut covering = vec![None];
    let Some(path) = path else {
        return covering;
    };
    covering.push(Some(path.clone()));
    let (exact, text) = match path {
        PathMatch::Exact(text) => (true, text.as_str()),
        PathMatch::Prefix(text) => (false, text.as_str()),
        PathMatch::Regex(_) => return covering,
    };
    let mut rest = text;
    if exact && rest != "/" {
        covering.push(Some(PathMatch::Prefix(rest.to_owned())));
    }
    while let Some((above, _)) = rest.rsplit_once('/') {
        covering.push(Some(PathMatch::Prefix(above.to_owned())));
        rest = above;
    }
    covering
}

/// Whether an expression is found in every path that `path` takes.
fn regex_covers(pattern: &str, path: &PathMatch, cache: &mut Cache) -> bool {
    let Ok(automaton) = cache.get(pattern, Alphabet::Ascii) else {
        return false;
    };
    match path {
        PathMatch::Exact(text) => automaton.is_match(text.as_bytes()),
        PathMatch::Prefix(text) => automaton.accepts_all_below(text.as_bytes()),
        PathMatch::Regex(other) => pattern == other,
    }
}

/// Whether a value that passes `inner` always passes `outer`.
fn value_implied(outer: &ValueMatch, inner: &ValueMatch) -> bool {
    match (outer, inner) {
        (ValueMatch::Present(true), ValueMatch::Any(_)) => true,
        (ValueMatch::Any(outer), ValueMatch::Any(inner)) => inner.iter().all(|t| outer.contains(t)),
        (ValueMatch::None(_), ValueMatch::Present(false)) => true,
        (ValueMatch::None(outer), ValueMatch::None(inner)) => {
            outer.iter().all(|t| inner.contains(t))
        }
        (ValueMatch::None(outer), ValueMatch::Any(inner)) => {
            let is_exact = |test: &ValueTest| matches!(test, ValueTest::Exact(_));
            outer.iter().chain(inner).all(is_exact) && !inner.iter().any(|t| outer.contains(t))
        }
        (outer, inner) => outer == inner,
    }
}

/// Whether every request that meets `inner`'s conditions on fields meets `outer`'s.
fn fields_implied(outer: &[FieldMatch], inner: &[FieldMatch]) -> bool {
    outer.iter().all(|o| {
        inner
            .iter()
            .any(|i| i.name == o.name && value_implied(&o.value, &i.value))
    })
}

/// Whether `a` takes what `b` takes and is not beaten by `b`'s source prefix, where host and path are given.
fn dominates(a: &Candidate<'_>, b: &Candidate<'_>) -> bool {
    let (outer, inner) = (a.route, b.route);
    let methods = outer.methods.is_empty()
        || !inner.methods.is_empty() && inner.methods.iter().all(|m| outer.methods.contains(m));
    let hosts = outer.host_regexes.is_empty()
        || !inner.host_regexes.is_empty()
            && inner
                .host_regexes
                .iter()
                .all(|pattern| outer.host_regexes.contains(pattern));
    let by_class = a.class < b.class;
    let sources = if by_class {
        outer.sources.is_empty()
            || !inner.sources.is_empty()
                && inner
                    .sources
                    .iter()
                    .all(|s| outer.sources.iter().any(|o| o.contains(s)))
    } else if inner.sources.is_empty() {
        outer.sources.is_empty()
    } else {
        // The longer prefix wins, so only the very same ones do not lose.
        inner.sources.iter().all(|s| outer.sources.contains(s))
    };
    let takes_all = outer.not_sources.iter().all(|not| {
        let is_outside = |source: &IpNet| !not.contains(source) && !source.contains(not);
        inner.not_sources.iter().any(|other| other.contains(not))
            || !inner.sources.is_empty() && inner.sources.iter().all(is_outside)
    });
    (by_class || a.class == b.class && a.position < b.position)
        && methods
        && hosts
        && takes_all
        && sources
        && fields_implied(&outer.headers, &inner.headers)
        && fields_implied(&outer.query, &inner.query)
        && fields_implied(&outer.cookies, &inner.cookies)
}

/// Position of a route that always wins before `b` at this host and path.
fn winner(
    places: &Places<'_>,
    hosts: &[Option<HostMatch>],
    paths: &[Option<PathMatch>],
    path: Option<&PathMatch>,
    b: &Candidate<'_>,
    cache: &mut Cache,
) -> Option<usize> {
    for host in hosts {
        let Some(by_path) = places.get(&host.as_ref()) else {
            continue;
        };
        for covering in paths {
            let candidates = by_path
                .get(&covering.as_ref())
                .map_or(&[][..], Vec::as_slice);
            // Sorted by class: those behind cannot win before.
            let better = candidates.iter().take_while(|a| a.class <= b.class);
            for a in better {
                if a.position != b.position && dominates(a, b) {
                    return Some(a.position);
                }
            }
        }
        let Some(path) = path else { continue };
        for (covering, candidates) in by_path {
            let Some(PathMatch::Regex(pattern)) = covering else {
                continue;
            };
            if *covering == Some(path) {
                continue;
            }
            let mut better = candidates
                .iter()
                .take_while(|a| a.class <= b.class)
                .filter(|a| dominates(a, b));
            if let Some(a) = better.find(|a| a.position != b.position)
                && regex_covers(pattern, path, cache)
            {
                return Some(a.position);
            }
        }
    }
    None
}

/// Notes every route of a service that can never win.
pub(super) fn check(check: &mut Check<'_>, service: &Service, spans: &[Span]) {
    let mut places: Places<'_> = HashMap::new();
    for (position, route) in service.routes.iter().enumerate() {
        for host in alternatives(&route.hosts) {
            for path in alternatives(&route.paths) {
                let class = ClassKey::new(route, host, path);
                let list = places.entry(host).or_default().entry(path).or_default();
                list.push(Candidate {
                    class,
                    position,
                    route,
                });
            }
        }
    }
    for list in places.values_mut().flat_map(HashMap::values_mut) {
        list.sort_by_key(|c| (c.class, c.position));
    }
    let mut lost: Vec<(usize, usize)> = Vec::new();
    for (position, route) in service.routes.iter().enumerate() {
        let mut by = None;
        let mut always = true;
        'all: for host in alternatives(&route.hosts) {
            let hosts = covering_hosts(host);
            for path in alternatives(&route.paths) {
                let class = ClassKey::new(route, host, path);
                let b = Candidate {
                    class,
                    position,
                    route,
                };
                let paths = covering_paths(path);
                match winner(&places, &hosts, &paths, path, &b, &mut check.cache) {
                    Some(a) => by = by.or(Some(a)),
                    None => {
                        always = false;
                        break 'all;
                    }
                }
            }
        }
        if let (true, Some(by)) = (always, by) {
            lost.push((position, by));
        }
    }
    for (position, by) in lost {
        let label = |at: usize| {
            service
                .routes
                .get(at)
                .map_or_else(String::new, |r| r.label(at))
        };
        let header = |at: usize| {
            let span = spans.get(at).copied().unwrap_or_default();
            first_line(check, span)
        };
        let (lost_label, by_label) = (label(position), label(by));
        let message = format!(
            "route {lost_label} of service `{}` is never used: {by_label} always wins",
            service.name
        );
        let diagnostic = Diagnostic::error("unreachable-route", header(position), message)
            .label("never used")
            .related(header(by), "always wins")
            .help("remove one of them, or give this one another condition or a greater priority");
        check.note(diagnostic);
    }
}

/// The first line of a route's text: a whole table is too much to mark.
fn first_line(check: &Check<'_>, span: Span) -> Span {
    let text = check
        .sources
        .file(span.file)
        .and_then(|f| f.text().get(span.start as usize..span.end as usize))
        .unwrap_or("");
    let len = text.find('\n').unwrap_or(text.len());
    Span {
        end: span.start + u32::try_from(len).unwrap_or(0),
        ..span
    }
}
