// SPDX-License-Identifier: MIT
//! What nginx does with the requests of a location: as steps.

use super::choose::condition;
use super::read::Directive;
use super::rewrite::Known;
use super::rewrite::returned;
use super::rewrite::rewrite;
use super::scope::Blocks;
use super::scope::Scope;
use super::server::Shared;
use super::words::duration;
use super::words::reason;
use super::words::size;
use super::words::template;
use crate::import::conditions::Atom;
use crate::import::flow::Condition;
use crate::import::flow::Edit;
use crate::import::flow::Effect;
use crate::import::flow::End;
use crate::import::flow::Step;
use crate::import::flow::always;
use crate::import::flow::only;
use crate::import::rules::Rules;
use crate::import::toml::Toml;

/// How a location is asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Asked {
    Exact(String),
    /// The second value: `^~`.
    Prefix(String, bool),
    /// The second value: it takes more than nginx's does.
    Regex(String, bool),
    /// `@name`, the server itself, and what is not understood.
    Nothing,
}

/// Where requests are.
#[derive(Clone)]
pub(super) struct Place<'d> {
    pub(super) scope: Scope<'d>,
    pub(super) server: &'d Directive,
    pub(super) asked: Asked,
    pub(super) known: Known<'d>,
    pub(super) tls: bool,
}

/// Steps of one block under way.
pub(super) struct Steps(pub(super) Vec<Step>);

impl Steps {
    fn push(&mut self, origin: String, condition: Condition, effect: Effect, guards: bool) {
        self.0.push(Step {
            origin,
            condition,
            effect,
            guards,
        });
    }

    pub(super) fn edit(&mut self, edit: Edit) {
        self.push(String::new(), always(), Effect::Edit(edit), false);
    }

    pub(super) fn end(&mut self, origin: String, condition: Condition, end: End) {
        let guards = matches!(end, End::Closed(_) | End::Respond(_));
        self.push(origin, condition, Effect::End(end), guards);
    }

    /// Says something at the routes.
    pub(super) fn note(&mut self, rules: &mut Rules, note: String) {
        rules.count(&note);
        self.edit(Edit::Note(note));
    }
}

/// Directives of a location that are looked at where they have an effect.
const KNOWN: &[&str] = &[
    "location",
    "return",
    "rewrite",
    "if",
    "allow",
    "deny",
    "satisfy",
    "auth_basic",
    "auth_basic_user_file",
    "auth_request",
    "limit_req",
    "limit_req_status",
    "client_max_body_size",
    "proxy_pass",
    "grpc_pass",
    "proxy_set_header",
    "add_header",
    "proxy_hide_header",
    "proxy_read_timeout",
    "proxy_connect_timeout",
    "proxy_http_version",
    "proxy_redirect",
    "proxy_next_upstream",
    "proxy_next_upstream_tries",
    "proxy_ssl_verify",
    "proxy_ssl_trusted_certificate",
    "proxy_ssl_name",
    "proxy_ssl_server_name",
    "proxy_ssl_certificate",
    "proxy_ssl_certificate_key",
    "proxy_intercept_errors",
    "error_page",
    "root",
    "proxy_pass_request_headers",
    "grpc_read_timeout",
    "grpc_set_header",
    "default_type",
    "internal",
];

/// The steps of a location, in the order of nginx's phases: rewriting, access, content.
pub(super) fn steps<'d>(
    place: &Place<'d>,
    shared: &Shared<'d>,
    blocks: &mut Blocks,
    rules: &mut Rules,
) -> Vec<Step> {
    let mut steps = Steps(Vec::new());
    let own = if place.asked == Asked::Nothing {
        &[]
    } else {
        place.scope.own()
    };
    for directive in own {
        if !KNOWN.contains(&directive.name.as_str()) {
            steps.note(
                rules,
                format!("{}: {}", directive.origin(), reason(&directive.name)),
            );
        }
    }
    response_headers(place, &mut steps, rules);
    if place.asked != Asked::Nothing {
        rewriting(place, shared, blocks, &mut steps, rules, true);
    }
    access(place, shared, &mut steps, rules);
    if let Some(limit) = place.scope.word("client_max_body_size").and_then(size) {
        steps.edit(Edit::Key("body_limit", limit.into()));
    }
    error_pages(place, &mut steps, rules);
    super::proxy::content(place, shared, &mut steps, rules);
    steps.0
}

/// `return`, `if` and `rewrite`, in their order.
pub(super) fn rewriting<'d>(
    place: &Place<'d>,
    shared: &Shared<'d>,
    blocks: &mut Blocks,
    steps: &mut Steps,
    rules: &mut Rules,
    in_location: bool,
) {
    let kind = place.scope.word("default_type");
    for directive in place.scope.own() {
        let origin = directive.origin();
        match directive.name.as_str() {
            "return" => match returned(directive, &place.known, kind) {
                Ok(end) => steps.end(origin, always(), end),
                Err(why) => steps.end(
                    String::new(),
                    always(),
                    End::Closed(format!("{origin}: {why}")),
                ),
            },
            "rewrite" => match rewrite(directive, &place.known, in_location) {
                Ok(step) => steps.0.push(step),
                Err(why) => steps.note(rules, format!("{origin}: {why}")),
            },
            "if" => when(place, shared, blocks, steps, rules, directive),
            _ => {}
        }
    }
}

fn when<'d>(
    place: &Place<'d>,
    shared: &Shared<'d>,
    blocks: &mut Blocks,
    steps: &mut Steps,
    rules: &mut Rules,
    directive: &'d Directive,
) {
    let origin = directive.origin();
    let has = |name: &str| directive.inside().iter().find(|d| d.name == name);
    let refuses = has("return").is_some_and(|d| d.word(0).starts_with('4'));
    match condition(directive, place.tls) {
        Ok(condition) => {
            let acts = ["return", "proxy_pass", "rewrite"]
                .into_iter()
                .any(|name| has(name).is_some());
            if !acts {
                let inside = directive.inside().first().map_or("if", |d| d.name.as_str());
                steps.note(rules, format!("{origin}: {}", reason(inside)));
                return;
            }
            let inner = Place {
                scope: place.scope.inside(directive.inside()),
                ..place.clone()
            };
            let mut inside = Steps(Vec::new());
            response_headers(&inner, &mut inside, rules);
            rewriting(
                &inner,
                shared,
                blocks,
                &mut inside,
                rules,
                place.asked != Asked::Nothing,
            );
            if has("proxy_pass").is_some() {
                access(&inner, shared, &mut inside, rules);
                super::proxy::content(&inner, shared, &mut inside, rules);
            }
            for mut step in inside.0 {
                // All of it under this condition.
                match crate::import::conditions_product(&condition, &step.condition) {
                    Ok(both) => step.condition = both,
                    Err(why) => {
                        steps.note(rules, format!("{origin}: {why}"));
                        continue;
                    }
                }
                if !step.origin.is_empty() {
                    step.origin = format!(
                        "{origin} {{ {} }}",
                        step.origin.rsplit(": ").next().unwrap_or_default()
                    );
                }
                steps.0.push(step);
            }
        }
        Err(why) if refuses => steps.end(
            String::new(),
            always(),
            End::Closed(format!("{origin}: {why}")),
        ),
        Err(why) => steps.note(rules, format!("{origin}: {why}")),
    }
}

fn response_headers(place: &Place<'_>, steps: &mut Steps, rules: &mut Rules) {
    for directive in place.scope.all(&["add_header"]) {
        match template(directive.word(1), &place.known) {
            Ok(value) => steps.edit(Edit::ResponseAdd(directive.word(0).to_owned(), value)),
            Err(why) => steps.note(rules, format!("{}: {why}", directive.origin())),
        }
    }
    for directive in place.scope.all(&["proxy_hide_header"]) {
        steps.edit(Edit::ResponseRemove(directive.word(0).to_owned()));
    }
}

/// `allow` and `deny`, passwords, rates: what keeps requests out.
fn access(place: &Place<'_>, shared: &Shared<'_>, steps: &mut Steps, rules: &mut Rules) {
    let scope = &place.scope;
    if place.scope.own().iter().any(|d| d.name == "internal") {
        let respond = Toml::table([("status", Toml::Number(404))]);
        return steps.end(String::new(), always(), End::Respond(respond));
    }
    for directive in scope.all(&["limit_req"]) {
        match shared.rate(directive) {
            Ok(limit) => {
                let edit = Effect::Edit(Edit::Key("rate_limit", limit));
                steps.push(String::new(), always(), edit, true);
            }
            Err(why) => steps.note(rules, format!("{}: {why}", directive.origin())),
        }
    }
    let mut allowed = Vec::new();
    for directive in scope.all(&["allow", "deny"]) {
        let text = directive.word(0);
        let origin = directive.origin();
        let everyone = text == "all";
        let net = crate::import::net(text);
        if !everyone && net.is_none() {
            let why = format!("{origin}: not an address");
            return steps.end(String::new(), always(), End::Closed(why));
        }
        if directive.name == "allow" {
            match net {
                Some(net) => allowed.push(net),
                // Nobody is denied any more.
                None => break,
            }
            continue;
        }
        let of: Vec<_> = net.into_iter().collect();
        let atom = match of.is_empty() && allowed.is_empty() {
            true => Atom::Constant(true),
            false => Atom::Source(of, allowed.clone()),
        };
        let respond = Toml::table([("status", Toml::Number(403))]);
        steps.end(origin, only(atom), End::Respond(respond));
    }
    if let Some(directive) = scope.one("auth_request").filter(|d| d.word(0) != "off") {
        let why = format!(
            "{}: write external_auth = {{ pool = \"…\", path = \"…\" }} in place of `respond`",
            directive.origin()
        );
        return steps.end(String::new(), always(), End::Closed(why));
    }
    let Some(realm) = scope.one("auth_basic").filter(|d| d.word(0) != "off") else {
        return;
    };
    if scope.word("satisfy") == Some("any") {
        steps.note(
            rules,
            format!(
                "{}: satisfy any: address and password are both asked for",
                realm.origin()
            ),
        );
    }
    let Some(file) = scope
        .word("auth_basic_user_file")
        .filter(|file| !file.contains('$'))
    else {
        let why = format!("{}: there is no auth_basic_user_file", realm.origin());
        return steps.end(String::new(), always(), End::Closed(why));
    };
    let file = shared.path(file);
    let auth = Toml::table([("file", file.into()), ("realm", realm.word(0).into())]);
    steps.push(
        String::new(),
        always(),
        Effect::Edit(Edit::Key("basic_auth", auth)),
        true,
    );
}

/// Pages in place of errors, where they are files.
fn error_pages(place: &Place<'_>, steps: &mut Steps, rules: &mut Rules) {
    let mut pages = Toml::Table(Vec::new());
    for directive in place.scope.all(&["error_page"]) {
        let Some((uri, statuses)) = directive.arguments.split_last() else {
            continue;
        };
        let inside = place.server.inside().iter();
        let mut named =
            inside.filter(|d| d.name == "location" && d.word(0) == "=" && d.word(1) == uri);
        let own = named
            .next()
            .and_then(|d| d.inside().iter().find(|d| d.name == "root"));
        let root = own.map(|d| d.word(0)).or(place.scope.word("root"));
        let file = match (root, uri.strip_prefix('/')) {
            (Some(root), Some(name)) if !uri.contains('$') => {
                format!("{}/{name}", root.trim_end_matches('/'))
            }
            _ => {
                steps.note(
                    rules,
                    format!("{}: {}", directive.origin(), reason("error_page")),
                );
                continue;
            }
        };
        let mut page = Toml::table([("file", file.into())]);
        if place.scope.is_on("proxy_intercept_errors") {
            page.set("intercept", Toml::Bool(true));
        }
        for status in statuses {
            match status.parse::<u16>() {
                Ok(_) => pages.set(status, page.clone()),
                Err(_) => steps.note(
                    rules,
                    format!("{}: {status} has no counterpart", directive.origin()),
                ),
            }
        }
    }
    if pages != Toml::Table(Vec::new()) {
        steps.edit(Edit::Key("error_pages", pages));
    }
}

/// The response timeout of a place.
pub(super) fn response_timeout(place: &Place<'_>) -> Option<String> {
    let of = |name| place.scope.word(name).and_then(duration);
    of("proxy_read_timeout").or(of("grpc_read_timeout"))
}
