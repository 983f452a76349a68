// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Monotonic time.
//!
//! C header: include/linux/timekeeping.h

use super::bindings;

/// Nanoseconds since the machine was booted (`CLOCK_MONOTONIC`). The kernel crate's `Instant` does not give the number.
pub(crate) fn now_ns() -> u64 {
    // SAFETY: may be called from any context but NMI.
    unsafe { bindings::l7_now_ns() }
}
