// SPDX-License-Identifier: GPL-2.0 OR MIT
//! mh, Maglev hashing: a key meets the same server on every switch, servers get keys almost
//! exactly by weight, and few keys move when a server comes or goes.
//!
//! Defined by Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer" (NSDI
//! 2016), section 3.4, and by net/netfilter/ipvs/ip_vs_mh.c with the flag mh-fallback, which adds
//! weights. The table is IPVS's slot by slot, for a 64-bit machine whose list of servers has been
//! filled in the order of address and port.
//!
//! The order matters, as in IPVS: servers take their turns one after the other, and who comes
//! first gets a slot that two prefer. IPVS takes the order in which servers were added, so two
//! switches agree only if they were filled alike. [`fill`] sorts by [`Identity`], so that the
//! table depends on the set of servers and weights alone.

use core::borrow::Borrow;

use super::candidates::mix;
use super::candidates::Candidates;
use super::server::Identity;
use super::server::Server;
use super::sort::sort;
use crate::siphash::hsiphash_u32;
use crate::siphash::Key;

/// The sizes a table may have, in slots: the primes of IPVS.
pub const SIZES: [usize; 10] = [
    251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 131_071,
];

/// IPVS's size unless configured otherwise (`CONFIG_IP_VS_MH_TAB_INDEX=12`).
pub const DEFAULT_SIZE: usize = 4093;

/// Keys of IPVS's two hashes (`generate_hash_secret`): where a server's preferences begin, and
/// how far apart they are.
const OFFSET_KEY: Key = [2_654_435_761, 2_654_435_761];
const SKIP_KEY: Key = [2_654_446_892, 2_654_446_892];

/// A slot that no server has. Also what a table holds if no server has a weight.
const EMPTY: u16 = u16::MAX;

/// Why a table was not filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FillError {
    /// The table's length is none of [`SIZES`].
    Size,
    /// More servers than slots, or than a slot can name (65535).
    Servers,
    /// The scratch is shorter than the list of servers.
    Scratch,
}

/// Working memory of [`fill`], one for each server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn {
    identity: Identity,
    /// Index in the list of servers.
    server: u16,
    weight: u32,
    /// The slot preferred next.
    next: usize,
    skip: usize,
    /// Slots that it takes in a row.
    turns: u32,
}

/// The size for a pool of `servers`: [`DEFAULT_SIZE`], or the least with 100 slots for each
/// server, with which the paper's shares differ by 1 % at most; the largest if none has.
pub fn size_for(servers: usize) -> usize {
    let wanted = servers.saturating_mul(100).max(DEFAULT_SIZE);
    let [.., largest] = SIZES;
    SIZES
        .into_iter()
        .find(|&size| size >= wanted)
        .unwrap_or(largest)
}

/// Fills `table` for `servers` by their [`Server::last_weight`]. `scratch` is as long as the list
/// of servers, or longer.
///
/// # Errors
///
/// If a buffer does not fit; the table is then as it was.
pub fn fill<S: Borrow<Server>>(
    table: &mut [u16],
    scratch: &mut [Turn],
    servers: &[S],
) -> Result<(), FillError> {
    if servers.len() > table.len() || servers.len() > usize::from(EMPTY) {
        return Err(FillError::Servers);
    }
    let scratch = scratch.get_mut(..servers.len()).ok_or(FillError::Scratch)?;
    for ((turn, server), index) in scratch.iter_mut().zip(servers).zip(0_u16..EMPTY) {
        let server = server.borrow();
        *turn = Turn {
            identity: server.identity(),
            server: index,
            weight: server.last_weight(),
            ..Turn::default()
        };
    }
    populate(table, scratch)
}

/// Fills `table` for the servers in `turns`.
fn populate(table: &mut [u16], turns: &mut [Turn]) -> Result<(), FillError> {
    let size = table.len();
    let bits = weight_bits(size).ok_or(FillError::Size)?;
    sort(turns, |a, b| {
        (a.identity, a.server) < (b.identity, b.server)
    });
    prepare(turns, size, bits);
    table.fill(EMPTY);
    if turns.iter().all(|turn| turn.turns == 0) {
        return Ok(());
    }
    let mut free = size;
    loop {
        for turn in turns.iter_mut() {
            for _ in 0..turn.turns {
                // Size is prime and the skip less than it, so preferences visit every slot.
                while table.get(turn.next).is_some_and(|&slot| slot != EMPTY) {
                    turn.advance(size);
                }
                if let Some(slot) = table.get_mut(turn.next) {
                    *slot = turn.server;
                }
                free = free.wrapping_sub(1);
                if free == 0 {
                    return Ok(());
                }
            }
        }
    }
}

impl Turn {
    fn advance(&mut self, size: usize) {
        self.next = self.next.wrapping_add(self.skip);
        if self.next >= size {
            self.next = self.next.wrapping_sub(size);
        }
    }
}

/// Sets where each server begins, how it goes on, and how many slots it takes at a time.
fn prepare(turns: &mut [Turn], size: usize, bits: u32) {
    let divisor = turns
        .iter()
        .fold(0, |divisor, turn| gcd(turn.weight, divisor));
    let greatest = turns
        .iter()
        .fold(0, |greatest, turn| turn.weight.max(greatest));
    // Weights of many bits are cut, so that a server does not fill the table in a few turns.
    let width = 32_u32.saturating_sub(greatest.checked_div(divisor).unwrap_or(0).leading_zeros());
    let shift = width.saturating_sub(bits);
    for turn in turns {
        let place = place(turn.identity);
        let offset = usize::try_from(hsiphash_u32(OFFSET_KEY, place)).unwrap_or(0);
        let skip = usize::try_from(hsiphash_u32(SKIP_KEY, place)).unwrap_or(0);
        turn.next = offset.checked_rem(size).unwrap_or(0);
        turn.skip = skip
            .checked_rem(size.wrapping_sub(1))
            .unwrap_or(0)
            .wrapping_add(1);
        let share = turn.weight.checked_div(divisor).unwrap_or(0);
        turn.turns = share.checked_shr(shift).unwrap_or(0).max(share.min(1));
    }
}

/// What IPVS hashes of a server: its port plus its address, an IPv6 address folded to 32 bits.
fn place(identity: Identity) -> u32 {
    let mut words = [0_u32; 4];
    for (word, bytes) in words.iter_mut().zip(identity.address.chunks_exact(4)) {
        *word = bytes
            .iter()
            .fold(0, |word, &byte| (word << 8) | u32::from(byte));
    }
    let [a, b, c, d] = words;
    let mapped = (a, b, c) == (0, 0, 0xffff);
    let folded = if mapped { d } else { a ^ b ^ c ^ d };
    folded.wrapping_add(u32::from(identity.port))
}

/// The bits of a weight that count in a table of `size` (`IP_VS_MH_TAB_BITS`), if it is a size.
fn weight_bits(size: usize) -> Option<u32> {
    let bits = [4, 4, 5, 5, 6, 6, 7, 7, 8, 8];
    SIZES
        .into_iter()
        .zip(bits)
        .find_map(|(known, bits)| (known == size).then_some(bits))
}

/// Greatest common divisor; that of 0 and a number is the number.
fn gcd(a: u32, b: u32) -> u32 {
    let (mut a, mut b) = (a, b);
    while let Some(rest) = a.checked_rem(b) {
        (a, b) = (b, rest);
    }
    a
}

/// The server of the key's slot. If it may not be picked, the key is hashed again with an offset
/// that runs around the table from the slot, as mh-fallback does: a server's keys spread over all
/// others, and each keeps its substitute.
pub(super) fn pick<S: Borrow<Server>, F: Fn(usize) -> bool>(
    candidates: &Candidates<'_, S, F>,
    table: &[u16],
    hash: u64,
) -> Option<usize> {
    let size = u64::try_from(table.len()).unwrap_or(u64::MAX);
    let at = |offset: u64| {
        let slot = mix(hash.wrapping_add(offset)).checked_rem(size)?;
        let server = *table.get(usize::try_from(slot).ok()?)?;
        Some((
            slot,
            candidates
                .get(usize::from(server))
                .map(|candidate| candidate.index),
        ))
    };
    let (start, picked) = at(0)?;
    if picked.is_some() {
        return picked;
    }
    // Not a walk around the whole table if it cannot end well.
    candidates.iter().next()?;
    (start..size)
        .chain(0..start)
        .find_map(|offset| at(offset)?.1)
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::sched::tests::identity;
    use crate::sched::tests::servers;
    use crate::sched::tests::Bench;
    use crate::sched::Ask;
    use crate::sched::Kind;

    fn filled(size: usize, servers: &[Server]) -> Vec<u16> {
        let mut table = vec![0; size];
        fill(
            &mut table,
            &mut vec![Turn::default(); servers.len()],
            servers,
        )
        .unwrap();
        table
    }

    /// How many slots each server has.
    fn shares(table: &[u16], servers: usize) -> Vec<usize> {
        (0..servers)
            .map(|of| {
                table
                    .iter()
                    .filter(|&&slot| usize::from(slot) == of)
                    .count()
            })
            .collect()
    }

    /// FNV-1a over the slots, so that a whole table fits a vector.
    fn fingerprint(table: &[u16]) -> u64 {
        table
            .iter()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, &slot| {
                (hash ^ u64::from(slot)).wrapping_mul(0x100_0000_01b3)
            })
    }

    /// Tables that ip_vs_mh.c's algorithm fills for servers added in this order: size, weights of
    /// 10.0.0.1, 10.0.0.2 …, port, fingerprint, slots of each.
    #[test]
    fn fills_the_table_of_ipvs() {
        let vectors: [(usize, &[u32], u16, u64, &[usize]); 5] = [
            (251, &[1, 1, 1], 80, 0x0761_75f9_08ab_0c5d, &[84, 84, 83]),
            (
                4093,
                &[1, 1, 1],
                80,
                0x8bd4_6da7_dc88_17ff,
                &[1365, 1364, 1364],
            ),
            (
                4093,
                &[3, 1, 0, 2],
                8080,
                0xfad0_1975_b2cf_16c9,
                &[2047, 682, 0, 1364],
            ),
            (
                4093,
                &[1000, 999, 7],
                80,
                0xada1_8135_9e6a_3cc4,
                &[2046, 2015, 32],
            ),
            (
                131_071,
                &[1000, 999, 7],
                80,
                0xbc89_4122_dc78_009b,
                &[65571, 65238, 262],
            ),
        ];
        for (size, weights, port, print, slots) in vectors {
            let named = |(&weight, number): (&u32, usize)| {
                Server::new(
                    Identity {
                        port,
                        ..identity(number)
                    },
                    weight,
                )
            };
            let servers: Vec<Server> = weights.iter().zip(1..).map(named).collect();
            let table = filled(size, &servers);
            assert_eq!(shares(&table, servers.len()), slots);
            assert_eq!(fingerprint(&table), print, "{size} {weights:?}");
        }
    }

    /// 2001:db8::1 to ::3, port 443.
    #[test]
    fn folds_ipv6_as_ipvs_does() {
        let servers = [1, 2, 3].map(|number| {
            let address = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, number];
            Server::new(Identity { address, port: 443 }, u32::from(number) * 2)
        });
        let table = filled(DEFAULT_SIZE, &servers);
        assert_eq!(shares(&table, 3), [683, 1364, 2046]);
        assert_eq!(fingerprint(&table), 0xe66d_90d2_e803_1ae9);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        /// Every slot is taken. In each round a server takes as many slots as it has turns, and
        /// only the last round is cut: shares differ from the turns' proportion by less than a
        /// round.
        #[test]
        fn shares_are_proportional(weights in prop::collection::vec(1..16_u32, 1..30)) {
            let servers = servers(&weights);
            let shares = shares(&filled(DEFAULT_SIZE, &servers), servers.len());
            prop_assert_eq!(shares.iter().sum::<usize>(), DEFAULT_SIZE);
            let total: u32 = weights.iter().sum();
            for (share, weight) in shares.into_iter().zip(weights) {
                let fair = DEFAULT_SIZE * weight as usize / total as usize;
                prop_assert!(share.abs_diff(fair) <= weight as usize, "{} {}", share, fair);
            }
        }

        /// Two switches whose lists are in other orders send a key to the same server.
        #[test]
        fn the_order_of_the_list_changes_nothing(
            weights in prop::collection::vec(0..300_u32, 1..20),
            turn in 0..20_usize,
        ) {
            let mut numbers: Vec<usize> = (0..weights.len()).collect();
            let listed = servers(&weights);
            let one = filled(1021, &listed);
            numbers.rotate_left(turn % weights.len());
            numbers.reverse();
            let other: Vec<Server> = numbers
                .iter()
                .map(|&number| Server::new(listed[number].identity(), weights[number]))
                .collect();
            for (one, other) in one.into_iter().zip(filled(1021, &other)) {
                let other = numbers.get(usize::from(other)).map_or(EMPTY, |&number| number as u16);
                prop_assert_eq!(one, other);
            }
        }

        /// All weights have the same number of turns, as without weights in the paper: removing
        /// one of N moves its 1/N of slots, and of the others' no more than 5 % of the table.
        #[test]
        fn removing_one_disturbs_little(count in 2..40_usize, gone in 0..40_usize) {
            let gone = gone % count;
            let all = servers(&vec![1; count]);
            let rest: Vec<Server> = (0..count)
                .filter(|&index| index != gone)
                .map(|index| Server::new(all[index].identity(), 1))
                .collect();
            let before = filled(DEFAULT_SIZE, &all);
            let after = filled(DEFAULT_SIZE, &rest);
            let moved = before
                .iter()
                .zip(&after)
                .filter(|&(&before, &after)| {
                    let before = usize::from(before);
                    let after = usize::from(after);
                    before != after + usize::from(after >= gone)
                })
                .count();
            let bound = DEFAULT_SIZE.div_ceil(count) + DEFAULT_SIZE / 20;
            prop_assert!(moved <= bound, "{} of {} moved for 1/{}", moved, DEFAULT_SIZE, count);
        }
    }

    #[test]
    fn an_unavailable_servers_keys_spread_and_others_stay() {
        let bench = Bench::new(Kind::Mh, &[1; 5]);
        let before = bench.picks(8000);
        bench.servers[2].set_available(false);
        let after = bench.picks(8000);
        let mut substitutes = [0; 5];
        for (&before, &after) in before.iter().zip(&after) {
            if before == 2 {
                substitutes[after] += 1;
            } else {
                assert_eq!(before, after);
            }
        }
        // 1600 keys over four; 6 sigma are 104.
        assert_eq!(substitutes[2], 0);
        assert!(
            substitutes
                .iter()
                .filter(|&&count| (290..510).contains(&count))
                .count()
                == 4
        );
        bench.servers[2].set_available(true);
        assert_eq!(bench.picks(8000), before);
    }

    #[test]
    fn refuses_buffers_that_do_not_fit() {
        let servers = servers(&[1, 1]);
        let turns = || vec![Turn::default(); 2];
        assert_eq!(
            fill(&mut [0; 250], &mut turns(), &servers),
            Err(FillError::Size)
        );
        assert_eq!(
            fill(&mut [0; 1], &mut turns(), &servers),
            Err(FillError::Servers)
        );
        assert_eq!(
            fill(&mut [0; 251], &mut turns()[..1], &servers),
            Err(FillError::Scratch)
        );
    }

    #[test]
    fn without_a_weight_every_slot_is_empty() {
        assert!(filled(251, &servers(&[0, 0]))
            .iter()
            .all(|&slot| slot == EMPTY));
        let bench = Bench::new(Kind::Mh, &[0, 0]);
        let ask = Ask {
            hash: 1,
            random: 1,
            now_ns: 0,
        };
        assert_eq!(bench.pool().pick(&ask, |_| false), None);
    }

    #[test]
    fn a_size_is_a_prime_with_a_hundred_slots_each() {
        assert!(SIZES.iter().all(|size| (2..*size)
            .take_while(|d| d * d <= *size)
            .all(|d| size % d != 0)));
        assert_eq!(
            [1, 40, 41, 128, 655, 656, 9999].map(size_for),
            [4093, 4093, 8191, 16381, 65521, 131_071, 131_071]
        );
    }
}
