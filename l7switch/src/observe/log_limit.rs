// SPDX-License-Identifier: MIT
//! Log lines that hostile input causes: at most one a second for each gate that they go through. And others that come again and again.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use crate::net::clock::now_ns;
use crate::observe::reason::Reason;

const SECOND: u64 = 1_000_000_000;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Lets one line a second through, and counts the others.
#[derive(Debug, Default)]
pub struct Gate {
    /// When the next line may be written.
    next: AtomicU64,
    suppressed: AtomicU64,
}

impl Gate {
    /// One that lets the first line through.
    pub const fn new() -> Self {
        Self {
            next: AtomicU64::new(0),
            suppressed: AtomicU64::new(0),
        }
    }

    /// How many lines were not written since the last, if one may be written now.
    pub fn due(&self) -> Option<u64> {
        self.due_at(u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn due_at(&self, now: u64) -> Option<u64> {
        let before = self.next.load(Relaxed);
        let taken = now >= before
            && self
                .next
                .compare_exchange(before, now.saturating_add(SECOND), Relaxed, Relaxed)
                .is_ok();
        if taken {
            Some(self.suppressed.swap(0, Relaxed))
        } else {
            self.suppressed.fetch_add(1, Relaxed);
            None
        }
    }
}

/// One for each reason.
static GATES: LazyLock<Vec<Gate>> =
    LazyLock::new(|| Reason::ALL.iter().map(|_| Gate::new()).collect());

/// Logs what a client did, unless the same reason was logged within the last second.
pub fn hostile(reason: Reason, peer: SocketAddr, detail: &str) {
    if let Some(suppressed) = GATES.get(reason as usize).and_then(Gate::due) {
        tracing::info!(reason = reason.as_str(), client = %peer, detail, suppressed, "refused");
    }
}

/// Time between two lines about the same, ns.
const LOG_PAUSE: u64 = 10_000_000_000;

/// When something was logged last that comes again and again, as [`now_ns`]; 0: never.
#[derive(Debug, Default)]
pub(crate) struct Logged(AtomicU64);

impl Logged {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Whether it is logged now: at most every ten seconds.
    pub(crate) fn is_due(&self) -> bool {
        let (now, before) = (now_ns(), self.0.load(Relaxed));
        let is_due = before == 0 || now.saturating_sub(before) > LOG_PAUSE;
        is_due
            && self
                .0
                .compare_exchange(before, now.max(1), Relaxed, Relaxed)
                .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_for_each_gate() {
        let start = 1_000 * SECOND;
        let (one, other) = (Gate::new(), Gate::new());
        assert_eq!(one.due_at(start), Some(0));
        assert_eq!(one.due_at(start + 5), None);
        assert_eq!(other.due_at(start + 5), Some(0));
        assert_eq!(one.due_at(start + SECOND), Some(1));
    }

    #[test]
    fn every_reason_has_a_gate() {
        for &reason in Reason::ALL {
            assert!(GATES.get(reason as usize).is_some());
        }
    }
}
