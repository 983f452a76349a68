// SPDX-License-Identifier: MIT
//! HAProxy's rules for requests and responses as steps, in the order in which HAProxy follows them.

use super::acl::Acls;
use super::backend::Backend;
use super::backend::at;
use super::read::Line;
use super::read::Section;
use super::words::groups;
use super::words::reason;
use super::words::template;
use crate::import::flow::Condition;
use crate::import::flow::Edit;
use crate::import::flow::Effect;
use crate::import::flow::End;
use crate::import::flow::Step;
use crate::import::flow::always;
use crate::import::toml::Toml;

/// Where a step goes on.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Target {
    /// As the step says.
    Step,
    /// At the rules of a backend.
    Backend(String),
    /// Behind the rules `http-request` of its section.
    Allowed,
}

/// Steps of a section, and what they could not say.
#[derive(Default)]
pub(super) struct Steps {
    pub(super) steps: Vec<(Step, Target)>,
    pub(super) notes: Vec<String>,
    /// Why the service must not be open.
    pub(super) closed: Vec<String>,
    pub(super) translated: usize,
}

/// What a rule does, its condition taken off.
enum Rule {
    Done(Effect),
    Edits(Vec<Edit>),
    Allow,
    /// It is done anyway, or means nothing here.
    Nothing,
}

/// Takes `if` or `unless` and what follows off.
fn split(words: &[String]) -> (&[String], &[String]) {
    let at = words
        .iter()
        .position(|word| word == "if" || word == "unless");
    words.split_at(at.unwrap_or(words.len()))
}

impl Steps {
    /// The steps of the rules of a section, up to its choice of a server.
    pub(super) fn rules(&mut self, file: &str, section: &Section, acls: &Acls<'_>, http: bool) {
        let lines = |words: &'static [&'static str]| {
            section
                .lines
                .iter()
                .filter(move |line| words.contains(&line.word(0)))
        };
        for line in lines(&["tcp-request"]) {
            self.tcp_request(file, line, acls, http);
        }
        if !http {
            return;
        }
        for line in lines(&["http-response", "http-after-response"]) {
            self.rule(file, line, acls, response);
        }
        let first = self.steps.len();
        for line in lines(&["http-request", "block"]) {
            self.rule(file, line, acls, request);
        }
        let behind = self.steps.len();
        for (step, target) in self.steps.iter_mut().skip(first) {
            if *target == Target::Allowed {
                (step.effect, *target) = (Effect::Jump(behind), Target::Step);
            }
        }
        for line in lines(&["redirect"]) {
            self.legacy_redirect(file, line, acls);
        }
    }

    fn legacy_redirect(&mut self, file: &str, line: &Line, acls: &Acls<'_>) {
        let here = at(file, line);
        let (words, condition) = split(line.from(1));
        match redirect(words).and_then(|end| Ok((end, acls.condition(condition, false)?))) {
            Ok((end, condition)) => {
                self.translated += 1;
                self.push(here, condition, Effect::End(end), Target::Step, false);
            }
            Err(why) => self.notes.push(format!("{here}: {why}")),
        }
    }

    fn push(
        &mut self,
        origin: String,
        condition: Condition,
        effect: Effect,
        target: Target,
        guards: bool,
    ) {
        let step = Step {
            origin,
            condition,
            effect,
            guards,
        };
        self.steps.push((step, target));
    }

    fn rule(
        &mut self,
        file: &str,
        line: &Line,
        acls: &Acls<'_>,
        read: impl Fn(&Line, &[String]) -> Result<Rule, String>,
    ) {
        let here = at(file, line);
        let (words, condition) = split(line.from(1));
        let word = line.word(1);
        let guards = line.word(0) == "block"
            || matches!(
                word,
                "deny" | "tarpit" | "auth" | "reject" | "silent-drop" | "allow"
            );
        let of_response = line.word(0).ends_with("response");
        let condition = acls.condition(condition, guards);
        let constant = |c: &Condition| c.iter().all(|all| all.is_empty() || is_constant(all));
        let condition = match condition {
            Ok(condition) if of_response && !constant(&condition) => {
                Err("a condition on a response has no counterpart".to_owned())
            }
            condition => condition,
        };
        let read = read(line, words);
        let (rule, condition) = match (read, condition) {
            (Ok(rule), Ok(condition)) => (rule, condition),
            (Err(why), Ok(condition)) if word == "auth" => {
                let end = End::Closed(format!("{here}: {why}"));
                self.push(here, condition, Effect::End(end), Target::Step, true);
                return;
            }
            (Ok(Rule::Nothing), Err(_)) => {
                self.translated += 1;
                return;
            }
            (Err(why), condition) => {
                // A field that servers trust is at least not the client's.
                let sets = matches!(word, "set-header" | "replace-header" | "replace-value");
                if let (false, true, Ok(_)) = (of_response, sets, condition) {
                    let edit = Edit::RequestRemove(line.word(2).to_owned());
                    self.push(
                        String::new(),
                        always(),
                        Effect::Edit(edit),
                        Target::Step,
                        true,
                    );
                } else if guards {
                    self.closed.push(format!("{here}: {why}"));
                    return;
                }
                self.notes.push(format!("{here}: {why}"));
                return;
            }
            (Ok(_), Err(why)) => {
                let removes = !of_response && matches!(word, "del-header" | "set-header");
                match guards || removes {
                    true => self.closed.push(format!("{here}: {why}")),
                    false => self.notes.push(format!("{here}: {why}")),
                }
                return;
            }
        };
        self.translated += 1;
        match rule {
            Rule::Nothing => {}
            Rule::Allow => self.push(
                String::new(),
                condition,
                Effect::Jump(0),
                Target::Allowed,
                guards,
            ),
            Rule::Done(effect) => self.push(here, condition, effect, Target::Step, guards),
            Rule::Edits(edits) => {
                for edit in edits {
                    let effect = Effect::Edit(edit);
                    self.push(
                        String::new(),
                        condition.clone(),
                        effect,
                        Target::Step,
                        guards,
                    );
                }
            }
        }
    }

    fn tcp_request(&mut self, file: &str, line: &Line, acls: &Acls<'_>, http: bool) {
        let here = at(file, line);
        let (words, condition) = split(line.from(2));
        let word = words.first().map_or("", String::as_str);
        match word {
            // Who waits for the handshake is the switch itself.
            _ if line.word(1) == "inspect-delay" => self.translated += 1,
            "reject" | "silent-drop" => match acls.condition(condition, true) {
                Ok(condition) => {
                    self.translated += 1;
                    let respond = Toml::table([("status", Toml::Number(403))]);
                    let end = Effect::End(End::Respond(respond));
                    self.push(here, condition, end, Target::Step, true);
                }
                Err(why) => self.closed.push(format!("{here}: {why}")),
            },
            "accept" if !http && !line.words.iter().any(|word| word == "src") => {
                self.translated += 1
            }
            "accept" => match acls.condition(condition, true) {
                Ok(condition) if condition.iter().all(|all| is_constant(all)) => {
                    self.translated += 1
                }
                _ => self.closed.push(format!("{here}: {}", reason(&line.words))),
            },
            "expect-proxy" => self.closed.push(format!(
                "{here}: write accept_proxy = [\"…\"] in the service"
            )),
            _ => self.notes.push(format!("{here}: {}", reason(&line.words))),
        }
    }

    /// The choice of a server: `use_backend`, `default_backend`, the section's own servers.
    pub(super) fn choice(
        &mut self,
        file: &str,
        section: &Section,
        acls: &Acls<'_>,
        http: bool,
        own: &Backend,
    ) {
        for line in section
            .lines
            .iter()
            .filter(|line| line.word(0) == "use_backend")
        {
            let here = at(file, line);
            let (words, condition) = split(line.from(1));
            let [name] = words else {
                self.notes
                    .push(format!("{here}: the name of a backend is wanted"));
                continue;
            };
            if name.contains('%') {
                self.notes.push(format!(
                    "{here}: a backend by a variable has no counterpart: write a route for each"
                ));
                continue;
            }
            match acls.condition(condition, false) {
                Ok(condition) => {
                    self.translated += 1;
                    let target = Target::Backend(name.clone());
                    self.push(here, condition, Effect::Jump(0), target, false);
                }
                Err(why) => self.notes.push(format!(
                    "{here}: {why}: its requests go on to what is below"
                )),
            }
        }
        let default = section
            .lines
            .iter()
            .rev()
            .find(|line| line.word(0) == "default_backend");
        match (default, &own.pool) {
            (Some(line), _) => {
                self.translated += 1;
                let target = Target::Backend(line.word(1).to_owned());
                self.push(at(file, line), always(), Effect::Jump(0), target, false);
            }
            (None, Some(_)) => self.end(file, section, own),
            (None, None) if http => {
                let respond = Toml::table([("status", Toml::Number(503))]);
                let here = format!(
                    "{file}:{}: {} has no default_backend",
                    section.number, section.name
                );
                self.push(
                    here,
                    always(),
                    Effect::End(End::Respond(respond)),
                    Target::Step,
                    false,
                );
            }
            (None, None) => {}
        }
    }

    /// The end of a backend: its pool.
    pub(super) fn end(&mut self, file: &str, section: &Section, backend: &Backend) {
        let keys = [
            backend.cookie.as_ref().map(|(name, age)| {
                let mut sticky = Toml::table([("cookie", name.as_str().into())]);
                if let Some(age) = age {
                    sticky.set("max_age", age.as_str().into());
                }
                ("sticky", sticky)
            }),
            backend
                .tunnel
                .as_ref()
                .map(|time| ("tunnel_timeout", time.as_str().into())),
        ];
        for (key, value) in keys.into_iter().flatten() {
            let effect = Effect::Edit(Edit::Key(key, value));
            self.push(String::new(), always(), effect, Target::Step, false);
        }
        let end = match &backend.pool {
            Some(pool) => End::Pool(pool.clone()),
            None => End::Closed(format!(
                "{file}:{}: {} has no server",
                section.number, section.name
            )),
        };
        self.push(
            String::new(),
            always(),
            Effect::End(end),
            Target::Step,
            false,
        );
    }
}

fn is_constant(all: &[crate::import::flow::Literal]) -> bool {
    use crate::import::conditions::Atom;
    all.iter()
        .all(|literal| matches!(literal.atom, Atom::Constant(_)))
}

fn text(words: &[String], number: usize) -> &str {
    words.get(number).map_or("", String::as_str)
}

fn request(line: &Line, words: &[String]) -> Result<Rule, String> {
    let (name, value) = (text(words, 1), text(words, 2));
    let lower = name.to_ascii_lowercase();
    let edit = |edit| Ok(Rule::Edits(vec![edit]));
    if line.word(0) == "block" {
        return Ok(Rule::Done(Effect::End(refusal(403))));
    }
    match text(words, 0) {
        "deny" | "tarpit" | "reject" | "silent-drop" => {
            let at = words.iter().position(|w| w == "deny_status" || w == "status");
            let status = at.and_then(|at| text(words, at + 1).parse().ok());
            let usual = if text(words, 0) == "tarpit" { 500 } else { 403 };
            Ok(Rule::Done(Effect::End(refusal(status.unwrap_or(usual)))))
        }
        "allow" => Ok(Rule::Allow),
        "redirect" => redirect(words.get(1..).unwrap_or_default()).map(|end| Rule::Done(Effect::End(end))),
        "return" => respond(words.get(1..).unwrap_or_default()).map(|end| Rule::Done(Effect::End(end))),
        "auth" => Err("users stand in a file: write basic_auth = { file = \"users.htpasswd\" } in place of `respond`".to_owned()),
        // The front says so itself, to each server.
        "set-header" | "add-header" if matches!(lower.as_str(), "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host") => {
            Ok(Rule::Nothing)
        }
        "set-header" if lower == "host" => {
            if value.contains('%') {
                return Err("a host by a variable has no counterpart".to_owned());
            }
            edit(Edit::Rewrite("hostname", value.into()))
        }
        "set-header" => edit(Edit::RequestSet(name.to_owned(), template(value)?)),
        "add-header" => edit(Edit::RequestAdd(name.to_owned(), template(value)?)),
        "del-header" if words.len() == 2 => edit(Edit::RequestRemove(name.to_owned())),
        "set-path" => {
            let path = match name.split_once("%[path]") {
                Some((before, "")) if !before.contains('%') => Toml::table([
                    ("replace_regex", "^".into()),
                    ("with", before.replace('$', "$$").into()),
                ]),
                None if !name.contains('%') => Toml::table([("replace_full", name.into())]),
                _ => return Err("a path by these variables has no counterpart: see replace_regex".to_owned()),
            };
            edit(Edit::Rewrite("path", path))
        }
        "replace-path" => {
            let path = Toml::table([("replace_regex", whole(name).into()), ("with", groups(value)?.into())]);
            edit(Edit::Rewrite("path", path))
        }
        _ => Err(reason(&line.words).to_owned()),
    }
}

/// An expression that takes the whole of what it is found in.
pub(in crate::import) fn whole(pattern: &str) -> String {
    let ends = pattern.ends_with('$') && !pattern.ends_with("\\$") || pattern.ends_with("(.*)");
    match (pattern.starts_with('^'), ends) {
        _ if pattern.contains('|') => format!("^.*?(?:{pattern}).*$"),
        (true, true) => pattern.to_owned(),
        (true, false) => format!("{pattern}.*$"),
        (false, true) => format!("^.*?{pattern}"),
        (false, false) => format!("^.*?{pattern}.*$"),
    }
}

fn response(line: &Line, words: &[String]) -> Result<Rule, String> {
    let (name, value) = (text(words, 1).to_owned(), text(words, 2));
    let edit = match text(words, 0) {
        "set-header" => Edit::ResponseSet(name, template(value)?),
        "add-header" => Edit::ResponseAdd(name, template(value)?),
        "del-header" if words.len() == 2 => Edit::ResponseRemove(name),
        _ => return Err(reason(&line.words).to_owned()),
    };
    Ok(Rule::Edits(vec![edit]))
}

fn refusal(status: i64) -> End {
    End::Respond(Toml::table([("status", Toml::Number(status))]))
}

fn redirect(words: &[String]) -> Result<End, String> {
    let (kind, to) = (text(words, 0), text(words, 1));
    let mut status = 302;
    let mut rest = words.get(2..).unwrap_or_default().iter();
    while let Some(word) = rest.next() {
        match word.as_str() {
            "code" => {
                let code = rest.next().and_then(|code| code.parse().ok());
                status = code.ok_or("the code of a redirect is no number")?;
            }
            other => return Err(format!("`{other}` of a redirect has no counterpart")),
        }
    }
    let mut redirect = match kind {
        "scheme" => Toml::table([("scheme", to.into())]),
        "prefix" if to == "/" => Toml::Table(Vec::new()),
        "prefix" => Toml::table([("location", format!("{}$uri", template(to)?).into())]),
        "location" if to.starts_with('/') && !to.contains(['%', '?', '#']) => {
            Toml::table([("path", Toml::table([("replace_full", to.into())]))])
        }
        "location" => Toml::table([("location", template(to)?.into())]),
        _ => {
            return Err(
                "only redirects by scheme, location and prefix have a counterpart".to_owned(),
            );
        }
    };
    redirect.set("status", Toml::Number(status));
    Ok(End::Redirect(redirect))
}

fn respond(words: &[String]) -> Result<End, String> {
    let mut respond = Toml::table([("status", Toml::Number(200))]);
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let value = words.next().unwrap_or_default();
        match word {
            "status" => {
                let status = value
                    .parse()
                    .map_err(|_| "the status is no number".to_owned())?;
                respond.set("status", Toml::Number(status));
            }
            "content-type" => respond.set("content_type", value.into()),
            "string" => respond.set("body", value.into()),
            "file" => respond.set("file", value.into()),
            "lf-string" if !value.contains('%') => respond.set("body", value.into()),
            _ => return Err(format!("`{word}` of a response has no counterpart")),
        }
    }
    Ok(End::Respond(respond))
}
