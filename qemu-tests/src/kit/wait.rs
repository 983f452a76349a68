// SPDX-License-Identifier: MIT
//! Waiting for a condition with a deadline, never for a time.

use std::thread;
use std::time::Duration;
use std::time::Instant;

use crate::guest::slowness;

/// How long anything that a test waits for may take: 10 seconds, more in a kernel that is slow.
#[must_use]
pub fn limit() -> Duration {
    Duration::from_secs(10) * slowness()
}

/// Waits until `condition` holds, for 10 seconds at most.
///
/// # Panics
///
/// Where it does not: says `what` did not happen.
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    wait_for(what, limit(), condition);
}

/// Waits until `condition` holds, for so long at most.
///
/// # Panics
///
/// Where it does not: says `what` did not happen.
pub fn wait_for(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(
            Instant::now() < deadline,
            "in time it did not happen: {what}"
        );
        thread::sleep(Duration::from_millis(5));
    }
}
