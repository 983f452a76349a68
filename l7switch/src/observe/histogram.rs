// SPDX-License-Identifier: MIT
//! How long things take, in the classes that the kernel module has (kmod/state/histogram.rs).

use std::array;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use l7switch_admin_api as api;

use crate::net::clock::nanos;

/// Classes: the first is up to 1,024 ns, each next one twice as long; the last has everything that is longer.
const CLASSES: usize = 26;
const FIRST_BITS: u32 = 10;

/// Histograms of its own for so many routes of a service, or servers of a pool; each is about 60 lines of the metrics.
pub const MOST: usize = 256;

/// Times counted by class, and their sum.
#[derive(Debug, Default)]
pub struct Histogram {
    classes: [AtomicU64; CLASSES],
    sum_ns: AtomicU64,
}

impl Histogram {
    /// Counts a time.
    pub fn observe(&self, time: Duration) {
        let ns = nanos(time);
        let bits = u64::BITS.saturating_sub(ns.leading_zeros());
        let class = usize::try_from(bits.saturating_sub(FIRST_BITS)).unwrap_or(CLASSES);
        if let Some(count) = self.classes.get(class.min(CLASSES - 1)) {
            count.fetch_add(1, Relaxed);
        }
        self.sum_ns.fetch_add(ns, Relaxed);
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        Counts {
            classes: array::from_fn(|class| {
                let count = self.classes.get(class);
                count.map_or(0, |count| count.load(Relaxed))
            }),
            sum_ns: self.sum_ns.load(Relaxed),
        }
    }
}

/// What a [`Histogram`] has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    classes: [u64; CLASSES],
    /// Sum of all times, ns.
    pub sum_ns: u64,
}

impl Counts {
    /// The classes, each with the time, ns, that its times are below, and how many there are; the last has no bound.
    pub fn classes(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let bounds = (FIRST_BITS..).map(|bits| 1_u64.checked_shl(bits));
        let bounds = bounds.take(CLASSES - 1).chain([None]);
        bounds.zip(self.classes)
    }

    /// Times in all classes.
    pub fn count(&self) -> u64 {
        self.classes
            .iter()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// For administrators.
    pub fn status(&self) -> api::Times {
        api::Times::of(self.classes.to_vec())
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        for (count, more) in self.classes.iter_mut().zip(other.classes) {
            *count = count.saturating_add(more);
        }
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
        self
    }
}

/// Times of responses.
#[derive(Debug, Default)]
pub struct Times {
    /// From the request's head to the response's head.
    pub first_byte: Histogram,
    /// From the request's head to the response's end, where it came to its end.
    pub duration: Histogram,
}

/// Times of things of one kind: the first [`MOST`] of them that are used have histograms of their own, all others share one.
#[derive(Debug, Default)]
pub struct Kind {
    own: AtomicUsize,
    other: Times,
}

impl Kind {
    /// The times of those that have no histograms of their own.
    pub const fn other(&self) -> &Times {
        &self.other
    }

    fn take_place(&self) -> bool {
        let more = |own: usize| own.checked_add(1).filter(|own| *own <= MOST);
        self.own.fetch_update(Relaxed, Relaxed, more).is_ok()
    }
}

/// The times of one thing. Its histograms are made when it is first used; dropped, it leaves its place to another.
#[derive(Debug)]
pub struct Place {
    kind: Arc<Kind>,
    own: OnceLock<Option<Box<Times>>>,
}

impl Place {
    /// One that was not used yet.
    pub const fn new(kind: Arc<Kind>) -> Self {
        Self {
            kind,
            own: OnceLock::new(),
        }
    }

    /// Where its times are counted.
    pub fn times(&self) -> &Times {
        let own = || self.kind.take_place().then(Box::default);
        let own = self.own.get_or_init(own);
        own.as_deref().unwrap_or_else(|| self.kind.other())
    }

    /// Its own histograms, if it was used and has some.
    pub fn own(&self) -> Option<&Times> {
        self.own.get()?.as_deref()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.own().is_some() {
            self.kind.own.fetch_sub(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bounds are the kernel's: a time is below its class's bound, and not below the one before.
    #[test]
    fn a_time_is_in_the_class_below_whose_bound_it_is() {
        for (ns, class) in [
            (0, 0),
            (1023, 0),
            (1024, 1),
            (2047, 1),
            (2048, 2),
            ((1 << 34) - 1, 24),
            (1 << 34, 25),
            (u64::MAX, 25),
        ] {
            let histogram = Histogram::default();
            histogram.observe(Duration::from_nanos(ns));
            let counts = histogram.counts();
            let classes: Vec<_> = counts.classes().collect();
            assert_eq!(classes.len(), CLASSES);
            let found = classes.iter().position(|(_, count)| *count == 1);
            assert_eq!(found, Some(class), "{ns}");
            assert!(classes[class].0.is_none_or(|below| ns < below));
            assert!(class == 0 || classes[class - 1].0.is_some_and(|below| ns >= below));
            assert_eq!((counts.count(), counts.sum_ns), (1, ns));
        }
    }

    #[test]
    fn counts_add_up() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_nanos(10));
        let once = histogram.counts();
        histogram.observe(Duration::from_secs(100));
        let both = once.and(&histogram.counts());
        assert_eq!((both.count(), both.sum_ns), (3, 100_000_000_020));
    }

    /// Beyond the bound, times are counted together; who leaves makes room for one that is new.
    #[test]
    fn places_are_bounded_and_left() {
        let kind = Arc::<Kind>::default();
        let place = || Place::new(Arc::clone(&kind));
        let unused = place();
        let mut used: Vec<_> = (0..MOST).map(|_| place()).collect();
        for place in &used {
            place.times().first_byte.observe(Duration::ZERO);
        }
        let late = place();
        late.times().first_byte.observe(Duration::ZERO);
        assert!(unused.own().is_none() && late.own().is_none());
        assert!(used.iter().all(|place| place.own().is_some()));
        assert_eq!(kind.other().first_byte.counts().count(), 1);
        drop(late);
        drop(used.pop());
        unused.times().first_byte.observe(Duration::ZERO);
        assert!(unused.own().is_some());
        assert!(place().times().duration.counts().count() == 0);
        assert_eq!(kind.own.load(Relaxed), MOST);
        assert_eq!(kind.other().first_byte.counts().count(), 1);
    }
}
