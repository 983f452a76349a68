// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Random numbers that nobody can foresee.
//!
//! C header: include/linux/random.h

use super::bindings;

/// A key for SipHash.
pub(crate) fn key() -> [u64; 2] {
    // SAFETY: may be called from any context.
    [(); 2].map(|()| unsafe { bindings::get_random_u64() })
}
