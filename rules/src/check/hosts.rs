// SPDX-License-Identifier: MIT
//! Checking hosts and paths: those of conditions, and hosts that are written into messages.

use std::net::Ipv6Addr;

use super::Check;
use crate::automata::Alphabet;
use crate::compile::allow;
use crate::model::*;
use crate::text::diagnostic::Diagnostic;
use crate::text::language::*;
use crate::text::source::At;
use crate::text::value::OneOrMany;

/// Where the port of a host stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    /// Behind it: it becomes a Host field.
    Allowed,
    /// In a key of its own.
    Apart,
    /// Nowhere: it is a name of a certificate.
    None,
}

impl Check<'_> {
    /// The hosts of a route, and the expressions that are found in its hosts.
    pub(super) fn hosts(
        &mut self,
        given: Option<At<OneOrMany<At<HostChoice>>>>,
    ) -> (Vec<HostMatch>, Vec<String>) {
        let (mut hosts, mut regexes) = (Vec::new(), Vec::new());
        let Some(At { value, span }) = given else {
            return (hosts, regexes);
        };
        for choice in value.0 {
            match choice.value {
                HostChoice::Name(host) => hosts.push(host.0),
                HostChoice::Table(RegexText {
                    regex: Some(pattern),
                    ..
                }) => {
                    self.regex(&pattern, Alphabet::Ascii);
                    regexes.push(pattern.value);
                }
                HostChoice::Table(text) => {
                    let message = "the expression is missing".to_owned();
                    self.missing(text.broken, choice.span, message, "add: regex = \"…\"");
                }
            }
        }
        hosts.sort_unstable();
        hosts.dedup();
        regexes.sort_unstable();
        regexes.dedup();
        if !hosts.is_empty() && !regexes.is_empty() {
            let message = "names and expressions are of different precedence";
            self.note(
                Diagnostic::error("impossible", span, message)
                    .help("write two routes: one with the names, one with the expressions"),
            );
        }
        (hosts, regexes)
    }

    /// The paths of a route.
    pub(super) fn paths(
        &mut self,
        service: &Service,
        given: Option<At<OneOrMany<At<PathText>>>>,
    ) -> Vec<PathMatch> {
        let Some(At { value: given, span }) = given else {
            return Vec::new();
        };
        if given.0.is_empty() {
            self.empty_list(span, "`path`");
        }
        let allow = allow(service.allow);
        let mut paths = Vec::with_capacity(given.0.len());
        for At { value, span } in given.0 {
            let path = match (value.exact, value.prefix, value.regex) {
                (Some(path), None, None) => {
                    self.literal(&path, false);
                    self.path(&path, allow).map(PathMatch::Exact)
                }
                (None, Some(path), None) => {
                    self.literal(&path, true);
                    self.path(&path, allow)
                        .map(|p| PathMatch::Prefix(p.trim_end_matches('/').to_owned()))
                }
                (None, None, Some(pattern)) => {
                    self.regex(&pattern, Alphabet::Ascii);
                    Some(PathMatch::Regex(pattern.value))
                }
                _ => {
                    self.exactly_one(span, "exact, prefix or regex");
                    None
                }
            };
            paths.extend(path.filter(|p| !paths.contains(p)));
        }
        paths
    }

    /// A host that is written into a message, or asked of a certificate.
    pub(super) fn hostname(&mut self, name: &At<String>, port: Port) -> Option<String> {
        let text = name.value.as_str();
        let mut buf = [0; l7switch_engine::uri::MAX_HOST];
        let form = l7switch_engine::uri::host(text.as_bytes(), &mut buf);
        let is_host = form.is_ok_and(|form| !form.is_empty());
        let with_port = match text.starts_with('[') {
            true => text
                .rsplit_once("]:")
                .map(|(host, port)| (format!("{host}]"), port)),
            false => text
                .rsplit_once(':')
                .map(|(host, port)| (host.to_owned(), port)),
        };
        let (message, help) = match with_port {
            Some((host, number)) if is_host && port != Port::Allowed => (
                format!("`{text}` is a host name with a port"),
                match port {
                    Port::Apart => format!("write hostname = \"{host}\" and port = {number}"),
                    _ => format!("write \"{host}\": the port is that of each server"),
                },
            ),
            _ if is_host => return Some(name.value.clone()),
            _ => (
                format!("`{text}` is not a host name"),
                host_help(text, port),
            ),
        };
        self.note(Diagnostic::error("bad-value", name.span, message).help(help));
        None
    }

    /// Warns of a path that is a pattern in another program: here it is compared as it stands.
    pub(super) fn literal(&mut self, path: &At<String>, is_prefix: bool) {
        let text = path.value.as_str();
        let segments = || text.split('/');
        let has_name = segments().any(|segment| {
            segment.starts_with('{') && segment.ends_with('}')
                || segment
                    .strip_prefix(':')
                    .is_some_and(|name| name.starts_with(|c: char| c.is_ascii_alphabetic()))
        });
        if !text.starts_with('/') || !(text.contains('*') || has_name) {
            return;
        }
        let start = text.split(['*', '{', '(']).next().unwrap_or("/");
        let start = start.trim_end_matches(['/', '.']);
        let start = if start.is_empty() { "/" } else { start };
        // Whether all that is below was meant: a star at the end only.
        let last = text.trim_end_matches(['*', ')']);
        let is_tail = last.len() < text.len() && !has_name && !last.contains('*');
        let help = if is_tail && is_prefix {
            format!(
                "a prefix matches whole segments and all that is below them: {{ prefix = \"{start}\" }}; for patterns: {{ regex = \"…\" }}"
            )
        } else if is_tail {
            format!(
                "all that is below: {{ prefix = \"{start}\" }}; for patterns: {{ regex = \"…\" }}"
            )
        } else {
            "a segment that may be anything: { regex = \"^/users/[^/]+/edit$\" }; an ending: { regex = '\\.php$' }"
                .to_owned()
        };
        let message = "this path is compared as it stands: it is no pattern";
        self.note(Diagnostic::warning("literal-pattern", path.span, message).help(help));
    }
}

/// What is meant by a text that is no host name.
fn host_help(text: &str, port: Port) -> String {
    let example = || "write it as \"www.example.com\"".to_owned();
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let mut buf = [0; l7switch_engine::uri::MAX_HOST];
    let is_host = |host: &str, buf: &mut [u8]| {
        l7switch_engine::uri::host(host.as_bytes(), buf).is_ok_and(|form| !form.is_empty())
    };
    if text.parse::<Ipv6Addr>().is_ok() {
        format!("an IPv6 address needs brackets: \"[{text}]\"")
    } else if text.contains('$') {
        "a host name has no variables; a redirect may have them: location = \"https://$host$uri\""
            .to_owned()
    } else if !text.is_ascii() {
        "write internationalised names in their xn-- form (RFC 5891)".to_owned()
    } else if host != text && is_host(host, &mut buf) {
        let path = match rest.contains('/') {
            true if port != Port::None => "; a path has a key of its own",
            _ => "",
        };
        format!("write \"{host}\" alone{path}")
    } else {
        example()
    }
}
