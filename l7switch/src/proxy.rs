// SPDX-License-Identifier: MIT
//! The handler of every request: plan it, act on the plan, and see to it that there is an answer.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use http::HeaderValue;
use http::Method;
use http::Request;
use http::Response;
use http::StatusCode;
use http::Uri;
use http::Version;
use http::header;
use hyper::body::Incoming;
use l7switch_engine::table::Fields;
use l7switch_rules::model;
use l7switch_rules::model::Action;

use crate::answer;
use crate::client::Client;
use crate::exchange::Exchange;
use crate::forward::Forward;
use crate::forwarded::version_word;
use crate::gate;
use crate::limit;
use crate::plan;
use crate::plan::Asked;
use crate::plan::Step;
use crate::reason::Reason;
use crate::reason::Refusal;
use crate::response_body::ResponseBody;
use crate::routing::HeaderFields;
use crate::state;
use crate::state::Generation;
use crate::upstream::Patience;
use crate::upstream::Pool;

/// Handles a request.
///
/// # Errors
///
/// Never: every error has an answer.
pub async fn serve(
    client: Arc<Client>,
    mut request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let ticket = client.gate().map(gate::Shared::begin);
    let number = ticket.as_ref().map(|ticket| ticket.number);
    if ticket.as_ref().is_some_and(|ticket| ticket.asterisk) {
        into_asterisk_form(&mut request);
    }
    let version = request.version();
    let refusal = ticket.and_then(|ticket| ticket.refusal);
    let malformed = refusal.is_some();
    let mut response = handle(&client, request, refusal).await;
    let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if let (Some(gate), Some(number)) = (client.gate(), number) {
        gate.decide_upgrade(number, switching);
    }
    let last = malformed || client.core.shutdown.is_draining();
    if last && version != Version::HTTP_2 && !switching {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

async fn handle(
    client: &Arc<Client>,
    request: Request<Incoming>,
    refusal: Option<Refusal>,
) -> Response<ResponseBody> {
    let working = client.working();
    let (mut parts, body) = request.into_parts();
    let method = parts.method.clone();
    let known = refusal.is_none();
    let mut exchange = Exchange::begin(client, |line| {
        if known {
            line.method = method.to_string();
            line.host = host_text(&parts);
            line.path = parts
                .uri
                .path_and_query()
                .map_or_else(String::new, |path| path.as_str().to_owned());
            line.version = version_word(parts.version);
        }
    });
    exchange.holding(working);
    if let Some(refusal) = refusal {
        limit::hostile(refusal.reason, client.peer, &refusal.detail);
        return answer::refuse(&refusal, &Method::GET, exchange);
    }
    if let Some(refusal) = unwanted(&parts) {
        return answer::refuse(&refusal, &method, exchange);
    }
    let generation = client.core.active.load_full();
    let checked = match generation.service(&client.service) {
        Some((_, model, _)) => plan::within_limits(&parts, &model.limits),
        None => Ok(()),
    };
    let host = match checked.and_then(|()| plan::authority(&parts)) {
        Ok(host) => host,
        Err(refusal) => {
            limit::hostile(refusal.reason, client.peer, &refusal.detail);
            return answer::refuse(&refusal, &method, exchange);
        }
    };
    let asked = Asked {
        peer: client.peer.ip(),
        scheme: client.scheme,
        host: host.as_ref().map_or(b"", HeaderValue::as_bytes),
        plain_host: None,
        method: method.as_str().as_bytes(),
        path: parts.uri.path().as_bytes(),
        plain_path: None,
        query: parts.uri.query().map(str::as_bytes),
        fields: &HeaderFields(&parts.headers),
    };
    let version = parts.version;
    let (onward, exchange) = match onward(client, &generation, &asked, &method, version, exchange) {
        Ok(onward) => onward,
        Err(response) => return *response,
    };
    if plan::last_stop(&mut parts) {
        return answer::last_stop(&method, exchange);
    }
    let forward = Forward {
        client,
        onward,
        host,
    };
    let edit = &forward.onward.state.filters.response;
    match forward.run(parts, body, exchange).await {
        Ok(response) => response,
        Err((refusal, exchange)) => {
            let mut response = answer::refuse(&refusal, &method, exchange);
            edit.apply(response.headers_mut());
            response
        }
    }
}

/// A request that goes on to a pool.
#[derive(Debug)]
pub struct Onward<'a> {
    /// The service, as the rules say.
    pub service: &'a model::Service,
    /// The route, as the rules say.
    pub route: &'a model::Route,
    /// The route's filters.
    pub state: &'a state::Route,
    /// The pool.
    pub pool: &'a Arc<Pool>,
    /// Target in origin form, where it is not what was sent.
    pub rewritten: Option<Uri>,
    /// Hash of the scheduler's key.
    pub hash: u64,
}

impl Onward<'_> {
    /// How long is waited for the server and for the client.
    pub fn patience(&self) -> Patience {
        let own = self.route.filters.response_timeout;
        Patience {
            response: own.unwrap_or(self.pool.config().response_timeout),
            upload: self.service.limits.idle_timeout,
        }
    }
}

/// What becomes of a request by the rules in force: it goes on to a pool.
///
/// # Errors
///
/// It has its answer already.
pub fn onward<'a, F: Fields + ?Sized>(
    client: &Client,
    generation: &'a Generation,
    asked: &Asked<'_, F>,
    method: &Method,
    version: Version,
    mut exchange: Box<Exchange>,
) -> Result<(Onward<'a>, Box<Exchange>), Box<Response<ResponseBody>>> {
    let Some((index, model, service)) = generation.service(&client.service) else {
        let refusal = Refusal::new(
            Reason::Draining,
            StatusCode::SERVICE_UNAVAILABLE,
            "the service was taken out of the rules",
        );
        let mut response = answer::refuse(&refusal, method, exchange);
        if version != Version::HTTP_2 {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        return Err(Box::new(response));
    };
    let plan = match plan::plan(generation, index, model, asked) {
        Ok(plan) => plan,
        Err(refusal) => {
            if refusal.reason != Reason::NoRoute {
                limit::hostile(refusal.reason, client.peer, &refusal.detail);
            }
            return Err(Box::new(answer::refuse(&refusal, method, exchange)));
        }
    };
    let internal = |what, exchange| {
        Err(Box::new(answer::refuse(
            &Refusal::internal(what),
            method,
            exchange,
        )))
    };
    let (Some(route), Some(state)) = (model.routes.get(plan.route), service.routes.get(plan.route))
    else {
        return internal("no such route", exchange);
    };
    state.requests.fetch_add(1, Relaxed);
    exchange.describe(|line| line.route.clone_from(&state.label));
    let mut response = match (plan.step, &route.action) {
        (
            Step::Forward {
                pool,
                rewritten,
                hash,
            },
            _,
        ) => {
            let Some(pool) = generation.pools.get(pool) else {
                return internal("no such pool", exchange);
            };
            let onward = Onward {
                service: model,
                route,
                state,
                pool,
                rewritten,
                hash,
            };
            return Ok((onward, exchange));
        }
        (Step::Redirect { status, location }, _) => {
            answer::redirect(status, location, method, exchange)
        }
        (Step::Respond, Action::Respond(fixed)) => answer::fixed(fixed, method, exchange),
        (Step::Respond, _) => return internal("no response", exchange),
    };
    state.filters.response.apply(response.headers_mut());
    Err(Box::new(response))
}

/// Requests that no rule can allow.
fn unwanted(parts: &http::request::Parts) -> Option<Refusal> {
    if parts.method == Method::CONNECT {
        return Some(Refusal::new(
            Reason::NotImplemented,
            StatusCode::NOT_IMPLEMENTED,
            "the switch opens no tunnels",
        ));
    }
    let expectation = parts.headers.get(header::EXPECT)?;
    (!expectation.as_bytes().eq_ignore_ascii_case(b"100-continue")).then(|| {
        Refusal::new(
            Reason::BadRequest,
            StatusCode::EXPECTATION_FAILED,
            "the only expectation that can be met is 100-continue (RFC 9110, 10.1.1)",
        )
    })
}

/// OPTIONS for a URI without path or query is OPTIONS for `*` (RFC 9112, 3.2.4).
fn into_asterisk_form(request: &mut Request<Incoming>) {
    let host = request
        .uri()
        .authority()
        .map(|host| HeaderValue::from_str(host.as_str()));
    if let Some(Ok(host)) = host {
        request.headers_mut().insert(header::HOST, host);
    }
    *request.uri_mut() = Uri::from_static("*");
}

fn host_text(parts: &http::request::Parts) -> String {
    match parts.uri.authority() {
        Some(authority) => authority.as_str().to_owned(),
        None => parts
            .headers
            .get(header::HOST)
            .map_or_else(String::new, |host| {
                String::from_utf8_lossy(host.as_bytes()).into_owned()
            }),
    }
}
