// SPDX-License-Identifier: GPL-2.0 OR MIT
//! wrr, smooth weighted round robin: each server in proportion to its weight, as evenly spread in
//! time as can be.
//!
//! Defined by nginx (ngx_http_upstream_round_robin.c): every candidate's current weight grows by
//! its weight; the candidate with the greatest is picked, and its current weight falls by the sum
//! of all that was added. IPVS's ip_vs_wrr.c has the same proportions, but sends a heavy server
//! its requests in a row.
//!
//! # Without a lock
//!
//! Each current weight is an atomic of its own; a pick adds to each and takes from one what it has
//! added to all. After P picks among the same servers of total weight W, server i therefore has
//! current weight `P·w(i) − W·picks(i)`, exactly, whatever the interleaving: nothing is lost or
//! counted twice, and the sum is 0 whenever no pick is under way.
//!
//! What a race can do: two picks under way at the same time may see the same server in front and
//! both choose it. It then has fallen twice, and the others come first until they have caught up.
//! What a race cannot do: shift proportions for good. A server that is picked has at least the
//! mean, so its current weight stays above −W; one that races have pushed lower is not picked
//! before it has risen again. Once all are above −W, then after any multiple of W picks each
//! current weight is a multiple of W above −W, so at least 0, and their sum is 0: all are 0, and
//! every server has had exactly its share.
//!
//! # When the pool changes
//!
//! A server that is not a candidate for a while keeps its current weight, and the others go on
//! among themselves. When the sum of all weights changes, a current weight that no n servers of
//! the new sum could have reached, n times the sum, starts again from 0: what a server owed under
//! weights of 60,000 would otherwise keep it idle for 60,000 picks under weights of 1.

use core::borrow::Borrow;
use core::sync::atomic::Ordering::Relaxed;

use super::candidates::Candidates;
use super::server::Cursor;
use super::server::Server;

pub(super) fn pick<S: Borrow<Server>, F: Fn(usize) -> bool>(
    candidates: &Candidates<'_, S, F>,
    cursor: &Cursor,
) -> Option<usize> {
    forgive_if_changed(candidates.servers, cursor);
    let mut total = 0_i64;
    let mut best: Option<(i64, usize, &Server)> = None;
    for candidate in candidates.iter() {
        let weight = i64::try_from(candidate.weight).unwrap_or(0);
        total = total.wrapping_add(weight);
        let current = candidate
            .server
            .current
            .fetch_add(weight, Relaxed)
            .wrapping_add(weight);
        if best.is_none_or(|(greatest, ..)| current > greatest) {
            best = Some((current, candidate.index, candidate.server));
        }
    }
    let (_, index, server) = best?;
    server.current.fetch_sub(total, Relaxed);
    Some(index)
}

fn forgive_if_changed<S: Borrow<Server>>(servers: &[S], cursor: &Cursor) {
    let total = servers.iter().fold(0_u64, |sum, server| {
        u64::from(server.borrow().weight()).wrapping_add(sum)
    });
    let known = cursor.total.load(Relaxed);
    if known == total
        || cursor
            .total
            .compare_exchange(known, total, Relaxed, Relaxed)
            .is_err()
    {
        return;
    }
    let bound = total.saturating_mul(u64::try_from(servers.len()).unwrap_or(u64::MAX));
    for server in servers {
        let current = &server.borrow().current;
        if current.load(Relaxed).unsigned_abs() > bound {
            current.store(0, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::Ordering::Relaxed;
    use std::vec::Vec;

    use proptest::prelude::*;

    use crate::sched::tests::Bench;
    use crate::sched::Kind;

    fn currents(bench: &Bench) -> Vec<i64> {
        bench
            .servers
            .iter()
            .map(|server| server.current.load(Relaxed))
            .collect()
    }

    /// The example of nginx's change that brought the algorithm (2012).
    #[test]
    fn five_one_one_is_a_a_b_a_c_a_a() {
        let bench = Bench::new(Kind::Wrr, &[5, 1, 1]);
        assert_eq!(bench.picks(14), [0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn four_two_one_is_a_b_a_c_a_b_a() {
        let bench = Bench::new(Kind::Wrr, &[4, 2, 1]);
        assert_eq!(bench.picks(7), [0, 1, 0, 2, 0, 1, 0]);
        assert_eq!(currents(&bench), [0, 0, 0]);
    }

    #[test]
    fn equal_weights_go_around() {
        assert_eq!(
            Bench::new(Kind::Wrr, &[9, 9, 9]).picks(6),
            [0, 1, 2, 0, 1, 2]
        );
    }

    proptest! {
        #[test]
        fn a_round_of_all_weights_is_exact(weights in prop::collection::vec(0..40_u32, 1..8)) {
            let total: u32 = weights.iter().sum();
            let bench = Bench::new(Kind::Wrr, &weights);
            let picks = bench.picks(total as usize);
            let counts: Vec<u32> = bench.count(&picks).iter().map(|&count| count as u32).collect();
            prop_assert_eq!(counts, weights);
        }

        /// Whatever comes and goes, no server's claim or debt grows without bound.
        #[test]
        fn current_weights_stay_bounded(
            weights in prop::collection::vec(1..1000_u32, 2..6),
            away in prop::collection::vec(any::<u8>(), 1..200),
        ) {
            let bench = Bench::new(Kind::Wrr, &weights);
            let bound = i64::from(weights.iter().sum::<u32>()) * weights.len() as i64;
            for set in away {
                for (index, server) in bench.servers.iter().enumerate() {
                    server.set_available(set & (1 << index) == 0);
                }
                bench.pick(0);
                prop_assert!(currents(&bench).iter().all(|current| current.abs() <= bound));
            }
        }
    }

    /// What is exact at once, and what is exact after races have healed.
    #[test]
    fn threads_lose_nothing_and_races_heal() {
        let weights = [5_usize, 1, 1, 7, 2];
        let total: usize = weights.iter().sum();
        let bench = Bench::new(Kind::Wrr, &weights.map(|weight| weight as u32));
        let mut picks = bench.picks_in_threads(4, total * 10_000);

        let counts = bench.count(&picks);
        let owed = weights
            .iter()
            .zip(&counts)
            .map(|(weight, count)| (picks.len() * weight) as i64 - (total * count) as i64);
        assert!(
            owed.eq(currents(&bench)),
            "every pick added and took exactly its weights"
        );
        assert_eq!(currents(&bench).iter().sum::<i64>(), 0);

        // As many rounds as the server that races have favoured most may have to wait.
        let deepest = -currents(&bench).iter().min().unwrap();
        picks.extend(bench.picks((deepest as usize + 1) * total));
        assert_eq!(currents(&bench), [0; 5]);
        let rounds = picks.len() / total;
        assert_eq!(bench.count(&picks), weights.map(|weight| weight * rounds));
    }

    #[test]
    fn a_debt_under_great_weights_is_forgotten_under_small_ones() {
        let bench = Bench::new(Kind::Wrr, &[60_000, 1]);
        // Half-way into a round the light server has just been picked and owes 60,000.
        while bench.pick(0) != Some(1) {}
        bench.servers[0].set_weight(1);
        let picks = bench.picks(10);
        assert_eq!(bench.count(&picks), [5, 5]);
    }

    #[test]
    fn the_others_share_by_weight_while_one_is_away() {
        let bench = Bench::new(Kind::Wrr, &[4, 2, 1]);
        bench.picks(3);
        bench.servers[0].set_available(false);
        let picks = bench.picks(3 * 100);
        let counts = bench.count(&picks);
        assert!(counts[0] == 0 && counts[1].abs_diff(200) <= 2, "{counts:?}");
    }
}
