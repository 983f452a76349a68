// SPDX-License-Identifier: MIT
//! A route in a line: what it takes, and what it does. For those who may not read the rule file: a value that a header field, query
//! parameter or cookie must have may be a secret, and is not told.

use std::fmt::Display;

use crate::evaluate::describe_path;
use crate::model::Action;
use crate::model::FieldMatch;
use crate::model::HostMatch;
use crate::model::Model;
use crate::model::Route;
use crate::model::ValueMatch;

/// Most alternatives of a condition that are shown.
const SHOWN: usize = 3;

/// What a request must have for a route, each condition with its name; empty: nothing.
pub fn conditions(route: &Route) -> Vec<String> {
    let mut all = Vec::new();
    let mut add = |name: &str, alternatives: Vec<String>| {
        if !alternatives.is_empty() {
            all.push(format!("{name} {}", list(&alternatives)));
        }
    };
    let hosts = route.hosts.iter().map(|host| match host {
        HostMatch::Exact(name) => name.clone(),
        HostMatch::Wildcard(name) => format!("*.{name}"),
    });
    let patterns = |patterns: &[String]| -> Vec<String> {
        let patterns = patterns.iter();
        patterns.map(|pattern| format!("regex {pattern}")).collect()
    };
    add("host", hosts.collect());
    add("host", patterns(&route.host_regexes));
    add("path", route.paths.iter().map(describe_path).collect());
    add("method", route.methods.clone());
    let fields: [(&str, &[FieldMatch]); 3] = [
        ("header", &route.headers),
        ("query", &route.query),
        ("cookie", &route.cookies),
    ];
    for (kind, conditions) in fields {
        for field in conditions {
            add(kind, vec![describe_field(field)]);
        }
    }
    add("source", strings(&route.sources));
    add("source not", strings(&route.not_sources));
    all
}

/// What a field must be, without values.
fn describe_field(field: &FieldMatch) -> String {
    let name = &field.name;
    match field.value {
        ValueMatch::Present(true) => name.clone(),
        ValueMatch::Present(false) => format!("{name} absent"),
        ValueMatch::Any(_) => format!("{name} = …"),
        ValueMatch::None(_) => format!("{name} ≠ …"),
    }
}

/// What a route does with a request.
pub fn action(route: &Route, model: &Model) -> String {
    match &route.action {
        Action::Forward(shares) => {
            let name = |pool: usize| model.pools.get(pool).map_or("", |pool| pool.name.as_str());
            match shares.as_slice() {
                [only] => format!("pool {}", name(only.pool)),
                shares => {
                    let shares = shares
                        .iter()
                        .map(|share| format!("{} {}", name(share.pool), share.weight));
                    format!("pools {}", list(&shares.collect::<Vec<_>>()))
                }
            }
        }
        Action::Respond(respond) => format!("respond {}", respond.status),
        Action::Redirect(redirect) => format!("redirect {}", redirect.status),
    }
}

fn strings(all: &[impl Display]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

fn list(all: &[String]) -> String {
    let shown = all.iter().take(SHOWN).map(String::as_str);
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if let Some(more) = all.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_told_in_a_line() {
        let rules = crate::load_text(
            "test.toml",
            "[service.web]\nlisten = '127.0.0.1:80'\n\
             [[service.web.route]]\nhost = ['a.example', '*.b.example']\npath = { prefix = '/api' }\nmethod = 'GET'\n\
             headers = { X-Canary = 'yes' }\nquery = { debug = { present = true } }\nsource = ['10.0.0.0/8', '192.0.2.1']\npools = [{ name = 'p', weight = 9 }, { name = 'q', weight = 1 }]\n\
             [[service.web.route]]\npath = [{ prefix = '/1' }, { prefix = '/2' }, { prefix = '/3' }, { prefix = '/4' }, { prefix = '/5' }]\nrespond = { status = 410 }\n\
             [[service.web.route]]\npool = 'p'\n\
             [pool.p]\nservers = '10.0.0.1:80'\n[pool.q]\nservers = '10.0.0.2:80'\n",
        );
        let rules = rules.unwrap_or_else(|report| panic!("{}", report.render(false)));
        let routes = &rules.model.services[0].routes;
        let told: Vec<String> = routes
            .iter()
            .map(|route| {
                let conditions = conditions(route).join("; ");
                format!("{conditions} -> {}", action(route, &rules.model))
            })
            .collect();
        assert_eq!(
            told,
            [
                "host a.example, *.b.example; path prefix /api; method GET; header x-canary = …; query debug; \
                 source 10.0.0.0/8, 192.0.2.1/32 -> pools p 9, q 1",
                "path prefix /1, prefix /2, prefix /3 and 2 more -> respond 410",
                " -> pool p",
            ]
        );
    }
}
