// SPDX-License-Identifier: MIT
//! Waiting for a condition with a deadline, never for a time.

use std::thread;
use std::time::Duration;
use std::time::Instant;

use crate::guest::patience;

/// How long anything that a test waits for may take on an idle machine, in the stock kernel.
const WAIT: Duration = Duration::from_secs(10);
/// How long a server of the distribution may take to start there, Java's among them.
const START: Duration = Duration::from_secs(150);

/// How long anything that a test waits for may take. Programs find it as `$LIMIT`, in seconds.
#[must_use]
pub fn limit() -> Duration {
    WAIT * patience()
}

/// How long a server of the distribution may take to start.
#[must_use]
pub fn start_limit() -> Duration {
    START * patience()
}

/// Waits until `condition` holds, for [`limit`] at most.
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
