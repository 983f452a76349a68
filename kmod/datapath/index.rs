// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Where a packet's connection is: a hash table of addresses and ports that is read without a lock.
//!
//! Sets of eight words fill a cache line; a key may be in one of two neighbouring sets. A word holds half of the key's hash
//! and the place that it leads to. Whoever finds a place looks there, under its lock, whether it is the right one.
#![forbid(unsafe_code)]

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::Release;

use kernel::prelude::*;

/// Words of a set.
const WAYS: usize = 8;

/// A place: not 0.
pub(super) type Place = u32;

/// The table.
pub(super) struct Index {
    sets: KVVec<[AtomicU64; WAYS]>,
    /// Number of sets, a power of two, less one.
    mask: usize,
}

const fn word(hash: u64, place: Place) -> u64 {
    (hash >> 32 << 32) | place as u64
}

impl Index {
    /// Room for about `keys`, at half load.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(keys: usize) -> Result<Self> {
        let sets = keys.div_ceil(WAYS / 2).max(2).next_power_of_two();
        let mut all = KVVec::with_capacity(sets, GFP_KERNEL_ACCOUNT)?;
        for _ in 0..sets {
            all.push_within_capacity([const { AtomicU64::new(0) }; WAYS])
                .map_err(|_| ENOMEM)?;
        }
        Ok(Self {
            sets: all,
            mask: sets.wrapping_sub(1),
        })
    }

    /// The two sets of a key.
    // Not one list of all their words: that takes several times as many instructions.
    #[inline]
    fn sets(&self, hash: u64) -> Option<[&[AtomicU64; WAYS]; 2]> {
        let first = (hash as usize) & self.mask;
        Some([self.sets.get(first)?, self.sets.get(first ^ 1)?])
    }

    /// Calls `look` with every place that may be a key's, until it finds something.
    #[inline]
    pub(super) fn find<R>(&self, hash: u64, mut look: impl FnMut(Place) -> Option<R>) -> Option<R> {
        let tag = hash >> 32;
        let first = (hash as usize) & self.mask;
        let mut set = first;
        loop {
            for entry in self.sets.get(set)? {
                let found = entry.load(Acquire);
                if found >> 32 == tag && found != 0 {
                    if let Some(result) = look(found as Place) {
                        return Some(result);
                    }
                }
            }
            if set != first {
                return None;
            }
            set ^= 1;
        }
    }

    /// Whether a key's hash is in the table.
    fn has(&self, hash: u64) -> usize {
        let mut count = 0usize;
        self.find(hash, |_| {
            count = count.wrapping_add(1);
            None::<()>
        });
        count
    }

    /// Puts a key in. `false` where there is no room, or where the key (or, very rarely, another of the same hash) is
    /// there.
    pub(super) fn insert(&self, hash: u64, place: Place) -> bool {
        if !self.insert_alone(hash, place) {
            return false;
        }
        // Two at a time: neither has it.
        let alone = self.has(hash) <= 1;
        if !alone {
            self.remove(hash, place);
        }
        alone
    }

    /// The same under a lock under which every insertion of that key is.
    pub(super) fn insert_alone(&self, hash: u64, place: Place) -> bool {
        let Some(sets) = self.sets(hash) else {
            return false;
        };
        let tag = hash >> 32;
        let mut free = None;
        for set in sets {
            for entry in set {
                let found = entry.load(Acquire);
                if found == 0 {
                    free = free.or(Some(entry));
                } else if found >> 32 == tag {
                    return false;
                }
            }
        }
        let new = word(hash, place);
        let is_put = |entry: &AtomicU64| entry.compare_exchange(0, new, Release, Relaxed).is_ok();
        // Somebody else may have taken that one meanwhile.
        free.is_some_and(|free| is_put(free) || sets.into_iter().flatten().any(is_put))
    }

    /// Takes a key out.
    pub(super) fn remove(&self, hash: u64, place: Place) {
        let old = word(hash, place);
        let is_taken = |entry: &AtomicU64| {
            entry.load(Relaxed) == old && entry.compare_exchange(old, 0, Release, Relaxed).is_ok()
        };
        for set in self.sets(hash).into_iter().flatten() {
            if set.iter().any(is_taken) {
                return;
            }
        }
    }
}
