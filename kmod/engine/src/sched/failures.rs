// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Servers that take no connections, one after the other, get nothing new for a while.
//!
//! All accesses are relaxed: what is counted while another CPU counts may be one too many or too few.

use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// Failures one after the other after which a server is left out.
const FAILURES: u32 = 3;
/// For how long, ns.
const LEFT_OUT_NS: u64 = 10_000_000_000;

/// Connections of one server that failed.
#[derive(Debug, Default)]
pub struct Failures {
    /// One after the other.
    in_a_row: AtomicU32,
    /// It is left out because of them.
    failing: AtomicBool,
    /// Until when, ns of a monotonic clock.
    until: AtomicU64,
}

impl Failures {
    /// None.
    pub const fn new() -> Self {
        Self {
            in_a_row: AtomicU32::new(0),
            failing: AtomicBool::new(false),
            until: AtomicU64::new(0),
        }
    }

    /// Whether the server is left out.
    pub fn failing(&self) -> bool {
        self.failing.load(Relaxed)
    }

    /// It took a connection.
    pub fn works(&self) {
        if self.in_a_row.load(Relaxed) != 0 {
            self.in_a_row.store(0, Relaxed);
        }
    }

    /// It did not, at `now`. Whether it is left out from now on, and was not before.
    pub fn fails(&self, now: u64) -> bool {
        let failures = self.in_a_row.fetch_add(1, Relaxed).wrapping_add(1);
        if failures < FAILURES || self.failing.swap(true, Relaxed) {
            return false;
        }
        self.until.store(now.saturating_add(LEFT_OUT_NS), Relaxed);
        true
    }

    /// Whether its time has come to be tried again: one more failure then leaves it out again.
    pub fn recovers(&self, now: u64) -> bool {
        if !self.failing() || now < self.until.load(Relaxed) {
            return false;
        }
        self.in_a_row.store(FAILURES.wrapping_sub(1), Relaxed);
        self.failing.store(false, Relaxed);
        true
    }

    /// Forgets them: somebody knows better.
    pub fn forget(&self) {
        self.failing.store(false, Relaxed);
        self.in_a_row.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_left_out_after_failures_in_a_row_and_comes_back() {
        let failures = Failures::new();
        assert!(!failures.fails(1) && !failures.fails(2));
        failures.works();
        assert!(!failures.fails(3) && !failures.fails(4) && !failures.failing());
        assert!(failures.fails(5) && failures.failing());
        assert!(!failures.fails(6), "it is told once");
        assert!(!failures.recovers(5 + LEFT_OUT_NS - 1));
        assert!(failures.recovers(5 + LEFT_OUT_NS) && !failures.failing());
        assert!(!failures.recovers(u64::MAX));
        assert!(failures.fails(7 + LEFT_OUT_NS), "one more is enough");
        failures.forget();
        assert!(!failures.failing() && !failures.fails(8));
    }
}
