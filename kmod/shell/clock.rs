// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Time.
//!
//! C header: include/linux/timekeeping.h

use crate::shell::bindings;

/// Nanoseconds since the machine was booted (`CLOCK_MONOTONIC`). The kernel crate's `Instant` does not give the number.
pub(crate) fn now_ns() -> u64 {
    // SAFETY: may be called from any context but NMI.
    unsafe { bindings::l7_now_ns() }
}

/// Seconds since 1970 (`CLOCK_REALTIME`); it jumps where somebody sets the clock.
pub(crate) fn real_seconds() -> i64 {
    // SAFETY: may be called from any context.
    unsafe { bindings::l7_real_seconds() }
}
