// SPDX-License-Identifier: MIT
//! Requests that are sent again to another server, and how many of them a pool may have at a time.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// So many may be sent again at a time whatever the budget says (Envoy's `min_retry_concurrency`).
const LEAST: u64 = 3;

/// A pool's requests that are sent again.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    /// In progress.
    now: AtomicU64,
    /// Since the start.
    total: AtomicU64,
    /// Those that the budget did not allow.
    refused: AtomicU64,
}

/// A request that is sent again. Counted as one in progress until it is dropped.
#[derive(Debug)]
pub struct Repeating(Arc<Repeats>);

impl Drop for Repeating {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Relaxed);
    }
}

impl Repeats {
    /// Counts a request that is sent again, each time.
    pub(super) fn count(&self) {
        self.total.fetch_add(1, Relaxed);
    }

    /// Begins to send a request again, if there are fewer such ones than `budget` percent of `active` requests, or than a
    /// few.
    pub(super) fn begin(self: &Arc<Self>, active: u64, budget: u32) -> Option<Repeating> {
        let most = (active.saturating_mul(budget.into()) / 100).max(LEAST);
        let begun = self.now.fetch_update(Relaxed, Relaxed, |now| {
            (now < most).then(|| now.saturating_add(1))
        });
        if begun.is_ok() {
            return Some(Repeating(Arc::clone(self)));
        }
        self.refused.fetch_add(1, Relaxed);
        None
    }

    /// Those since the start, and those that the budget did not allow.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.total.load(Relaxed), self.refused.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_a_share_of_the_requests_in_progress() {
        let repeats = Arc::<Repeats>::default();
        let take = |active, budget| repeats.begin(active, budget);
        let mut held: Vec<_> = (0..3).map(|_| take(1, 20).unwrap()).collect();
        assert!(take(1, 20).is_none());
        assert!(take(19, 20).is_none());
        held.push(take(20, 20).unwrap());
        assert!(take(20, 20).is_none());
        assert!(take(4, 100).is_none());
        held.push(take(5, 100).unwrap());
        assert_eq!(repeats.counts(), (0, 4));
        drop(held);
        assert!(take(0, 1).is_some());
    }
}
