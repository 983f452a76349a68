// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Slots of counters for the routes of tables that replace one another: a route that is in the next table again keeps its
//! slot, so what is counted of it goes on, whichever of the two tables it is counted by.
//!
//! Routes are the same that have the same name in the service of a name; routes without one, that stand at the same position
//! of it and have none. So people see them, too.

use crate::sched::hash_key;
use crate::sched::sort::lower_bound;
use crate::sched::sort::sort;

/// Since when a slot that is no route's has been of the same route.
pub const FREE: u64 = u64::MAX;
/// The slot of a route that has none yet.
pub const NONE: u32 = u32::MAX;

/// The names of a service's routes, in the order of their positions.
pub struct Names<F> {
    /// How many routes there are.
    pub count: u32,
    /// The name of one; empty where it has none.
    pub name: F,
}

/// Calls `pair` with the positions of each route that is in both tables, in the one before and in this one. `index` is room for
/// `before.count` entries: routes that it does not take are found only where they follow the one that was found before.
pub fn same<'n>(
    before: &Names<impl Fn(u32) -> &'n [u8]>,
    now: &Names<impl Fn(u32) -> &'n [u8]>,
    index: &mut [(u64, u32)],
    mut pair: impl FnMut(u32, u32),
) {
    // Most tables differ little from the ones before: the next route is mostly the one behind the last.
    let mut next = 0u32;
    let mut indexed = None;
    for position in 0..now.count {
        let name = (now.name)(position);
        let is = |at: u32| at < before.count && (before.name)(at) == name;
        let found = if name.is_empty() {
            is(position).then_some(position)
        } else if is(next) {
            Some(next)
        } else {
            let len = *indexed.get_or_insert_with(|| by_name(before, index));
            find(index.get(..len).unwrap_or_default(), hash_key(name), is)
        };
        if let Some(found) = found {
            next = found.saturating_add(1);
            pair(found, position);
        }
    }
}

/// Hashes of names with their positions, sorted. Gives how many there are.
fn by_name<'n>(names: &Names<impl Fn(u32) -> &'n [u8]>, index: &mut [(u64, u32)]) -> usize {
    let mut len = 0usize;
    for position in 0..names.count {
        let name = (names.name)(position);
        if let (false, Some(place)) = (name.is_empty(), index.get_mut(len)) {
            *place = (hash_key(name), position);
            len = len.wrapping_add(1);
        }
    }
    sort(index.get_mut(..len).unwrap_or_default(), |a, b| a.0 < b.0);
    len
}

/// The first position with a hash that `is` right.
fn find(names: &[(u64, u32)], hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
    let first = lower_bound(names, |entry| entry.0 < hash);
    let candidates = names.get(first..)?.iter();
    candidates
        .take_while(|entry| entry.0 == hash)
        .map(|entry| entry.1)
        .find(|&position| is(position))
}

/// The slots of a table that is being made.
pub struct Slots<'a> {
    /// The slot of each route, by the route's number in the table: [`NONE`] at first.
    pub routes: &'a mut [u32],
    /// Of each slot, the generation of the first table in which it was its route's: [`FREE`] at first. With room for a slot for
    /// every route behind those of the table before.
    pub since: &'a mut [u64],
    /// The same of the table before, which is still in force.
    pub before: &'a [u64],
}

impl Slots<'_> {
    /// Gives a route the slot that it had. A slot is given once.
    pub fn keep(&mut self, route: u32, slot: u32) {
        let slot_number = slot;
        let slot = slot as usize;
        let (Some(place), Some(since), Some(&was)) = (
            self.routes.get_mut(route as usize),
            self.since.get_mut(slot),
            self.before.get(slot),
        ) else {
            return;
        };
        if *since == FREE && was != FREE && *place == NONE {
            *since = was;
            *place = slot_number;
        }
    }

    /// Gives slots to the other routes, and calls `fresh` with each. No slot is taken that the table before uses: it is counted in
    /// still. Gives how many slots there are with those that are free between them.
    pub fn fill(&mut self, generation: u64, mut fresh: impl FnMut(u32)) -> usize {
        let mut next = 0usize;
        for place in self.routes.iter_mut().filter(|place| **place == NONE) {
            let slot = loop {
                match (self.since.get_mut(next), self.before.get(next)) {
                    (None, _) => break None,
                    (Some(since), None | Some(&FREE)) if *since == FREE => break Some(since),
                    _ => next = next.wrapping_add(1),
                }
            };
            let (Some(since), Ok(number)) = (slot, u32::try_from(next)) else {
                break;
            };
            *since = generation;
            *place = number;
            fresh(number);
        }
        let mut len = self.since.len();
        while len > 0 && self.since.get(len.wrapping_sub(1)) == Some(&FREE) {
            len = len.wrapping_sub(1);
        }
        len
    }
}

#[cfg(test)]
#[allow(
    clippy::arithmetic_side_effects,
    reason = "tests compute with numbers that they know"
)]
mod tests {
    use std::collections::BTreeMap;
    use std::collections::BTreeSet;
    use std::string::String;
    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn names<'n>(all: &'n [String]) -> Names<impl Fn(u32) -> &'n [u8]> {
        Names {
            count: u32::try_from(all.len()).unwrap(),
            name: |at| all[at as usize].as_bytes(),
        }
    }

    /// The pairs of two lists, words apart; `-` has no name.
    fn pairs(before: &str, now: &str) -> Vec<(u32, u32)> {
        let words = |text: &str| -> Vec<String> {
            let words = text.split_whitespace().map(|word| word.replace('-', ""));
            words.collect()
        };
        let (before, now) = (words(before), words(now));
        let mut found = Vec::new();
        let mut index = vec![(0, 0); before.len()];
        same(&names(&before), &names(&now), &mut index, |was, is| {
            found.push((was, is));
        });
        found
    }

    #[test]
    fn routes_are_known_by_name_or_else_by_position() {
        assert_eq!(pairs("a b c", "a b c"), [(0, 0), (1, 1), (2, 2)]);
        assert_eq!(pairs("a b c", "x a b"), [(0, 1), (1, 2)]);
        assert_eq!(pairs("a b c", "c a"), [(2, 0), (0, 1)]);
        assert_eq!(pairs("- a -", "- - a"), [(0, 0), (1, 2)], "a has moved");
        assert_eq!(pairs("- a -", "- b - -"), [(0, 0), (2, 2)]);
        assert_eq!(pairs("", "a -"), []);
        assert_eq!(pairs("a -", ""), []);
    }

    #[test]
    fn slots_are_given_once_and_not_while_they_are_used() {
        // Slot 1 is free, the others are in use.
        let before = [1, FREE, 2, 2];
        let (mut routes, mut since) = ([NONE; 5], [FREE; 9]);
        let mut slots = Slots {
            routes: &mut routes,
            since: &mut since,
            before: &before,
        };
        slots.keep(3, 2);
        slots.keep(4, 2);
        slots.keep(0, 1);
        slots.keep(9, 0);
        slots.keep(0, 9);
        let mut fresh = Vec::new();
        assert_eq!(slots.fill(7, |slot| fresh.push(slot)), 7);
        assert_eq!(fresh, [1, 4, 5, 6]);
        assert_eq!(routes, [1, 4, 5, 2, 6]);
        assert_eq!(since, [FREE, 7, 2, FREE, 7, 7, 7, FREE, FREE]);
    }

    #[test]
    fn what_has_no_room_has_no_slot() {
        let (mut routes, mut since) = ([NONE; 3], [FREE; 2]);
        let mut slots = Slots {
            routes: &mut routes,
            since: &mut since,
            before: &[],
        };
        assert_eq!(slots.fill(1, |_| {}), 2);
        assert_eq!(routes, [0, 1, NONE]);
    }

    proptest! {
        /// Tables one after the other: routes that stay keep their slots, no two have one, none is taken over within a
        /// table, and there are no more than those of two tables.
        #[test]
        fn slots_follow_their_routes(
            tables in prop::collection::vec(prop::collection::btree_set(0u8..40, 0..30), 1..12),
            seed in any::<u64>(),
        ) {
            let (mut known, mut since): (BTreeMap<String, u32>, Vec<u64>) = Default::default();
            let mut order: Vec<String> = Vec::new();
            let mut most = 0;
            for (generation, table) in (1..).zip(tables) {
                let mut now: Vec<String> = table.iter().map(|n| std::format!("{n}")).collect();
                let turn = usize::try_from(seed % 7).unwrap() * usize::try_from(generation).unwrap();
                if !now.is_empty() {
                    let by = turn % now.len();
                    now.rotate_left(by);
                }
                most = most.max(now.len());
                let mut routes = vec![NONE; now.len()];
                let mut after = vec![FREE; since.len() + now.len()];
                let mut index = vec![(0, 0); order.len()];
                let mut slots = Slots { routes: &mut routes, since: &mut after, before: &since };
                same(&names(&order), &names(&now), &mut index, |was, is| {
                    slots.keep(is, known[&order[was as usize]]);
                });
                let mut fresh = BTreeSet::new();
                let len = slots.fill(generation, |slot| { fresh.insert(slot); });
                after.truncate(len);
                prop_assert!(len <= 2 * most.max(order.len()), "{len}");
                let next: BTreeMap<String, u32> = now.iter().cloned().zip(routes.iter().copied()).collect();
                let all: BTreeSet<u32> = routes.iter().copied().collect();
                prop_assert_eq!(all.len(), now.len());
                for (name, slot) in &next {
                    match known.get(name) {
                        Some(was) => prop_assert_eq!(was, slot),
                        None => {
                            prop_assert!(fresh.contains(slot) && after[*slot as usize] == generation);
                            prop_assert!(!known.values().any(|used| used == slot));
                        }
                    }
                }
                (known, since, order) = (next, after, now);
            }
        }
    }
}
