// SPDX-License-Identifier: MIT
//! Which location nginx chooses for a path.

use std::collections::HashSet;

use super::location::Asked;
use super::location::Place;
use super::scope::Blocks;
use super::server::jump;
use super::words::pattern;
use crate::import::conditions::Atom;
use crate::import::conditions::Path;
use crate::import::flow::Effect;
use crate::import::flow::End;
use crate::import::flow::Literal;
use crate::import::flow::Step;
use crate::import::flow::always;
use crate::import::flow::only;
use crate::import::toml::Toml;

/// A location with what it is asked by.
pub(super) struct Location<'d> {
    pub(super) place: Place<'d>,
    pub(super) origin: String,
    pub(super) block: usize,
}

/// The locations of a block and of those within.
pub(super) fn gather<'d>(
    outer: &Place<'d>,
    all: &mut Vec<Location<'d>>,
    blocks: &mut Blocks,
    depth: usize,
) {
    for directive in outer.scope.own().iter().filter(|d| d.name == "location") {
        let (sign, text) = match directive.arguments.as_slice() {
            [sign, text, ..] => (sign.as_str(), text.as_str()),
            [text] => match ["=", "^~", "~*", "~"]
                .iter()
                .find(|sign| text.starts_with(**sign))
            {
                Some(sign) => (*sign, text.get(sign.len()..).unwrap_or_default()),
                None => ("", text.as_str()),
            },
            [] => continue,
        };
        let regex = |ignores_case| match pattern(text, ignores_case) {
            Ok((pattern, wider)) => Asked::Regex(pattern, wider),
            // Found nowhere: the check says why.
            Err(_) => Asked::Regex(text.to_owned(), true),
        };
        let asked = match sign {
            "=" => Asked::Exact(text.to_owned()),
            "^~" => Asked::Prefix(text.to_owned(), true),
            "~" => regex(false),
            "~*" => regex(true),
            _ if text.starts_with('@') => continue,
            _ => Asked::Prefix(text.to_owned(), false),
        };
        let place = Place {
            scope: outer.scope.inside(directive.inside()),
            asked,
            ..outer.clone()
        };
        if depth < 8 {
            gather(&place, all, blocks, depth + 1);
        }
        all.push(Location {
            place,
            origin: directive.origin(),
            block: blocks.open(),
        });
    }
}

/// The steps that choose a location: exact ones, then the longest prefix if it has `^~`, then expressions in their order, then the longest
/// prefix.
pub(super) fn choice(locations: &[Location<'_>], list: &mut Vec<Step>) {
    let path = |path: Path| only(Atom::Path(vec![path]));
    let exact: HashSet<&str> = locations
        .iter()
        .filter_map(|l| match &l.place.asked {
            Asked::Exact(text) => Some(text.as_str()),
            Asked::Prefix(text, _) if !text.ends_with('/') => Some(text.as_str()),
            _ => None,
        })
        .collect();
    for location in locations {
        if let Asked::Exact(text) = &location.place.asked {
            list.push(jump(
                location.origin.clone(),
                path(Path::Exact(text.clone())),
                location.block,
            ));
        }
    }
    let regexes = || {
        locations.iter().filter_map(|l| match &l.place.asked {
            Asked::Regex(pattern, wider) => Some((l, pattern, *wider)),
            _ => None,
        })
    };
    let mut prefixes: Vec<(&Location<'_>, &str, bool)> = locations
        .iter()
        .filter_map(|l| match &l.place.asked {
            Asked::Prefix(text, first) => Some((l, text.as_str(), *first)),
            _ => None,
        })
        .collect();
    prefixes.sort_by_key(|(_, text, _)| usize::MAX - text.len());
    // nginx redirects to the location that is asked for without its slash.
    for (location, text, _) in &prefixes {
        let bare = text
            .strip_suffix('/')
            .filter(|bare| !bare.is_empty() && !exact.contains(bare));
        if let Some(bare) = bare.filter(|_| is_proxied(location)) {
            let to = Toml::table([("replace_full", (*text).into())]);
            let redirect = Toml::table([("path", to), ("status", Toml::Number(301))]);
            list.push(Step {
                origin: format!("{}: nginx adds the slash", location.origin),
                condition: path(Path::Exact(bare.to_owned())),
                effect: Effect::End(End::Redirect(redirect)),
                guards: false,
            });
        }
    }
    let regex = |location: &Location<'_>, pattern: &String, wider: bool| {
        let mut step = jump(
            location.origin.clone(),
            path(Path::Regex(pattern.clone())),
            location.block,
        );
        if wider {
            step.origin += ": requests that the expression leaves out (?!…) come here, too";
        }
        step.guards = true;
        step
    };
    for (index, (location, text, first)) in prefixes.iter().enumerate() {
        let shorter = prefixes.iter().skip(index + 1);
        let under = shorter
            .clone()
            .any(|(_, short, first)| *first && text.starts_with(short));
        let own = prefix(location, text);
        if *first {
            list.push(jump(location.origin.clone(), path(own), location.block));
        } else if under {
            for (other, pattern, wider) in regexes() {
                let mut step = regex(other, pattern, wider);
                let atom = Atom::Path(vec![own.clone()]);
                let literal = Literal {
                    atom,
                    negated: false,
                };
                step.condition
                    .iter_mut()
                    .for_each(|all| all.insert(0, literal.clone()));
                list.push(step);
            }
            list.push(jump(location.origin.clone(), path(own), location.block));
        }
    }
    for (location, pattern, wider) in regexes() {
        list.push(regex(location, pattern, wider));
    }
    for (location, text, first) in &prefixes {
        if !first {
            let condition = match *text {
                "/" => always(),
                text => path(prefix(location, text)),
            };
            list.push(jump(location.origin.clone(), condition, location.block));
        }
    }
}

fn is_proxied(location: &Location<'_>) -> bool {
    let passes = [
        "proxy_pass",
        "grpc_pass",
        "fastcgi_pass",
        "uwsgi_pass",
        "scgi_pass",
    ];
    location
        .place
        .scope
        .own()
        .iter()
        .any(|d| passes.contains(&d.name.as_str()))
}

/// Whether a location lets nobody in.
pub(super) fn refuses(location: &Location<'_>) -> bool {
    let own = location.place.scope.own();
    let allows = own.iter().any(|d| d.name == "allow");
    let denies = own.iter().any(|d| d.name == "deny" && d.word(0) == "all");
    denies && !allows
        || own
            .iter()
            .any(|d| d.name == "return" && d.word(0).starts_with('4'))
}

/// A prefix of characters, by segments where that is the same.
fn prefix(location: &Location<'_>, text: &str) -> Path {
    match text.strip_suffix('/') {
        Some(bare) if !bare.is_empty() && is_proxied(location) => Path::Prefix(bare.to_owned()),
        _ => Path::Begins(text.to_owned()),
    }
}
