// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Counters that every CPU has its own of.
//!
//! C header: include/linux/percpu.h

use core::ptr::NonNull;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use kernel::prelude::*;

use crate::shell::bindings;

/// `N` counters of 64 bits.
///
/// # Invariants
///
/// `counters` is a per-CPU allocation of `N` words.
pub(crate) struct Counters<const N: usize> {
    counters: NonNull<u64>,
    /// The sums when they were reset last: no CPU writes another's counters.
    base: [AtomicU64; N],
}

// SAFETY: each CPU adds to its own words by one instruction; reading them while they change gives an older sum.
unsafe impl<const N: usize> Send for Counters<N> {}
// SAFETY: as above.
unsafe impl<const N: usize> Sync for Counters<N> {}

impl<const N: usize> Counters<N> {
    /// All at 0.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: any number is good; the kernel refuses one that is too large.
        let counters = unsafe { bindings::l7_percpu_alloc(N) };
        // INVARIANT: just allocated.
        Ok(Self {
            counters: NonNull::new(counters).ok_or(ENOMEM)?,
            base: [const { AtomicU64::new(0) }; N],
        })
    }

    /// Adds to a counter; one that does not exist is passed over. From any context.
    #[inline]
    pub(crate) fn add(&self, index: usize, amount: u64) {
        if index < N {
            // SAFETY: the allocation has `N` words.
            unsafe { bindings::l7_percpu_add(self.counters.as_ptr(), index, amount) }
        }
    }

    /// The same to two of them, which takes one call.
    #[inline]
    pub(crate) fn add_both(&self, (index, amount): (usize, u64), other: (usize, u64)) {
        if index < N && other.0 < N {
            let counters = self.counters.as_ptr();
            // SAFETY: the allocation has `N` words.
            unsafe { bindings::l7_percpu_add_both(counters, index, amount, other.0, other.1) }
        }
    }

    /// The sum over all CPUs since the last reset.
    pub(crate) fn sum(&self, index: usize) -> u64 {
        self.base
            .get(index)
            .map_or(0, |base| self.total(index).wrapping_sub(base.load(Relaxed)))
    }

    fn total(&self, index: usize) -> u64 {
        if index >= N {
            return 0;
        }
        // SAFETY: the allocation has `N` words.
        unsafe { bindings::l7_percpu_sum(self.counters.as_ptr(), index) }
    }

    /// Makes every sum 0.
    pub(crate) fn reset(&self) {
        let mut index = 0usize;
        for base in &self.base {
            base.store(self.total(index), Relaxed);
            index = index.wrapping_add(1);
        }
    }
}

impl<const N: usize> Drop for Counters<N> {
    fn drop(&mut self) {
        // SAFETY: by the invariant it is an allocation of ours, freed once.
        unsafe { bindings::l7_percpu_free(self.counters.as_ptr()) }
    }
}
