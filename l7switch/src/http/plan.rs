// SPDX-License-Identifier: MIT
//! What is to be done with a request: host and path brought into comparison form, the route that
//! takes it, and what follows from the route.

use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderValue;
use http::StatusCode;
use l7switch_engine::form::Buffers;
use l7switch_engine::form::FormError;
use l7switch_engine::form::SentTarget;
use l7switch_engine::policy;
use l7switch_engine::policy::Key;
use l7switch_engine::table::Fields;
use l7switch_engine::table::Request;
use l7switch_engine::uri;
use l7switch_rules::compile::allow;
use l7switch_rules::model;
use l7switch_rules::model::Action;
use l7switch_rules::model::HashKey;
use l7switch_rules::model::PoolShare;
use l7switch_rules::model::address_bytes;

use crate::observe::reason::Reason;
use crate::observe::reason::Refusal;
use crate::ruleset::filters;
use crate::ruleset::filters::RedirectSource;
use crate::ruleset::generation::Generation;
use crate::ruleset::sticky::Place;
use crate::upstream::Pool;

/// Paths of at most so many bytes are brought into comparison form without an allocation.
const SHORT_PATH: usize = 256;

/// A request, as far as a plan depends on it.
#[derive(Debug)]
pub struct Asked<'a, F: ?Sized> {
    /// The client.
    pub source: SocketAddr,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// As sent.
    pub method: &'a [u8],
    /// Host and path.
    pub target: SentTarget<'a>,
    /// As sent, without the question mark.
    pub query: Option<&'a [u8]>,
    /// The fields.
    pub fields: &'a F,
    /// Whether the client can read pages in place of errors.
    pub reads_pages: bool,
}

/// What is to be done with a request.
#[derive(Debug)]
pub struct Plan {
    /// The route, by its position in the service.
    pub route: usize,
    /// What to do.
    pub step: Step,
}

/// What a route does.
#[derive(Debug)]
pub enum Step {
    /// Send to a pool.
    Forward {
        /// By the model's number.
        pool: usize,
        /// The server at which the client stays, by its position in the pool.
        server: Option<usize>,
        /// The pool of its cookie, if it keeps that whoever answers.
        keeps: Option<usize>,
        /// Target in origin form, where the route's filters change it.
        rewritten: Option<String>,
        /// Hash of the key that the pool's scheduler hashes; 0 where it hashes none.
        hash: u64,
        /// Where a copy goes to another pool: hash of the key that its scheduler hashes.
        mirror: Option<u64>,
    },
    /// Answer as the route says.
    Respond,
    /// Answer with this Location.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: StatusCode,
        /// Where to; absent: as the route's template says.
        location: Option<HeaderValue>,
    },
}

/// Plans a request of a service.
///
/// # Errors
///
/// The request is not one that may be routed, or no route takes it.
pub fn plan<F: Fields + ?Sized>(
    generation: &Generation,
    service: usize,
    model: &model::Service,
    asked: &Asked<'_, F>,
) -> Result<Plan, Refusal> {
    let mut host_space;
    let mut short_space;
    let mut long_space;
    let form = match asked.target.normalized() {
        Some(form) => Ok(form),
        None => {
            host_space = [0_u8; uri::MAX_HOST];
            let path = if asked.target.path.len() <= SHORT_PATH {
                short_space = [0_u8; SHORT_PATH];
                short_space.as_mut_slice()
            } else {
                long_space = vec![0; asked.target.path.len()];
                long_space.as_mut_slice()
            };
            let host = &mut host_space;
            asked
                .target
                .form(allow(model.allow), Buffers { host, path })
        }
    };
    let form = form.map_err(|(error, _)| {
        let reason = match error {
            FormError::Host(_) => Reason::BadHost,
            FormError::Path(_) => Reason::BadPath,
        };
        Refusal::new(reason, StatusCode::BAD_REQUEST, error.to_string())
    })?;
    let request = Request {
        host: form.host,
        method: asked.method,
        path: form.path,
        query: asked.query.unwrap_or_default(),
        source: address_bytes(asked.source.ip()),
        fields: asked.fields,
    };
    let route = generation.rules.route(service, &request);
    let (Some(position), Some(route)) = (route, route.and_then(|at| model.routes.get(at))) else {
        return Err(Refusal::new(
            Reason::NoRoute,
            StatusCode::NOT_FOUND,
            "no route takes this request",
        ));
    };
    let state = generation.services.get(service);
    let state = state.and_then(|state| state.routes.get(position));
    let state = state.ok_or_else(|| Refusal::internal("no such route"))?;
    let text = |bytes| {
        std::str::from_utf8(bytes)
            .map_err(|_| Refusal::bad_request("the path is not ASCII (RFC 3986, 2)"))
    };
    let query = || asked.query.map(text).transpose();
    let step = match &route.action {
        Action::Respond(_) => Step::Respond,
        Action::Redirect(redirect) => {
            let source = RedirectSource {
                scheme: asked.scheme,
                authority: std::str::from_utf8(asked.target.host).unwrap_or_default(),
                path: text(asked.target.path)?,
                normalised: text(form.path)?,
                query: query()?,
            };
            let location = match redirect.location {
                Some(_) => None,
                None if redirect.hostname.is_none() && source.authority.is_empty() => {
                    return Err(Refusal::new(
                        Reason::BadHost,
                        StatusCode::BAD_REQUEST,
                        "the request names no host to which it could be redirected",
                    ));
                }
                None => {
                    let rewrite = state.redirect_path.as_ref();
                    let location = filters::location(redirect, &source, rewrite, &route.paths);
                    let location = location.ok_or_else(dot_segments)?;
                    Some(location_value(location.as_bytes())?)
                }
            };
            Step::Redirect {
                status: StatusCode::from_u16(redirect.status).unwrap_or(StatusCode::FOUND),
                location,
            }
        }
        Action::Forward(shares) => {
            let named = state
                .sticky
                .as_ref()
                .and_then(|sticky| sticky.place(asked.fields));
            let keeps = named.and_then(|place| keeps(generation, shares, place));
            let stays = named.and_then(|place| stays(generation, shares, place));
            let place = stays.or_else(|| Some((pool_of(generation, shares, route.strict)?, None)));
            let (pool, server) = place.ok_or_else(|| Refusal::internal("the route has no pool"))?;
            let rewritten = match &state.filters.path {
                Some(rewrite) if form.path != b"*" => {
                    let path = rewrite.path(&route.paths, text(form.path)?);
                    let path = path.ok_or_else(dot_segments)?;
                    Some(filters::target(&path, query()?))
                }
                _ => None,
            };
            Step::Forward {
                pool,
                server,
                keeps,
                rewritten,
                hash: generation
                    .pools
                    .get(pool)
                    .map_or(0, |pool| key_hash(&pool.config().scheduler, &request)),
                mirror: route
                    .mirror
                    .filter(|mirror| mirror.percent >= 100 || fastrand::u32(..100) < mirror.percent)
                    .and_then(|mirror| generation.pools.get(mirror.pool))
                    .map(|pool| key_hash(&pool.config().scheduler, &request)),
            }
        }
    };
    Ok(Plan {
        route: position,
        step,
    })
}

/// An expression has made a path of which nobody can say where it leads.
fn dot_segments() -> Refusal {
    Refusal::new(
        Reason::BadPath,
        StatusCode::BAD_REQUEST,
        "the rewritten path has dot segments",
    )
}

pub(super) fn location_value(location: &[u8]) -> Result<HeaderValue, Refusal> {
    HeaderValue::from_bytes(location)
        .map_err(|_| Refusal::bad_request("there is no Location for this request"))
}

/// Where a client stays whose cookie names this place: at its server, or, where that is down, at another one of its pool, which may be
/// a version of the site, or of the pool that this one falls back on. Not in a pool that gets no new clients.
fn stays(
    generation: &Generation,
    shares: &[PoolShare],
    (pool, server): Place,
) -> Option<(usize, Option<usize>)> {
    let known = generation.pools.get(pool)?;
    if known.is_available(server) {
        return Some((pool, Some(server)));
    }
    let is_open = is_open(shares, pool);
    let pool = with_server(generation, pool).filter(|_| is_open)?;
    Some((pool, None))
}

/// The pool of a client whose cookie names this place, if others serve it for a while only: the pool falls back on one of them. The
/// client keeps its cookie then.
fn keeps(generation: &Generation, shares: &[PoolShare], (pool, _): Place) -> Option<usize> {
    let known = generation.pools.get(pool)?;
    (known.config().fallback.is_some() && is_open(shares, pool)).then_some(pool)
}

/// Whether a pool of a split gets new clients.
fn is_open(shares: &[PoolShare], pool: usize) -> bool {
    let mut shares = shares.iter();
    shares.any(|share| share.pool == pool && share.weight > 0)
}

/// The pool of a weighted split, or the one that it falls back on. Where it has no server, nor has what it falls back on, the
/// others of the split have its share, unless it is to be `strict`.
pub(crate) fn pool_of(
    generation: &Generation,
    shares: &[PoolShare],
    strict: bool,
) -> Option<usize> {
    let shares = shares.iter().map(|share| (share.pool, share.weight));
    let random = || fastrand::u64(..);
    let first = policy::split(shares.clone(), random)?;
    let falls_back = generation
        .pools
        .get(first)
        .is_some_and(|pool| pool.config().fallback.is_some());
    // Most routes have one pool, and nobody to ask in its place.
    if !falls_back && (strict || shares.len() == 1) {
        return Some(first);
    }
    if let Some(pool) = with_server(generation, first) {
        return Some(pool);
    }
    let others = shares
        .filter(|_| !strict)
        .filter_map(|(pool, weight)| Some((with_server(generation, pool)?, weight)));
    policy::split(others, random).or(Some(first))
}

/// A pool, or the first one in its chain of fallbacks that has a server.
fn with_server(generation: &Generation, pool: usize) -> Option<usize> {
    let next = |pool: &usize| generation.pools.get(*pool)?.config().fallback;
    std::iter::successors(Some(pool), next)
        .take(generation.pools.len())
        .find(|pool| {
            generation
                .pools
                .get(*pool)
                .is_some_and(|pool| pool.has_server())
        })
}

/// The pool that is asked where no server of the last of these has seen anything of a request: what it falls back on, or another one
/// of the split, unless that is to be `strict`. One that is spoken to in another way, or told other things, is none for a request
/// that is written already.
pub(crate) fn substitute<'a>(
    generation: &'a Generation,
    route: &model::Route,
    asked: &[&Arc<Pool>],
) -> Option<&'a Arc<Pool>> {
    let last = *asked.last()?;
    let fits = |pool: &&'a Arc<Pool>| {
        let (one, other) = (last.config(), pool.config());
        one.protocol == other.protocol
            && one.send_proxy == other.send_proxy
            && !asked.iter().any(|asked| Arc::ptr_eq(asked, pool))
    };
    let pool = |number: usize| generation.pools.get(number).filter(fits);
    if let Some(falls_back) = last.config().fallback.and_then(pool) {
        return Some(falls_back);
    }
    let Action::Forward(shares) = &route.action else {
        return None;
    };
    let others = shares
        .iter()
        .filter(|_| !route.strict)
        .filter_map(|share| Some((pool(share.pool)?, share.weight)));
    policy::split(others.filter(|(pool, _)| pool.has_server()), || {
        fastrand::u64(..)
    })
}

/// Whether another pool is asked where no server of this one has answered with a status that its rule of retries takes.
pub(crate) fn falls_back(
    generation: &Generation,
    route: &model::Route,
    pool: &Arc<Pool>,
    asked: &[&Arc<Pool>],
) -> bool {
    let rule = pool.config().retries.rule.as_ref();
    if rule.is_none_or(|rule| rule.statuses.is_empty()) {
        return false;
    }
    let mut asked = [asked, &[pool]].concat();
    while let Some(next) = substitute(generation, route, &asked) {
        if next.has_server() {
            return true;
        }
        asked.push(next);
    }
    false
}

/// Whether no server has had anything of a request that failed so.
pub(crate) const fn is_unsent(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::NoServer
            | Reason::ConnectFailed
            | Reason::ConnectTimeout
            | Reason::ServerTls
            | Reason::StreamRefused
    )
}

/// Hash of the key by which a pool's scheduler places a request; 0 where it places by none.
pub(crate) fn key_hash<F: Fields + ?Sized>(
    scheduler: &model::Scheduler,
    request: &Request<'_, F>,
) -> u64 {
    if !scheduler.kind.hashes() {
        return 0;
    }
    match &scheduler.key {
        HashKey::Source => Key::Source,
        HashKey::Path => Key::Path,
        HashKey::Host => Key::Host,
        HashKey::Header(name) => Key::Field(name.as_bytes()),
        HashKey::Cookie(name) => Key::Cookie(name.as_bytes()),
    }
    .hash(request)
}
