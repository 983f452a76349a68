// SPDX-License-Identifier: GPL-2.0 OR MIT
//! p2c, the power of two choices: of two random candidates the one with less to do.
//!
//! Defined by Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing" (IEEE TPDS,
//! 2001). Load is (outstanding + 1) / weight. The time of a pick does not grow with the pool, and
//! switches that know nothing of each other do not all rush to the same idle server, as they
//! would with the least of all.
//!
//! Both are drawn evenly, whatever their weights; a weight only decides between two.

use core::borrow::Borrow;

use super::candidates::index_below;
use super::candidates::Candidate;
use super::candidates::Candidates;
use super::candidates::Random;
use super::server::Server;

/// Draws that may meet a server that is no candidate, before the candidates are counted. With
/// half the servers away, one pick in 30 counts.
const DRAWS: u32 = 8;

pub(super) fn pick<S: Borrow<Server>, F: Fn(usize) -> bool>(
    candidates: &Candidates<'_, S, F>,
    random: u64,
) -> Option<usize> {
    let (first, second) = two(candidates, random)?;
    let Some(second) = second else {
        return Some(first.index);
    };
    let less = load(&second).wrapping_mul(first.weight) < load(&first).wrapping_mul(second.weight);
    Some(if less { second.index } else { first.index })
}

fn load(candidate: &Candidate<'_>) -> u64 {
    u64::from(candidate.server.active()).wrapping_add(1)
}

/// Two different candidates, every ordered pair as likely as any other; one if there is only one.
pub(super) fn two<'a, S: Borrow<Server>, F: Fn(usize) -> bool>(
    candidates: &Candidates<'a, S, F>,
    random: u64,
) -> Option<(Candidate<'a>, Option<Candidate<'a>>)> {
    let mut random = Random(random);
    let mut first: Option<Candidate<'a>> = None;
    for _ in 0..DRAWS {
        let Some(drawn) = candidates.get(index_below(random.next(), candidates.len())) else {
            continue;
        };
        match &first {
            None => first = Some(drawn),
            Some(same) if same.index == drawn.index => {}
            Some(_) => return first.map(|first| (first, Some(drawn))),
        }
    }
    // Few candidates among many servers, or only one: count them and draw by rank.
    let count = candidates
        .iter()
        .fold(0_usize, |count, _| count.wrapping_add(1));
    let first = match first {
        Some(first) => first,
        None => candidates.iter().nth(index_below(random.next(), count))?,
    };
    let rank = index_below(random.next(), count.saturating_sub(1));
    let second = candidates
        .iter()
        .filter(|other| other.index != first.index)
        .nth(rank);
    Some((first, second))
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::sched::tests::servers;
    use crate::sched::tests::Bench;
    use crate::sched::Kind;

    #[test]
    fn of_two_the_less_loaded_always_wins() {
        let bench = Bench::new(Kind::P2c, &[2, 1]);
        for _ in 0..2 {
            bench.servers[0].start();
        }
        // 3/2 against 1/1.
        assert!(bench.picks(100).iter().all(|&picked| picked == 1));
        bench.servers[1].start();
        // 3/2 against 2/1.
        assert!(bench.picks(100).iter().all(|&picked| picked == 0));
    }

    #[test]
    fn the_most_loaded_of_all_is_never_picked() {
        let bench = Bench::new(Kind::P2c, &[1; 5]);
        bench.servers[3].start();
        let picks = bench.picks(2000);
        let counts = bench.count(&picks);
        assert_eq!(counts[3], 0);
        assert!(
            counts.iter().filter(|&&count| count > 350).count() == 4,
            "{counts:?}"
        );
    }

    /// With few candidates among many, both by drawing and by counting. 6 sigma of 60,000 draws
    /// at 1/30 are 264.
    #[test]
    fn every_ordered_pair_is_as_likely() {
        for servers_in_all in [6, 60] {
            let servers = servers(&std::vec![1; servers_in_all]);
            let step = servers_in_all / 6;
            let skip = |index: usize| index % step != 0;
            let candidates = Candidates {
                servers: &servers,
                skip,
            };
            let mut counts = [[0_u32; 6]; 6];
            for random in 0..60_000 {
                let (first, second) = two(&candidates, random).unwrap();
                counts[first.index / step][second.unwrap().index / step] += 1;
            }
            for (first, row) in counts.iter().enumerate() {
                for (second, &count) in row.iter().enumerate() {
                    let expected = if first == second { 0..1 } else { 1736..2265 };
                    assert!(expected.contains(&count), "{first} {second}: {count}");
                }
            }
        }
    }

    #[test]
    fn keeps_a_pool_nearly_level() {
        let bench = Bench::new(Kind::P2c, &[1; 100]);
        for random in 0..10_000 {
            bench.servers[bench.pick(random).unwrap()].start();
        }
        let active: Vec<u32> = bench.servers.iter().map(|server| server.active()).collect();
        // The paper's bound above the mean is ln ln 100 / ln 2 + O(1) = 2.2 + O(1).
        assert!(
            active.iter().all(|&active| active.abs_diff(100) <= 6),
            "{active:?}"
        );
    }
}
