// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A wheel of timers: what is to be looked at at a time, by slots of a table that lends it room for its lists.
//!
//! Two rings of spokes (G. Varghese, T. Lauck: "Hashed and Hierarchical Timing Wheels", 1987, 6.2). What is due within eight
//! seconds is on the near ring, in the order of its time; all else on the far one, where it is looked at once when its time
//! is near. So a table of a million connections that wait for a quarter of an hour costs next to nothing.
//!
//! Times are ms modulo 2³².

use crate::flow::seq;

/// Spokes of a ring; a power of two, as the times are, so that time may wrap.
const SPOKES: u32 = 64;
/// Time from one spoke of the near ring to the next, ms.
pub const NEAR_MS: u32 = 128;
/// The same of the far one.
const FAR_MS: u32 = NEAR_MS * SPOKES;
/// No slot, or no spoke.
pub const NONE: u32 = u32::MAX;

/// What a slot keeps for the wheel.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// The neighbours on the spoke. Whoever has the slot may use the first while the slot is on no spoke.
    pub next: u32,
    previous: u32,
    /// Of the near ring's, or behind them the far one's.
    spoke: u32,
    due: u32,
}

impl Link {
    /// On no spoke; `next` is the caller's.
    pub const fn new(next: u32) -> Self {
        Self {
            next,
            previous: NONE,
            spoke: NONE,
            due: 0,
        }
    }

    /// When the slot is looked at.
    #[inline]
    pub const fn due(&self) -> u32 {
        self.due
    }
}

/// A table of slots.
pub trait Links {
    /// What a slot keeps; `None` where there is no such slot.
    fn link(&mut self, slot: u32) -> Option<&mut Link>;
}

/// The wheel.
#[derive(Debug)]
pub struct Wheel {
    spokes: [u32; 2 * SPOKES as usize],
    /// The time up to which it has been turned: a multiple of [`NEAR_MS`].
    turned: u32,
}

impl Wheel {
    /// With nothing on it, at a time.
    pub const fn new(now: u32) -> Self {
        Self {
            spokes: [NONE; 2 * SPOKES as usize],
            turned: now & !(NEAR_MS - 1),
        }
    }

    /// The spoke for a time: never the one that is being turned, for a slot must not come twice in a turn.
    fn spoke(&self, due: u32) -> u32 {
        let ahead = if seq::before(due, self.turned) {
            0
        } else {
            due.wrapping_sub(self.turned) / NEAR_MS
        };
        let (period, present) = (due / FAR_MS, self.turned / FAR_MS);
        // Periods are counted modulo 2³² / FAR_MS.
        let periods = due.wrapping_sub(present.wrapping_mul(FAR_MS)) / FAR_MS;
        if ahead < SPOKES - 1 || periods == 0 {
            let ahead = ahead.wrapping_add(1).clamp(2, SPOKES - 1);
            (self.turned / NEAR_MS).wrapping_add(ahead) & (SPOKES - 1)
        } else if periods < SPOKES {
            SPOKES | (period & (SPOKES - 1))
        } else {
            SPOKES | (present.wrapping_add(SPOKES - 1) & (SPOKES - 1))
        }
    }

    /// Has a slot that is on no spoke looked at at a time, or soon after; earlier too, if that is far off.
    pub fn put<L: Links + ?Sized>(&mut self, links: &mut L, slot: u32, due: u32) {
        let spoke = self.spoke(due);
        let Some(head) = self.spokes.get_mut(spoke as usize) else {
            return;
        };
        let next = core::mem::replace(head, slot);
        if let Some(next) = links.link(next) {
            next.previous = slot;
        }
        if let Some(link) = links.link(slot) {
            *link = Link {
                next,
                previous: NONE,
                spoke,
                due,
            };
        }
    }

    /// Takes a slot off its spoke.
    pub fn take<L: Links + ?Sized>(&mut self, links: &mut L, slot: u32) {
        let Some(link) = links.link(slot) else {
            return;
        };
        let Link {
            next,
            previous,
            spoke,
            ..
        } = *link;
        link.spoke = NONE;
        if let Some(next) = links.link(next) {
            next.previous = previous;
        }
        if let Some(previous) = links.link(previous) {
            previous.next = next;
        } else if let Some(head) = self.spokes.get_mut(spoke as usize) {
            *head = next;
        }
    }

    /// The next slot that is to be looked at until a time; it is off the wheel then.
    pub fn turn<L: Links + ?Sized>(&mut self, links: &mut L, now: u32) -> Option<u32> {
        let tick = now & !(NEAR_MS - 1);
        // Who has not turned it for so long finds everything in one round.
        let oldest = tick.wrapping_sub(FAR_MS * SPOKES);
        if seq::before(self.turned, oldest) {
            self.turned = oldest;
        }
        while seq::before(self.turned, tick) {
            let near = (self.turned / NEAR_MS).wrapping_add(1) & (SPOKES - 1);
            let far = SPOKES | ((self.turned / FAR_MS) & (SPOKES - 1));
            let begins = self.turned & (FAR_MS - 1) == 0;
            let mut spokes = [near, far].into_iter().take(if begins { 2 } else { 1 });
            let found = spokes.find_map(|spoke| {
                let slot = *self.spokes.get(spoke as usize)?;
                (slot != NONE).then_some(slot)
            });
            if let Some(slot) = found {
                self.take(links, slot);
                return Some(slot);
            }
            self.turned = self.turned.wrapping_add(NEAR_MS);
        }
        None
    }
}

#[cfg(test)]
#[allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "tests know what there is"
)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    struct Table(Vec<Link>);

    impl Links for Table {
        fn link(&mut self, slot: u32) -> Option<&mut Link> {
            self.0.get_mut(slot as usize)
        }
    }

    fn table(len: usize) -> Table {
        Table(vec![Link::new(NONE); len])
    }

    /// Turns until a time, in such steps; gives when each slot that was due came, and how many looks that took.
    fn run(
        wheel: &mut Wheel,
        table: &mut Table,
        from: u32,
        until: u32,
        step: u32,
    ) -> (Vec<(u32, u32)>, u32) {
        let (mut came, mut looks) = (Vec::new(), 0);
        let mut now = from;
        while seq::before(now, until) {
            now = now.wrapping_add(step);
            while let Some(slot) = wheel.turn(table, now) {
                looks += 1;
                let due = table.0[slot as usize].due();
                if seq::at_most(due, now) {
                    came.push((slot, now));
                } else {
                    wheel.put(table, slot, due);
                }
            }
        }
        (came, looks)
    }

    #[test]
    fn what_waits_long_is_seldom_looked_at() {
        let mut table = table(1000);
        let mut wheel = Wheel::new(0);
        for slot in 0..1000 {
            wheel.put(&mut table, slot, 900_000);
        }
        let (came, looks) = run(&mut wheel, &mut table, 0, 901_000, NEAR_MS);
        assert_eq!(came.len(), 1000);
        assert!(looks <= 4 * 1000, "{looks}");
    }

    #[test]
    fn what_is_taken_off_does_not_come() {
        let mut table = table(3);
        let mut wheel = Wheel::new(5000);
        for slot in 0..3 {
            wheel.put(&mut table, slot, 6000);
        }
        wheel.take(&mut table, 1);
        let (came, _) = run(&mut wheel, &mut table, 5000, 9000, NEAR_MS);
        let slots: Vec<u32> = came.iter().map(|(slot, _)| *slot).collect();
        assert_eq!(slots, [2, 0]);
    }

    proptest! {
        #[test]
        fn everything_comes_soon_after_its_time(
            start in any::<u32>(),
            waits in prop::collection::vec(prop_oneof![0u32..20_000, 0u32..2_000_000], 1..60),
            step in prop_oneof![Just(NEAR_MS), 1u32..3000],
        ) {
            let mut table = table(waits.len());
            let mut wheel = Wheel::new(start);
            for (slot, wait) in (0u32..).zip(&waits) {
                wheel.put(&mut table, slot, start.wrapping_add(*wait));
            }
            let until = start.wrapping_add(2_010_000);
            let (came, _) = run(&mut wheel, &mut table, start, until, step);
            prop_assert_eq!(came.len(), waits.len());
            for (slot, at) in came {
                let late = at.wrapping_sub(start).wrapping_sub(waits[slot as usize]);
                prop_assert!(late <= 3 * NEAR_MS + step, "{late} ms late");
            }
        }

        #[test]
        fn nothing_is_lost_when_it_is_not_turned(
            start in any::<u32>(),
            waits in prop::collection::vec(0u32..2_000_000, 1..60),
            pause in 0u32..3_000_000,
        ) {
            let mut table = table(waits.len());
            let mut wheel = Wheel::new(start);
            for (slot, wait) in (0u32..).zip(&waits) {
                wheel.put(&mut table, slot, start.wrapping_add(*wait));
            }
            let again = start.wrapping_add(pause);
            let until = again.wrapping_add(2_600_000);
            let (came, _) = run(&mut wheel, &mut table, again, until, NEAR_MS);
            prop_assert_eq!(came.len(), waits.len());
        }
    }
}
