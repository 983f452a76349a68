// SPDX-License-Identifier: MIT
//! The check: from text to the model, with every mistake that can be known from the text.

mod acme;
mod auth;
mod cors;
mod fields;
mod health;
mod hosts;
mod limits;
mod load;
mod pages;
mod pool;
mod rewrite;
mod route;
mod servers;
mod service;
mod shadow;
mod sticky;
mod tls;

use std::collections::HashMap;
use std::path::Path;
use std::path::PathBuf;

use toml::de::DeTable;
use toml::de::DeValue;

use crate::automata::Alphabet;
use crate::automata::AutomatonError;
use crate::automata::Cache;
use crate::model::Action;
use crate::model::Model;
use crate::text::diagnostic::Diagnostic;
use crate::text::diagnostic::Places;
use crate::text::language::AcmeText;
use crate::text::language::PoolText;
use crate::text::language::RuleFile;
use crate::text::language::ServiceText;
use crate::text::read::Read;
use crate::text::read::Reader;
use crate::text::source::At;
use crate::text::source::Sources;
use crate::text::source::Span;

/// What the parts of the check share.
pub(crate) struct Check<'s> {
    sources: &'s Sources,
    diagnostics: Vec<Diagnostic>,
    cache: Cache,
    /// Where files are named first.
    outside: Places,
    /// Where certificates are ordered.
    ordered: Vec<Span>,
    /// Whether every file is TOML: otherwise what is missing may stand where nothing could be read.
    syntax_is_good: bool,
}

/// What the check has found.
pub(crate) struct Checked {
    /// What the rules mean.
    pub(crate) model: Model,
    /// What is wrong with them.
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// Where they name files.
    pub(crate) outside: Places,
    /// Automata of their expressions.
    pub(crate) cache: Cache,
}

/// Reads and checks rule texts. The model is complete and consistent where no error was noted.
pub(crate) fn check(sources: &Sources) -> Checked {
    let mut check = Check {
        sources,
        diagnostics: Vec::new(),
        cache: Cache::default(),
        outside: Places::default(),
        ordered: Vec::new(),
        syntax_is_good: true,
    };
    let mut services: HashMap<String, (Span, ServiceText)> = HashMap::new();
    let mut pools: HashMap<String, (Span, At<PoolText>)> = HashMap::new();
    let mut acme: Option<At<AcmeText>> = None;
    for (file, source) in sources.iter() {
        let Some(rules) = check.parse(file, source.text()) else {
            continue;
        };
        for (name, pool) in rules.pool.unwrap_or_default().0 {
            check.name(&name, "pool");
            if let Some((first, _)) = pools.get(&name.value) {
                let message = format!("pool `{}` is defined twice", name.value);
                check.note(
                    Diagnostic::error("duplicate", name.span, message)
                        .label("again")
                        .related(*first, "first here"),
                );
            } else {
                pools.insert(name.value, (name.span, pool));
            }
        }
        match (&acme, rules.acme) {
            (Some(first), Some(again)) => {
                let message = "`acme` is defined twice".to_owned();
                check.note(
                    Diagnostic::error("duplicate", again.span, message)
                        .label("again")
                        .related(first.span, "first here"),
                );
            }
            (None, given) => acme = given,
            (Some(_), None) => (),
        }
        for (name, text) in rules.service.unwrap_or_default().0 {
            check.name(&name, "service");
            match services.remove(&name.value) {
                None => {
                    services.insert(name.value, (name.span, text.value));
                }
                Some((first, known)) => {
                    let merged = check.merge(&name, first, known, text.value);
                    services.insert(name.value, (first, merged));
                }
            }
        }
    }
    let mut services: Vec<(String, (Span, ServiceText))> = services.into_iter().collect();
    services.sort_by(|a, b| a.0.cmp(&b.0));
    let mut pools: Vec<(String, (Span, At<PoolText>))> = pools.into_iter().collect();
    pools.sort_by(|a, b| a.0.cmp(&b.0));

    let numbers: HashMap<&str, usize> = pools
        .iter()
        .enumerate()
        .map(|(n, (name, _))| (name.as_str(), n))
        .collect();
    let mut used = vec![false; pools.len()];
    let mut model = Model::default();
    let mut listens = Vec::new();
    let mut places = Vec::with_capacity(services.len());
    for (name, (span, text)) in services {
        let mut names = route::Pools {
            numbers: &numbers,
            used: &mut used,
            known: check.syntax_is_good,
        };
        let (service, routes) = check.service(&name, span, text, &mut names, &mut listens);
        model.services.push(service);
        places.push((span, routes));
    }
    for (name, (span, text)) in &pools {
        let mut pool = check.pool(name, *span, text);
        let mut names = route::Pools {
            numbers: &numbers,
            used: &mut used,
            known: check.syntax_is_good,
        };
        let fallback = text.value.fallback.as_ref();
        pool.fallback = fallback.and_then(|name| check.pool_number(name, &mut names));
        model.pools.push(pool);
    }
    check.fallbacks(&model, &pools);
    for (number, (name, (span, _))) in pools.iter().enumerate() {
        if check.syntax_is_good && !used.get(number).is_some_and(|u| *u) {
            let message = format!("no route uses pool `{name}`");
            check.note(Diagnostic::warning("unused-pool", *span, message).label("never used"));
        }
    }
    model.acme = check.acme(acme, &model);
    check.kernel_can(&model, &places);
    check.not_http(&model, &places);
    check.lone_shares(&model, &places);
    if check
        .diagnostics
        .iter()
        .all(|d| d.severity != crate::text::diagnostic::Severity::Error)
    {
        for (service, (_, routes)) in model.services.iter().zip(&places) {
            shadow::check(&mut check, service, routes);
        }
    }
    Checked {
        model,
        diagnostics: check.diagnostics,
        outside: check.outside,
        cache: check.cache,
    }
}

impl Check<'_> {
    fn note(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Notes pools that would fall back on themselves.
    fn fallbacks(&mut self, model: &Model, pools: &[(String, (Span, At<PoolText>))]) {
        for (number, (name, (_, text))) in pools.iter().enumerate() {
            let Some(given) = &text.value.fallback else {
                continue;
            };
            let next = |number: &usize| model.pools.get(*number)?.fallback;
            let mut chain = std::iter::successors(next(&number), next).take(model.pools.len());
            if chain.any(|later| later == number) {
                let message = format!("pool `{name}` falls back on itself");
                let help = "end the chain of `fallback` at a pool without one";
                self.note(Diagnostic::error("impossible", given.span, message).help(help));
            }
        }
    }

    /// Notes splits that give all to one pool, in whose place nobody is asked: shares of weight 0 get nothing then either.
    fn lone_shares(&mut self, model: &Model, places: &[(Span, Vec<Span>)]) {
        let routes = model
            .services
            .iter()
            .zip(places)
            .flat_map(|(service, (_, spans))| service.routes.iter().zip(spans));
        for (route, span) in routes {
            let Action::Forward(shares) = &route.action else {
                continue;
            };
            let mut open = shares.iter().filter(|share| share.weight > 0);
            let (Some(lone), None) = (open.next(), open.next()) else {
                continue;
            };
            let Some(pool) = model.pools.get(lone.pool) else {
                continue;
            };
            if shares.len() > 1 && !route.strict && pool.fallback.is_none() {
                let name = &pool.name;
                let message = format!(
                    "while pool `{name}` has no server, nobody gets its requests: the other weights are 0"
                );
                let other = shares.iter().find(|share| share.weight == 0);
                let other = other.and_then(|share| model.pools.get(share.pool));
                let help = other.map(|other| {
                    format!("add to `[pool.{name}]`: fallback = \"{}\". Or say that it is meant: `strict = true` in the route", other.name)
                });
                self.note(
                    Diagnostic::warning("lone-share", *span, message)
                        .help(help.unwrap_or_default()),
                );
            }
        }
    }

    /// Parses one file. Of one that is not TOML only that is noted: what was recovered from it may have been
    /// torn out of its place.
    fn parse(&mut self, file: u32, text: &str) -> Option<RuleFile> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let table_is_whole = errors.is_empty();
        self.syntax_is_good &= table_is_whole;
        for error in errors {
            let word = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            let range = error.span().unwrap_or(0..0);
            let span = Span {
                file,
                start: word(range.start),
                end: word(range.end),
            };
            let message = error.message().trim_end().replace('\n', "; ");
            self.note(Diagnostic::error(
                "syntax",
                span,
                format!("not TOML: {message}"),
            ));
        }
        let range = table.span();
        let node = toml::Spanned::new(range, DeValue::Table(table.into_inner()));
        let mut torn = Vec::new();
        let diagnostics = if table_is_whole {
            &mut self.diagnostics
        } else {
            &mut torn
        };
        let mut reader = Reader {
            file,
            at: "",
            diagnostics,
        };
        RuleFile::read(&node, &mut reader)
    }

    /// Whether something was noted inside a place already: what is missing there may have been unreadable.
    fn has_errors_in(&self, place: Span) -> bool {
        !self.syntax_is_good
            || self.diagnostics.iter().filter_map(|d| d.span).any(|span| {
                span.file == place.file && span.start >= place.start && span.end <= place.end
            })
    }

    /// Notes a key that is missing in a table, unless something in the table could not be read: that may be it.
    fn missing(&mut self, broken: bool, name: Span, message: String, help: &str) {
        if !broken && self.syntax_is_good {
            self.note(Diagnostic::error("missing-key", name, message).help(help));
        }
    }

    /// The same for a list that is missing, or is there and empty: `places` are the table's and the list's.
    fn absent(
        &mut self,
        broken: bool,
        (table, list): (Span, Option<Span>),
        message: String,
        help: &str,
    ) {
        match list {
            None => self.missing(broken, table, message, help),
            // What stood in it may have been unreadable.
            Some(list) if !self.has_errors_in(list) => {
                self.note(
                    Diagnostic::error("missing-key", list, message)
                        .label("empty")
                        .help(help),
                );
            }
            Some(_) => (),
        }
    }

    fn name(&mut self, name: &At<String>, what: &str) {
        let good = !name.value.is_empty()
            && name.value.len() <= 64
            && name
                .value
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if !good {
            let message = format!("`{}` is not a name for a {what}", name.value);
            self.note(
                Diagnostic::error("bad-name", name.span, message)
                    .help("names have 1 to 64 letters, digits, `-`, `_` and `.`"),
            );
        }
    }

    /// A whole number in a range.
    fn number<T: TryFrom<i64>>(&mut self, given: &At<i64>, low: i64, high: i64) -> Option<T> {
        if (low..=high).contains(&given.value) {
            return T::try_from(given.value).ok();
        }
        let message = format!("{} is out of range", given.value);
        self.note(
            Diagnostic::error("out-of-range", given.span, message)
                .help(format!("give a number from {low} to {high}")),
        );
        None
    }

    /// Checks a regular expression; the mark is at the mistake where the text shows it unescaped.
    fn regex(&mut self, pattern: &At<String>, alphabet: Alphabet) {
        let Err(error) = self.cache.get(&pattern.value, alphabet) else {
            return;
        };
        let diagnostic = match &error {
            AutomatonError::Syntax(what, range) => {
                let span = self.inside(pattern, range.clone());
                Diagnostic::error(
                    "regex-syntax",
                    span,
                    format!("not a regular expression: {what}"),
                )
                .help("the syntax is that of the `regex` crate: no look-around, no back-references")
            }
            AutomatonError::TooLarge => {
                let message = format!("this regular expression is too large: {error}");
                Diagnostic::error("regex-size", pattern.span, message)
                    .help("shorten counted repetitions, anchor it with ^, or use several routes")
            }
        };
        self.note(diagnostic);
    }

    /// The place of a part of a string, where the string stands as it is between quotes.
    fn inside(&self, string: &At<String>, range: std::ops::Range<usize>) -> Span {
        let span = string.span;
        let raw = self
            .sources
            .file(span.file)
            .and_then(|f| f.text().get(span.start as usize..span.end as usize));
        let quoted = raw.and_then(|r| r.get(1..r.len().saturating_sub(1)));
        if quoted != Some(string.value.as_str()) || range.is_empty() {
            return span;
        }
        let word = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let start = span.start + 1 + word(range.start);
        Span {
            start,
            end: (span.start + 1 + word(range.end)).min(span.end),
            ..span
        }
    }

    /// The folder that relative paths of a file are resolved against.
    fn folder(&self, span: Span) -> &Path {
        self.sources
            .file(span.file)
            .and_then(|f| f.path().parent())
            .unwrap_or_else(|| Path::new(""))
    }

    /// The path of a file that the rules name.
    fn file(&mut self, given: &At<String>) -> PathBuf {
        let path = self.folder(given.span).join(&given.value);
        self.outside
            .entry(path.clone().into())
            .or_insert(given.span);
        path
    }

    /// One service from two files: routes are joined, other keys stand in one of them.
    fn merge(
        &mut self,
        name: &At<String>,
        first: Span,
        mut known: ServiceText,
        more: ServiceText,
    ) -> ServiceText {
        let mut twice = Vec::new();
        macro_rules! merge_keys {
            ($($key:ident),*) => {$(
                if known.$key.is_some() && more.$key.is_some() {
                    twice.push(stringify!($key));
                } else if more.$key.is_some() {
                    known.$key = more.$key;
                }
            )*};
        }
        merge_keys!(
            listen,
            protocol,
            datapath,
            allow,
            refuse,
            certificates,
            client_certificates,
            tls,
            limits,
            trusted,
            accept_proxy,
            via,
            maintenance,
            error_pages
        );
        if !twice.is_empty() {
            let message = format!(
                "service `{}` has `{}` in two files",
                name.value,
                twice.join("`, `")
            );
            self.note(
                Diagnostic::error("duplicate", name.span, message)
                    .label("again")
                    .related(first, "first here")
                    .help("the routes of a service may be in several files, its other keys must be in one"),
            );
        }
        known
            .route
            .get_or_insert_default()
            .extend(more.route.unwrap_or_default());
        known
    }
}
