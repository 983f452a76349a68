// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Random numbers that nobody can foresee.
//!
//! C header: include/linux/random.h

use crate::shell::bindings;

/// A key for SipHash.
pub(crate) fn key() -> [u64; 2] {
    [number(), number()]
}

/// A number. Cheap: from a store of the CPU's own, which a ChaCha block fills for 12 numbers.
pub(crate) fn number() -> u64 {
    // SAFETY: may be called from any context.
    unsafe { bindings::get_random_u64() }
}
