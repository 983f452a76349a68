// SPDX-License-Identifier: MIT
//! The rule file that is made: services, routes and pools with what there is to say about them.

use std::collections::BTreeSet;

use super::flow::Edit;
use super::flow::Effect;
use super::flow::End;
use super::flow::Leaf;
use super::flow::Step;
use super::flow::follow;
use super::toml::Toml;

/// A key of a table, and its value.
pub(super) type Key = (&'static str, Toml);

/// A table of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Item {
    /// Lines of comment before it.
    pub(super) notes: Vec<String>,
    pub(super) keys: Vec<Key>,
    /// Whether it stands as a comment.
    pub(super) dead: bool,
    /// Whether it is left away, since it has no effect.
    pub(super) gone: bool,
}

impl Item {
    pub(super) fn set(&mut self, key: &'static str, value: impl Into<Toml>) {
        self.keys.retain(|(known, _)| *known != key);
        self.keys.push((key, value.into()));
    }

    pub(super) fn get(&self, key: &str) -> Option<&Toml> {
        self.keys.iter().find(|(k, _)| *k == key).map(|(_, v)| v)
    }

    /// Sets a key within a table of this one.
    pub(super) fn set_in(&mut self, table: &'static str, key: &str, value: impl Into<Toml>) {
        let mut inner = self.get(table).cloned().unwrap_or(Toml::Table(Vec::new()));
        inner.set(key, value.into());
        self.set(table, inner);
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

/// A route.
#[derive(Clone, Debug, Default)]
pub(super) struct Route {
    pub(super) item: Item,
    /// Whether it keeps requests from where they must not come.
    pub(super) guards: bool,
}

/// A service and its routes.
#[derive(Clone, Debug, Default)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) item: Item,
    pub(super) routes: Vec<Route>,
}

impl Service {
    /// Whether requests can be answered by the switch.
    pub(super) fn is_http(&self) -> bool {
        let of = |word: &str| self.item.get("protocol") == Some(&word.into());
        !of("tcp") && !of("tls")
    }

    /// Serves nobody, since something that protects it cannot be said.
    pub(super) fn close(&mut self, why: &str) {
        match self.is_http() {
            true => {
                self.item
                    .note(format!("{why}: closed until somebody has looked"));
                self.item.set("maintenance", Toml::Bool(true));
            }
            false => {
                self.item
                    .note(format!("{why}: a comment until somebody has looked"));
                self.item.dead = true;
            }
        }
    }
}

/// A pool.
#[derive(Clone, Debug, Default)]
pub(super) struct Pool {
    pub(super) name: String,
    pub(super) item: Item,
}

/// All of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    pub(super) notes: Vec<String>,
    pub(super) services: Vec<Service>,
    pub(super) pools: Vec<Pool>,
    /// Directives that were translated.
    pub(super) translated: usize,
    /// Directives that were not, and why is in the file.
    pub(super) left: usize,
    /// What was said already.
    said: BTreeSet<String>,
}

impl Rules {
    /// Says at the top of the file what was left out.
    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.left += 1;
        self.notes.push(note.into());
    }

    /// Says at a service what was left out; of what is left out in several, at the first one.
    pub(super) fn note_at(&mut self, service: &mut Service, note: String) {
        if self.said.insert(note.clone()) {
            self.left += 1;
            service.item.note(note);
        }
    }

    /// Counts what was left out, once.
    pub(super) fn count(&mut self, note: &str) {
        self.left += usize::from(self.said.insert(note.to_owned()));
    }

    /// Closes a service.
    pub(super) fn close(&mut self, service: &mut Service, why: &str) {
        self.count(why);
        service.close(why);
    }

    /// Makes the routes of a service. A step that cannot be followed is left out: then the service is closed where it protects something.
    pub(super) fn routes(&mut self, service: &mut Service, mut steps: Vec<Step>) -> Vec<Leaf> {
        loop {
            let stuck = match follow(&steps, 0) {
                Ok(leaves) => return leaves,
                Err(stuck) => stuck,
            };
            let Some(step) = steps.get_mut(stuck.step) else {
                return Vec::new();
            };
            if stuck.too_much {
                let why = format!("{}: {}: no route is made", step.origin, stuck.why);
                self.close(service, &why);
                return Vec::new();
            }
            step.condition.clear();
            let why = format!("{}: {}", step.origin, stuck.why);
            match step.guards || matches!(step.effect, Effect::Edit(_)) {
                true => self.close(service, &why),
                false => self.note_at(
                    service,
                    format!("{why}: its requests go on to what is below"),
                ),
            }
        }
    }

    /// A name that no service has yet.
    pub(super) fn free_service(&self, wanted: &str) -> String {
        free(wanted, |name| self.services.iter().any(|s| s.name == name))
    }

    /// Adds a pool. One that is the same but for its name is taken instead. Returns the name.
    pub(super) fn add_pool(&mut self, wanted: &str, mut item: Item) -> String {
        serve_by_backups(&mut item);
        let wanted = name(wanted);
        let same = |pool: &&Pool| pool.item.keys == item.keys && pool.name.starts_with(&wanted);
        if let Some(pool) = self.pools.iter().find(same) {
            return pool.name.clone();
        }
        let name = free(&wanted, |name| self.pools.iter().any(|p| p.name == name));
        self.pools.push(Pool {
            name: name.clone(),
            item,
        });
        name
    }
}

/// Where all servers are backups, they serve from the beginning; there is nobody whom they could wait for.
fn serve_by_backups(pool: &mut Item) {
    let servers = pool.keys.iter_mut().find(|(key, _)| *key == "servers");
    let Some((_, Toml::List(servers))) = servers else {
        return;
    };
    let is_backup = |server: &Toml| server.get("backup") == Some(&Toml::Bool(true));
    if servers.is_empty() || !servers.iter().all(is_backup) {
        return;
    }
    for server in servers {
        if let Toml::Table(entries) = server {
            entries.retain(|(key, _)| key != "backup");
        }
    }
    pool.note("all of its servers are backups, which serve while there is no other: so they are none here");
}

fn free(wanted: &str, taken: impl Fn(&str) -> bool) -> String {
    let wanted = name(wanted);
    let short = wanted.get(..wanted.len().min(56)).unwrap_or_default();
    let mut numbers = 2_u32;
    let mut found = wanted.clone();
    while taken(&found) {
        found = format!("{short}-{numbers}");
        numbers = numbers.saturating_add(1);
    }
    found
}

/// A text as a name of the language: 1 to 64 letters, digits, `-`, `_` and `.`.
pub(super) fn name(text: &str) -> String {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let text: String = text
        .chars()
        .map(|c| if good(c) { c } else { '-' })
        .take(64)
        .collect();
    match text.trim_matches('-') {
        "" => "unnamed".to_owned(),
        text => text.to_owned(),
    }
}

/// A route of the file.
pub(super) fn route(leaf: &Leaf) -> Route {
    let mut item = Item {
        notes: Vec::new(),
        keys: leaf.all.keys(),
        ..Item::default()
    };
    for origin in &leaf.origin {
        item.note(origin.clone());
    }
    if leaf.priority != 0 {
        item.keys
            .insert(0, ("priority", Toml::Number(leaf.priority)));
    }
    let forwards = matches!(leaf.end, End::Pool(_) | End::Pools(_));
    let mut request = Fields::default();
    let mut response = Fields::default();
    for edit in &leaf.edits {
        match edit {
            Edit::RequestSet(name, value) => request.set(name, value),
            Edit::RequestAdd(name, value) => request.add(name, value),
            Edit::RequestRemove(name) => request.remove(name),
            Edit::ResponseSet(name, value) => response.set(name, value),
            Edit::ResponseAdd(name, value) => response.add(name, value),
            Edit::ResponseRemove(name) => response.remove(name),
            Edit::Key(key, value) if forwards || KEPT.contains(key) => item.set(key, value.clone()),
            Edit::Rewrite(key, value) if forwards => item.set_in("rewrite", key, value.clone()),
            Edit::Key(..) | Edit::Rewrite(..) => {}
            Edit::Note(note) => item.note(note.clone()),
        }
    }
    if let Some(fields) = request.toml().filter(|_| forwards) {
        item.set("request_headers", fields);
    }
    if let Some(fields) = response.toml() {
        item.set("response_headers", fields);
    }
    match &leaf.end {
        End::Pool(pool) => item.set("pool", pool.as_str()),
        End::Pools(pools) => {
            let share = |(name, weight): &(String, i64)| {
                Toml::table([
                    ("name", name.as_str().into()),
                    ("weight", Toml::Number(*weight)),
                ])
            };
            item.set("pools", Toml::List(pools.iter().map(share).collect()));
        }
        End::Respond(respond) => item.set("respond", respond.clone()),
        End::Redirect(redirect) => item.set("redirect", redirect.clone()),
        End::Closed(why) => {
            item.note(why.clone());
            item.set("respond", Toml::table([("status", Toml::Number(503))]));
        }
    }
    Route {
        item,
        guards: leaf.guards || matches!(leaf.end, End::Closed(_)),
    }
}

/// Keys that have a meaning where the switch answers, too.
const KEPT: &[&str] = &["basic_auth", "rate_limit", "error_pages", "cors"];

/// Changes of header fields.
#[derive(Default)]
struct Fields {
    remove: Vec<String>,
    set: Vec<(String, Toml)>,
    add: Vec<(String, Toml)>,
}

impl Fields {
    fn forget(&mut self, name: &str) {
        self.remove
            .retain(|known| !known.eq_ignore_ascii_case(name));
        self.set
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.add
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    }

    fn set(&mut self, name: &str, value: &str) {
        self.forget(name);
        self.set.push((name.to_owned(), value.into()));
    }

    fn add(&mut self, name: &str, value: &str) {
        let same = |(known, _): &&mut (String, Toml)| known.eq_ignore_ascii_case(name);
        let both = |known: &Toml| match known {
            Toml::Text(text) => Toml::Text(format!("{text}, {value}")),
            other => other.clone(),
        };
        if let Some((_, known)) = self.add.iter_mut().find(same) {
            *known = both(known);
            return;
        }
        self.add.push((name.to_owned(), value.into()));
    }

    fn remove(&mut self, name: &str) {
        self.forget(name);
        self.remove.push(name.to_owned());
    }

    fn toml(&self) -> Option<Toml> {
        let mut table = Toml::Table(Vec::new());
        if !self.remove.is_empty() {
            table.set("remove", Toml::one_or_many(&self.remove));
        }
        if !self.set.is_empty() {
            table.set("set", Toml::Table(self.set.clone()));
        }
        if !self.add.is_empty() {
            table.set("add", Toml::Table(self.add.clone()));
        }
        (table != Toml::Table(Vec::new())).then_some(table)
    }
}
