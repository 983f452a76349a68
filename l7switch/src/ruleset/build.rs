// SPDX-License-Identifier: MIT
//! A generation made from a rule set: certificates loaded, filters prepared, servers and counts of
//! the generation before taken over.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use l7switch_certificates::passwords::UsersError;
use l7switch_rules::RuleSet;
use l7switch_rules::model;
use l7switch_rules::model::Protocol;
use thiserror::Error;

use crate::acme::Acme;
use crate::acme::AcmeError;
use crate::acme::Source;
use crate::limit::rate::RateLimiter;
use crate::net::tls;
use crate::net::tls::ServiceTls;
use crate::observe::events::Events;
use crate::ruleset::filters::Filters;
use crate::ruleset::generation::BasicAuth;
use crate::ruleset::generation::Generation;
use crate::ruleset::generation::Route;
use crate::ruleset::generation::Service;
use crate::ruleset::generation::StatsRegistry;
use crate::ruleset::pages;
use crate::ruleset::pages::Page;
use crate::ruleset::pages::PageError;
use crate::ruleset::routing::Rules;
use crate::ruleset::sticky::KeyError;
use crate::ruleset::sticky::Sticky;
use crate::ruleset::users::Users;
use crate::upstream::Pool;
use l7switch_rules::rewrite::Rewrite;

/// Why a rule set that the check has passed cannot be put in force.
#[derive(Debug, Error)]
pub enum BuildError {
    /// A certificate cannot be used.
    #[error("service `{service}`: {error}")]
    Certificate {
        /// The service.
        service: String,
        /// Why.
        error: Box<AcmeError>,
    },
    /// Certificates cannot be ordered.
    #[error("acme: {0}")]
    Acme(Box<AcmeError>),
    /// A certificate towards servers cannot be used.
    #[error("pool `{pool}`: {error}")]
    PoolTls {
        /// The pool.
        pool: String,
        /// Why.
        error: Box<tls::TlsError>,
    },
    /// A page, or the content of a response, cannot be used.
    #[error("service `{service}`: {error}")]
    Page {
        /// The service.
        service: String,
        /// Why.
        error: PageError,
    },
    /// A file of users cannot be used.
    #[error("service `{service}`: {error}")]
    Users {
        /// The service.
        service: String,
        /// Why.
        error: UsersError,
    },
    /// The key of a cookie cannot be used.
    #[error("service `{service}`: {error}")]
    Sticky {
        /// The service.
        service: String,
        /// Why.
        error: KeyError,
    },
    /// A filter cannot be applied.
    #[error("service `{service}`, route `{route}`: {error}")]
    Filter {
        /// The service.
        service: String,
        /// The route.
        route: String,
        /// Why.
        error: String,
    },
}

/// Makes the generation that follows `before`. Nothing is in force yet; see [`activate`].
///
/// # Errors
///
/// See [`BuildError`].
pub fn build(
    rules: RuleSet,
    before: Option<&Generation>,
    stats: &mut StatsRegistry,
    acme: &Acme,
) -> Result<Generation, BuildError> {
    let rules = Rules::from(rules);
    let acme = acme.source(rules.model.acme.as_ref());
    let acme = acme.map_err(|error| BuildError::Acme(Box::new(error)))?;
    let services = rules
        .model
        .services
        .iter()
        .map(|service| {
            let known = before.and_then(|before| before.service(&service.name));
            build_service(
                service,
                &rules.model.pools,
                known.map(|(_, _, known)| known),
                stats,
                &acme,
            )
        })
        .collect::<Result<_, _>>()?;
    let pools = rules
        .model
        .pools
        .iter()
        .enumerate()
        .map(|(number, pool)| {
            let known = before.and_then(|before| before.pool(&pool.name));
            let substitute = has_substitute(&rules.model, number);
            let built = Pool::new(pool.clone(), substitute, known.map(AsRef::as_ref));
            built.map(Arc::new).map_err(|error| BuildError::PoolTls {
                pool: pool.name.clone(),
                error: Box::new(error),
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(Generation {
        number: before.map_or(1, |before| before.number.wrapping_add(1)),
        rules,
        services,
        pools,
    })
}

/// Makes the generation that follows `before` with the same rules, but for servers of names and maintenance of services. No file is
/// read: what one holds that is being changed has to do with neither.
pub fn renew(rules: RuleSet, before: &Generation) -> Generation {
    let rules = Rules::from(rules);
    let model = &rules.model;
    let mut services = before.services.clone();
    for (service, of) in services.iter_mut().zip(&model.services) {
        for (route, of) in service.routes.iter_mut().zip(&of.routes) {
            if let model::Action::Forward(shares) = &of.action {
                let sticky = route.sticky.as_ref();
                route.sticky = sticky.map(|sticky| sticky.with(shares, &model.pools));
            }
        }
    }
    let pools = model.pools.iter().zip(&before.pools).enumerate();
    let pools = pools
        .map(|(number, (pool, before))| {
            let substitute = has_substitute(model, number);
            Arc::new(Pool::renewed(pool.clone(), substitute, before))
        })
        .collect();
    Generation {
        number: before.number.wrapping_add(1),
        services,
        pools,
        rules,
    }
}

/// Whether another pool takes a pool's requests while it has no server: the one that it falls back on, or in a route that has it the
/// others of a split. Where a route has nobody else, what was ejected is asked.
fn has_substitute(model: &model::Model, number: usize) -> bool {
    let falls_back = model
        .pools
        .get(number)
        .is_some_and(|pool| pool.fallback.is_some());
    let routes = model.services.iter().flat_map(|service| &service.routes);
    let is_split = |route: &model::Route| match &route.action {
        model::Action::Forward(shares) => {
            !route.strict
                && shares.iter().any(|share| share.pool == number)
                && shares.iter().filter(|share| share.weight > 0).count() > 1
        }
        _ => false,
    };
    falls_back || routes.into_iter().any(is_split)
}

fn build_service(
    service: &model::Service,
    pools: &[model::Pool],
    before: Option<&Service>,
    stats: &mut StatsRegistry,
    acme: &Source<'_>,
) -> Result<Service, BuildError> {
    let tls = (service.protocol == Protocol::Https)
        .then(|| {
            let before = before.and_then(|before| before.tls.as_deref());
            ServiceTls::new(service, before, acme).map(Arc::new)
        })
        .transpose()
        .map_err(|error| BuildError::Certificate {
            service: service.name.clone(),
            error: Box::new(error),
        })?;
    let page_error = |error| BuildError::Page {
        service: service.name.clone(),
        error,
    };
    let pages = Page::all(&service.error_pages).map_err(page_error)?;
    let stats = stats.service(&service.name);
    let limiters = before.map(limiters).unwrap_or_default();
    let users = before.map(users).unwrap_or_default();
    let routes = service
        .routes
        .iter()
        .enumerate()
        .map(|(position, route)| {
            let label = route.label(position);
            let filter_error = |error| BuildError::Filter {
                service: service.name.clone(),
                route: label.clone(),
                error,
            };
            let filters = Filters::new(&route.filters).map_err(filter_error)?;
            let sticky_error = |error| BuildError::Sticky {
                service: service.name.clone(),
                error,
            };
            let sticky = match (&route.sticky, &route.action) {
                (Some(rules), model::Action::Forward(shares)) => {
                    Some(Sticky::new(rules, shares, pools))
                }
                _ => None,
            };
            let redirect_path = match &route.action {
                model::Action::Redirect(redirect) => redirect.path.as_ref().map(Rewrite::new),
                model::Action::Forward(_) | model::Action::Respond(_) => None,
            };
            let redirect_path = redirect_path.transpose().map_err(filter_error)?;
            let users = route.basic_auth.as_ref().map(|rules| {
                let known = users.get(label.as_str()).copied();
                let users = Users::read(&rules.file, known)?;
                let challenge = challenge(&rules.realm);
                Ok(BasicAuth { users, challenge })
            });
            Ok(Route {
                stats: stats.route(&label),
                users: users.transpose().map_err(|error| BuildError::Users {
                    service: service.name.clone(),
                    error,
                })?,
                rate_limit: route.rate_limit.as_ref().map(|rules| {
                    let known = limiters.get(label.as_str()).copied();
                    let same = known.filter(|known| known.rules() == rules);
                    same.map_or_else(|| Arc::new(RateLimiter::new(rules.clone())), Arc::clone)
                }),
                label,
                filters,
                redirect_path,
                sticky: sticky.transpose().map_err(sticky_error)?,
                pages: Page::all(&route.error_pages).map_err(page_error)?,
                content: match &route.action {
                    model::Action::Respond(fixed) => {
                        pages::content(&fixed.body).map_err(page_error)?
                    }
                    model::Action::Forward(_) | model::Action::Redirect(_) => Bytes::new(),
                },
            })
        })
        .collect::<Result<_, BuildError>>()?;
    Ok(Service {
        is_refused_in_kernel: service.is_refused_in_kernel(pools),
        stats,
        routes,
        pages,
        tls,
    })
}

/// The rate limits of a service, by the labels of its routes.
fn limiters(service: &Service) -> HashMap<&str, &Arc<RateLimiter>> {
    let routes = service.routes.iter();
    routes
        .filter_map(|route| Some((route.label.as_str(), route.rate_limit.as_ref()?)))
        .collect()
}

/// The users of a service's routes, by their labels.
fn users(service: &Service) -> HashMap<&str, &Arc<Users>> {
    let routes = service.routes.iter();
    routes
        .filter_map(|route| Some((route.label.as_str(), &route.users.as_ref()?.users)))
        .collect()
}

/// What who has no password is told (RFC 7617, 2 and 2.1).
fn challenge(realm: &str) -> HeaderValue {
    let quoted = realm.replace('\\', "\\\\").replace('"', "\\\"");
    let text = format!("Basic realm=\"{quoted}\", charset=\"UTF-8\"");
    // A realm has no control characters: the check has seen to it.
    HeaderValue::try_from(text)
        .unwrap_or_else(|_| HeaderValue::from_static("Basic realm=\"l7switch\""))
}

/// Does what has to be done when a generation comes into force: the servers that it shares with the
/// one before get its weights, and say what happens to them.
pub fn activate(generation: &Generation, events: &Arc<Events>) {
    for pool in &generation.pools {
        pool.activate(events);
    }
    for service in &generation.services {
        service
            .stats
            .keep_routes(&service.routes.iter().map(|r| r.label.as_str()).collect());
    }
}
