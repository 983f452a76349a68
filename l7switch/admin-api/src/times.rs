// SPDX-License-Identifier: MIT
//! How long responses take, counted by class, and what follows of that.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

/// Bound of the first class, as a power of two of nanoseconds; that of each next one is twice as great.
const FIRST_BITS: i32 = 10;

/// Times of responses, in exponential classes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Times {
    /// How many there are.
    pub count: u64,
    /// The time, in milliseconds, that half of them are below; null: there are none.
    pub p50_ms: Option<f64>,
    /// The time, in milliseconds, that 99 of a hundred are below; null: there are none.
    pub p99_ms: Option<f64>,
    /// How many are in each class: the first below 2¹⁰ ns, each next one below twice that; the last has no bound.
    pub classes: Vec<u64>,
}

impl Times {
    /// What follows of these classes.
    pub fn of(classes: Vec<u64>) -> Self {
        let count = classes
            .iter()
            .fold(0_u64, |sum, count| sum.saturating_add(*count));
        Self {
            count,
            p50_ms: quantile(&classes, count, 0.5),
            p99_ms: quantile(&classes, count, 0.99),
            classes,
        }
    }

    /// Those that have come since. Where there are fewer than before, the counting has begun anew.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let known = before.classes.iter().copied().chain(std::iter::repeat(0));
        let pairs = self.classes.iter().copied().zip(known);
        let more: Option<Vec<u64>> = pairs.map(|(now, was)| now.checked_sub(was)).collect();
        more.map_or_else(|| self.clone(), Self::of)
    }

    /// Both together.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let length = self.classes.len().max(other.classes.len());
        let of = |times: &Self, class: usize| times.classes.get(class).copied().unwrap_or(0);
        let classes = (0..length).map(|class| of(self, class).saturating_add(of(other, class)));
        Self::of(classes.collect())
    }
}

/// The time, ms, that this part of all is below: evenly spread within a class, as Prometheus has it. In the last class it is
/// the class's beginning.
fn quantile(classes: &[u64], count: u64, part: f64) -> Option<f64> {
    if count == 0 {
        return None;
    }
    let wanted = part * real(count);
    let mut below = 0.0;
    let (mut from, mut to) = (0.0, 2_f64.powi(FIRST_BITS) / 1e6);
    for (class, in_it) in classes.iter().enumerate() {
        let in_it = real(*in_it);
        let is_last = class + 1 == classes.len();
        if is_last || (in_it > 0.0 && below + in_it >= wanted) {
            let share = if is_last || in_it == 0.0 {
                0.0
            } else {
                (wanted - below) / in_it
            };
            return Some(from + (to - from) * share);
        }
        below += in_it;
        (from, to) = (to, to * 2.0);
    }
    None
}

/// A count, exact up to 2⁵³.
fn real(count: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a part of many is meant")]
    let value = count as f64;
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(pairs: &[(usize, u64)]) -> Times {
        let mut classes = vec![0; 26];
        for (class, count) in pairs {
            classes[*class] = *count;
        }
        Times::of(classes)
    }

    #[test]
    fn quantiles_lie_in_the_class_of_their_time() {
        let none = times(&[]);
        assert_eq!((none.count, none.p50_ms, none.p99_ms), (0, None, None));
        // The class from 1.048576 ms to 2.097152 ms.
        let one = times(&[(11, 100)]);
        assert!((one.p50_ms.unwrap() - 1.572_864).abs() < 1e-9);
        assert!((one.p99_ms.unwrap() - 2.086_666_24).abs() < 1e-6);
        let two = times(&[(0, 98), (24, 2)]);
        assert!(two.p50_ms.unwrap() < 0.001_024);
        let high = two.p99_ms.unwrap();
        assert!((8_589.0..17_180.0).contains(&high), "{high}");
        // Of what is beyond all bounds no more is known than that.
        let beyond = times(&[(25, 1)]).p50_ms.unwrap();
        assert!((beyond - 17_179.869_184).abs() < 1e-6, "{beyond}");
    }

    #[test]
    fn what_has_come_since_is_a_difference_unless_counting_began_anew() {
        let (before, now) = (times(&[(3, 5)]), times(&[(3, 7), (4, 1)]));
        assert_eq!(now.since(&before), times(&[(3, 2), (4, 1)]));
        assert_eq!(now.since(&Times::default()), now);
        assert_eq!(before.since(&now), before);
        assert_eq!(now.and(&before), times(&[(3, 12), (4, 1)]));
    }
}
