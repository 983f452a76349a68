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
//! switches agree only if they were filled alike. [`fill`] sorts by [`Endpoint`], so that the
//! table depends on the set of servers and weights alone.

#[cfg(test)]
mod tests;

use core::borrow::Borrow;

use super::candidates::mix;
use super::candidates::Candidates;
use super::server::Server;
use super::sort::sort;
use crate::endpoint::Endpoint;
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
    endpoint: Endpoint,
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
            endpoint: server.endpoint(),
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
        (a.endpoint, a.server) < (b.endpoint, b.server)
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
        let place = place(turn.endpoint);
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
fn place(endpoint: Endpoint) -> u32 {
    let [.., a, b, c, d] = endpoint.address;
    let last = u32::from_be_bytes([a, b, c, d]);
    let address = u128::from_be_bytes(endpoint.address);
    let mapped = address >> 32 == 0xffff;
    let halves = address ^ (address >> 64);
    let [.., w, x, y, z] = (halves ^ (halves >> 32)).to_be_bytes();
    let folded = if mapped {
        last
    } else {
        u32::from_be_bytes([w, x, y, z])
    };
    folded.wrapping_add(u32::from(endpoint.port))
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
