// SPDX-License-Identifier: GPL-2.0 OR MIT
//! fastest: of two random candidates the one with the lower peak EWMA of the time to first byte,
//! times what it has outstanding.
//!
//! Defined by Finagle (com.twitter.finagle.loadbalancer.PeakEwma), whose measure linkerd took
//! over: an average with exponentially falling weights that jumps at once to any higher
//! sample, so that a server that stalls is left alone at once and trusted again only slowly. Cost
//! is latency × (outstanding + 1) / weight.
//!
//! Two are drawn, as Finagle does, and not the least of all taken: the latency of an idle server
//! changes only with its next answer, so until then every pick of every CPU and of every other
//! switch would go to the same server.
//!
//! # Servers without a sample
//!
//! One that has none, or none for [`STALE_NS`], costs nothing while idle, so that the next pick
//! that draws it probes it. With a request outstanding it costs as if it took [`UNKNOWN_NS`], so
//! that one probe at a time goes there and not a flood.

use core::borrow::Borrow;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use super::candidates::Candidate;
use super::candidates::Candidates;
use super::p2c;
use super::server::Server;

/// Time in which a sample's weight halves, ns: that of Finagle's and linkerd's default, an
/// exponential with a mean lifetime of 10 s, so 10 s × ln 2.
pub(super) const HALF_LIFE_NS: u64 = 6_931_471_806;

/// Age at which a sample is forgotten, ns: eight half-lives.
const STALE_NS: u64 = 8 * HALF_LIFE_NS;

/// Latency of a server whose first answer is outstanding, ns.
const UNKNOWN_NS: u64 = 1_000_000_000;

/// Time that passes at least between two steps of decay, ns. In a shorter step the decay of a
/// fast server's latency would be less than 1 ns and be lost in rounding.
const STEP_NS: u64 = 1 << 24;

/// The longest latency told apart, ns (36 years): its product with outstanding requests and a
/// weight fits 128 bits.
const LONGEST_NS: u64 = 1 << 60;

/// 2^32 × 2^(−1/2), 2^(−1/4), … 2^(−1/65536), rounded.
const ROOTS: [u32; 16] = [
    3_037_000_500,
    3_611_622_603,
    3_938_502_376,
    4_112_874_773,
    4_202_935_003,
    4_248_701_965,
    4_271_771_996,
    4_283_353_945,
    4_289_156_690,
    4_292_061_010,
    4_293_513_907,
    4_294_240_540,
    4_294_603_903,
    4_294_785_595,
    4_294_876_445,
    4_294_921_870,
];

pub(super) fn pick<S: Borrow<Server>, F: Fn(usize) -> bool>(
    candidates: &Candidates<'_, S, F>,
    random: u64,
    now_ns: u64,
) -> Option<usize> {
    let (first, second) = p2c::two(candidates, random)?;
    let Some(second) = second else {
        return Some(first.index);
    };
    let less = cost(&second, now_ns).wrapping_mul(u128::from(first.weight))
        < cost(&first, now_ns).wrapping_mul(u128::from(second.weight));
    Some(if less { second.index } else { first.index })
}

/// Cost before division by the weight: below 2^93.
fn cost(candidate: &Candidate<'_>, now_ns: u64) -> u128 {
    let active = candidate.server.active();
    let latency = match candidate.server.latency.at(now_ns) {
        Some(latency) => latency,
        None if active == 0 => 0,
        None => UNKNOWN_NS,
    };
    u128::from(latency).wrapping_mul(u128::from(active).wrapping_add(1))
}

/// A peak EWMA of latencies.
///
/// The average and the time it is of are two atomics. Whoever moves the time on applies the decay
/// of just that span, so that no span is decayed twice; a sample that comes meanwhile can only
/// raise the average.
#[derive(Debug)]
pub(super) struct PeakEwma {
    /// ns; 0: no sample yet.
    average: AtomicU64,
    /// Time up to which `average` has decayed.
    stamp: AtomicU64,
}

impl PeakEwma {
    pub(super) const fn new() -> Self {
        Self {
            average: AtomicU64::new(0),
            stamp: AtomicU64::new(0),
        }
    }

    /// Takes a sample in.
    pub(super) fn observe(&self, sample_ns: u64, now_ns: u64) {
        let sample = sample_ns.clamp(1, LONGEST_NS);
        let stamp = self.stamp.load(Relaxed);
        let passed = now_ns.saturating_sub(stamp);
        let first = self.average.load(Relaxed) == 0;
        let moved = (first || passed >= STEP_NS)
            && self
                .stamp
                .compare_exchange(stamp, now_ns, Relaxed, Relaxed)
                .is_ok();
        if !moved {
            self.average.fetch_max(sample, Relaxed);
            return;
        }
        // Never fails: the closure always has a value.
        let _ = self.average.fetch_update(Relaxed, Relaxed, |average| {
            let above = average.saturating_sub(sample);
            Some(sample.saturating_add(decayed(above, passed)))
        });
    }

    /// The average as it has decayed by `now_ns`; `None` if there is no sample, or none of late.
    pub(super) fn at(&self, now_ns: u64) -> Option<u64> {
        let average = self.average.load(Relaxed);
        let passed = now_ns.saturating_sub(self.stamp.load(Relaxed));
        (average != 0 && passed < STALE_NS).then(|| decayed(average, passed).max(1))
    }
}

/// `value` × 2^(−`passed_ns` / [`HALF_LIFE_NS`]), wrong by at most 2^−15 of it and 1.
fn decayed(value: u64, passed_ns: u64) -> u64 {
    let halvings = u32::try_from(passed_ns / HALF_LIFE_NS).unwrap_or(u32::MAX);
    // The rest in 1/65536 of a half-life; below 2^33 before the shift.
    let mut fraction = ((passed_ns % HALF_LIFE_NS) << 16) / HALF_LIFE_NS;
    // Fixed point with 32 bits behind the point.
    let mut factor = 1_u64 << 32;
    for root in ROOTS {
        if fraction & 0x8000 != 0 {
            factor = factor.wrapping_mul(u64::from(root)) >> 32;
        }
        fraction <<= 1;
    }
    let product = u128::from(value).wrapping_mul(u128::from(factor)) >> 32;
    u64::try_from(product)
        .unwrap_or(u64::MAX)
        .checked_shr(halvings)
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sched::tests::Bench;
    use crate::sched::Ask;
    use crate::sched::Kind;

    const MS: u64 = 1_000_000;
    const SECOND: u64 = 1_000 * MS;

    /// How often each is picked in 100 picks at this time.
    fn counts(bench: &Bench, now_ns: u64) -> std::vec::Vec<usize> {
        let picks: std::vec::Vec<usize> = (0..100)
            .map(|random| {
                bench
                    .pool()
                    .pick(
                        &Ask {
                            hash: 0,
                            random,
                            now_ns,
                        },
                        |_| false,
                    )
                    .unwrap()
            })
            .collect();
        bench.count(&picks)
    }

    proptest! {
        #[test]
        fn decay_is_near_the_exponential(
            value in prop_oneof![0..100_000_u64, 0..=LONGEST_NS],
            passed in 0..12 * HALF_LIFE_NS,
        ) {
            let exact = value as f64 * (-(passed as f64) / HALF_LIFE_NS as f64).exp2();
            let error = decayed(value, passed) as f64 - exact;
            prop_assert!(error.abs() <= exact / 32768.0 + 1.0, "{} {}", error, exact);
        }

        /// Against the definition in floating point, at samples far enough apart that each decays.
        #[test]
        fn follows_the_definition(
            samples in prop::collection::vec((1_u64..10 * SECOND, STEP_NS..5 * SECOND), 1..100),
        ) {
            let ewma = PeakEwma::new();
            let (mut exact, mut now) = (0_f64, 0);
            for (sample, gap) in samples {
                now += gap;
                ewma.observe(sample, now);
                let (sample, gap) = (sample as f64, gap as f64);
                let weight = (-gap / (10 * SECOND) as f64).exp();
                exact = if sample > exact { sample } else { exact * weight + sample * (1.0 - weight) };
                let ours = ewma.at(now).unwrap() as f64;
                prop_assert!((ours - exact).abs() <= exact / 1000.0 + 100.0, "{} {}", ours, exact);
            }
        }
    }

    #[test]
    fn rises_at_once_and_falls_slowly() {
        let ewma = PeakEwma::new();
        assert_eq!(ewma.at(0), None);
        ewma.observe(10 * MS, SECOND);
        ewma.observe(500 * MS, SECOND + 1);
        assert_eq!(ewma.at(SECOND + 1), Some(500 * MS));
        let later = SECOND + HALF_LIFE_NS;
        ewma.observe(10 * MS, later);
        let halved = ewma.at(later).unwrap();
        assert!(halved.abs_diff(255 * MS) < MS, "{halved}");
    }

    /// Many samples in a short time decay as much as few: no sample's rounding counts.
    #[test]
    fn decays_by_time_and_not_by_samples() {
        let ewma = PeakEwma::new();
        ewma.observe(1_000_000, 0);
        for tick in 1..=1_000_000 {
            ewma.observe(100_000, tick * HALF_LIFE_NS / 1_000_000);
        }
        let average = ewma.at(HALF_LIFE_NS).unwrap();
        assert!(average.abs_diff(550_000) < 2_000, "{average}");
    }

    #[test]
    fn the_lower_product_of_latency_and_outstanding_wins() {
        let bench = Bench::new(Kind::Fastest, &[1, 1]);
        bench.servers[0].observe(10 * MS, 0);
        bench.servers[1].observe(25 * MS, 0);
        assert_eq!(counts(&bench, 0), [100, 0]);
        bench.servers[0].start();
        // 20 against 25.
        assert_eq!(counts(&bench, 0), [100, 0]);
        bench.servers[0].start();
        assert_eq!(counts(&bench, 0), [0, 100]);
        // 30/2 against 25.
        bench.servers[0].set_weight(2);
        assert_eq!(counts(&bench, 0), [100, 0]);
    }

    #[test]
    fn a_server_without_a_sample_is_probed_and_not_flooded() {
        let bench = Bench::new(Kind::Fastest, &[1, 1]);
        bench.servers[0].observe(1000, 0);
        assert_eq!(counts(&bench, 0), [0, 100]);
        bench.servers[1].start();
        assert_eq!(counts(&bench, 0), [100, 0]);
        bench.servers[1].finish();
        bench.servers[1].observe(5 * MS, 0);
        assert_eq!(counts(&bench, 0), [100, 0]);
        // Left alone for long, it is probed again.
        bench.servers[0].observe(1000, STALE_NS);
        assert_eq!(counts(&bench, STALE_NS), [0, 100]);
    }

    #[test]
    fn a_clock_that_steps_back_harms_nothing() {
        let ewma = PeakEwma::new();
        ewma.observe(MS, SECOND);
        ewma.observe(2 * MS, 0);
        assert_eq!(ewma.at(0), Some(2 * MS));
    }
}
