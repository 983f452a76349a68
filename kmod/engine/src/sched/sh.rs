// SPDX-License-Identifier: GPL-2.0 OR MIT
//! sh, source hashing: a key always meets the same server, as long as the list stays as it is.
//!
//! Defined by net/netfilter/ipvs/ip_vs_sh.c with the flag sh-fallback. IPVS fills a table of 256
//! buckets with the servers in the order of the list, each as often in a row as its latest weight
//! that was not 0 (at least once), and begins again behind the last. Bucket b therefore belongs
//! to the server in whose range of the summed weights W the number b mod W lies, and no table is
//! needed. If the server of bucket b may not be picked, IPVS goes on from bucket 2b mod 256,
//! bucket by bucket and around, to the first that may.
//!
//! Two differences. The bucket comes from [`super::Ask::hash`], not from the multiplicative hash
//! of an IPv4 address. And where W is more than 256, IPVS gives the servers behind bucket 256
//! nothing; here the table then has W buckets.

use core::borrow::Borrow;

use super::candidates::below;
use super::candidates::Candidates;
use super::server::Server;

/// Buckets of IPVS's table (`CONFIG_IP_VS_SH_TAB_BITS`).
const BUCKETS: u64 = 256;

pub(super) fn pick<S: Borrow<Server>, F: Fn(usize) -> bool>(
    candidates: &Candidates<'_, S, F>,
    hash: u64,
) -> Option<usize> {
    let cycle = candidates
        .servers
        .iter()
        .fold(0_u64, |sum, of| share(of.borrow()).wrapping_add(sum));
    let buckets = cycle.max(BUCKETS);
    let bucket = below(hash, buckets);
    let (home, _) = owner(candidates.servers, bucket.checked_rem(cycle)?)?;
    if candidates.get(home).is_some() {
        return Some(home);
    }
    let from = bucket.wrapping_mul(2).checked_rem(buckets)?;
    let (first, behind) = owner(candidates.servers, from.checked_rem(cycle)?)?;
    // To the end of the table, a cycle at most; its last bucket may be in the middle of the list.
    // Then from its first bucket, which is the first server's.
    let mut left = buckets.wrapping_sub(from).min(cycle);
    let mut run = behind;
    let servers = (first..candidates.len()).chain(0..first);
    let to_the_end = servers.take_while(|&index| {
        let within = left > 0;
        if index != first {
            run = candidates
                .servers
                .get(index)
                .map_or(0, |server| share(server.borrow()));
        }
        left = left.saturating_sub(run);
        within
    });
    to_the_end
        .chain(0..candidates.len())
        .find(|&index| candidates.get(index).is_some())
}

/// How many buckets in a row a server has.
fn share(server: &Server) -> u64 {
    u64::from(server.last_weight().max(1))
}

/// The server in whose range `position` of the cycle lies, and how much of the range is left from
/// there on.
fn owner<S: Borrow<Server>>(servers: &[S], mut position: u64) -> Option<(usize, u64)> {
    for (index, server) in (0..servers.len()).zip(servers) {
        let share = share(server.borrow());
        match position.checked_sub(share) {
            Some(behind) => position = behind,
            None => return Some((index, share.wrapping_sub(position))),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use crate::sched::tests::Bench;
    use crate::sched::Ask;
    use crate::sched::Kind;

    /// Bucket of a hash among 256: its top byte.
    fn hash(bucket: usize) -> u64 {
        (bucket as u64) << 56
    }

    fn pick(bench: &Bench, bucket: usize) -> Option<usize> {
        bench.pool().pick(
            &Ask {
                hash: hash(bucket),
                random: 0,
                now_ns: 0,
            },
            |_| false,
        )
    }

    /// The table that IPVS fills: who has which of 256 buckets.
    fn table(weights: &[u32]) -> Vec<usize> {
        let cycle = weights.iter().enumerate();
        let row =
            cycle.flat_map(|(index, &weight)| std::iter::repeat_n(index, weight.max(1) as usize));
        row.collect::<Vec<_>>()
            .into_iter()
            .cycle()
            .take(256)
            .collect()
    }

    proptest! {
        #[test]
        fn is_the_table_of_ipvs_with_its_fallback(
            servers in prop::collection::vec((0..20_u32, any::<bool>()), 1..12),
        ) {
            let weights: Vec<u32> = servers.iter().map(|&(weight, _)| weight).collect();
            let bench = Bench::new(Kind::Sh, &weights);
            for (server, &(_, available)) in bench.servers.iter().zip(&servers) {
                server.set_available(available);
            }
            let may = |index: usize| weights[index] > 0 && servers[index].1;
            let table = table(&weights);
            for bucket in 0..256 {
                let probes = (0..256).map(|offset| table[(2 * bucket + offset) % 256]);
                let theirs = std::iter::once(table[bucket]).chain(probes).find(|&index| may(index));
                prop_assert_eq!(pick(&bench, bucket), theirs, "bucket {}", bucket);
            }
        }
    }

    #[test]
    fn a_drained_server_moves_no_other_servers_keys() {
        let bench = Bench::new(Kind::Sh, &[3, 5, 2]);
        let before: Vec<_> = (0..256).map(|bucket| pick(&bench, bucket)).collect();
        bench.servers[1].set_weight(0);
        for (bucket, before) in before.into_iter().enumerate() {
            let after = pick(&bench, bucket);
            assert_eq!(after == before, before != Some(1));
        }
    }

    /// IPVS would leave the last two without a bucket.
    #[test]
    fn weights_above_256_in_all_keep_their_proportion() {
        let bench = Bench::new(Kind::Sh, &[200, 200, 400, 200]);
        let picks = bench.picks(20_000);
        let counts = bench.count(&picks);
        // 6 sigma are 340 and 416.
        for (count, expected) in counts.iter().zip([4000_usize, 4000, 8000, 4000]) {
            assert!(count.abs_diff(expected) < 420, "{counts:?}");
        }
    }
}
