// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Requests that wait for their responses, by numbers that whoever surrounds the flow gives them.

use super::response::QUEUE;

/// No request.
const NONE: u32 = 0;
/// A request without a number.
const NAMELESS: u32 = 1;

/// The numbers of a connection's outstanding requests, the oldest first, in step with [`LegEvent::Requested`](super::LegEvent::Requested)
/// and [`LegEvent::Finished`](super::LegEvent::Finished). Numbers are below 2³² − 2; a greater one is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutstandingRoutes {
    /// Numbers + 2.
    places: [u32; QUEUE],
    /// That of the request that is about to be passed on.
    next: u32,
}

impl OutstandingRoutes {
    /// No request.
    pub const fn new() -> Self {
        Self {
            places: [NONE; QUEUE],
            next: NONE,
        }
    }

    /// The number of the request that is passed on next.
    #[inline]
    pub fn choose(&mut self, number: Option<u32>) {
        self.next = number.and_then(|n| n.checked_add(2)).unwrap_or(NAMELESS);
    }

    /// It was passed on. Gives its number.
    #[inline]
    pub fn start(&mut self) -> Option<u32> {
        let next = core::mem::replace(&mut self.next, NAMELESS).max(NAMELESS);
        // There is a place: the engine passes no more on.
        if let Some(place) = self.places.iter_mut().find(|place| **place == NONE) {
            *place = next;
        }
        next.checked_sub(2)
    }

    /// The number of the request that the next response is for.
    #[inline]
    pub fn oldest(&self) -> Option<u32> {
        let [oldest, ..] = self.places;
        oldest.checked_sub(2)
    }

    /// The oldest request is over.
    #[inline]
    pub fn finish(&mut self) {
        let [_, b, c] = self.places;
        self.places = [b, c, NONE];
    }

    /// Takes their numbers away from requests for whose number `stays` is false.
    pub fn retain(&mut self, stays: impl Fn(u32) -> bool) {
        for place in self.places.iter_mut().chain(Some(&mut self.next)) {
            if place.checked_sub(2).is_some_and(|number| !stays(number)) {
                *place = NAMELESS;
            }
        }
    }

    /// How many requests wait.
    pub fn count(&self) -> u32 {
        self.places.iter().fold(0, |sum, place| {
            if *place == NONE {
                sum
            } else {
                u32::wrapping_add(sum, 1)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_for_the_oldest_request() {
        let mut outstanding = OutstandingRoutes::new();
        assert_eq!((outstanding.oldest(), outstanding.count()), (None, 0));
        for number in [Some(7), None, Some(0)] {
            // Chosen again, since the request was not whole, or its server failed: the last choice is the one.
            outstanding.choose(Some(99));
            outstanding.choose(number);
            assert_eq!(outstanding.start(), number);
        }
        assert_eq!((outstanding.oldest(), outstanding.count()), (Some(7), 3));
        outstanding.finish();
        assert_eq!((outstanding.oldest(), outstanding.count()), (None, 2));
        outstanding.choose(Some(8));
        assert_eq!(outstanding.start(), Some(8));
        outstanding.finish();
        assert_eq!((outstanding.oldest(), outstanding.count()), (Some(0), 2));
        outstanding.finish();
        outstanding.finish();
        assert_eq!((outstanding.oldest(), outstanding.count()), (None, 0));
        // What is over already changes nothing.
        outstanding.finish();
        assert_eq!(
            outstanding,
            OutstandingRoutes {
                next: NAMELESS,
                ..OutstandingRoutes::new()
            }
        );
    }

    #[test]
    fn a_number_is_used_once() {
        let mut outstanding = OutstandingRoutes::new();
        assert_eq!(outstanding.start(), None);
        outstanding.choose(Some(3));
        assert_eq!(outstanding.start(), Some(3));
        assert_eq!(outstanding.start(), None);
        assert_eq!(outstanding.count(), 3);
        outstanding.choose(Some(u32::MAX));
        assert_eq!(outstanding.start(), None, "too great");
    }

    #[test]
    fn numbers_are_taken_away_and_requests_stay() {
        let mut outstanding = OutstandingRoutes::new();
        for number in [1, 2, 3] {
            outstanding.choose(Some(number));
            outstanding.start();
        }
        outstanding.choose(Some(5));
        outstanding.retain(|number| number == 2);
        assert_eq!((outstanding.oldest(), outstanding.count()), (None, 3));
        outstanding.finish();
        assert_eq!(outstanding.oldest(), Some(2));
        outstanding.finish();
        assert_eq!((outstanding.oldest(), outstanding.count()), (None, 1));
        assert_eq!(outstanding.start(), None);
    }
}
