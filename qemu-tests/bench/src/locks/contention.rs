// SPDX-License-Identifier: MIT
//! What a measurement found: waits, summed by who waited.

use std::collections::BTreeMap;

use l7switch_qemu_tests::printed::Printed;
use serde::Deserialize;
use serde::Serialize;

use super::trace::Wait;
use super::trace::Waits;

/// Kinds of locks in whose waits a processor does nothing else.
const SPINNING: [&str; 2] = ["spinlock", "SPIN"];
/// One that sleeps after a while.
const MUTEX: &str = "MUTEX";

/// A wait that is longer, in µs, spins while the machine has taken the processor away that has the lock: others are a
/// tenth as long at most, with the stack that is written meanwhile.
const LONG: u64 = 1_000;

/// How many places are told of.
const PLACES: usize = 12;

/// A measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Found {
    /// The contender's version.
    pub version: String,
    /// Requests meanwhile.
    pub requests: u64,
    /// How long it took.
    pub seconds: f64,
    /// By what part the rate was less than without the tracer.
    pub slower: f64,
    /// Packets that the switch took in, by processor.
    pub packets: Vec<u64>,
    /// Events that the tracer had no room for.
    pub lost: u64,
    /// What was waited for; no places.
    pub contention: Contention,
    /// Where, in another run.
    pub places: Places,
}

/// A run in which stacks of calls were written: its times are none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Places {
    /// Requests meanwhile.
    pub requests: u64,
    /// By what part the rate was less than without the tracer.
    pub slower: f64,
    /// What was waited for, with places.
    pub contention: Contention,
}

/// Waits, summed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Contention {
    /// Those that are left out of everything else: longer than a millisecond.
    pub long: Sum,
    /// All the others.
    pub all: Sum,
    /// Those for spinlocks and read-write locks, in which a processor does nothing else.
    pub spinning: Sum,
    /// Those below the contender's functions: with all that these call, to send a packet, say.
    pub below: Sum,
    /// Those for locks that the contender's own functions take.
    pub own: Sum,
    /// Beginnings without an end, ends without a beginning.
    pub unpaired: u64,
    /// The places with most of them.
    pub places: Vec<Place>,
}

/// Number and time of waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sum {
    /// How many.
    pub count: u64,
    /// How long all together, µs.
    pub micros: u64,
}

/// A place where locks are waited for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// The kind of lock.
    pub kind: String,
    /// The function that wants it, and who has called that one: `name` or `name [module]`.
    pub stack: Vec<String>,
    /// The innermost function of the contender's above, where there is one.
    pub below: Option<String>,
    /// Its waits.
    pub sum: Sum,
}

impl Sum {
    fn add(&mut self, wait: &Wait) {
        self.count += 1;
        self.micros += wait.micros;
    }
}

impl Contention {
    /// Sums waits; `module` is what the names of the contender's functions have in them.
    #[must_use]
    pub(crate) fn of(waits: &Waits, module: Option<&str>) -> Self {
        let mut contention = Self {
            unpaired: waits.unpaired,
            ..Self::default()
        };
        let is_its = |name: &str| module.is_some_and(|module| name.contains(module));
        let mut places: BTreeMap<(&str, Vec<&str>, Option<&str>), Sum> = BTreeMap::new();
        for wait in &waits.all {
            let spins = SPINNING.iter().any(|kind| wait.kind.starts_with(kind))
                && !wait.kind.contains(MUTEX);
            if spins && wait.micros > LONG {
                contention.long.add(wait);
                continue;
            }
            contention.all.add(wait);
            if spins {
                contention.spinning.add(wait);
            }
            let names = || wait.stack.iter().map(String::as_str);
            let below = names().find(|name| is_its(name));
            if below.is_some() {
                contention.below.add(wait);
            }
            if names().next().is_some_and(is_its) {
                contention.own.add(wait);
            }
            let stack = names().take(2).collect();
            let place = (wait.kind.as_str(), stack, below);
            places.entry(place).or_default().add(wait);
        }
        contention.places = places
            .into_iter()
            .map(|((kind, stack, below), sum)| Place {
                kind: kind.to_owned(),
                stack: stack.into_iter().map(str::to_owned).collect(),
                below: below.map(str::to_owned),
                sum,
            })
            .collect();
        // The contender's own first, though they be few.
        contention.places.sort_by_key(|place| {
            let own = place.stack.first().is_some_and(|name| is_its(name));
            (!own, std::cmp::Reverse(place.sum.count))
        });
        contention.places.truncate(PLACES);
        contention
    }
}

impl Printed for Found {
    const PREFIX: &'static str = "LOCKS ";
}

impl Found {
    /// The share of the switch's packets that the processor with the fewest of them took in.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "quotients of counts")]
    pub(crate) fn least_share(&self) -> f64 {
        let least = self.packets.iter().min().copied().unwrap_or(0);
        let all: u64 = self.packets.iter().sum();
        if all == 0 {
            0.0
        } else {
            least as f64 / all as f64
        }
    }

    /// Why it says nothing, if so.
    #[must_use]
    pub(crate) fn objection(&self) -> Option<String> {
        // With less on one processor there is little to wait for.
        const SHARE: f64 = 0.25;
        let waits = self.contention.all.count + self.places.contention.all.count;
        let unpaired = self.contention.unpaired + self.places.contention.unpaired;
        let taken = [&self.contention, &self.places.contention];
        if taken.iter().any(|run| run.long.count * 8 > run.all.count) {
            Some(format!(
                "for {} and {} waits the machine had taken away the processor that had the lock",
                self.contention.long.count, self.places.contention.long.count
            ))
        } else if self.least_share() < SHARE {
            Some(format!(
                "the switch's packets are {:?} by processor: not all of them switch",
                self.packets
            ))
        } else if self.lost > 0 {
            Some(format!("the tracer lost {} events", self.lost))
        } else if unpaired > 10 + waits / 50 {
            Some(format!(
                "of {waits} waits, {unpaired} have no beginning or no end"
            ))
        } else {
            None
        }
    }
}

/// Reads a histogram by processor: lines of `{ common_cpu:          0 } hitcount:       1234`.
#[must_use]
pub(crate) fn by_processor(histogram: &str, processors: u8) -> Vec<u64> {
    let mut counts = vec![0; usize::from(processors)];
    for line in histogram.lines() {
        let Some((key, value)) = line.split_once("} hitcount:") else {
            continue;
        };
        let key = key
            .rsplit(':')
            .next()
            .and_then(|key| key.trim().parse().ok());
        let count = key.and_then(|key: usize| counts.get_mut(key));
        if let (Some(count), Ok(value)) = (count, value.trim().parse()) {
            *count = value;
        }
    }
    counts
}

/// Events that were lost, by a processor's `stats` (Documentation/trace/ftrace.rst).
#[must_use]
pub(crate) fn lost(stats: &str) -> u64 {
    let lines = stats.lines().filter_map(|line| line.split_once(": "));
    lines
        .filter(|(name, _)| ["overrun", "commit overrun", "dropped events"].contains(name))
        .filter_map(|(_, count)| count.trim().parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(kind: &str, stack: &[&str], micros: u64) -> Wait {
        Wait {
            kind: kind.to_owned(),
            stack: stack.iter().map(|&name| name.to_owned()).collect(),
            micros,
        }
    }

    fn found(packets: &[u64]) -> Found {
        Found {
            version: "1".to_owned(),
            requests: 10,
            seconds: 2.0,
            slower: 0.1,
            packets: packets.to_vec(),
            lost: 0,
            contention: Contention::default(),
            places: Places::default(),
        }
    }

    #[test]
    fn waits_are_summed_by_whose_they_are() {
        let waits = Waits {
            all: vec![
                wait("spinlock", &["a", "b", "c"], 1),
                wait("spinlock", &["a", "b", "d"], 2),
                wait("spinlock", &["xmit", "send", "look [m]", "see [m]"], 4),
                wait("spinlock", &["look [m]", "see [m]"], 8),
                wait("MUTEX", &["a", "b"], 16),
                wait("spinlock", &["a", "b"], 1_001),
            ],
            unpaired: 3,
        };
        let contention = Contention::of(&waits, Some("[m]"));
        let sum = |count, micros| Sum { count, micros };
        assert_eq!(contention.long, sum(1, 1_001));
        assert_eq!(contention.all, sum(5, 31));
        assert_eq!(contention.spinning, sum(4, 15));
        assert_eq!(contention.below, sum(2, 12));
        assert_eq!(contention.own, sum(1, 8));
        assert_eq!(contention.unpaired, 3);
        let places: Vec<(&str, Option<&str>, Sum)> = contention
            .places
            .iter()
            .map(|place| (place.stack[0].as_str(), place.below.as_deref(), place.sum))
            .collect();
        assert_eq!(places[0], ("look [m]", Some("look [m]"), sum(1, 8)));
        assert_eq!(places[1], ("a", None, sum(2, 3)));
        assert!(places.contains(&("xmit", Some("look [m]"), sum(1, 4))));
        let nobody = Contention::of(&waits, None);
        assert_eq!((nobody.below, nobody.own), (sum(0, 0), sum(0, 0)));
    }

    #[test]
    fn histograms_and_statistics_are_read() {
        let histogram = "# event histogram\n#\n\n\
                         { common_cpu:          1 } hitcount:       1234\n\
                         { common_cpu:          0 } hitcount:         56\n\n\
                         Totals:\n    Hits: 1290\n    Entries: 2\n    Dropped: 0\n";
        assert_eq!(by_processor(histogram, 2), [56, 1234]);
        assert_eq!(by_processor("", 2), [0, 0]);
        let stats = "entries: 311\noverrun: 1\ncommit overrun: 2\nbytes: 19416\noldest event ts:     8.767636\n\
                     now ts:    15.886879\ndropped events: 4\nread events: 0\n";
        assert_eq!(lost(stats), 7);
    }

    #[test]
    fn a_measurement_on_one_processor_is_refused() {
        assert_eq!(found(&[50, 50]).objection(), None);
        assert!(found(&[90, 10]).objection().is_some());
        assert!(found(&[0, 0]).objection().is_some());
        let mut lossy = found(&[50, 50]);
        lossy.lost = 1;
        assert!(lossy.objection().is_some());
        let mut disturbed = found(&[50, 50]);
        disturbed.places.contention.long.count = 1;
        assert!(disturbed.objection().is_some());
        let mut torn = found(&[50, 50]);
        torn.contention.unpaired = 11;
        assert!(torn.objection().is_some());
    }
}
