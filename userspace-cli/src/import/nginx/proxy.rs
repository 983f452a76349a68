// SPDX-License-Identifier: MIT
//! nginx's `proxy_pass` and what goes with it: pools, header fields, the path.

use super::choose::Values;
use super::location::Asked;
use super::location::Place;
use super::location::Steps;
use super::location::response_timeout;
use super::read::Directive;
use super::server::Shared;
use super::upstream::Towards;
use super::words::Part;
use super::words::duration;
use super::words::parts;
use super::words::reason;
use super::words::template;
use crate::import::flow::Condition;
use crate::import::flow::Edit;
use crate::import::flow::End;
use crate::import::flow::always;
use crate::import::flow::only;
use crate::import::rules::Rules;
use crate::import::toml::Toml;

/// How often variables may stand for variables.
const DEEPEST: usize = 4;

/// The steps of what a location has to show.
pub(super) fn content(
    place: &Place<'_>,
    shared: &Shared<'_>,
    steps: &mut Steps,
    rules: &mut Rules,
) {
    let own = |name: &str| place.scope.own().iter().find(|d| d.name == name);
    if let Some(pass) = own("proxy_pass").or(own("grpc_pass")) {
        return proxied(place, shared, pass, steps, rules);
    }
    // Files first, which the switch does not have; then a named location.
    let named = own("try_files")
        .and_then(|d| d.arguments.last())
        .filter(|last| last.starts_with('@'));
    let named = named.and_then(|name| {
        let mut all = place
            .server
            .inside()
            .iter()
            .filter(|d| d.name == "location");
        all.find(|d| d.word(0) == name)
    });
    if let Some(location) = named {
        let there = Place {
            scope: place.scope.inside(location.inside()),
            ..place.clone()
        };
        if location.inside().iter().any(|d| d.name == "proxy_pass") {
            return content(&there, shared, steps, rules);
        }
    }
    let other = [
        "fastcgi_pass",
        "uwsgi_pass",
        "scgi_pass",
        "memcached_pass",
        "stub_status",
    ];
    let why = match other.into_iter().find_map(own) {
        Some(directive) => format!("{}: {}", directive.origin(), reason(&directive.name)),
        None => "files are served here: name a pool of a server that has them".to_owned(),
    };
    rules.count(&format!(
        "{}:{}: {why}",
        place.server.file, place.server.line
    ));
    steps.end(String::new(), always(), End::Closed(why));
}

fn proxied(
    place: &Place<'_>,
    shared: &Shared<'_>,
    pass: &Directive,
    steps: &mut Steps,
    rules: &mut Rules,
) {
    if let Some(time) = response_timeout(place) {
        steps.edit(Edit::Key("response_timeout", time.into()));
    }
    let host = request_headers(place, steps, rules);
    let target = Target {
        place,
        shared,
        pass,
        host,
    };
    target.go(pass.word(0), &always(), steps, rules, 0);
}

/// The fields of requests. Whether `Host` is among them.
fn request_headers(place: &Place<'_>, steps: &mut Steps, rules: &mut Rules) -> bool {
    let mut host = false;
    for directive in place.scope.all(&["proxy_set_header", "grpc_set_header"]) {
        let (name, value) = (directive.word(0), directive.word(1));
        match name.to_ascii_lowercase().as_str() {
            "host" => {
                host = true;
                match value {
                    "$host" | "$http_host" | "$host:$server_port" | "${host}" => {}
                    "$proxy_host" => host = false,
                    value => match template(value, &place.known) {
                        Ok(name) if !name.contains('$') => {
                            steps.edit(Edit::Rewrite("hostname", name.into()))
                        }
                        _ => steps.note(
                            rules,
                            format!(
                                "{}: a host by a variable has no counterpart",
                                directive.origin()
                            ),
                        ),
                    },
                }
            }
            // The front says so itself, or does it by itself.
            "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host" | "connection"
            | "upgrade" | "te" => {}
            _ if value.is_empty() => steps.edit(Edit::RequestRemove(name.to_owned())),
            _ => match template(value, &place.known) {
                Ok(value) => steps.edit(Edit::RequestSet(name.to_owned(), value)),
                Err(why) => {
                    steps.note(
                        rules,
                        format!("{}: {why}: the client's is removed", directive.origin()),
                    );
                    steps.edit(Edit::RequestRemove(name.to_owned()));
                }
            },
        }
    }
    host
}

struct Target<'a, 'd> {
    place: &'a Place<'d>,
    shared: &'a Shared<'d>,
    pass: &'a Directive,
    host: bool,
}

impl Target<'_, '_> {
    /// Follows an URL, whose variables may choose.
    fn go(
        &self,
        url: &str,
        condition: &Condition,
        steps: &mut Steps,
        rules: &mut Rules,
        depth: usize,
    ) {
        let closed = |why: &str| End::Closed(format!("{}: {why}", self.pass.origin()));
        let all = parts(url);
        let variables: Vec<&String> = all
            .iter()
            .filter_map(|part| match part {
                Part::Variable(name) if name != "request_uri" && name != "uri" => Some(name),
                _ => None,
            })
            .collect();
        let name = match variables.as_slice() {
            [] => return self.pool(url, condition, steps, rules),
            [name] if depth < DEEPEST => name.as_str(),
            _ => {
                return steps.end(
                    String::new(),
                    condition.clone(),
                    closed("these variables have no counterpart"),
                );
            }
        };
        let filled = |value: &str| {
            url.replace(&format!("${{{name}}}"), value)
                .replace(&format!("${name}"), value)
        };
        match self.shared.variables.values(name, self.place.tls) {
            Ok(Values::ByCondition(values)) => {
                for (atom, value) in values {
                    let own = atom.map_or_else(always, only);
                    match crate::import::conditions_product(condition, &own) {
                        Ok(both) => self.go(&filled(&value), &both, steps, rules, depth + 1),
                        Err(why) => steps.note(rules, format!("{}: {why}", self.pass.origin())),
                    }
                }
            }
            Ok(Values::ByWeight(values)) => {
                let mut pools = Vec::new();
                for (value, weight) in values {
                    match self.known_pool(&filled(&value), rules) {
                        Ok(pool) => pools.push((pool, weight)),
                        Err(why) => {
                            return steps.end(String::new(), condition.clone(), closed(&why));
                        }
                    }
                }
                let note =
                    "split_clients keeps a client by its key: sticky = { cookie = \"…\" } does";
                steps.note(rules, format!("{}: {note}", self.pass.origin()));
                steps.end(self.pass.origin(), condition.clone(), End::Pools(pools));
            }
            Err(why) => steps.end(String::new(), condition.clone(), closed(&why)),
        }
    }

    /// The pool of an URL without variables.
    fn known_pool(&self, url: &str, rules: &mut Rules) -> Result<String, String> {
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(format!("`{url}` is no URL"));
        };
        let host = authority(rest);
        if host.is_empty() || host.contains('$') {
            return Err(format!("`{url}` has no host"));
        }
        let scope = &self.place.scope;
        let tls = matches!(scheme, "https" | "grpcs").then(|| self.tls());
        let retries = match (
            scope.one("proxy_next_upstream"),
            scope.word("proxy_next_upstream_tries"),
        ) {
            (Some(directive), _) if directive.word(0) == "off" => Some(Toml::Number(0)),
            (Some(directive), tries) => retries(directive, tries),
            (None, Some(tries)) => tries
                .parse::<i64>()
                .ok()
                .filter(|n| *n > 0)
                .map(|n| Toml::Number(n - 1)),
            (None, None) => None,
        };
        let towards = Towards {
            port: if tls.is_some() { 443 } else { 80 },
            tls,
            connect_timeout: scope.word("proxy_connect_timeout").and_then(duration),
            protocol: scheme.starts_with("grpc").then_some("http2"),
            send_proxy: false,
            retries,
        };
        Ok(self.shared.upstreams.pool(host, &towards, rules))
    }

    fn tls(&self) -> Toml {
        let scope = &self.place.scope;
        let mut tls = Toml::Table(Vec::new());
        if scope.is_on("proxy_ssl_verify") {
            if let Some(file) = scope.word("proxy_ssl_trusted_certificate") {
                tls.set("ca", self.shared.path(file).into());
            }
        } else {
            tls.set("verify", Toml::Bool(false));
        }
        if let Some(name) = scope
            .word("proxy_ssl_name")
            .filter(|name| !name.contains('$'))
        {
            tls.set("server_name", name.into());
        }
        if let (Some(cert), Some(key)) = (
            scope.word("proxy_ssl_certificate"),
            scope.word("proxy_ssl_certificate_key"),
        ) {
            let certificate = Toml::table([
                ("cert", self.shared.path(cert).into()),
                ("key", self.shared.path(key).into()),
            ]);
            tls.set("certificate", certificate);
        }
        match tls == Toml::Table(Vec::new()) {
            true => Toml::Bool(true),
            false => tls,
        }
    }

    fn pool(&self, url: &str, condition: &Condition, steps: &mut Steps, rules: &mut Rules) {
        let origin = self.pass.origin();
        let pool = match self.known_pool(url, rules) {
            Ok(pool) => pool,
            Err(why) => {
                return steps.end(
                    String::new(),
                    condition.clone(),
                    End::Closed(format!("{origin}: {why}")),
                );
            }
        };
        let rest = url.split_once("://").map_or("", |(_, rest)| rest);
        let host = authority(rest);
        let uri = rest.get(host.len()..).unwrap_or_default();
        let mut edits = Vec::new();
        let is_name = host.chars().any(|c| c.is_ascii_alphabetic())
            && !host.starts_with(['[', 'u'])
            || host.starts_with("u") && !host.starts_with("unix:");
        if !self.host && is_name && !self.shared.upstreams.has(host) {
            edits.push(Edit::Rewrite("hostname", host.into()));
        }
        match self.path(uri) {
            Ok(Some(path)) => edits.push(Edit::Rewrite("path", path)),
            Ok(None) => {}
            Err(why) => {
                return steps.end(
                    String::new(),
                    condition.clone(),
                    End::Closed(format!("{origin}: {why}")),
                );
            }
        }
        for edit in edits {
            steps.0.push(crate::import::flow::Step {
                origin: String::new(),
                condition: condition.clone(),
                effect: crate::import::flow::Effect::Edit(edit),
                guards: false,
            });
        }
        steps.end(self.origin(), condition.clone(), End::Pool(pool));
    }

    fn origin(&self) -> String {
        self.pass.origin()
    }

    /// What becomes of the path: the location's part is replaced by the URL's.
    fn path(&self, uri: &str) -> Result<Option<Toml>, String> {
        if matches!(uri, "" | "$request_uri" | "$uri") {
            return Ok(None);
        }
        if uri.contains(['$', '?']) {
            return Err("a path with variables or a query has no counterpart".to_owned());
        }
        let with = uri.replace('$', "$$");
        Ok(match &self.place.asked {
            Asked::Exact(_) => Some(Toml::table([("replace_full", uri.into())])),
            Asked::Prefix(prefix, _) if prefix == uri => None,
            Asked::Prefix(prefix, _)
                if prefix.len() > 1 && prefix.ends_with('/') && uri.ends_with('/') =>
            {
                Some(Toml::table([("replace_prefix", uri.into())]))
            }
            Asked::Prefix(prefix, _) => {
                let found = format!("^{}", regex::escape(prefix));
                Some(Toml::table([
                    ("replace_regex", found.into()),
                    ("with", with.into()),
                ]))
            }
            Asked::Regex(..) | Asked::Nothing => {
                return Err("a path is replaced where the location is one".to_owned());
            }
        })
    }
}

/// The host and port of an URL behind its scheme.
fn authority(rest: &str) -> &str {
    // unix:/path:/uri
    if let Some(path) = rest.strip_prefix("unix:") {
        let end = path.find(':').unwrap_or(path.len());
        return rest.get(..end + 5).unwrap_or(rest);
    }
    let end = rest.find(['/', '?', '$']).unwrap_or(rest.len());
    rest.get(..end).unwrap_or(rest)
}

fn retries(directive: &Directive, tries: Option<&str>) -> Option<Toml> {
    let mut on = Vec::new();
    for word in &directive.arguments {
        match word.as_str() {
            "error" => on.extend(["connect".into(), "reset".into()]),
            "timeout" => on.push("timeout".into()),
            word => {
                if let Some(status) = word
                    .strip_prefix("http_")
                    .and_then(|s| s.parse::<i64>().ok())
                {
                    on.push(Toml::Number(status));
                }
            }
        }
    }
    if on.is_empty() {
        return None;
    }
    let mut retries = Toml::table([("on", Toml::List(on))]);
    if let Some(tries) = tries
        .and_then(|tries| tries.parse::<i64>().ok())
        .filter(|n| *n > 1)
    {
        retries.set("attempts", Toml::Number(tries - 1));
    }
    Some(retries)
}
