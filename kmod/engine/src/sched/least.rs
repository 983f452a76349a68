// SPDX-License-Identifier: GPL-2.0 OR MIT
//! lc, wlc, sed and nq: the candidate with the least outstanding, each by its own measure.
//!
//! Defined by net/netfilter/ipvs/ip_vs_lc.c, ip_vs_wlc.c, ip_vs_sed.c and ip_vs_nq.c. Quotients
//! are compared by cross-multiplication, as there; a count below 2^32 times a weight below 2^16
//! fits 64 bits.
//!
//! Two differences from IPVS. First, it adds closing connections (`inactconns`) to lc's and wlc's
//! overhead at 1/256 each; a switch of requests has no such thing, and only outstanding ones
//! count. Second, IPVS scans from the head of the list, so that among equals the first wins: an
//! idle pool would send request after request to one server. Here the scan begins behind the
//! server picked last. The choice is still among the minima only, but equals take turns.

use core::borrow::Borrow;
use core::sync::atomic::Ordering::Relaxed;

use super::candidates::Candidate;
use super::candidates::Candidates;
use super::server::Cursor;
use super::server::Server;

/// What is to be least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cost {
    /// lc: outstanding.
    Connections,
    /// wlc: outstanding / weight.
    PerWeight,
    /// sed: (outstanding + 1) / weight, what it would be with this request.
    ExpectedDelay,
    /// nq: an idle server, whatever its weight; if there is none, as sed.
    NeverQueue,
}

impl Cost {
    /// Numerator and denominator.
    fn of(self, candidate: &Candidate<'_>) -> (u64, u64) {
        let active = u64::from(candidate.server.active());
        match self {
            Self::Connections => (active, 1),
            Self::PerWeight => (active, candidate.weight),
            // An idle server costs nothing, which nothing undercuts.
            Self::NeverQueue if active == 0 => (0, 1),
            Self::ExpectedDelay | Self::NeverQueue => (active.wrapping_add(1), candidate.weight),
        }
    }
}

pub(super) fn pick<S: Borrow<Server>, F: Fn(usize) -> bool>(
    candidates: &Candidates<'_, S, F>,
    cursor: &Cursor,
    cost: Cost,
) -> Option<usize> {
    let mut best: Option<(u64, u64, usize)> = None;
    for candidate in candidates.iter_from(cursor.next.load(Relaxed)) {
        let (over, under) = cost.of(&candidate);
        let less = best.is_none_or(|(best_over, best_under, _)| {
            over.wrapping_mul(best_under) < best_over.wrapping_mul(under)
        });
        if less {
            best = Some((over, under, candidate.index));
            if over == 0 {
                // Nothing undercuts it, however many servers follow.
                break;
            }
        }
    }
    let (.., picked) = best?;
    cursor.next.store(picked.wrapping_add(1), Relaxed);
    Some(picked)
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::Ordering::Relaxed;
    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;

    use crate::sched::tests::Bench;
    use crate::sched::Kind;

    fn bench(kind: Kind, load: &[(u32, u32)]) -> Bench {
        let weights: Vec<u32> = load.iter().map(|&(_, weight)| weight).collect();
        let bench = Bench::new(kind, &weights);
        for (server, &(active, _)) in bench.servers.iter().zip(load) {
            for _ in 0..active {
                server.start();
            }
        }
        bench
    }

    /// (outstanding, weight) of each server, and who is picked.
    #[test]
    fn each_takes_its_own_least() {
        let load = [(6, 5), (2, 1), (3, 2), (7, 6)];
        // lc: 6 2 3 7. wlc: 1.2 2 1.5 1.17. sed and nq: 1.4 3 2 1.33.
        for (kind, least) in [(Kind::Lc, 1), (Kind::Wlc, 3), (Kind::Sed, 3), (Kind::Nq, 3)] {
            assert_eq!(bench(kind, &load).pick(0), Some(least), "{kind:?}");
        }
        // An idle slow server: wlc and nq take it, sed rather queues at the fast one.
        let load = [(1, 10), (0, 1)];
        for (kind, least) in [(Kind::Lc, 1), (Kind::Wlc, 1), (Kind::Sed, 0), (Kind::Nq, 1)] {
            assert_eq!(bench(kind, &load).pick(0), Some(least), "{kind:?}");
        }
    }

    #[test]
    fn sed_fills_servers_by_weight() {
        let bench = Bench::new(Kind::Sed, &[3, 1]);
        let picks: Vec<usize> = (0..8)
            .map(|_| {
                let picked = bench.pick(0).unwrap();
                bench.servers[picked].start();
                picked
            })
            .collect();
        assert_eq!(bench.count(&picks), [6, 2]);
    }

    #[test]
    fn equals_take_turns() {
        for kind in [Kind::Lc, Kind::Wlc, Kind::Nq] {
            assert_eq!(
                bench(kind, &[(0, 1), (1, 1), (0, 4), (0, 2)]).picks(6),
                [0, 2, 3, 0, 2, 3]
            );
        }
        assert_eq!(
            bench(Kind::Sed, &[(0, 1), (1, 2), (1, 1), (3, 4)]).picks(6),
            [0, 1, 3, 0, 1, 3]
        );
    }

    #[test]
    fn great_counts_and_weights_do_not_overflow() {
        for kind in [Kind::Lc, Kind::Wlc, Kind::Sed, Kind::Nq] {
            let bench = Bench::new(kind, &[65534, 65535]);
            bench.servers[0].active.store(u32::MAX - 1, Relaxed);
            bench.servers[1].active.store(u32::MAX, Relaxed);
            // By weight the second is ahead by 1/65535, and behind by 1/2^32.
            let least = if kind == Kind::Lc { 0 } else { 1 };
            assert_eq!(bench.pick(0), Some(least), "{kind:?}");
        }
    }

    proptest! {
        #[test]
        fn the_choice_is_a_minimum(
            load in prop::collection::vec((0..20_u32, 1..20_u32), 1..10),
            start in 0..10_usize,
        ) {
            for kind in [Kind::Lc, Kind::Wlc, Kind::Sed, Kind::Nq] {
                let bench = bench(kind, &load);
                bench.picks(start);
                let picked = bench.pick(0).unwrap();
                let cost = |(active, weight): (u32, u32)| match kind {
                    Kind::Lc => f64::from(active),
                    Kind::Wlc => f64::from(active) / f64::from(weight),
                    Kind::Nq if active == 0 => 0.0,
                    _ => f64::from(active + 1) / f64::from(weight),
                };
                let costs: Vec<f64> = load.iter().copied().map(cost).collect();
                let least = costs.iter().copied().fold(f64::INFINITY, f64::min);
                prop_assert_eq!(costs[picked], least);
            }
        }
    }

    #[test]
    fn keeps_outstanding_requests_level() {
        let bench = Bench::new(Kind::Lc, &[1; 7]);
        for _ in 0..70 {
            bench.servers[bench.pick(0).unwrap()].start();
        }
        let active: Vec<u32> = bench.servers.iter().map(|server| server.active()).collect();
        assert_eq!(active, vec![10; 7]);
    }
}
