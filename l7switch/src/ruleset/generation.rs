// SPDX-License-Identifier: MIT
//! What the running switch knows: the generation of the rules in force, and what lives longer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::time::Instant;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::HeaderValue;
use l7switch_certificates::findings;
use l7switch_rules::model;

use crate::acme::Acme;
use crate::limit::rate::RateLimiter;
use crate::net::room;
use crate::net::room::Room;
use crate::net::shutdown::Shutdown;
use crate::net::tls::ServiceTls;
use crate::observe::access_log::AccessLog;
use crate::observe::events::Events;
use crate::observe::histogram::Counts;
use crate::observe::spans::Spans;
use crate::observe::stats::AdminApi;
use crate::observe::stats::MetricsListener;
use crate::observe::stats::RouteStats;
use crate::observe::stats::ServiceStats;
use crate::ruleset::filters::Filters;
use crate::ruleset::pages::Page;
use crate::ruleset::routing::Rules;
use crate::ruleset::sticky::Sticky;
use crate::ruleset::users::Users;
use crate::upstream::Pool;
use l7switch_rules::rewrite::Rewrite;

/// One generation of the rules, complete and unchanging, in force or still used by a request that
/// began under it.
#[derive(Debug)]
pub struct Generation {
    /// Counted from 1.
    pub number: u64,
    /// Model and table.
    pub rules: Rules,
    /// By the model's number.
    pub services: Vec<Service>,
    /// By the model's number.
    pub pools: Vec<Arc<Pool>>,
}

/// A virtual service in one generation.
#[derive(Clone, Debug)]
pub struct Service {
    /// Whether the kernel may find that its requests are to be refused.
    pub is_refused_in_kernel: bool,
    /// Counts, shared with the generations before and after.
    pub stats: Arc<ServiceStats>,
    /// By the model's number.
    pub routes: Vec<Route>,
    /// Pages in place of errors.
    pub pages: Vec<Page>,
    /// For `https`.
    pub tls: Option<Arc<ServiceTls>>,
}

/// A route in one generation.
#[derive(Clone, Debug)]
pub struct Route {
    /// Name, or `#n`.
    pub label: String,
    /// Counts, shared with the generations before and after.
    pub stats: Arc<RouteStats>,
    /// Filters, ready to be applied.
    pub filters: Filters,
    /// The cookie by which clients stay at their servers.
    pub sticky: Option<Sticky>,
    /// Path of its redirect.
    pub redirect_path: Option<Rewrite>,
    /// Pages in place of errors, before the service's.
    pub pages: Vec<Page>,
    /// Content of its fixed response; empty where it has none.
    pub content: Bytes,
    /// Users and passwords that its requests must have.
    pub users: Option<BasicAuth>,
    /// Its rate limit, shared with the generation before where that has the same.
    pub rate_limit: Option<Arc<RateLimiter>>,
}

impl Generation {
    /// A service as the model and as this generation have it.
    pub fn service(&self, name: &str) -> Option<(usize, &model::Service, &Service)> {
        let index = self.rules.service(name)?;
        Some((
            index,
            self.rules.model.services.get(index)?,
            self.services.get(index)?,
        ))
    }

    /// What is to be said of certificates: those that expire soon, and those that are never shown.
    pub fn certificate_warnings(&self) -> Vec<String> {
        let now = SystemTime::now();
        let services = self.rules.model.services.iter().zip(&self.services);
        services
            .filter_map(|(model, service)| Some((model, service.tls.as_ref()?)))
            .flat_map(|(model, tls)| {
                let pairs: Vec<_> = tls.pairs().cloned().collect();
                findings(model, &pairs, now)
                    .into_iter()
                    .map(|(_, found)| format!("service `{}`: {}", model.name, found.message))
            })
            .collect()
    }

    /// A pool by name.
    pub fn pool(&self, name: &str) -> Option<&Arc<Pool>> {
        self.pools.iter().find(|pool| pool.config().name == name)
    }
}

/// Users of a route.
#[derive(Clone, Debug)]
pub struct BasicAuth {
    /// Shared with the generation before where that has the same.
    pub users: Arc<Users>,
    /// What who has no password is told (RFC 7617, 2).
    pub challenge: HeaderValue,
}

/// What the parts of a running switch share.
#[derive(Debug)]
pub struct Core {
    /// The generation in force.
    pub active: ArcSwap<Generation>,
    /// Counts of services, also of those that a reload took away: they may come back.
    stats: Mutex<BTreeMap<String, Arc<ServiceStats>>>,
    /// Client connections of all services.
    pub room: Arc<Room>,
    /// Most of them; more are accepted when one of these has ended.
    pub most_connections: usize,
    /// How often that many were open, and no more were accepted.
    pub rooms_full: AtomicU64,
    /// What the metrics listener counts.
    pub metrics_listener: MetricsListener,
    /// What the admin API counts.
    pub admin_api: AdminApi,
    /// The access log.
    pub log: Arc<AccessLog>,
    /// What sends traces; absent where nothing is traced.
    pub spans: Option<Spans>,
    /// What has happened.
    pub events: Arc<Events>,
    /// Certificates that are ordered.
    pub acme: Arc<Acme>,
    /// How the switch ends.
    pub shutdown: Shutdown,
    /// When it began.
    pub started: Instant,
}

impl Core {
    /// The state of a switch that starts with this generation.
    pub fn new(
        first: Generation,
        stats: StatsRegistry,
        log: AccessLog,
        spans: Option<Spans>,
        events: Arc<Events>,
        acme: Arc<Acme>,
    ) -> Self {
        Self {
            active: ArcSwap::from_pointee(first),
            stats: Mutex::new(stats.0),
            room: Arc::default(),
            most_connections: room::most_connections(),
            rooms_full: AtomicU64::new(0),
            metrics_listener: MetricsListener::default(),
            admin_api: AdminApi::default(),
            log: Arc::new(log),
            spans,
            events,
            acme,
            shutdown: Shutdown::default(),
            started: Instant::now(),
        }
    }

    /// The counts of all services so far, for the next generation.
    pub fn stats(&self) -> StatsRegistry {
        StatsRegistry(
            self.stats
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        )
    }

    /// Times from a request's head to its response's head, of all services there were.
    pub fn first_byte(&self) -> Counts {
        let stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        let times = stats.values().map(|service| service.first_byte.counts());
        times.fold(Counts::default(), |all, service| all.and(&service))
    }

    /// Keeps the counts that the next generation has added.
    pub fn keep_stats(&self, stats: StatsRegistry) {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = stats.0;
    }
}

/// Counts of services by name.
#[derive(Clone, Debug, Default)]
pub struct StatsRegistry(BTreeMap<String, Arc<ServiceStats>>);

impl StatsRegistry {
    /// The counts of a service; from zero for a name that is new.
    pub fn service(&mut self, name: &str) -> Arc<ServiceStats> {
        Arc::clone(self.0.entry(name.to_owned()).or_default())
    }
}
