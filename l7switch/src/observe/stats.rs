// SPDX-License-Identifier: MIT
//! What is counted: for a virtual service and its routes, over all generations of the rules.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::limit::sources::Sources;
use crate::net::room::Entered;
use crate::net::room::Room;
use crate::observe::histogram::Histogram;
use crate::observe::histogram::Kind;
use crate::observe::histogram::Place;
use crate::observe::reason::Reason;

/// A virtual service's counts since the switch began.
#[derive(Debug)]
pub struct ServiceStats {
    /// Client connections now.
    pub room: Arc<Room>,
    /// Client connections.
    pub connections: AtomicU64,
    /// Requests; connections where they cannot be seen.
    pub requests: AtomicU64,
    /// Interim responses of servers that were not passed on, since there were too many for one request.
    pub interim_dropped: AtomicU64,
    /// Content bytes from clients.
    pub bytes_in: AtomicU64,
    /// Content bytes to clients.
    pub bytes_out: AtomicU64,
    /// Responses.
    pub responses: Classes,
    refused: Vec<AtomicU64>,
    /// From a request's head to its response's head, whatever route takes it.
    pub first_byte: Histogram,
    /// Times of routes.
    pub route_times: Arc<Kind>,
    routes: Mutex<BTreeMap<String, Arc<RouteStats>>>,
    /// Copies of requests.
    pub mirrored: Mirrored,
    /// Connections of each client, where they are limited.
    pub sources: Arc<Sources>,
}

/// Who was refused by the metrics listener, and what was changed there.
#[derive(Debug, Default)]
pub struct MetricsListener {
    /// Requests without a token that is known.
    pub token: AtomicU64,
    /// Requests whose token is for less.
    pub role: AtomicU64,
    /// Requests from other machines for what is shown to this one only.
    pub peer: AtomicU64,
    /// Changes of servers.
    pub changes: AtomicU64,
    /// Changes of servers that were not possible.
    pub changes_failed: AtomicU64,
    /// Connections whose TLS handshake failed.
    pub tls: AtomicU64,
    /// Connections of addresses that have as many as they may.
    pub connections: AtomicU64,
}

/// Who was refused at the admin API.
#[derive(Debug, Default)]
pub struct AdminApi {
    /// Requests by those who may only read.
    pub role: AtomicU64,
    /// Requests for the front's place over TCP.
    pub take_over: AtomicU64,
    /// Connections whose TLS handshake failed, and requests with a certificate that is not good any more.
    pub tls: AtomicU64,
    /// Connections of addresses that have as many as they may.
    pub connections: AtomicU64,
}

/// The names of the classes of responses.
pub const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Responses by class.
#[derive(Debug, Default)]
pub struct Classes([AtomicU64; 5]);

impl Classes {
    /// Counts a response of this status.
    pub fn count(&self, status: u16) {
        let class = usize::from(status / 100).saturating_sub(1);
        if let Some(count) = self.0.get(class) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// How many there are of each class, `1xx` first.
    pub fn counts(&self) -> [u64; 5] {
        self.0.each_ref().map(|count| count.load(Relaxed))
    }
}

/// Counts of responses by the names of their classes.
pub fn by_class(counts: [u64; 5]) -> BTreeMap<String, u64> {
    let names = CLASSES.into_iter().map(str::to_owned);
    names.zip(counts).collect()
}

/// A route's counts since it came into the rules.
#[derive(Debug)]
pub struct RouteStats {
    /// Requests; connections where they cannot be seen.
    pub requests: AtomicU64,
    /// Responses.
    pub responses: Classes,
    /// Times of responses.
    pub times: Place,
}

impl Mirrored {
    /// Copies by what became of them, those that did not occur left out.
    pub fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        [
            ("sent", &self.sent),
            ("failed", &self.failed),
            ("skipped", &self.skipped),
        ]
        .into_iter()
        .map(|(word, count)| (word, count.load(Relaxed)))
        .filter(|(_, count)| *count > 0)
    }
}

impl Default for ServiceStats {
    fn default() -> Self {
        Self {
            room: Arc::default(),
            connections: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            interim_dropped: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            responses: Classes::default(),
            refused: Reason::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            first_byte: Histogram::default(),
            route_times: Arc::default(),
            routes: Mutex::default(),
            mirrored: Mirrored::default(),
            sources: Arc::default(),
        }
    }
}

impl ServiceStats {
    /// Counts a refusal.
    pub fn refused(&self, reason: Reason) {
        if let Some(count) = self.refused.get(reason as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Refusals by reason, without those that did not occur.
    pub fn refusals(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        Reason::ALL
            .iter()
            .copied()
            .zip(self.refused.iter().map(|count| count.load(Relaxed)))
            .filter(|(_, count)| *count > 0)
    }

    /// The counts of a route; the same ones for the same label in each generation.
    pub fn route(&self, label: &str) -> Arc<RouteStats> {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stats) = routes.get(label) {
            return Arc::clone(stats);
        }
        let stats = Arc::new(RouteStats {
            requests: AtomicU64::new(0),
            responses: Classes::default(),
            times: Place::new(Arc::clone(&self.route_times)),
        });
        routes.insert(label.to_owned(), Arc::clone(&stats));
        stats
    }

    /// Forgets routes that the generation in force does not have.
    pub fn keep_routes(&self, keep: &HashSet<&str>) {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.retain(|label, _| keep.contains(label.as_str()));
    }

    /// Counts a connection until the guard is dropped.
    pub fn connected(&self) -> Entered {
        self.connections.fetch_add(1, Relaxed);
        self.room.enter()
    }
}

/// Copies at a time of a service's requests, at most: a pool that answers none must not fill the memory.
const MOST_COPIES: u64 = 1024;

/// Bytes of content that are kept for them, at most.
const MOST_COPIED: u64 = 64 << 20;

/// Copies of requests.
#[derive(Debug, Default)]
pub struct Mirrored {
    /// Sent, and answered somehow.
    pub sent: AtomicU64,
    /// Not answered.
    pub failed: AtomicU64,
    /// Not made: the content is too long or has not come as a whole, there is an upgrade, or too many are under way.
    pub skipped: AtomicU64,
    active: AtomicU64,
    bytes: AtomicU64,
}

/// What became of a copy.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    Skipped,
    Sent,
    Failed,
}

/// A copy that is under way.
#[derive(Debug)]
pub struct Copying {
    stats: Arc<ServiceStats>,
    bytes: u64,
    outcome: Outcome,
}

impl Copying {
    /// Begins one with at most so many bytes of content; `None`: too many are under way, and it is counted as skipped.
    pub fn begin(stats: &Arc<ServiceStats>, bytes: u64) -> Option<Self> {
        let mirrored = &stats.mirrored;
        let active = mirrored.active.fetch_add(1, Relaxed);
        let kept = mirrored.bytes.fetch_add(bytes, Relaxed);
        let copying = Self {
            stats: Arc::clone(stats),
            bytes,
            outcome: Outcome::Skipped,
        };
        let is_room = active < MOST_COPIES && kept.saturating_add(bytes) <= MOST_COPIED;
        is_room.then_some(copying)
    }

    /// The request has come as a whole, and goes: it has failed until it is answered.
    pub const fn sends(&mut self) {
        self.outcome = Outcome::Failed;
    }

    /// There was an answer.
    pub const fn answered(&mut self) {
        self.outcome = Outcome::Sent;
    }
}

impl Drop for Copying {
    fn drop(&mut self) {
        let mirrored = &self.stats.mirrored;
        mirrored.active.fetch_sub(1, Relaxed);
        mirrored.bytes.fetch_sub(self.bytes, Relaxed);
        let counter = match self.outcome {
            Outcome::Skipped => &mirrored.skipped,
            Outcome::Sent => &mirrored.sent,
            Outcome::Failed => &mirrored.failed,
        };
        counter.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_and_reasons_are_counted_apart() {
        let stats = ServiceStats::default();
        for status in [200, 404, 410] {
            stats.responses.count(status);
        }
        stats.refused(Reason::NoRoute);
        assert_eq!(stats.responses.counts(), [0, 1, 0, 2, 0]);
        assert_eq!(by_class([0, 1, 0, 2, 0]).get("4xx"), Some(&2));
        assert_eq!(stats.refusals().collect::<Vec<_>>(), [(Reason::NoRoute, 1)]);
    }

    /// What a silent pool keeps is bounded by number and by bytes; what ends makes room, whatever became of it.
    #[test]
    fn copies_are_bounded() {
        let stats = Arc::new(ServiceStats::default());
        let count = |counter: &AtomicU64| counter.load(Relaxed);
        let begin = |bytes| Copying::begin(&stats, bytes);
        let mut few: Vec<_> = (0..4).map(|_| begin(MOST_COPIED / 4).unwrap()).collect();
        assert!(begin(1).is_none());
        // Without content there is room.
        assert!(begin(0).is_some());
        assert!(begin(u64::MAX).is_none());
        few.iter_mut().take(3).for_each(Copying::sends);
        few.iter_mut().take(2).for_each(Copying::answered);
        drop(few);
        let mirrored = &stats.mirrored;
        let counts = [&mirrored.sent, &mirrored.failed, &mirrored.skipped].map(count);
        assert_eq!(counts, [2, 1, 4]);
        assert_eq!([&mirrored.active, &mirrored.bytes].map(count), [0, 0]);
        let many: Vec<_> = (0..MOST_COPIES).map(|_| begin(0).unwrap()).collect();
        assert!(begin(0).is_none());
        drop(many);
        assert!(begin(MOST_COPIED).is_some());
    }
}
