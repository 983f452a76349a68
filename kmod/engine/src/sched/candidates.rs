// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The servers that a pick may choose from, and the arithmetic that the schedulers share.

use core::borrow::Borrow;

use super::server::Server;

/// A pool's servers together with those that this request has tried.
pub(super) struct Candidates<'a, S, F> {
    pub(super) servers: &'a [S],
    pub(super) skip: F,
}

/// A server that may be picked.
pub(super) struct Candidate<'a> {
    pub(super) index: usize,
    pub(super) server: &'a Server,
    /// Read once, so that a pick reckons with one value; 1 to 65535.
    pub(super) weight: u64,
}

impl<'a, S: Borrow<Server>, F: Fn(usize) -> bool> Candidates<'a, S, F> {
    /// Number of servers, candidates or not.
    pub(super) fn len(&self) -> usize {
        self.servers.len()
    }

    /// The server at `index` if it may be picked.
    pub(super) fn get(&self, index: usize) -> Option<Candidate<'a>> {
        let server = self.servers.get(index)?.borrow();
        let weight = u64::from(server.weight());
        let eligible = weight > 0 && server.available() && !server.is_full() && !(self.skip)(index);
        eligible.then_some(Candidate {
            index,
            server,
            weight,
        })
    }

    /// All candidates.
    pub(super) fn iter(&self) -> impl Iterator<Item = Candidate<'a>> + use<'_, 'a, S, F> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// All candidates, from `start` on and around.
    pub(super) fn iter_from(
        &self,
        start: usize,
    ) -> impl Iterator<Item = Candidate<'a>> + use<'_, 'a, S, F> {
        let len = self.len();
        let start = if start < len { start } else { 0 };
        // Both are less than `len`, and a list of servers is less than half of all numbers.
        (0..len).filter_map(move |step| {
            let index = start.wrapping_add(step);
            let index = if index < len {
                index
            } else {
                index.wrapping_sub(len)
            };
            self.get(index)
        })
    }

    /// Sum of the candidates' weights.
    pub(super) fn total_weight(&self) -> u64 {
        self.iter()
            .fold(0, |sum, candidate| candidate.weight.saturating_add(sum))
    }

    /// The candidate that `hash` falls on if each takes as much of the hashes as it weighs.
    pub(super) fn by_weight(&self, hash: u64) -> Option<usize> {
        let mut position = below(mix(hash), self.total_weight());
        let mut first = None;
        for candidate in self.iter() {
            first = first.or(Some(candidate.index));
            match position.checked_sub(candidate.weight) {
                Some(behind) => position = behind,
                None => return Some(candidate.index),
            }
        }
        first
    }
}

/// A number below `bound` from an evenly distributed 64-bit one (0 if `bound` is 0), by the high
/// half of the product: Lemire, "Fast random integer generation in an interval" (2019), without
/// its rejection, whose bias is at most `bound` in 2^64.
pub(crate) fn below(random: u64, bound: u64) -> u64 {
    let product = u128::from(random).wrapping_mul(u128::from(bound));
    u64::try_from(product >> 64).unwrap_or(0)
}

/// [`below`] for an index.
pub(super) fn index_below(random: u64, bound: usize) -> usize {
    usize::try_from(below(random, u64::try_from(bound).unwrap_or(u64::MAX))).unwrap_or(0)
}

/// A bijection that spreads neighbouring numbers: the output function of SplitMix64 (Steele, Lea
/// and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
pub(super) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A sequence of random numbers from one: SplitMix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }
}
