// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Softirqs held off on this CPU: for process context that takes a lock which softirqs take too.
//!
//! C header: include/linux/bottom_half.h

use kernel::types::NotThreadSafe;

use crate::shell::bindings;

/// Softirqs do not run on this CPU as long as this lives.
pub(crate) struct Disabled(NotThreadSafe);

impl Disabled {
    /// Holds them off.
    pub(crate) fn new() -> Self {
        // SAFETY: it nests, and `drop` undoes it on the same thread.
        unsafe { bindings::l7_bh_disable() };
        Self(NotThreadSafe)
    }
}

impl Drop for Disabled {
    fn drop(&mut self) {
        // SAFETY: `new` disabled them on this thread.
        unsafe { bindings::l7_bh_enable() }
    }
}
