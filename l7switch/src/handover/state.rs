// SPDX-License-Identifier: MIT
//! What a front knows that its successor, or the next process by the state file, goes on with.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use l7switch_admin_api as api;
use l7switch_rules::model::Maintenance;
use l7switch_rules::model::RateLimit;
use serde::Deserialize;
use serde::Serialize;

use crate::net::clock::now_ns;
use crate::net::ticket_keys::GivenKey;
use crate::ruleset::generation::Generation;
use crate::upstream::Memory;
use crate::upstream::RealServer;

/// Servers and services.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Servers of which there is something to say.
    #[serde(default)]
    pub servers: Vec<OfServer>,
    /// What administrators have told of services.
    #[serde(default)]
    pub maintenance: BTreeMap<String, api::Maintenance>,
}

/// What is known of a server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OfServer {
    /// Its pool.
    pub pool: String,
    /// Its address, as the admin API has it.
    pub server: String,
    /// The rest.
    #[serde(flatten)]
    pub memory: Memory,
}

/// Session tickets of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfTickets {
    /// The service.
    pub service: String,
    /// Which certificates of clients it believes ([`crate::net::tls::ServiceTls::trust`]).
    pub trust: [u8; 32],
    /// The keys, the one in use first.
    pub keys: Vec<GivenKey>,
}

/// Buckets of a rate limit, or some of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfLimit {
    /// The service.
    pub service: String,
    /// The route's name, or `#n`.
    pub route: String,
    /// What the rule file says, as JSON: buckets of another limit mean nothing.
    pub rules: serde_json::Value,
    /// Keys, and in how many nanoseconds their buckets will be full.
    pub taken: Vec<(u64, u64)>,
}

/// Most buckets of one [`OfLimit`]: about 40 bytes of JSON each.
const BUCKETS: usize = 32_768;

impl OfServer {
    fn of(server: &RealServer, memory: Memory) -> Self {
        Self {
            pool: server.pool().to_owned(),
            server: server.address().to_string(),
            memory,
        }
    }
}

impl State {
    /// All that is known of the servers in force.
    pub fn servers(generation: &Generation) -> Vec<OfServer> {
        let servers = generation.pools.iter().flat_map(|pool| pool.servers());
        servers
            .map(|server| OfServer::of(server, server.memory()))
            .collect()
    }

    /// Adds another part of it.
    pub fn join(&mut self, mut part: Self) {
        self.servers.append(&mut part.servers);
        self.maintenance.append(&mut part.maintenance);
    }

    /// Without what means nothing to a process that starts later.
    #[must_use]
    pub fn lasting(self) -> Self {
        let servers = self.servers.into_iter().filter_map(|of| {
            let memory = of.memory.lasting()?;
            Some(OfServer { memory, ..of })
        });
        Self {
            servers: servers.collect(),
            maintenance: self.maintenance,
        }
    }
}

/// Enters what was known of servers that are there. Gives the rest: of servers whose names may be resolved later.
pub fn remember(generation: &Generation, known: Vec<OfServer>) -> Vec<OfServer> {
    let mut rest = Vec::new();
    let mut changed = Vec::new();
    // By name: with thousands of servers, each is looked up once.
    let servers: BTreeMap<(&str, String), &Arc<RealServer>> = generation
        .pools
        .iter()
        .flat_map(|pool| pool.servers())
        .map(|server| ((server.pool(), server.address().to_string()), server))
        .collect();
    for of in known {
        match servers.get(&(of.pool.as_str(), of.server.clone())) {
            Some(server) => {
                server.remember(&of.memory);
                changed.push(of.pool);
            }
            None => {
                let pool = generation.pool(&of.pool);
                if pool.is_some_and(|pool| !pool.config().names.is_empty()) {
                    rest.push(of);
                }
            }
        }
    }
    for pool in &generation.pools {
        if changed.contains(&pool.config().name) {
            pool.rebuild_lookup();
        }
    }
    rest
}

/// The keys of session tickets of all services.
pub fn tickets(generation: &Generation) -> Vec<OfTickets> {
    let services = generation.rules.model.services.iter();
    services
        .zip(&generation.services)
        .filter_map(|(model, service)| {
            let tls = service.tls.as_ref()?;
            Some(OfTickets {
                service: model.name.clone(),
                trust: tls.trust(),
                keys: tls.ticket_keys().give(),
            })
        })
        .collect()
}

/// Goes on with keys of session tickets where a service believes the same certificates of clients as before.
pub fn take_tickets(generation: &Generation, known: &[OfTickets]) {
    for of in known {
        let service = generation.service(&of.service);
        let tls = service.and_then(|(_, _, service)| service.tls.as_ref());
        if let Some(tls) = tls.filter(|tls| tls.trust() == of.trust) {
            tls.ticket_keys().take(&of.keys);
        }
    }
}

fn rules(limit: &RateLimit) -> serde_json::Value {
    serde_json::to_value(limit).unwrap_or_default()
}

/// The buckets of all rate limits that are not full, in parts that a frame can carry.
pub fn limits(generation: &Generation) -> impl Iterator<Item = OfLimit> + '_ {
    let services = generation.rules.model.services.iter();
    let routes = services
        .zip(&generation.services)
        .flat_map(|(model, service)| {
            let routes = service.routes.iter();
            routes.filter_map(move |route| Some((model, route, route.rate_limit.as_ref()?)))
        });
    routes.flat_map(|(model, route, limit)| {
        let taken = limit.taken(now_ns());
        let parts: Vec<OfLimit> = taken
            .chunks(BUCKETS)
            .map(|part| OfLimit {
                service: model.name.clone(),
                route: route.label.clone(),
                rules: rules(limit.rules()),
                taken: part.to_vec(),
            })
            .collect();
        parts
    })
}

/// Goes on with buckets where a route has the same limit as before.
pub fn take_limit(generation: &Generation, known: &OfLimit) {
    let Some((_, _, service)) = generation.service(&known.service) else {
        return;
    };
    let mut routes = service.routes.iter();
    let route = routes.find(|route| route.label == known.route);
    let limit = route.and_then(|route| route.rate_limit.as_ref());
    if let Some(limit) = limit.filter(|limit| rules(limit.rules()) == known.rules) {
        limit.enter(&known.taken, now_ns());
    }
}

/// What an administrator says of a service, as the rules have it.
///
/// # Errors
///
/// The text that is no address or prefix.
pub fn maintenance_of(told: api::Maintenance) -> Result<Maintenance, String> {
    Ok(match told {
        api::Maintenance::Closed(false) => Maintenance::Off,
        api::Maintenance::Closed(true) => Maintenance::Except(Vec::new()),
        api::Maintenance::Except { except } => {
            let read = |text: &String| {
                let prefix = text.parse::<IpNet>();
                let prefix = prefix.or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
                prefix.map_err(|_| text.clone())
            };
            Maintenance::Except(except.iter().map(read).collect::<Result<_, _>>()?)
        }
    })
}

/// The same as an administrator would say it.
pub fn told_of(rules: &Maintenance) -> api::Maintenance {
    match rules {
        Maintenance::Off => api::Maintenance::Closed(false),
        Maintenance::Except(who) if who.is_empty() => api::Maintenance::Closed(true),
        Maintenance::Except(who) => api::Maintenance::Except {
            except: who.iter().map(ToString::to_string).collect(),
        },
    }
}
