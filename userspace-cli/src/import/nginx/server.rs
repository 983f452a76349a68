// SPDX-License-Identifier: MIT
//! nginx's servers as services: which server a name chooses, and which location a path.

use std::collections::HashMap;
use std::collections::HashSet;
use std::path::PathBuf;

use super::choice::choice;
use super::choice::gather;
use super::choice::refuses;
use super::choose::Variables;
use super::choose::hosts;
use super::location::Asked;
use super::location::Place;
use super::location::Steps;
use super::location::rewriting;
use super::location::steps;
use super::read::Directive;
use super::scope::Blocks;
use super::scope::Scope;
use super::upstream::Upstreams;
use crate::import::conditions::All;
use crate::import::conditions::Atom;
use crate::import::conditions::Host;
use crate::import::flow::Effect;
use crate::import::flow::End;
use crate::import::flow::Literal;
use crate::import::flow::Step;
use crate::import::flow::always;
use crate::import::flow::only;
use crate::import::rules::Rules;
use crate::import::toml::Toml;

/// What all servers share.
pub(super) struct Shared<'d> {
    pub(super) upstreams: Upstreams<'d>,
    pub(super) variables: Variables<'d>,
    zones: HashMap<&'d str, &'d Directive>,
    folder: PathBuf,
}

impl<'d> Shared<'d> {
    pub(super) fn new(http: &'d [Directive], folder: PathBuf) -> Self {
        let zone = |d: &'d Directive| {
            let name = d
                .arguments
                .iter()
                .find_map(|word| word.strip_prefix("zone="))?;
            Some((name.split(':').next().unwrap_or(name), d))
        };
        let zones = http
            .iter()
            .filter(|d| d.name == "limit_req_zone")
            .filter_map(zone);
        Self {
            upstreams: Upstreams::new(http),
            variables: Variables::new(http),
            zones: zones.collect(),
            folder,
        }
    }

    /// A path of a file, which may be relative to the folder of the configuration.
    pub(super) fn path(&self, file: &str) -> String {
        self.folder.join(file).display().to_string()
    }

    /// `limit_req` as a rate limit.
    ///
    /// # Errors
    ///
    /// Why it has no counterpart.
    pub(super) fn rate(&self, directive: &Directive) -> Result<Toml, String> {
        let given = |name: &str| {
            directive
                .arguments
                .iter()
                .find_map(|word| word.strip_prefix(name))
        };
        let zone = given("zone=")
            .and_then(|name| self.zones.get(name))
            .ok_or("there is no such zone")?;
        let rate = zone
            .arguments
            .iter()
            .find_map(|word| word.strip_prefix("rate="))
            .unwrap_or_default();
        let (number, per) = match (rate.strip_suffix("r/s"), rate.strip_suffix("r/m")) {
            (Some(number), _) => (number, "1s"),
            (None, Some(number)) => (number, "1m"),
            (None, None) => return Err("its rate is not understood".to_owned()),
        };
        let requests = number
            .parse::<i64>()
            .map_err(|_| "its rate is no number".to_owned())?;
        let burst = given("burst=")
            .and_then(|burst| burst.parse::<i64>().ok())
            .unwrap_or(0);
        let mut limit = Toml::table([("requests", Toml::Number(requests)), ("per", per.into())]);
        limit.set("burst", Toml::Number(burst.saturating_add(1)));
        match zone.word(0) {
            "$binary_remote_addr" | "$remote_addr" => {}
            "$server_name" => limit.set("key", "route".into()),
            key => {
                let name = key
                    .strip_prefix("$http_")
                    .ok_or("its key has no counterpart")?;
                limit.set(
                    "key",
                    Toml::table([("header", name.replace('_', "-").into())]),
                );
            }
        }
        Ok(limit)
    }
}

/// Steps that choose a server by the host, and what each server does. The first server is for all other hosts.
pub(super) fn servers<'d>(
    servers: &[&'d Directive],
    default: &'d Directive,
    http: &Scope<'d>,
    tls: bool,
    shared: &Shared<'d>,
    rules: &mut Rules,
) -> (Vec<Step>, Vec<String>) {
    let mut blocks = Blocks::default();
    let mut notes = Vec::new();
    let entry = blocks.open();
    let mut chosen: Vec<(u8, usize, Vec<Host>, &'d Directive)> = Vec::new();
    let mut seen = HashSet::new();
    let mut all: Vec<(&'d Directive, Vec<Host>)> = Vec::new();
    for server in servers {
        let named = server.inside().iter().filter(|d| d.name == "server_name");
        let mut names: Vec<Host> = Vec::new();
        for word in named.flat_map(|d| &d.arguments) {
            if word.is_empty() || word == "_" || word == "$hostname" {
                continue;
            }
            match hosts(word) {
                Ok(more) => names.extend(
                    more.into_iter()
                        .filter(|host| seen.insert(format!("{host:?}"))),
                ),
                Err(why) => notes.push(format!(
                    "{}:{}: server_name {word}: {why}",
                    server.file, server.line
                )),
            }
        }
        all.push((server, names));
    }
    for (server, names) in &all {
        let mut exact: Vec<Host> = Vec::new();
        let mut rest = Vec::new();
        for host in names {
            // A wildcard stands beside names, unless another server has names below it.
            let alone = |host: &Host| {
                let others = all
                    .iter()
                    .filter(|(other, _)| !std::ptr::eq(*other, *server));
                let mut others = others.flat_map(|(_, names)| names);
                !others.any(|other| !matches!(other, Host::Regex(_)) && overlap(host, other))
            };
            match host {
                Host::Exact(_) => exact.push(host.clone()),
                Host::Wildcard(_) if alone(host) => exact.push(host.clone()),
                host => rest.push(host.clone()),
            }
        }
        let server = *server;
        if !exact.is_empty() {
            chosen.push((0, 0, exact, server));
        }
        for host in rest {
            let (class, length) = match &host {
                Host::Wildcard(domain) => (1, domain.len()),
                // A name that ends with a wildcard.
                Host::Regex(text) if text.ends_with("\\.") => (2, text.len()),
                _ => (3, 0),
            };
            chosen.push((class, usize::MAX - length, vec![host], server));
        }
    }
    chosen.sort_by_key(|(class, length, ..)| (*class, *length));
    let mut starts: Vec<(&Directive, usize)> = Vec::new();
    let mut list = Vec::new();
    for (_, _, names, server) in chosen {
        // The server of all other names needs no condition but before a wider name.
        let start = match starts
            .iter()
            .find(|(known, _)| std::ptr::eq(*known, server))
        {
            Some((_, start)) => *start,
            None => {
                let start = blocks.open();
                starts.push((server, start));
                start
            }
        };
        list.push(jump(String::new(), only(Atom::Host(names)), start));
    }
    let start = match starts
        .iter()
        .find(|(known, _)| std::ptr::eq(*known, default))
    {
        Some((_, start)) => *start,
        None => {
            let start = blocks.open();
            starts.push((default, start));
            start
        }
    };
    // Names of the default server itself are not asked for where no other server has wider ones.
    let wider = servers.len() > 1;
    list.retain(|step| wider || step.effect != Effect::Jump(start));
    list.push(jump(String::new(), always(), start));
    blocks.fill(entry, list);
    for (server, start) in starts {
        one(server, start, http, tls, shared, &mut blocks, rules);
    }
    (blocks.link(), notes)
}

fn overlap(a: &Host, b: &Host) -> bool {
    let of = |host: &Host| All {
        hosts: vec![host.clone()],
        ..All::default()
    };
    !of(a).is_disjoint(&of(b))
}

pub(super) fn jump(origin: String, condition: Vec<Vec<Literal>>, to: usize) -> Step {
    Step {
        origin,
        condition,
        effect: Effect::Jump(to),
        guards: false,
    }
}

/// The blocks of one server.
fn one<'d>(
    server: &'d Directive,
    start: usize,
    http: &Scope<'d>,
    tls: bool,
    shared: &Shared<'d>,
    blocks: &mut Blocks,
    rules: &mut Rules,
) {
    let scope = http.inside(server.inside());
    let named = server.inside().iter().filter(|d| d.name == "server_name");
    let name = named.flat_map(|d| &d.arguments).next().cloned();
    let mut known = HashMap::new();
    if let Some(name) = name.filter(|name| !name.contains(['*', '~']) && !name.starts_with('.')) {
        known.insert("server_name", name);
    }
    let whole = Place {
        scope,
        server,
        asked: Asked::Nothing,
        known,
        tls,
    };
    let mut first = Steps(Vec::new());
    if server
        .inside()
        .iter()
        .any(|d| matches!(d.name.as_str(), "return" | "if" | "rewrite"))
    {
        // The fields of what is answered here; locations have theirs in place of them.
        rewriting(&whole, shared, blocks, &mut first, rules, false);
        let headers = whole.scope.all(&["add_header"]);
        for step in first
            .0
            .iter_mut()
            .filter(|step| matches!(step.effect, Effect::End(_)))
        {
            let mut steps = Vec::new();
            for directive in &headers {
                if let Ok(value) = super::words::template(directive.word(1), &whole.known) {
                    let edit =
                        crate::import::flow::Edit::ResponseAdd(directive.word(0).to_owned(), value);
                    steps.push(Step {
                        origin: String::new(),
                        condition: always(),
                        effect: Effect::Edit(edit),
                        guards: false,
                    });
                }
            }
            if !steps.is_empty() {
                let block = blocks.open();
                let end = std::mem::replace(&mut step.effect, Effect::Jump(block));
                steps.push(Step {
                    origin: step.origin.clone(),
                    condition: always(),
                    effect: end,
                    guards: step.guards,
                });
                blocks.fill(block, steps);
            }
        }
    }
    let mut locations = Vec::new();
    gather(&whole, &mut locations, blocks, 0);
    let mut list = first.0;
    choice(&locations, &mut list);
    for location in &locations {
        let filled = match &location.place.asked {
            // More is refused than by nginx, never let in.
            Asked::Regex(_, true) if !refuses(location) => {
                let why = "the expression is not understood (PCRE)";
                rules.count(&format!("{}: {why}", location.origin));
                vec![Step {
                    origin: String::new(),
                    condition: always(),
                    effect: Effect::End(End::Closed(why.to_owned())),
                    guards: true,
                }]
            }
            _ => steps(&location.place, shared, blocks, rules),
        };
        blocks.fill(location.block, filled);
    }
    // No location is for the path: files.
    let block = blocks.open();
    list.push(jump(
        format!("{}:{}: server", server.file, server.line),
        always(),
        block,
    ));
    let rest = steps(&whole, shared, blocks, rules);
    blocks.fill(block, rest);
    blocks.fill(start, list);
}
