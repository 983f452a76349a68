// SPDX-License-Identifier: MIT
//! The explanation of a match: which service and route take a request, why, and what fails in the others.

use std::fmt;
use std::net::IpAddr;
use std::net::Ipv4Addr;

use l7switch_engine::uri;
use serde::Serialize;

use crate::RuleSet;
use crate::automata::Cache;
use crate::compile::allow;
use crate::evaluate::Ask;
use crate::evaluate::Failure;
use crate::evaluate::Fields;
use crate::evaluate::Verdict;
use crate::evaluate::describe_path;
use crate::evaluate::evaluate_all;
use crate::model::*;

/// A request as an administrator describes it.
#[derive(Clone, Debug)]
pub struct Question {
    /// A URL (`http`, `https`; `tls` or `tcp` with an authority only), or a path with `Host` in `headers`.
    pub url: String,
    /// Method; `GET` unless given.
    pub method: Option<String>,
    /// Header fields.
    pub headers: Vec<(String, String)>,
    /// The client's address; 192.0.2.1 (RFC 5737) unless given.
    pub source: Option<IpAddr>,
    /// TLS server name; the URL's host unless given.
    pub sni: Option<String>,
    /// Service, where the URL does not tell.
    pub service: Option<String>,
}

/// Why there is no explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuestionError(String);

impl fmt::Display for QuestionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for QuestionError {}

fn wrong<T>(message: impl Into<String>) -> Result<T, QuestionError> {
    Err(QuestionError(message.into()))
}

/// What is done with the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Forwarded to a pool.
    Forward,
    /// Answered by the switch.
    Respond,
    /// Sent elsewhere.
    Redirect,
    /// Refused with 400 before any route is tried.
    Refuse,
    /// No route takes it: 404, or a closed connection where there is no HTTP.
    None,
}

/// A pool and its part of the requests.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Share {
    /// Pool.
    pub name: String,
    /// Weight.
    pub weight: u32,
    /// Scheduler of the pool.
    pub scheduler: &'static str,
    /// Its servers with their weights.
    pub servers: Vec<RealServer>,
}

/// One route and how it fared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Considered {
    /// Name or `#n`.
    pub route: String,
    /// Whether it takes the request.
    pub matched: bool,
    /// Conditions that failed.
    pub failed: Vec<Failure>,
    /// Where it takes the request and does not win: the step of the order that decides.
    pub beaten_by: Option<&'static str>,
}

/// The explanation. The JSON form has these keys.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// Service.
    pub service: String,
    /// How the service was found.
    pub service_why: String,
    /// Winning route: name, or `#n` by position from 1.
    pub route: Option<String>,
    /// Pool; of several the one with the greatest weight (all are in `pools`).
    pub pool: Option<String>,
    /// All pools of the route.
    pub pools: Vec<Share>,
    /// What is done.
    pub action: Outcome,
    /// Status of the answer where the switch answers itself.
    pub status: Option<u16>,
    /// Why the request is refused.
    pub refused: Option<String>,
    /// What decided, in words.
    pub why: String,
    /// What was compared: host, path, method.
    pub host: String,
    /// Path in comparison form.
    pub path: String,
    /// Method.
    pub method: String,
    /// Filters of the route.
    pub filters: Filters,
    /// Details of a redirect.
    pub redirect: Option<Redirect>,
    /// Every route of the service: those that take the request first, by rank.
    pub considered: Vec<Considered>,
}

/// A URL taken apart.
struct Url<'a> {
    scheme: Option<&'a str>,
    authority: &'a str,
    path: &'a str,
    query: &'a str,
}

fn split_url(url: &str) -> Result<Url<'_>, QuestionError> {
    if url.bytes().any(|b| b <= b' ' || b == 0x7f) {
        return wrong(format!(
            "`{}` holds white space or control characters: write them as %XX",
            url.escape_debug()
        ));
    }
    let (scheme, authority, rest) = match url.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (authority, rest) = rest.split_at(end);
            (Some(scheme), authority, rest)
        }
        None if url.starts_with('/') || url == "*" => (None, "", url),
        None => {
            return wrong(format!(
                "`{url}` is neither a URL nor a path: write http://{url}"
            ));
        }
    };
    if !matches!(scheme, None | Some("http" | "https" | "tls" | "tcp")) {
        return wrong(format!(
            "scheme `{}` is not one of http, https, tls, tcp",
            scheme.unwrap_or("")
        ));
    }
    // A fragment is never sent.
    let rest = rest.split('#').next().unwrap_or(rest);
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    Ok(Url {
        scheme,
        authority,
        path,
        query,
    })
}

fn protocols(scheme: Option<&str>) -> &'static [Protocol] {
    match scheme {
        Some("https") => &[Protocol::Https, Protocol::Tls],
        Some("tls") => &[Protocol::Tls],
        Some("tcp") => &[Protocol::Tcp],
        Some(_) => &[Protocol::Http],
        None => &[Protocol::Http, Protocol::Https],
    }
}

/// The service that a URL leads to, and how that is known.
fn find_service<'m>(
    model: &'m Model,
    url: &Url<'_>,
    name: Option<&str>,
) -> Result<(usize, &'m Service, String), QuestionError> {
    let names = |services: &[(usize, &Service)]| {
        services
            .iter()
            .map(|(_, s)| s.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let all: Vec<(usize, &Service)> = model.services.iter().enumerate().collect();
    if let Some(name) = name {
        return match all.iter().find(|(_, s)| s.name == name) {
            Some((number, service)) => Ok((*number, service, "named".to_owned())),
            None => wrong(format!(
                "there is no service `{name}`; there are: {}",
                names(&all)
            )),
        };
    }
    let spoken = protocols(url.scheme);
    let fitting: Vec<(usize, &Service)> = all
        .iter()
        .copied()
        .filter(|(_, s)| spoken.contains(&s.protocol))
        .collect();
    let (host, port) = uri::split_port(url.authority.as_bytes())
        .map_err(|error| QuestionError(format!("`{}`: {error}", url.authority)))?;
    let default_port = if url.scheme.is_some_and(|s| s == "https" || s == "tls") {
        443
    } else {
        80
    };
    let port = port.unwrap_or(default_port);
    if url.scheme.is_some() {
        let address = std::str::from_utf8(host)
            .ok()
            .map(|h| h.trim_matches(['[', ']']));
        let address = address.and_then(|h| h.parse::<IpAddr>().ok());
        let by_port: Vec<(usize, &Service)> = fitting
            .iter()
            .copied()
            .filter(|(_, s)| s.listen.iter().any(|l| l.port() == port))
            .collect();
        let by_address: Vec<(usize, &Service)> = by_port
            .iter()
            .copied()
            .filter(|(_, s)| {
                s.listen
                    .iter()
                    .any(|l| l.port() == port && Some(l.ip()) == address)
            })
            .collect();
        let found = if by_address.is_empty() {
            &by_port
        } else {
            &by_address
        };
        match found.as_slice() {
            [(number, service)] => {
                return Ok((*number, service, format!("it listens on port {port}")));
            }
            [] => {}
            several => {
                let names = names(several);
                return wrong(format!(
                    "port {port} is served by {names}: choose one with --service"
                ));
            }
        }
    }
    match fitting.as_slice() {
        [(number, service)] => {
            let kind = service.protocol.as_str();
            let why = if url.scheme.is_some() {
                format!("the only {kind} service (none listens on port {port})")
            } else {
                format!("the only {kind} service")
            };
            Ok((*number, service, why))
        }
        [] => wrong(format!(
            "no service speaks {}; there are: {}",
            url.scheme.unwrap_or("http"),
            names(&all)
        )),
        several => wrong(format!(
            "which service? choose one of {} with --service",
            names(several)
        )),
    }
}

/// What the request is compared by, and why it is refused before that, if it is.
fn ask(
    question: &Question,
    url: &Url<'_>,
    service: &Service,
) -> Result<(Ask, Option<String>), QuestionError> {
    let header = |name: &str| {
        question
            .headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    };
    for (name, value) in &question.headers {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(token) {
            return wrong(format!("`{name}` is not a header field name"));
        }
        if value.bytes().any(|b| b < b' ' && b != b'\t' || b == 0x7f) {
            return wrong(format!("the value of `{name}` holds control characters"));
        }
    }
    let http = service.protocol.is_http();
    let source = question
        .source
        .unwrap_or(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)))
        .to_canonical();
    // An absolute-form target overrides Host (RFC 9112, 3.2.2), but curl and people set Host to override
    // a URL's authority: that is what is sent.
    let raw_host = if http {
        header("host").unwrap_or(url.authority)
    } else {
        question.sni.as_deref().unwrap_or(url.authority)
    };
    let mut ask = Ask {
        method: if http {
            question.method.clone().unwrap_or_else(|| "GET".into())
        } else {
            String::new()
        },
        host: String::new(),
        path: String::new(),
        query: String::new(),
        headers: Fields::default(),
        source,
    };
    if service.protocol != Protocol::Tcp {
        let mut buf = [0; uri::MAX_HOST];
        match uri::host(raw_host.as_bytes(), &mut buf) {
            Ok(form) => ask.host = String::from_utf8_lossy(form).into_owned(),
            Err(error) => return Ok((ask, Some(format!("{error}: `{raw_host}`")))),
        }
    }
    if !http {
        return Ok((ask, None));
    }
    ask.query = url.query.to_owned();
    let mut headers: Vec<(String, Vec<u8>)> = question
        .headers
        .iter()
        .map(|(n, v)| (n.clone(), v.trim_matches([' ', '\t']).as_bytes().to_vec()))
        .collect();
    if header("host").is_none() {
        headers.insert(0, ("Host".into(), url.authority.as_bytes().to_vec()));
    }
    ask.headers = Fields(headers);
    let raw = url.path.as_bytes();
    if !raw.is_ascii() {
        return wrong("the path has characters beyond ASCII: write them as %XX");
    }
    let mut scratch = vec![0; raw.len()];
    match uri::normalise(raw, allow(service.allow), &mut scratch) {
        Ok(path) => ask.path = String::from_utf8_lossy(path).into_owned(),
        Err(error) => {
            ask.path = url.path.to_owned();
            return Ok((ask, Some(error.to_string())));
        }
    }
    Ok((ask, None))
}

/// The step of the order in which a winner ranks before another route.
fn deciding_step(winner: &Verdict, other: &Verdict) -> &'static str {
    let (a, a_source, _) = &winner.rank;
    let (b, b_source, _) = &other.rank;
    a.differs_from(b).unwrap_or(if a_source != b_source {
        "longer source prefix"
    } else {
        "earlier in the file"
    })
}

/// Explains what happens to a request.
///
/// # Errors
///
/// [`QuestionError`] where the question itself makes no sense, or leads to no service.
pub fn explain(rules: &RuleSet, question: &Question) -> Result<Explanation, QuestionError> {
    let model = &rules.model;
    let url = split_url(&question.url)?;
    let (number, service, service_why) = find_service(model, &url, question.service.as_deref())?;
    let (ask, refused) = ask(question, &url, service)?;
    let mut explanation = Explanation {
        service: service.name.clone(),
        service_why,
        route: None,
        pool: None,
        pools: Vec::new(),
        action: Outcome::None,
        status: None,
        refused: None,
        why: String::new(),
        host: ask.host.clone(),
        path: ask.path.clone(),
        method: ask.method.clone(),
        filters: Filters::default(),
        redirect: None,
        considered: Vec::new(),
    };
    if let Some(why) = refused {
        explanation.action = Outcome::Refuse;
        explanation.status = Some(400);
        explanation.why = format!("refused before any route is tried: {why}");
        explanation.refused = Some(why);
        return Ok(explanation);
    }
    let verdicts = evaluate_all(service, &ask, &mut Cache::default());
    // The table decides, as it does for real requests; the verdicts say why.
    let winner = u32::try_from(number)
        .ok()
        .and_then(|number| rules.table.route(number, &ask.as_request()))
        .and_then(|position| usize::try_from(position).ok());
    let winning = verdicts.iter().find(|v| Some(v.position) == winner);
    explanation.considered = verdicts
        .iter()
        .map(|verdict| Considered {
            route: label(service, verdict.position),
            matched: verdict.failed.is_empty(),
            failed: verdict.failed.clone(),
            beaten_by: winning
                .filter(|w| verdict.failed.is_empty() && w.position != verdict.position)
                .map(|w| deciding_step(w, verdict)),
        })
        .collect();
    let Some((winning, route)) = winning.and_then(|w| Some((w, service.routes.get(w.position)?)))
    else {
        explanation.why = "no route takes it".to_owned();
        explanation.status = service.protocol.is_http().then_some(404);
        return Ok(explanation);
    };
    explanation.route = Some(label(service, winning.position));
    explanation.why = why(winning, &explanation.considered);
    explanation.filters = route.filters.clone();
    match &route.action {
        Action::Forward(shares) => {
            explanation.action = Outcome::Forward;
            explanation.pools = shares.iter().filter_map(|s| share(model, s)).collect();
            let heaviest = shares.iter().rev().max_by_key(|s| s.weight);
            explanation.pool = heaviest
                .and_then(|s| model.pools.get(s.pool))
                .map(|p| p.name.clone());
        }
        Action::Respond(respond) => {
            explanation.action = Outcome::Respond;
            explanation.status = Some(respond.status);
        }
        Action::Redirect(redirect) => {
            explanation.action = Outcome::Redirect;
            explanation.status = Some(redirect.status);
            explanation.redirect = Some(redirect.clone());
        }
    }
    Ok(explanation)
}

fn label(service: &Service, position: usize) -> String {
    service
        .routes
        .get(position)
        .map_or_else(String::new, |r| r.label(position))
}

fn share(model: &Model, share: &PoolShare) -> Option<Share> {
    let pool = model.pools.get(share.pool)?;
    Some(Share {
        name: pool.name.clone(),
        weight: share.weight,
        scheduler: pool.scheduler.kind.as_str(),
        servers: pool.servers.clone(),
    })
}

fn why(winning: &Verdict, considered: &[Considered]) -> String {
    let mut by = Vec::new();
    match &winning.host {
        Some(HostMatch::Exact(name)) => by.push(format!("host {name}")),
        Some(HostMatch::Wildcard(domain)) => by.push(format!("host *.{domain}")),
        None => {}
    }
    by.extend(
        winning
            .path
            .as_ref()
            .map(|p| format!("path {}", describe_path(p))),
    );
    by.extend(
        winning
            .source
            .map(|length| format!("source prefix /{length}")),
    );
    let taken = if by.is_empty() {
        "takes every request".to_owned()
    } else {
        format!("takes it by {}", by.join(", "))
    };
    let others = considered.iter().filter(|c| c.beaten_by.is_some()).count();
    match others {
        0 => format!("{taken}; no other route takes it"),
        1 => format!("{taken}; it ranks before 1 other that takes it too"),
        n => format!("{taken}; it ranks before {n} others that take it too"),
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "service  {}  ({})", self.service, self.service_why)?;
        let what: Vec<&str> = [self.method.as_str(), self.host.as_str(), self.path.as_str()]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect();
        writeln!(f, "request  {}", what.join(" "))?;
        writeln!(f, "route    {}", self.route.as_deref().unwrap_or("none"))?;
        writeln!(f, "why      {}", self.why)?;
        match (self.action, self.status, &self.redirect) {
            (Outcome::Forward, ..) => {
                let total: u64 = self.pools.iter().map(|p| u64::from(p.weight)).sum();
                for pool in &self.pools {
                    write!(f, "pool     {}", pool.name)?;
                    if self.pools.len() > 1 {
                        write!(f, "  {} of {total} requests", pool.weight)?;
                    }
                    let servers: Vec<String> = pool
                        .servers
                        .iter()
                        .map(|s| format!("{} weight {}", s.address, s.weight))
                        .collect();
                    writeln!(f, "  scheduler {}: {}", pool.scheduler, servers.join(", "))?;
                }
            }
            (Outcome::Redirect, Some(status), Some(redirect)) => {
                write!(f, "action   redirect {status}")?;
                for (key, value) in [("scheme", &redirect.scheme), ("host", &redirect.hostname)] {
                    if let Some(value) = value {
                        write!(f, " {key} {value}")?;
                    }
                }
                if let Some(port) = redirect.port {
                    write!(f, " port {port}")?;
                }
                match &redirect.path {
                    Some(PathRewrite::ReplaceFull(path)) => write!(f, " path {path}")?,
                    Some(PathRewrite::ReplacePrefix(path)) => write!(f, " prefix becomes {path}")?,
                    None => {}
                }
                writeln!(f)?;
            }
            (Outcome::Respond, Some(status), _) => writeln!(f, "action   respond {status}")?,
            (_, Some(status), _) => writeln!(f, "action   answered {status} by the switch")?,
            _ => writeln!(f, "action   the connection is closed")?,
        }
        self.fmt_filters(f)?;
        const SHOWN: usize = 20;
        for other in self
            .considered
            .iter()
            .filter(|c| Some(&c.route) != self.route.as_ref())
            .take(SHOWN)
        {
            write!(f, "other    {}: ", other.route)?;
            match other.beaten_by {
                Some(step) => writeln!(f, "takes it too, but the winner is preferred by: {step}")?,
                None => {
                    let failures: Vec<String> = other
                        .failed
                        .iter()
                        .map(|x| {
                            let found = x.found.as_deref().unwrap_or("nothing");
                            format!("{} wants {}, found {found}", x.condition, x.wants)
                        })
                        .collect();
                    writeln!(f, "{}", failures.join("; "))?;
                }
            }
        }
        let rest = self
            .considered
            .len()
            .saturating_sub(SHOWN + usize::from(self.route.is_some()));
        if rest > 0 {
            writeln!(f, "         and {rest} more (all with --json)")?;
        }
        Ok(())
    }
}

impl Explanation {
    fn fmt_filters(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let filters = &self.filters;
        for (what, edit) in [
            ("request", &filters.request_headers),
            ("response", &filters.response_headers),
        ] {
            for name in &edit.remove {
                writeln!(f, "filter   {what}: remove {name}")?;
            }
            for (name, value) in &edit.set {
                writeln!(f, "filter   {what}: set {name}: {value}")?;
            }
            for (name, value) in &edit.add {
                writeln!(f, "filter   {what}: add {name}: {value}")?;
            }
        }
        if let Some(host) = &filters.rewrite_hostname {
            writeln!(f, "filter   rewrite host to {host}")?;
        }
        match &filters.rewrite_path {
            Some(PathRewrite::ReplaceFull(path)) => writeln!(f, "filter   rewrite path to {path}")?,
            Some(PathRewrite::ReplacePrefix(path)) => {
                writeln!(f, "filter   rewrite prefix to {path}")?
            }
            None => {}
        }
        if let Some(time) = filters.response_timeout {
            writeln!(f, "filter   response timeout {} ms", time.as_millis())?;
        }
        Ok(())
    }
}
