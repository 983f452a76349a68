// SPDX-License-Identifier: MIT
//! What nginx's variables choose: conditions of `if`, and the values of `map` and `split_clients`.

use std::collections::HashMap;

use super::read::Directive;
use super::words::Part;
use super::words::parts;
use super::words::pattern;
use crate::import::conditions::Atom;
use crate::import::conditions::Host;
use crate::import::conditions::Kind;
use crate::import::conditions::Path;
use crate::import::conditions::Test;
use crate::import::flow::Condition;
use crate::import::flow::Literal;

/// Variables that are made of others.
#[derive(Default)]
pub(super) struct Variables<'d>(HashMap<&'d str, &'d Directive>);

/// A value, and when a variable has it; the first one that is met counts.
pub(super) enum Values {
    ByCondition(Vec<(Option<Atom>, String)>),
    ByWeight(Vec<(String, i64)>),
}

impl<'d> Variables<'d> {
    pub(super) fn new(directives: &'d [Directive]) -> Self {
        let of = |d: &&Directive| d.name == "map" || d.name == "split_clients";
        let all = directives.iter().filter(of);
        Self(
            all.map(|d| (d.word(1).trim_start_matches('$'), d))
                .collect(),
        )
    }

    /// The values of a variable of `map` or `split_clients`.
    ///
    /// # Errors
    ///
    /// Why they cannot be told.
    pub(super) fn values(&self, name: &str, tls: bool) -> Result<Values, String> {
        let directive = self
            .0
            .get(name)
            .ok_or(format!("${name} has no counterpart"))?;
        if directive.name == "split_clients" {
            return shares(directive);
        }
        let of = parts(directive.word(0));
        let [Part::Variable(of)] = of.as_slice() else {
            return Err(format!("map of `{}` has no counterpart", directive.word(0)));
        };
        let mut all = Vec::new();
        let mut default = None;
        let hostnames = directive
            .inside()
            .iter()
            .any(|entry| entry.name == "hostnames");
        for entry in directive.inside() {
            let value = entry.word(0).to_owned();
            match entry.name.as_str() {
                "hostnames" | "volatile" => {}
                "default" => default = Some(value),
                text => all.push((Some(compared(of, text, hostnames, tls)?), value)),
            }
        }
        // Texts are before expressions, whatever their order.
        let class = |atom: &Option<Atom>| match atom {
            Some(Atom::Field(_, _, Test::Has(_))) => 2,
            Some(Atom::Path(paths)) => match paths.first() {
                Some(Path::Regex(_)) => 2,
                _ => 0,
            },
            Some(Atom::Host(hosts)) => match hosts.first() {
                Some(Host::Regex(_)) => 2,
                Some(Host::Wildcard(_)) => 1,
                _ => 0,
            },
            _ => 0,
        };
        all.sort_by_key(|(atom, _)| class(atom));
        all.push((None, default.unwrap_or_default()));
        Ok(Values::ByCondition(all))
    }
}

fn shares(directive: &Directive) -> Result<Values, String> {
    let mut all = Vec::new();
    let mut left: i64 = 10_000;
    for entry in directive.inside() {
        let weight = match entry.name.strip_suffix('%') {
            None if entry.name == "*" => left,
            None => return Err(format!("`{}` is no share", entry.name)),
            Some(number) => {
                let (whole, part) = number.split_once('.').unwrap_or((number, ""));
                let digits = format!("{part:0<2}");
                let digits = digits.get(..2).unwrap_or("00");
                format!("{whole}{digits}")
                    .parse::<i64>()
                    .map_err(|_| "a share is no number".to_owned())?
            }
        };
        left = left.saturating_sub(weight).max(0);
        all.push((entry.word(0).to_owned(), weight));
    }
    let divisor = [1000, 100, 10, 5]
        .into_iter()
        .find(|n| all.iter().all(|(_, weight)| weight % n == 0));
    if let Some(divisor) = divisor {
        all.iter_mut().for_each(|(_, weight)| *weight /= divisor);
    }
    Ok(Values::ByWeight(all))
}

/// A variable that is compared with a key of `map`.
fn compared(name: &str, text: &str, hostnames: bool, tls: bool) -> Result<Atom, String> {
    let regex = match (text.strip_prefix("~*"), text.strip_prefix('~')) {
        (Some(text), _) => Some((text, true)),
        (None, Some(text)) => Some((text, false)),
        (None, None) => None,
    };
    if let Some((text, ignores_case)) = regex {
        return found(name, text, ignores_case);
    }
    let text = text.strip_prefix('\\').unwrap_or(text);
    if hostnames && matches!(name, "host" | "http_host" | "ssl_preread_server_name") {
        return Ok(Atom::Host(hosts(text)?));
    }
    equal(name, text, tls)
}

/// A name with nginx's wildcards.
///
/// # Errors
///
/// An expression that is not understood.
pub(super) fn hosts(text: &str) -> Result<Vec<Host>, String> {
    let lower = text.to_ascii_lowercase();
    if let Some(text) = text.strip_prefix('~') {
        return pattern(text, true).map(|(pattern, _)| vec![Host::Regex(pattern)]);
    }
    Ok(if let Some(domain) = lower.strip_prefix('.') {
        vec![
            Host::Exact(domain.to_owned()),
            Host::Wildcard(domain.to_owned()),
        ]
    } else if let Some(domain) = lower.strip_prefix("*.") {
        vec![Host::Wildcard(domain.to_owned())]
    } else if let Some(begin) = lower.strip_suffix(".*") {
        vec![Host::Regex(format!("^{}\\.", regex::escape(begin)))]
    } else {
        vec![Host::Exact(lower)]
    })
}

fn field(name: &str) -> Option<(Kind, String)> {
    let of = |prefix: &str| name.strip_prefix(prefix);
    if let Some(name) = of("cookie_") {
        return Some((Kind::Cookie, name.to_owned()));
    }
    if let Some(name) = of("arg_") {
        return Some((Kind::Query, name.to_owned()));
    }
    of("http_").map(|name| (Kind::Header, name.replace('_', "-")))
}

fn equal(name: &str, text: &str, tls: bool) -> Result<Atom, String> {
    Ok(match name {
        "host" | "http_host" | "ssl_preread_server_name" => {
            Atom::Host(vec![Host::Exact(text.to_ascii_lowercase())])
        }
        "request_method" => Atom::Method(vec![text.to_owned()]),
        "scheme" => Atom::Constant(text == if tls { "https" } else { "http" }),
        "https" => Atom::Constant(text == if tls { "on" } else { "" }),
        "uri" | "document_uri" if text.starts_with('/') => {
            Atom::Path(vec![Path::Exact(text.to_owned())])
        }
        "remote_addr" => {
            let address = text.parse::<std::net::IpAddr>();
            let address = address.map_err(|_| format!("`{text}` is not an address"))?;
            Atom::Source(vec![address.into()], Vec::new())
        }
        name => {
            let (kind, name) = field(name).ok_or(format!("${name} cannot be asked for"))?;
            let test = match text {
                "" => Test::HasNot(".".to_owned()),
                text => Test::Is(vec![text.to_owned()]),
            };
            Atom::Field(kind, name, test)
        }
    })
}

fn found(name: &str, text: &str, ignores_case: bool) -> Result<Atom, String> {
    let (found, wider) = pattern(text, ignores_case)?;
    if wider {
        return Err(format!("the expression {text} is not understood (PCRE)"));
    }
    Ok(match name {
        "host" | "http_host" | "ssl_preread_server_name" => Atom::Host(vec![Host::Regex(found)]),
        "uri" | "document_uri" | "request_uri" => Atom::Path(vec![Path::Regex(found)]),
        "request_method" => {
            let bare = text.trim_start_matches('^').trim_end_matches('$');
            let bare = bare
                .trim_start_matches('(')
                .trim_end_matches(')')
                .trim_start_matches("?:");
            let all: Vec<String> = bare.split('|').map(str::to_owned).collect();
            let plain =
                |name: &String| !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase());
            if !all.iter().all(plain) {
                return Err("methods are compared as words".to_owned());
            }
            Atom::Method(all)
        }
        name => {
            let (kind, name) = field(name).ok_or(format!("${name} cannot be asked for"))?;
            Atom::Field(kind, name, Test::Has(found))
        }
    })
}

/// The condition of an `if`.
///
/// # Errors
///
/// Why it cannot be said.
pub(super) fn condition(directive: &Directive, tls: bool) -> Result<Condition, String> {
    let mut words: Vec<&str> = directive.arguments.iter().map(String::as_str).collect();
    if let Some(first) = words.first_mut() {
        *first = first.strip_prefix('(').unwrap_or(first);
    }
    if let Some(last) = words.last_mut() {
        *last = last.strip_suffix(')').unwrap_or(last);
    }
    words.retain(|word| !word.is_empty());
    let variable = |text: &str| match parts(text).as_slice() {
        [Part::Variable(name)] => Ok(name.clone()),
        _ => Err(format!("`{text}` cannot be asked for")),
    };
    let (atom, negated) = match words.as_slice() {
        [name] => {
            let (kind, name) =
                field(&variable(name)?).ok_or(format!("{name} cannot be asked for"))?;
            // Neither empty nor 0.
            (
                Atom::Field(kind, name, Test::Has("[^0]|^0.".to_owned())),
                false,
            )
        }
        [name, "="] => (equal(&variable(name)?, "", tls)?, false),
        [name, "!="] => (equal(&variable(name)?, "", tls)?, true),
        [name, "=", text] => (equal(&variable(name)?, text, tls)?, false),
        [name, "!=", text] => (equal(&variable(name)?, text, tls)?, true),
        [name, sign @ ("~" | "~*" | "!~" | "!~*"), text] => {
            let atom = found(&variable(name)?, text, sign.ends_with('*'))?;
            (atom, sign.starts_with('!'))
        }
        _ => return Err("this condition has no counterpart".to_owned()),
    };
    Ok(vec![vec![Literal { atom, negated }]])
}
