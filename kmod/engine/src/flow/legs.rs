// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Which of a flow's legs, and what there is for each of them.

/// One of a flow's places for a leg: there is the one in use, and one that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LegNumber {
    /// The one that is taken first.
    First,
    /// The other one.
    Second,
}

impl LegNumber {
    /// Both.
    pub const ALL: [Self; 2] = [Self::First, Self::Second];
}

/// Something for each leg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerLeg<T> {
    first: T,
    second: T,
}

impl<T> PerLeg<T> {
    /// For the first leg, and for the second.
    pub const fn new(first: T, second: T) -> Self {
        Self { first, second }
    }

    /// What there is for a leg.
    #[inline]
    pub const fn get(&self, leg: LegNumber) -> &T {
        match leg {
            LegNumber::First => &self.first,
            LegNumber::Second => &self.second,
        }
    }

    /// The same, to be changed.
    #[inline]
    pub fn get_mut(&mut self, leg: LegNumber) -> &mut T {
        match leg {
            LegNumber::First => &mut self.first,
            LegNumber::Second => &mut self.second,
        }
    }

    /// For the first leg, then for the second.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        [&self.first, &self.second].into_iter()
    }

    /// The same, to be changed.
    #[inline]
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        [&mut self.first, &mut self.second].into_iter()
    }
}
