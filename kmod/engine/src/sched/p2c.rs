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
