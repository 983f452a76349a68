// SPDX-License-Identifier: GPL-2.0 OR MIT
//! How long things take, in classes of powers of two.
#![forbid(unsafe_code)]

use kernel::prelude::*;

use crate::shell::sync::per_cpu::Counters;

/// Classes: the first is up to 1,024 ns, each next one twice as long; the last has everything that is longer.
pub(crate) const CLASSES: usize = 26;
const FIRST_BITS: u32 = 10;

/// Times counted by class, and their sum in ns.
pub(crate) struct Histogram(Counters<{ CLASSES + 1 }>);

impl Histogram {
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(Counters::new()?))
    }

    /// Counts a time, ns.
    pub(crate) fn observe(&self, ns: u64) {
        let bits = 64u32.wrapping_sub(ns.leading_zeros());
        let class = (bits.saturating_sub(FIRST_BITS) as usize).min(CLASSES - 1);
        self.0.add_both((class, 1), (CLASSES, ns));
    }

    /// The classes, each with the time, ns, that its times are below; the last has none.
    pub(crate) fn classes() -> impl Iterator<Item = (usize, Option<u64>)> {
        (0..CLASSES).map(|class| {
            let bits = FIRST_BITS.wrapping_add(class as u32);
            let below = (class < CLASSES - 1).then(|| 1u64.wrapping_shl(bits));
            (class, below)
        })
    }

    /// Times in a class.
    pub(crate) fn class(&self, class: usize) -> u64 {
        self.0.sum(class)
    }

    /// Sum of all times, ns.
    pub(crate) fn sum(&self) -> u64 {
        self.0.sum(CLASSES)
    }

    pub(crate) fn reset(&self) {
        self.0.reset();
    }
}
