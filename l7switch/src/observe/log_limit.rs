// SPDX-License-Identifier: MIT
//! Log lines that hostile input causes: at most one a second for each reason. And others that come again and again.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use crate::net::clock::now_ns;
use crate::observe::reason::Reason;

const SECOND: u64 = 1_000_000_000;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// For each reason: when the next line may be written, and how many were not.
static GATES: LazyLock<Vec<(AtomicU64, AtomicU64)>> =
    LazyLock::new(|| Reason::ALL.iter().map(|_| Default::default()).collect());

/// Logs what a client did, unless the same reason was logged within the last second.
pub fn hostile(reason: Reason, peer: SocketAddr, detail: &str) {
    let now = u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX);
    if let Some(suppressed) = due(reason, now) {
        tracing::info!(reason = reason.as_str(), client = %peer, detail, suppressed, "refused");
    }
}

/// How many lines were not written since the last, if one may be written now.
fn due(reason: Reason, now: u64) -> Option<u64> {
    let (next, suppressed) = GATES.get(reason as usize)?;
    let before = next.load(Relaxed);
    let taken = now >= before
        && next
            .compare_exchange(before, now.saturating_add(SECOND), Relaxed, Relaxed)
            .is_ok();
    if taken {
        Some(suppressed.swap(0, Relaxed))
    } else {
        suppressed.fetch_add(1, Relaxed);
        None
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
    fn one_line_a_second_for_each_reason() {
        let start = 1_000 * SECOND;
        assert_eq!(due(Reason::Internal, start), Some(0));
        assert_eq!(due(Reason::Internal, start + 5), None);
        assert_eq!(due(Reason::Draining, start + 5), Some(0));
        assert_eq!(due(Reason::Internal, start + SECOND), Some(1));
    }
}
