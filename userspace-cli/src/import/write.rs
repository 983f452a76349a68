// SPDX-License-Identifier: MIT
//! The text of the rule file, and its check: what the switch does not take becomes a comment, and what it protects is closed.

use std::ops::Range;

use l7switch_rules::text::diagnostic::Diagnostic;
use l7switch_rules::text::diagnostic::Severity;

use super::rules::Item;
use super::rules::Rules;
use super::toml::Toml;
use super::toml::key;

/// Which table of the rules a part of the text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Service(usize),
    Route(usize, usize),
    Pool(usize),
}

/// A line, and what stands there.
struct Mark {
    bytes: Range<usize>,
    place: Place,
    /// The key; absent: the head of the table.
    key: Option<&'static str>,
}

/// A rule file with its map.
#[derive(Default)]
struct Text {
    text: String,
    marks: Vec<Mark>,
}

/// Keys without which a table means something else: conditions, actions, and what protects.
const NEEDED: &[&str] = &[
    "listen",
    "protocol",
    "certificates",
    "client_certificates",
    "accept_proxy",
    "maintenance",
    "priority",
    "host",
    "path",
    "method",
    "headers",
    "query",
    "cookies",
    "source",
    "pool",
    "pools",
    "respond",
    "redirect",
    "rewrite",
    "basic_auth",
    "servers",
    "tls",
    "send_proxy",
];

/// How often the rules are checked: each time something that is wrong is taken out.
const MOST_CHECKS: usize = 64;

/// Writes rules that the check accepts.
pub(super) fn finish(mut rules: Rules) -> (String, Rules) {
    let dead = rules.pools.iter().filter(|pool| pool.item.dead);
    for name in dead.map(|pool| pool.name.clone()).collect::<Vec<_>>() {
        without_pool(&mut rules, &name);
    }
    for _ in 0..MOST_CHECKS {
        let text = write(&rules);
        let report = match l7switch_rules::load_text("rules.toml", &text.text) {
            Ok(_) => return (text.text, rules),
            Err(report) => report,
        };
        let errors = report.diagnostics().iter();
        let errors = errors.filter(|d| d.severity == Severity::Error);
        let mut mended = false;
        for error in errors {
            mended |= mend(&mut rules, &text.marks, error);
        }
        if !mended {
            break;
        }
    }
    // Nothing of it is served, and all of it can be read.
    for service in &mut rules.services {
        service.item.dead = true;
        service
            .routes
            .iter_mut()
            .for_each(|route| route.item.dead = true);
    }
    rules
        .pools
        .iter_mut()
        .for_each(|pool| pool.item.dead = true);
    (write(&rules).text, rules)
}

/// Takes out what an error is about.
fn mend(rules: &mut Rules, marks: &[Mark], error: &Diagnostic) -> bool {
    let Some(span) = error.span else {
        return false;
    };
    let start = usize::try_from(span.start).unwrap_or(usize::MAX);
    let Some(mark) = marks.iter().find(|mark| mark.bytes.contains(&start)) else {
        return false;
    };
    let why = match &error.help {
        Some(help) => format!("{} ({help})", error.message),
        None => error.message.clone(),
    };
    let needed = |key: &&str| NEEDED.contains(key) || error.code == "unreachable-route";
    match (mark.place, mark.key.filter(|key| !needed(key))) {
        (place, Some(key)) => {
            let Some(item) = item(rules, place) else {
                return false;
            };
            let Some(value) = item.get(key).cloned() else {
                return false;
            };
            item.keys.retain(|(known, _)| *known != key);
            item.note(format!("not taken over: {key} = {value}: {why}"));
            rules.left += 1;
        }
        (Place::Route(service, number), None) => {
            let Some(service) = rules.services.get_mut(service) else {
                return false;
            };
            let Some(route) = service.routes.get_mut(number) else {
                return false;
            };
            if route.item.dead || route.item.gone {
                return false;
            }
            if error.code == "unreachable-route" {
                route.item.gone = true;
                return true;
            }
            route.item.dead = true;
            route.item.note(why);
            rules.left += 1;
            if route.guards {
                service.close("a route below that keeps requests out is not taken");
            }
        }
        (Place::Service(number), None) => {
            let Some(service) = rules.services.get_mut(number).filter(|s| !s.item.dead) else {
                return false;
            };
            service.item.note(why);
            service.item.dead = true;
            rules.left += 1;
        }
        (Place::Pool(number), None) => {
            let Some(pool) = rules.pools.get_mut(number).filter(|p| !p.item.dead) else {
                return false;
            };
            pool.item.note(why);
            pool.item.dead = true;
            let name = pool.name.clone();
            without_pool(rules, &name);
            rules.left += 1;
        }
    }
    true
}

/// Routes to a pool that is not there refuse their requests.
fn without_pool(rules: &mut Rules, name: &str) {
    let shares = |value: &Toml| match value {
        Toml::List(all) => all
            .iter()
            .any(|share| share.get("name") == Some(&name.into())),
        other => *other == name.into(),
    };
    for service in &mut rules.services {
        let http = service.is_http();
        for route in &mut service.routes {
            let keys = &route.item.keys;
            let uses = keys
                .iter()
                .any(|(k, v)| matches!(*k, "pool" | "pools") && shares(v));
            if !uses {
                continue;
            }
            route
                .item
                .note(format!("pool {name} is not taken over: refused"));
            if http {
                let kept = |k: &str| CONDITIONS.contains(&k);
                route.item.keys.retain(|(k, _)| kept(k));
                route
                    .item
                    .set("respond", Toml::table([("status", Toml::Number(503))]));
            } else {
                route.item.dead = true;
            }
        }
    }
}

const CONDITIONS: &[&str] = &[
    "priority", "host", "path", "method", "headers", "query", "cookies", "source",
];

fn item(rules: &mut Rules, place: Place) -> Option<&mut Item> {
    match place {
        Place::Service(number) => rules.services.get_mut(number).map(|s| &mut s.item),
        Place::Pool(number) => rules.pools.get_mut(number).map(|p| &mut p.item),
        Place::Route(service, number) => {
            let service = rules.services.get_mut(service)?;
            service.routes.get_mut(number).map(|route| &mut route.item)
        }
    }
}

fn write(rules: &Rules) -> Text {
    let mut text = Text::default();
    for note in &rules.notes {
        text.comment(note);
    }
    for (number, service) in rules.services.iter().enumerate() {
        let head = format!("[service.{}]", key(&service.name));
        text.table(
            &head,
            &service.item,
            Place::Service(number),
            service.item.dead,
        );
        for (position, route) in service.routes.iter().enumerate() {
            let head = format!("[[service.{}.route]]", key(&service.name));
            let dead = service.item.dead || route.item.dead;
            text.table(&head, &route.item, Place::Route(number, position), dead);
        }
    }
    for (number, pool) in rules.pools.iter().enumerate() {
        let head = format!("[pool.{}]", key(&pool.name));
        text.table(&head, &pool.item, Place::Pool(number), pool.item.dead);
    }
    text
}

impl Text {
    /// A line of comment. What would not be a comment's character is escaped.
    fn comment(&mut self, note: &str) {
        let safe = |c: char| match c {
            '\t' => " ".to_owned(),
            c if c.is_control() => c.escape_debug().to_string(),
            c => c.to_string(),
        };
        let note: String = note.chars().take(600).map(safe).collect();
        self.text += &format!("# {note}\n");
    }

    fn table(&mut self, head: &str, item: &Item, place: Place, dead: bool) {
        if item.gone {
            return;
        }
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        for note in &item.notes {
            self.comment(note);
        }
        self.line(head, place, None, dead);
        let width = item.keys.iter().map(|(key, _)| key.len()).max();
        for (key, value) in &item.keys {
            let width = width.unwrap_or_default();
            self.line(&format!("{key:width$} = {value}"), place, Some(key), dead);
        }
    }

    fn line(&mut self, line: &str, place: Place, key: Option<&'static str>, dead: bool) {
        if dead {
            return self.comment(line);
        }
        let start = self.text.len();
        self.text += line;
        self.text.push('\n');
        self.marks.push(Mark {
            bytes: start..self.text.len(),
            place,
            key,
        });
    }
}
