// SPDX-License-Identifier: MIT
//! The rules read plainly: every route tried one by one against a request, with what failed.
//!
//! It is slow and says why; the table is fast and says which. Explanations are made from this, and tests
//! hold the table against it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

use l7switch_engine::table;
use l7switch_engine::uri;
use serde::Serialize;

use crate::automata::Alphabet;
use crate::automata::Cache;
use crate::compile::ClassKey;
use crate::model::*;

/// A request to be routed, in comparison form where that is what is matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Method; empty for protocols without requests.
    pub method: String,
    /// Host or server name in comparison form; empty: none.
    pub host: String,
    /// Path in comparison form; empty for protocols without requests.
    pub path: String,
    /// Query without question mark, as sent.
    pub query: String,
    /// Header fields in order.
    pub headers: Fields,
    /// The client's address.
    pub source: IpAddr,
}

/// Header fields in order, as names and values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(String, Vec<u8>)>);

impl table::Fields for Fields {
    fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(n, v)| (n.as_bytes(), v.as_slice()))
    }
}

impl Ask {
    /// The request as the table's matcher takes it.
    pub fn as_request(&self) -> table::Request<'_, Fields> {
        table::Request {
            host: self.host.as_bytes(),
            method: self.method.as_bytes(),
            path: self.path.as_bytes(),
            query: self.query.as_bytes(),
            source: address_bytes(self.source),
            fields: &self.headers,
        }
    }

    fn header(&self, name: &str) -> Option<Vec<u8>> {
        let values: Vec<&[u8]> = self
            .headers
            .0
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_slice())
            .collect();
        (!values.is_empty()).then(|| values.join(&b", "[..]))
    }

    fn query(&self, name: &str) -> Option<Vec<u8>> {
        let form = |text: &str| {
            let mut out = Vec::new();
            uri::query_text(text.as_bytes(), |byte| out.push(byte));
            out
        };
        self.query
            .split('&')
            .filter(|p| !p.is_empty())
            .map(|p| p.split_once('=').unwrap_or((p, "")))
            .find(|(n, _)| form(n) == name.as_bytes())
            .map(|(_, value)| form(value))
    }

    fn cookie(&self, name: &str) -> Option<Vec<u8>> {
        let fields = self
            .headers
            .0
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case("cookie"));
        fields
            .flat_map(|(_, value)| value.split(|&b| b == b';'))
            .filter_map(|cookie| {
                let at = cookie.iter().position(|&b| b == b'=')?;
                let (n, value) = cookie.split_at(at);
                Some((n.trim_ascii(), value.get(1..)?.trim_ascii()))
            })
            .find(|(n, _)| *n == name.as_bytes())
            .map(|(_, value)| value.to_vec())
    }
}

/// A condition that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// `host`, `path`, `method`, `header NAME`, `query NAME`, `cookie NAME` or `source`.
    pub condition: String,
    /// What the route wants.
    pub wants: String,
    /// What the request has; `None`: nothing.
    pub found: Option<String>,
}

/// A route's rank among those that take a request: less wins.
pub(crate) type Rank = (ClassKey, Reverse<u32>, usize);

/// A route tried against a request.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Position in the service.
    pub position: usize,
    /// What failed; empty: the route takes the request.
    pub failed: Vec<Failure>,
    /// The host that matched, where the route names hosts.
    pub host: Option<HostMatch>,
    /// The path that matched, where the route names paths.
    pub path: Option<PathMatch>,
    /// Length of the source prefix that matched, where the route names sources.
    pub source: Option<u8>,
    pub(crate) rank: Rank,
}

fn host_matches(host: &HostMatch, name: &str) -> bool {
    match host {
        HostMatch::Exact(wanted) => wanted == name,
        HostMatch::Wildcard(domain) => name
            .strip_suffix(domain)
            .and_then(|front| front.strip_suffix('.'))
            .is_some_and(|l| !l.is_empty()),
    }
}

/// Expressions that cannot be compiled match nothing; the check lets none through.
fn found(cache: &mut Cache, pattern: &str, alphabet: Alphabet, text: &[u8]) -> bool {
    cache
        .get(pattern, alphabet)
        .is_ok_and(|automaton| automaton.is_match(text))
}

fn path_matches(path: &PathMatch, text: &str, cache: &mut Cache) -> bool {
    match path {
        PathMatch::Exact(wanted) => wanted == text,
        PathMatch::Prefix(prefix) => text
            .strip_prefix(prefix.as_str())
            .is_some_and(|rest| rest.starts_with('/') || rest.is_empty() && !prefix.is_empty()),
        PathMatch::Regex(pattern) => found(cache, pattern, Alphabet::Ascii, text.as_bytes()),
    }
}

fn value_matches(
    value: &ValueMatch,
    found_value: Option<&[u8]>,
    alphabet: Alphabet,
    cache: &mut Cache,
) -> bool {
    match (value, found_value) {
        (ValueMatch::Present(wanted), found) => *wanted == found.is_some(),
        (ValueMatch::Any(_), None) => false,
        (ValueMatch::None(_), None) => true,
        (ValueMatch::Any(tests), Some(text)) => is_one_of(tests, text, alphabet, cache),
        (ValueMatch::None(tests), Some(text)) => !is_one_of(tests, text, alphabet, cache),
    }
}

fn is_one_of(tests: &[ValueTest], text: &[u8], alphabet: Alphabet, cache: &mut Cache) -> bool {
    tests.iter().any(|test| match test {
        ValueTest::Exact(wanted) => wanted.as_bytes() == text,
        ValueTest::Regex(pattern) => found(cache, pattern, alphabet, text),
    })
}

fn describe_host(host: &HostMatch) -> String {
    match host {
        HostMatch::Exact(name) => name.clone(),
        HostMatch::Wildcard(domain) => format!("*.{domain}"),
    }
}

/// A path condition in words.
pub fn describe_path(path: &PathMatch) -> String {
    match path {
        PathMatch::Exact(path) => format!("exactly {path}"),
        PathMatch::Prefix(prefix) => {
            format!("prefix {}", if prefix.is_empty() { "/" } else { prefix })
        }
        PathMatch::Regex(pattern) => format!("regex {pattern}"),
    }
}

fn describe_value(value: &ValueMatch) -> String {
    match value {
        ValueMatch::Present(true) => "present".to_owned(),
        ValueMatch::Present(false) => "absent".to_owned(),
        ValueMatch::Any(tests) => list(tests, describe_test),
        ValueMatch::None(tests) => format!("not {}", list(tests, describe_test)),
    }
}

fn describe_test(test: &ValueTest) -> String {
    match test {
        ValueTest::Exact(text) => format!("\"{text}\""),
        ValueTest::Regex(pattern) => format!("regex {pattern}"),
    }
}

fn list<T>(values: &[T], describe: impl Fn(&T) -> String) -> String {
    values.iter().map(describe).collect::<Vec<_>>().join(" or ")
}

/// Tries one route.
pub fn evaluate(route: &Route, position: usize, ask: &Ask, cache: &mut Cache) -> Verdict {
    let mut failed = Vec::new();
    let mut fail = |condition: String, wants: String, found: Option<String>| {
        failed.push(Failure {
            condition,
            wants,
            found,
        });
    };
    // Of several that match, the one that ranks best counts.
    let rank_of =
        |host: Option<&HostMatch>, path: Option<&PathMatch>| ClassKey::new(route, host, path);
    let host = route
        .hosts
        .iter()
        .filter(|h| !ask.host.is_empty() && host_matches(h, &ask.host))
        .min_by_key(|h| rank_of(Some(h), None));
    if host.is_none() && !route.hosts.is_empty() {
        let shown = (!ask.host.is_empty()).then(|| ask.host.clone());
        fail("host".into(), list(&route.hosts, describe_host), shown);
    }
    let mut is_found = |pattern: &String| {
        !ask.host.is_empty() && found(cache, pattern, Alphabet::Ascii, ask.host.as_bytes())
    };
    if !route.host_regexes.is_empty() && !route.host_regexes.iter().any(&mut is_found) {
        let shown = (!ask.host.is_empty()).then(|| ask.host.clone());
        let wants = list(&route.host_regexes, |pattern| format!("regex {pattern}"));
        fail("host".into(), wants, shown);
    }
    let path = route
        .paths
        .iter()
        .filter(|p| path_matches(p, &ask.path, cache))
        .min_by_key(|p| rank_of(None, Some(p)));
    if path.is_none() && !route.paths.is_empty() {
        fail(
            "path".into(),
            list(&route.paths, describe_path),
            Some(ask.path.clone()),
        );
    }
    if !route.methods.is_empty() && !route.methods.contains(&ask.method) {
        fail(
            "method".into(),
            list(&route.methods, String::clone),
            Some(ask.method.clone()),
        );
    }
    type Find = fn(&Ask, &str) -> Option<Vec<u8>>;
    let fields: [(&str, &[FieldMatch], Find, Alphabet); 3] = [
        ("header", &route.headers, Ask::header, Alphabet::Bytes),
        ("query", &route.query, Ask::query, Alphabet::Ascii),
        ("cookie", &route.cookies, Ask::cookie, Alphabet::Bytes),
    ];
    for (kind, conditions, find, alphabet) in fields {
        for condition in conditions {
            let value = find(ask, &condition.name);
            if !value_matches(&condition.value, value.as_deref(), alphabet, cache) {
                let shown = value.map(|v| String::from_utf8_lossy(&v).into_owned());
                fail(
                    format!("{kind} {}", condition.name),
                    describe_value(&condition.value),
                    shown,
                );
            }
        }
    }
    let source = route
        .sources
        .iter()
        .filter(|net| net.contains(&ask.source.to_canonical()))
        .map(ipnet::IpNet::prefix_len)
        .max()
        .filter(|_| {
            let address = ask.source.to_canonical();
            !route.not_sources.iter().any(|net| net.contains(&address))
        });
    if source.is_none() && !route.sources.is_empty() {
        let mut wants = list(&route.sources, ToString::to_string);
        for not in &route.not_sources {
            wants.push_str(&format!(", not {not}"));
        }
        fail("source".into(), wants, Some(ask.source.to_string()));
    }
    let rank = (
        rank_of(host, path),
        Reverse(source.map_or(0, |length| u32::from(length) + 1)),
        position,
    );
    Verdict {
        position,
        failed,
        host: host.cloned(),
        path: path.cloned(),
        source,
        rank,
    }
}

/// Tries every route of a service: those that take the request by rank, then the others by position.
pub fn evaluate_all(service: &Service, ask: &Ask, cache: &mut Cache) -> Vec<Verdict> {
    let mut taking = BTreeMap::new();
    let mut others = Vec::new();
    for (position, route) in service.routes.iter().enumerate() {
        let verdict = evaluate(route, position, ask, cache);
        if verdict.failed.is_empty() {
            taking.insert(verdict.rank, verdict);
        } else {
            others.push(verdict);
        }
    }
    taking.into_values().chain(others).collect()
}
