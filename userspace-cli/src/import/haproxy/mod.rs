// SPDX-License-Identifier: MIT
//! HAProxy's configuration as rules: frontends are services, `use_backend` and the like are routes, backends are pools.

mod acl;
mod backend;
mod listen;
mod read;
mod steps;
mod words;

pub(super) use acl::net;
pub(super) use acl::product;
pub(super) use steps::whole;

use std::collections::BTreeMap;

use super::conditions::Atom;
use super::flow::Effect;
use super::flow::End;
use super::flow::Literal;
use super::flow::Step;
use super::rules::Item;
use super::rules::Rules;
use super::rules::Service;
use super::rules::route;
use super::source::Wrong;
use super::toml::Toml;
use acl::Acls;
use backend::Backend;
use backend::at;
use listen::Bind;
use read::Kind;
use read::Line;
use read::Section;
use steps::Steps;
use steps::Target;
use words::duration;
use words::reason;

/// Translates a file. `file`: its name in messages.
///
/// # Errors
///
/// [`Wrong`] where it is not HAProxy's language.
pub(super) fn import(file: &str, text: &str) -> Result<Rules, Wrong> {
    let sections = read::read(file, text)?;
    let mut rules = Rules::default();
    let mut backends = BTreeMap::new();
    for section in &sections {
        match section.kind {
            Kind::Backend | Kind::Listen => {
                let made = backend::backend(file, section, &mut rules);
                backends.insert(section.name.as_str(), (section, made));
            }
            Kind::Other => others(file, section, &mut rules),
            Kind::Frontend => {}
        }
    }
    for section in &sections {
        if matches!(section.kind, Kind::Frontend | Kind::Listen) {
            frontend(file, section, &backends, &mut rules);
        }
        if section.kind == Kind::Backend {
            leftovers(file, section, &mut rules);
        }
    }
    Ok(rules)
}

/// Keywords that sections give to their services and pools.
const KNOWN: &[&str] = &[
    "mode",
    "bind",
    "acl",
    "http-request",
    "http-response",
    "http-after-response",
    "tcp-request",
    "redirect",
    "use_backend",
    "default_backend",
    "balance",
    "hash-type",
    "server",
    "server-template",
    "default-server",
    "http-check",
    "retries",
    "cookie",
    "description",
    "id",
    "block",
];
const KNOWN_OPTIONS: &[&str] = &[
    "forwardfor",
    "httpchk",
    "tcp-check",
    "redispatch",
    "tcpka",
    "clitcpka",
    "srvtcpka",
    "ssl-hello-chk",
    "ldap-check",
    "mysql-check",
    "pgsql-check",
    "redis-check",
    "smtpchk",
    "http-use-htx",
    "abortonclose",
    "splice-auto",
    "accept-invalid-http-request",
];
const KNOWN_TIMES: &[&str] = &[
    "connect",
    "server",
    "client",
    "check",
    "queue",
    "tunnel",
    "http-request",
    "http-keep-alive",
];

fn is_known(line: &Line) -> bool {
    match line.word(0) {
        "option" => {
            KNOWN_OPTIONS.contains(&line.word(1)) && line.word(1) != "accept-invalid-http-request"
        }
        "timeout" => KNOWN_TIMES.contains(&line.word(1)),
        "no" | "maxconn" => true,
        word => KNOWN.contains(&word),
    }
}

/// Sections that are neither services nor pools.
fn others(file: &str, section: &Section, rules: &mut Rules) {
    if !matches!(section.word.as_str(), "global" | "defaults") {
        let name = format!("{} {}", section.word, section.name);
        let words = [section.word.clone()];
        let why = reason(&words);
        rules.note(format!(
            "{file}:{}: {}: {why}",
            section.number,
            name.trim_end()
        ));
        return;
    }
    for line in &section.lines {
        match section.word == "defaults" && is_known(line) || line.word(0).is_empty() {
            true => rules.translated += 1,
            false => rules.note(format!("{}: {}", at(file, line), reason(&line.words))),
        }
    }
}

fn leftovers(file: &str, section: &Section, rules: &mut Rules) {
    for line in section
        .lines
        .iter()
        .filter(|line| !line.inherited && !is_known(line))
    {
        rules.note(format!("{}: {}", at(file, line), reason(&line.words)));
    }
}

fn last<'l>(section: &'l Section, first: &str, second: &str) -> Option<&'l Line> {
    let mut lines = section.lines.iter().rev();
    lines.find(|line| line.word(0) == first && (second.is_empty() || line.word(1) == second))
}

fn frontend(
    file: &str,
    section: &Section,
    backends: &BTreeMap<&str, (&Section, Backend)>,
    rules: &mut Rules,
) {
    leftovers(file, section, rules);
    let http = last(section, "mode", "").is_some_and(|line| line.word(1) == "http");
    let mut groups: Vec<(Bind, Vec<String>)> = Vec::new();
    let mut notes = Vec::new();
    for line in section.lines.iter().filter(|line| line.word(0) == "bind") {
        match Bind::read(line) {
            Ok((bind, addresses, more)) => {
                rules.translated += 1;
                notes.extend(
                    more.into_iter()
                        .map(|why| format!("{}: {why}", at(file, line))),
                );
                match groups.iter_mut().find(|(known, _)| *known == bind) {
                    Some((_, known)) => known.extend(addresses),
                    None => groups.push((bind, addresses)),
                }
            }
            Err(why) => rules.note(format!("{}: {why}", at(file, line))),
        }
    }
    if groups.is_empty() {
        rules.note(format!(
            "{file}:{}: {} listens nowhere",
            section.number, section.name
        ));
    }
    rules.left += notes.len();
    let several = groups.len() > 1;
    for (bind, addresses) in groups {
        let protocol = protocol(section, http, bind.tls);
        let wanted = match several {
            true => format!("{}-{protocol}", section.name),
            false => section.name.clone(),
        };
        let mut service = Service {
            name: rules.free_service(&wanted),
            ..Service::default()
        };
        let item = &mut service.item;
        item.note(format!(
            "{file}:{}: {} {}",
            section.number, section.word, section.name
        ));
        item.notes.extend(notes.iter().cloned());
        item.set("listen", Toml::one_or_many(&addresses));
        if protocol != "http" {
            item.set("protocol", protocol);
        }
        bind.keys(item);
        limits(section, item);
        let ports: Vec<u16> = addresses
            .iter()
            .filter_map(|a| a.rsplit_once(':')?.1.parse().ok())
            .collect();
        let port = ports
            .first()
            .copied()
            .filter(|one| ports.iter().all(|port| port == one));
        let serving = Serving {
            file,
            http,
            tls: bind.tls,
            port,
            passes_tls: protocol == "tls",
        };
        routes(&serving, section, backends, &mut service, rules);
        if let Some(why) = &bind.closed {
            service.item.note(why.clone());
            service.item.dead = true;
        } else if !http && bind.tls {
            service.item.note(
                "TLS ends at the switch for HTTP only: pass it through with protocol = \"tls\"",
            );
            service.item.dead = true;
        }
        rules.services.push(service);
    }
}

/// What is spoken: pass-through of TLS is where the server name is asked for.
fn protocol(section: &Section, http: bool, tls: bool) -> &'static str {
    let sni = |word: &String| word.starts_with("req.ssl_sni") || word.starts_with("req_ssl_sni");
    let named = section.lines.iter().any(|line| line.words.iter().any(sni));
    match (http, tls) {
        (true, true) => "https",
        (true, false) => "http",
        (false, _) if named => "tls",
        (false, _) => "tcp",
    }
}

fn limits(section: &Section, item: &mut Item) {
    let time = |word| last(section, "timeout", word).and_then(|line| duration(line.word(2)));
    let keys = [
        ("head_timeout", time("http-request")),
        ("idle_timeout", time("client")),
        ("tunnel_timeout", time("tunnel")),
    ];
    for (key, time) in keys {
        if let Some(time) = time {
            item.set_in("limits", key, time);
        }
    }
    let most = last(section, "maxconn", "").and_then(|line| line.word(1).parse().ok());
    if let Some(most) = most {
        item.set_in("limits", "connections", Toml::Number(most));
    }
}

/// What a service is, for its conditions.
struct Serving<'f> {
    file: &'f str,
    http: bool,
    tls: bool,
    port: Option<u16>,
    passes_tls: bool,
}

fn routes(
    serving: &Serving<'_>,
    section: &Section,
    backends: &BTreeMap<&str, (&Section, Backend)>,
    service: &mut Service,
    rules: &mut Rules,
) {
    let (file, http) = (serving.file, serving.http);
    let acls = |section| {
        let lines: &[Line] = section;
        Acls::new(lines, serving.tls, serving.port, serving.passes_tls)
    };
    let mut steps = Steps::default();
    let of = acls(&section.lines);
    steps.rules(file, section, &of, http);
    let none = Backend::default();
    let own = backends.get(section.name.as_str()).map(|(_, made)| made);
    let own = own
        .filter(|_| section.kind == Kind::Listen)
        .unwrap_or(&none);
    steps.choice(file, section, &of, http, own);
    // The rules of each backend, once, behind those of the frontend.
    let wanted = steps.steps.iter().filter_map(|(_, target)| match target {
        Target::Backend(name) => Some(name.clone()),
        Target::Step | Target::Allowed => None,
    });
    let wanted: std::collections::BTreeSet<String> = wanted.collect();
    let mut starts = BTreeMap::new();
    for name in wanted {
        starts.insert(name.clone(), steps.steps.len());
        match backends.get(name.as_str()) {
            Some((section, made)) => {
                steps.rules(file, section, &acls(&section.lines), http);
                steps.end(file, section, made);
            }
            None => {
                let step = Step {
                    origin: String::new(),
                    condition: super::flow::always(),
                    effect: Effect::End(End::Closed(format!("there is no backend {name}"))),
                    guards: false,
                };
                steps.steps.push((step, Target::Step));
            }
        }
    }
    rules.translated += steps.translated;
    for note in steps.notes {
        rules.note_at(service, note);
    }
    let mut closed = steps.closed;
    let mut list: Vec<Step> = steps
        .steps
        .into_iter()
        .map(|(mut step, target)| {
            if let Target::Backend(name) = target {
                step.effect = Effect::Jump(starts.get(&name).copied().unwrap_or(usize::MAX));
            }
            step
        })
        .collect();
    if !http {
        without_refused(&mut list, &mut closed);
    }
    let leaves = rules.routes(service, list);
    service.routes = leaves
        .iter()
        .map(|leaf| {
            let mut leaf = leaf.clone();
            // What is answered at once does not come by the rules for responses.
            if matches!(leaf.end, End::Respond(_) | End::Redirect(_)) {
                leaf.edits.clear();
            }
            route(&leaf)
        })
        .collect();
    for why in closed {
        rules.close(service, &why);
    }
}

/// Without answers, who is refused is left out of all routes below.
fn without_refused(steps: &mut [Step], closed: &mut Vec<String>) {
    let mut refused: Vec<Literal> = Vec::new();
    for step in steps {
        for all in &mut step.condition {
            all.extend(refused.iter().cloned());
        }
        if !matches!(step.effect, Effect::End(End::Respond(_) | End::Closed(_))) {
            continue;
        }
        for all in &step.condition {
            let own = all.iter().take(all.len() - refused.len().min(all.len()));
            let own: Vec<&Literal> = own.collect();
            match own.as_slice() {
                [
                    Literal {
                        atom: atom @ Atom::Source(..),
                        negated,
                    },
                ] => refused.push(Literal {
                    atom: atom.clone(),
                    negated: !negated,
                }),
                [
                    Literal {
                        atom: Atom::Constant(is),
                        negated,
                    },
                ] if is == negated => {}
                _ => closed.push(format!(
                    "{}: who is refused can be told by address only",
                    step.origin
                )),
            }
        }
        step.condition.clear();
    }
}
