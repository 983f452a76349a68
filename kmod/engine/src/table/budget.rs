// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A bound on the work of one match: what a table of many routes that differ in little, or a hostile one, can cost.

use core::fmt;

/// A match took more steps than it was allowed: too many routes differ in their conditions only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverBudget;

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("too many routes to try for one request")
    }
}

/// Steps that a match may still take.
pub(super) struct Budget {
    left: u32,
}

impl Budget {
    /// So many.
    pub(super) const fn new(steps: u32) -> Self {
        Self { left: steps }
    }

    /// Takes steps away, before they are taken.
    #[inline]
    pub(super) fn spend(&mut self, steps: u32) -> Result<(), OverBudget> {
        self.left = self.left.checked_sub(steps).ok_or(OverBudget)?;
        Ok(())
    }
}
