// SPDX-License-Identifier: MIT
//! The explanation of a match: which service and route take a request, why, and what fails in the others.

mod pool;
mod question;
mod show;

use l7switch_engine::policy::can_reach;
use l7switch_engine::table::Table;
use serde::Serialize;

use crate::automata::Cache;
use crate::evaluate::Ask;
use crate::evaluate::Failure;
use crate::evaluate::Verdict;
use crate::evaluate::describe_path;
use crate::evaluate::evaluate_all;
use crate::front_only;
use crate::front_only::FrontOnly;
use crate::model::*;
use crate::rewrite::Rewrite;

pub use question::Question;
pub use question::QuestionError;
pub use question::Url;
pub use question::split_url;

use question::ask;
use question::find_service;

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

/// Who serves a request where the kernel module is loaded; without it, it is the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    /// The kernel module.
    Kernel,
    /// The front.
    Front,
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
    /// Its servers with their weights; backups last.
    pub servers: Vec<RealServer>,
    /// Its servers that are given by name, whose addresses are not known here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<NamedServer>,
    /// The pool that takes the requests while none of them can.
    pub fallback: Option<String>,
    /// HTTP towards the servers.
    pub protocol: ServerProtocol,
    /// Whether it is encrypted.
    pub tls: bool,
    /// The PROXY header that servers get.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_proxy: Option<&'static str>,
    /// Active checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Who may wait, where servers have a bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<Queue>,
    /// When a request is sent to another server.
    pub retries: Retries,
    /// How long the weight of a server rises that comes up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<std::time::Duration>,
}

/// Another pool that has to do with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Aside {
    /// Pool.
    pub pool: String,
    /// Path that its servers are asked for, where it is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// How many of a hundred requests it gets.
    pub percent: u32,
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
    /// How many requests may come in what time.
    pub rate_limit: Option<RateLimit>,
    /// Longest content of a request that is forwarded.
    pub body_limit: Option<u64>,
    /// The cookie by which the client stays at its server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sticky: Option<String>,
    /// Path and query that the server gets, where they are not those that were sent. `None` too where the rewritten path would be
    /// refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewritten: Option<String>,
    /// What browsers show when they ask for the password, where one is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<String>,
    /// Who is asked whether the request goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_auth: Option<Aside>,
    /// Who gets copies of requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<Aside>,
    /// Pages in place of errors: the first one that is for a status counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub error_pages: Vec<Page>,
    /// Details of a redirect.
    pub redirect: Option<Redirect>,
    /// Which data path serves it where the kernel module is loaded.
    pub datapath: Path,
    /// Why, in words.
    pub datapath_why: &'static str,
    /// Every route of the service: those that take the request first, by rank.
    pub considered: Vec<Considered>,
}

impl Explanation {
    /// As it is while the kernel module does not have the rules, for which there is a reason.
    #[must_use]
    pub fn without_kernel(mut self, why: &'static str) -> Self {
        if self.datapath == Path::Kernel {
            (self.datapath, self.datapath_why) = (Path::Front, why);
        }
        self
    }

    /// The pools that may get the request, copies of it or a question about it.
    pub fn reaches(&self) -> impl Iterator<Item = &str> {
        let asides = [&self.external_auth, &self.mirror].into_iter().flatten();
        let shares = self.pools.iter();
        let fallbacks = shares.clone().filter_map(|share| share.fallback.as_deref());
        (shares.map(|share| share.name.as_str()))
            .chain(fallbacks)
            .chain(asides.map(|aside| aside.pool.as_str()))
    }
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

/// Explains what happens to a request by rules and their table.
///
/// # Errors
///
/// [`QuestionError`] where the question itself makes no sense, or leads to no service.
pub fn explain(
    model: &Model,
    table: &Table<Vec<u8>>,
    question: &Question,
) -> Result<Explanation, QuestionError> {
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
        rate_limit: None,
        body_limit: None,
        sticky: None,
        rewritten: None,
        basic_auth: None,
        external_auth: None,
        mirror: None,
        error_pages: Vec::new(),
        redirect: None,
        datapath: Path::Front,
        datapath_why: "the front answers requests that are not forwarded",
        considered: Vec::new(),
    };
    if let Maintenance::Except(who) = &service.maintenance
        && !who.iter().any(|prefix| prefix.contains(&ask.source))
    {
        explanation.action = Outcome::Refuse;
        explanation.status = Some(503);
        let why = format!("closed for maintenance to {}", ask.source);
        explanation.why = format!("refused before any route is tried: {why}");
        explanation.refused = Some(why);
        explanation.error_pages.clone_from(&service.error_pages);
        return Ok(explanation);
    }
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
        .and_then(|number| table.route(number, &ask.as_request()))
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
        explanation.why = "no route matches".to_owned();
        explanation.status = service.protocol.is_http().then_some(404);
        return Ok(explanation);
    };
    explanation.route = Some(label(service, winning.position));
    explanation.why = why(route, winning, &explanation.considered);
    explanation.filters = route.filters.clone();
    explanation.rate_limit.clone_from(&route.rate_limit);
    (explanation.datapath, explanation.datapath_why) =
        match front_only::own_path(model, service, &ask.path) {
            Some(why) => (Path::Front, why),
            None => datapath(model, service, route),
        };
    let pool = |number| model.pools.get(number).map(|pool: &Pool| pool.name.clone());
    explanation.basic_auth = route.basic_auth.as_ref().map(|auth| auth.realm.clone());
    explanation.external_auth = route.external_auth.as_ref().and_then(|auth| {
        Some(Aside {
            pool: pool(auth.pool)?,
            path: Some(auth.path.clone()),
            percent: 100,
        })
    });
    explanation.mirror = route.mirror.as_ref().and_then(|mirror| {
        Some(Aside {
            pool: pool(mirror.pool)?,
            path: None,
            percent: mirror.percent,
        })
    });
    let pages = route.error_pages.iter().chain(&service.error_pages);
    explanation.error_pages = pages.cloned().collect();
    match &route.action {
        Action::Forward(shares) => {
            explanation.action = Outcome::Forward;
            explanation.rewritten = rewritten(route, &ask);
            explanation.body_limit = route.body_limit.or(service.limits.body);
            explanation.sticky = route.sticky.as_ref().map(|sticky| sticky.cookie.clone());
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

/// Path and query that the server gets, where the route changes the path.
fn rewritten(route: &Route, ask: &Ask) -> Option<String> {
    let rewrite = Rewrite::new(route.filters.rewrite_path.as_ref()?).ok()?;
    let path = rewrite.path(&route.paths, &ask.path)?;
    Some(match ask.query.is_empty() {
        true => path,
        false => format!("{path}?{}", ask.query),
    })
}

/// Which data path serves a route's requests, and why.
fn datapath(model: &Model, service: &Service, route: &Route) -> (Path, &'static str) {
    let only = FrontOnly::of(model);
    let front = only.service(service).or_else(|| only.route(route));
    match (front, service.protocol, &route.action) {
        (_, Protocol::Https, _) => (Path::Front, "the front terminates TLS"),
        (Some(why), ..) => (Path::Front, why),
        (.., Action::Forward(shares)) if all_at_loopback(model, shares) => (
            Path::Front,
            "its servers have loopback addresses, which packets of other hosts cannot reach",
        ),
        (_, Protocol::Http, _) => (
            Path::Kernel,
            "the module reads the request's head and splices the connections",
        ),
        (_, Protocol::Tls, _) => (
            Path::Kernel,
            "the module reads the TLS server name and splices the connections",
        ),
        (_, Protocol::Tcp, _) => (Path::Kernel, "the module splices the connections"),
    }
}

/// Whether the module has no server for another host's client ([`can_reach`]).
fn all_at_loopback(model: &Model, shares: &[PoolShare]) -> bool {
    let mut pools = shares
        .iter()
        .filter_map(|share| model.pools.get(share.pool));
    pools.all(|pool| {
        // What a name's addresses are is not known here.
        pool.names.is_empty()
            && pool.servers.iter().all(|server| {
                // A Unix socket is the front's affair.
                server.address.inet().is_some_and(|server| {
                    let server = address_bytes(server.ip());
                    // Of the same family: a client of the other one has no server either way.
                    !can_reach(&server, &server, || false)
                })
            })
    })
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
        names: pool.names.clone(),
        fallback: pool
            .fallback
            .and_then(|number| model.pools.get(number))
            .map(|pool| pool.name.clone()),
        protocol: pool.protocol,
        tls: pool.tls.is_some(),
        send_proxy: pool.send_proxy.map(ProxyVersion::name),
        health: pool.health.clone(),
        queue: pool.is_bounded().then_some(pool.queue),
        retries: pool.retries.clone(),
        slow_start: pool.slow_start,
    })
}

fn why(route: &Route, winning: &Verdict, considered: &[Considered]) -> String {
    let mut by = Vec::new();
    match &winning.host {
        Some(HostMatch::Exact(name)) => by.push(format!("host {name}")),
        Some(HostMatch::Wildcard(domain)) => by.push(format!("host *.{domain}")),
        None if route.host_regexes.is_empty() => {}
        None => by.push(format!("host regex {}", route.host_regexes.join(" or "))),
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
        "matches every request".to_owned()
    } else {
        format!("matches by {}", by.join(", "))
    };
    let others = considered.iter().filter(|c| c.beaten_by.is_some()).count();
    match others {
        0 => format!("{taken}; no other route matches"),
        1 => format!("{taken}; it wins over 1 other route that matches"),
        n => format!("{taken}; it wins over {n} other routes that match"),
    }
}
