// SPDX-License-Identifier: MIT
//! What is counted: for a virtual service and its routes, over all generations of the rules.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use http::StatusCode;
use tokio::sync::Notify;

use crate::limit::sources::Sources;
use crate::observe::reason::Reason;

/// A virtual service's counts since the switch began.
#[derive(Debug)]
pub struct ServiceStats {
    /// Client connections now.
    active: AtomicUsize,
    /// Told whenever a connection ends.
    freed: Notify,
    /// Client connections.
    pub connections: AtomicU64,
    /// Requests; connections where they cannot be seen.
    pub requests: AtomicU64,
    /// Content bytes from clients.
    pub bytes_in: AtomicU64,
    /// Content bytes to clients.
    pub bytes_out: AtomicU64,
    classes: [AtomicU64; 5],
    refused: Vec<AtomicU64>,
    routes: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    /// Connections of each client, where they are limited.
    pub sources: Arc<Sources>,
}

impl Default for ServiceStats {
    fn default() -> Self {
        Self {
            active: AtomicUsize::new(0),
            freed: Notify::new(),
            connections: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            classes: Default::default(),
            refused: Reason::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            routes: Mutex::default(),
            sources: Arc::default(),
        }
    }
}

impl ServiceStats {
    /// Counts a response.
    pub fn responded(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(count) = self.classes.get(class) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Counts a refusal.
    pub fn refused(&self, reason: Reason) {
        if let Some(count) = self.refused.get(reason as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Responses by class, `1xx` first.
    pub fn classes(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        ["1xx", "2xx", "3xx", "4xx", "5xx"]
            .into_iter()
            .zip(self.classes.iter().map(|count| count.load(Relaxed)))
    }

    /// Refusals by reason, without those that did not occur.
    pub fn refusals(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        Reason::ALL
            .iter()
            .copied()
            .zip(self.refused.iter().map(|count| count.load(Relaxed)))
            .filter(|(_, count)| *count > 0)
    }

    /// The counter of a route; the same one for the same label in each generation.
    pub fn route(&self, label: &str) -> Arc<AtomicU64> {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = routes.get(label) {
            return Arc::clone(counter);
        }
        let counter = Arc::<AtomicU64>::default();
        routes.insert(label.to_owned(), Arc::clone(&counter));
        counter
    }

    /// Forgets routes that the generation in force does not have.
    pub fn keep_routes(&self, keep: &HashSet<&str>) {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.retain(|label, _| keep.contains(label.as_str()));
    }

    /// Client connections now.
    pub fn active(&self) -> usize {
        self.active.load(Relaxed)
    }

    /// Waits until fewer than `limit` connections are open. There is one caller for each listener,
    /// so a limit may be passed by as many as there are listeners of one service.
    pub async fn below(&self, limit: usize) {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if self.active() < limit {
                return;
            }
            freed.await;
        }
    }

    /// Counts a connection until the guard is dropped.
    pub fn connected(self: &Arc<Self>) -> Connected {
        self.active.fetch_add(1, Relaxed);
        self.connections.fetch_add(1, Relaxed);
        Connected(Arc::clone(self))
    }
}

/// A connection that is counted as open.
#[derive(Debug)]
pub struct Connected(Arc<ServiceStats>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Relaxed);
        self.0.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_and_reasons_are_counted_apart() {
        let stats = ServiceStats::default();
        stats.responded(StatusCode::OK);
        stats.responded(StatusCode::NOT_FOUND);
        stats.responded(StatusCode::GONE);
        stats.refused(Reason::NoRoute);
        let classes: Vec<_> = stats.classes().collect();
        assert_eq!(
            classes,
            [("1xx", 0), ("2xx", 1), ("3xx", 0), ("4xx", 2), ("5xx", 0)]
        );
        assert_eq!(stats.refusals().collect::<Vec<_>>(), [(Reason::NoRoute, 1)]);
    }

    #[tokio::test]
    async fn the_limit_waits_for_a_connection_to_end() {
        let stats = Arc::new(ServiceStats::default());
        let first = stats.connected();
        let waiting = tokio::spawn({
            let stats = Arc::clone(&stats);
            async move { stats.below(1).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        waiting.await.unwrap();
        assert_eq!(stats.active(), 0);
    }
}
