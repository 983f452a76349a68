// SPDX-License-Identifier: MIT
//! Waiting for a condition with a deadline, never for a time.

use std::thread;
use std::time::Duration;
use std::time::Instant;

/// Waits until `condition` holds, for 10 seconds at most.
///
/// # Panics
///
/// Where it does not: says `what` did not happen.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(
            Instant::now() < deadline,
            "in 10 s it did not happen: {what}"
        );
        thread::sleep(Duration::from_millis(5));
    }
}
