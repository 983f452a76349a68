// SPDX-License-Identifier: MIT
//! A request that a route has taken: what its limits and its permissions say, and whether it has its answer already or goes on
//! to a pool.

use http::HeaderMap;
use http::HeaderValue;
use http::Method;
use http::StatusCode;
use http::header;
use l7switch_engine::table::Fields;
use l7switch_rules::model;
use l7switch_rules::model::Action;
use l7switch_rules::model::Maintenance;

use super::cors;
use super::forwarded;
use super::onward::Onward;
use super::plan::Asked;
use super::plan::Step;
use super::plan::location_value;
use super::plan::plan;
use super::variables::Edits;
use super::variables::Values;
use crate::client::Client;
use crate::http::answer;
use crate::http::answer::Answer;
use crate::net::clock::ns_of;
use crate::observe::log_limit;
use crate::observe::reason::Reason;
use crate::observe::reason::Refusal;
use crate::record::Record;
use crate::ruleset::filters::Edit;
use crate::ruleset::generation;
use crate::ruleset::generation::Generation;
use crate::ruleset::pages::Pages;
use l7switch_engine::flow::Refusal as Refused;

/// A request that a route has taken, and that its limits let through.
#[derive(Debug)]
pub struct Routed<'a> {
    /// The route, as the rules say.
    pub route: &'a model::Route,
    /// The route's filters, and what is kept for it.
    pub state: &'a generation::Route,
    /// Who is asked whether it goes on has said what goes with it.
    pub granted: Option<Box<Edit>>,
    service: &'a model::Service,
    generation: &'a Generation,
    pages: Pages<'a>,
    reads_pages: bool,
    is_https: bool,
    step: Step,
    edits: Option<Box<Edits<'a>>>,
    cors: Option<Box<Edit>>,
}

fn refuse(record: &mut Record, refusal: &Refusal, method: &Method) -> Box<Answer> {
    record.refused(refusal.reason);
    Box::new(answer::refuse(refusal, method))
}

/// The same, or the page in its place.
fn refuse_by_page(
    record: &mut Record,
    pages: Pages<'_>,
    reads_pages: bool,
    refusal: &Refusal,
    method: &Method,
) -> Box<Answer> {
    let response = refuse(record, refusal, method);
    match pages.of(response.status()).filter(|_| reads_pages) {
        Some(page) => Box::new(answer::page(page, &response, method)),
        None => response,
    }
}

/// What becomes of a request by the rules in force: a route takes it, whose rate limit it does not exceed.
///
/// # Errors
///
/// It has its answer already.
pub fn routed<'a, F: Fields + ?Sized>(
    client: &Client,
    generation: &'a Generation,
    asked: &Asked<'_, F>,
    method: &Method,
    record: &mut Record,
) -> Result<Routed<'a>, Box<Answer>> {
    let Some((index, model, service)) = generation.service(&client.service) else {
        let refusal = Refusal::new(
            Reason::Draining,
            StatusCode::SERVICE_UNAVAILABLE,
            "the service was removed from the rules",
        );
        let mut response = refuse(record, &refusal, method);
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
        return Err(response);
    };
    // Before all rules: the authority has no part in them.
    if client.scheme == "http"
        && [Method::GET, Method::HEAD].contains(method)
        && let Some(challenge) = client.core.acme.challenges.http(asked.target.path)
    {
        return Err(Box::new(answer::challenge(challenge, method)));
    }
    let pages = Pages([&[], &service.pages]);
    let refuse = |record: &mut Record, refusal: &Refusal| {
        refuse_by_page(record, pages, asked.reads_pages, refusal, method)
    };
    if let Maintenance::Except(who) = &model.maintenance
        && !who.iter().any(|prefix| prefix.contains(&asked.source.ip()))
    {
        let refusal = Refusal::new(
            Reason::Maintenance,
            StatusCode::SERVICE_UNAVAILABLE,
            "the service is closed for maintenance",
        );
        return Err(refuse(record, &refusal));
    }
    let plan = plan(generation, index, model, asked).map_err(|refusal| {
        if refusal.reason != Reason::NoRoute {
            log_limit::hostile(refusal.reason, asked.source, &refusal.detail);
        }
        refuse(record, &refusal)
    })?;
    let (Some(route), Some(state)) = (model.routes.get(plan.route), service.routes.get(plan.route))
    else {
        return Err(refuse(record, &Refusal::internal("no such route")));
    };
    record.routed(&state.stats);
    record.describe(|line| line.route.clone_from(&state.label));
    let has_template = matches!(&route.action, Action::Redirect(to) if to.location.is_some());
    let edits = (state.filters.has_variables || has_template).then(|| {
        let is_trusted = forwarded::is_trusted(&model.trusted, client.peer.ip());
        let values = Values::new(client, asked, is_trusted, &state.label, record.context());
        record.describe(|line| values.request_id().clone_into(&mut line.request_id));
        Box::new(Edits::new(&route.filters, values))
    });
    let cors = route.cors.as_ref();
    let cors = cors.map(|rules| cors::asked(rules, asked.method, asked.fields));
    let (preflight, cors) = match cors {
        Some(cors::Asked::Preflight(answer)) => (Some(answer), None),
        Some(cors::Asked::Request(edit)) => (None, Some(edit)),
        None => (None, None),
    };
    let routed = Routed {
        route,
        state,
        granted: None,
        service: model,
        generation,
        pages: Pages([&state.pages, &service.pages]),
        reads_pages: asked.reads_pages,
        is_https: asked.scheme == "https",
        step: plan.step,
        edits,
        cors,
    };
    if let Some(limiter) = &state.rate_limit {
        let now = ns_of(record.began());
        let source = asked.source.ip();
        let is_over = client.refusal == Some(Refused::RateLimit);
        if let Err(seconds) = limiter.take(source, asked.fields, now, is_over) {
            let refusal = Refusal::new(
                Reason::RateLimited,
                StatusCode::TOO_MANY_REQUESTS,
                "more requests than the rate limit allows",
            );
            log_limit::hostile(refusal.reason, asked.source, &refusal.detail);
            let more = [(header::RETRY_AFTER, HeaderValue::from(seconds))];
            return Err(routed.refuse(&refusal, more, method, record));
        }
    }
    if let Some(mut answer) = preflight {
        routed.edit_response(answer.headers_mut());
        return Err(Box::new(answer));
    }
    Ok(routed)
}

impl<'a> Routed<'a> {
    /// The answer to a request that is refused, with these fields more, edited as the route's responses are.
    pub fn refuse(
        &self,
        refusal: &Refusal,
        more: impl IntoIterator<Item = (http::HeaderName, HeaderValue)>,
        method: &Method,
        record: &mut Record,
    ) -> Box<Answer> {
        let mut answer = refuse_by_page(record, self.pages, self.reads_pages, refusal, method);
        let headers = answer.headers_mut();
        headers.extend(more);
        self.edit_response(headers);
        answer
    }

    /// Makes the route's edits of responses.
    pub fn edit_response(&self, headers: &mut HeaderMap) {
        match &self.edits {
            Some(edits) => edits.response().apply(headers),
            None => self.state.filters.response.apply(headers),
        }
        if let Some(cors) = &self.cors {
            cors.apply(headers);
        }
    }

    /// All pools.
    pub const fn generation(&self) -> &'a Generation {
        self.generation
    }

    /// Proxies whose fields are believed.
    pub fn trusted(&self) -> &'a [ipnet::IpNet] {
        &self.service.trusted
    }

    /// Whether somebody has to say first that it may go on.
    pub const fn needs_permission(&self) -> bool {
        self.state.users.is_some() || self.route.external_auth.is_some()
    }

    /// The request is this user's.
    pub fn has_user(&mut self, user: &str) {
        if let Some(edits) = &mut self.edits {
            edits.has_user(user);
        }
    }

    /// Does what the route says: the request goes on to a pool.
    ///
    /// # Errors
    ///
    /// It has its answer already.
    pub fn onward(self, method: &Method, record: &mut Record) -> Result<Onward<'a>, Box<Answer>> {
        let refuse = |record: &mut Record, refusal: &Refusal| {
            refuse_by_page(record, self.pages, self.reads_pages, refusal, method)
        };
        let mut response = match (&self.step, &self.route.action) {
            (Step::Forward { .. }, _) => return self.forward(method, record),
            (Step::Redirect { status, location }, action) => {
                let template = match action {
                    Action::Redirect(redirect) => redirect.location.as_ref(),
                    Action::Forward(_) | Action::Respond(_) => None,
                };
                let location = match (location, template, &self.edits) {
                    (Some(location), ..) => Ok(location.clone()),
                    (None, Some(template), Some(edits)) => {
                        location_value(&edits.values().fill(template))
                    }
                    (None, ..) => Err(Refusal::internal("no location")),
                };
                match location {
                    Ok(location) => answer::redirect(*status, location, method),
                    Err(refusal) => return Err(refuse(record, &refusal)),
                }
            }
            (Step::Respond, Action::Respond(fixed)) => {
                answer::fixed(fixed, &self.state.content, method)
            }
            (Step::Respond, _) => return Err(refuse(record, &Refusal::internal("no response"))),
        };
        self.edit_response(response.headers_mut());
        Err(Box::new(response))
    }

    fn forward(self, method: &Method, record: &mut Record) -> Result<Onward<'a>, Box<Answer>> {
        let Step::Forward {
            pool: number,
            server,
            keeps,
            rewritten,
            hash,
            mirror,
        } = self.step
        else {
            let refusal = Refusal::internal("no pool");
            return Err(refuse(record, &refusal, method));
        };
        let Some(pool) = self.generation.pools.get(number) else {
            let refusal = Refusal::internal("no such pool");
            return Err(refuse(record, &refusal, method));
        };
        let mut edits = self.edits;
        if let Some(edits) = &mut edits {
            edits.chosen(&pool.config().name);
        }
        Ok(Onward {
            service: self.service,
            route: self.route,
            state: self.state,
            pool,
            generation: self.generation,
            pages: self.pages,
            stays: server,
            keeps,
            set_cookie: None,
            cors: self.cors,
            rewritten,
            hash,
            mirror,
            granted: self.granted,
            is_https: self.is_https,
            edits,
        })
    }
}
