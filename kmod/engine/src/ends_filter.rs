// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Whether a packet may be one of the switch's, by its ends: a Bloom filter (B. H. Bloom: "Space/Time Trade-offs in Hash
//! Coding with Allowable Errors", 1970) of one bit for each end that matters. Others' packets, of which most are told by it,
//! need no look-up.
//!
//! What it says of a packet that is not the switch's may be wrong, and costs time then. So it has no secret.

use core::ops::Deref;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use crate::endpoint::Endpoint;
use crate::ends::halves;

/// Words of a filter: 65,536 bits.
pub const WORDS: usize = 1024;

/// What an end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A service's address: clients' packets go to it.
    Service,
    /// The port of a service on every address.
    AnyAddress,
    /// A real server: its packets come from it.
    Server,
}

/// The filter, in [`WORDS`] words.
pub struct EndsFilter<W>(pub W);

/// The word and the bit of an end.
#[inline(always)]
fn place(role: Role, end: &Endpoint) -> (usize, u64) {
    let (first, second) = match role {
        Role::AnyAddress => (0, 0),
        Role::Service | Role::Server => halves(&end.address),
    };
    // An IPv4 address has nothing of its own in the lower half of the second word.
    let what = second ^ (u64::from(end.port) | (role as u64) << 16);
    let number = first.wrapping_mul(0xff51_afd7_ed55_8ccd).wrapping_add(what);
    // The halves of the product: one has the number's upper bits, the other its lower ones.
    let product = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    #[expect(clippy::cast_possible_truncation, reason = "the halves")]
    let hash = product as u64 ^ (product >> 64) as u64;
    let word = (hash >> 54) as usize;
    (word, 1u64.wrapping_shl((hash >> 48) as u32 & 63))
}

impl<W: Deref<Target = [AtomicU64]>> EndsFilter<W> {
    /// Adds an end.
    pub fn add(&self, role: Role, end: &Endpoint) {
        let (word, bit) = place(role, end);
        if let Some(word) = self.0.get(word) {
            word.fetch_or(bit, Relaxed);
        }
    }

    #[inline(always)]
    fn has(&self, role: Role, end: &Endpoint) -> bool {
        let (word, bit) = place(role, end);
        self.0
            .get(word)
            .is_some_and(|word| word.load(Relaxed) & bit != 0)
    }

    /// Whether a packet may be to a service, or from a server.
    #[inline(always)]
    pub fn may_concern(&self, source: &Endpoint, destination: &Endpoint) -> bool {
        self.has(Role::Service, destination)
            || self.has(Role::Server, source)
            || self.has(Role::AnyAddress, destination)
    }

    /// Has what another one has, and nothing else. Whoever asks meanwhile finds what both have.
    pub fn become_as(&self, other: &Self) {
        for (word, new) in self.0.iter().zip(other.0.iter()) {
            word.store(new.load(Relaxed), Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn filter() -> EndsFilter<Vec<AtomicU64>> {
        EndsFilter((0..WORDS).map(|_| AtomicU64::new(0)).collect())
    }

    fn v4(number: u32, port: u16) -> Endpoint {
        let mut address = [0; 16];
        (address[10], address[11]) = (0xff, 0xff);
        address[12..].copy_from_slice(&number.to_be_bytes());
        Endpoint { address, port }
    }

    fn v6(number: u128, port: u16) -> Endpoint {
        Endpoint {
            address: number.to_be_bytes(),
            port,
        }
    }

    const NET: u32 = 0x0a00_0000;
    const PREFIX: u128 = 0xfd00 << 112;

    #[test]
    fn what_was_added_is_found_in_its_place_only() {
        let all = filter();
        let (service, server) = (v4(NET + 1, 80), v4(NET + 2, 8080));
        let (other, another) = (v4(NET + 3, 80), v4(NET + 4, 40_000));
        all.add(Role::Service, &service);
        all.add(Role::Server, &server);
        assert!(all.may_concern(&another, &service) && all.may_concern(&server, &another));
        assert!(!all.may_concern(&service, &another), "the front's answers");
        assert!(!all.may_concern(&another, &server), "to a server directly");
        assert!(!all.may_concern(&another, &other));
        all.add(Role::AnyAddress, &v4(0, 443));
        for end in [v4(NET + 9, 443), v6(PREFIX + 7, 443)] {
            assert!(all.may_concern(&another, &end));
        }
        all.become_as(&filter());
        assert!(!all.may_concern(&another, &service));
    }

    /// Neighbours, of addresses and ports, are as far apart as others: of those that were not added, as many are taken for
    /// one as there are bits.
    #[test]
    fn neighbours_are_told_apart() {
        for end in [
            |n: u32| v4(NET + n, 80),
            |n: u32| v4(NET + 1, u16::try_from(n).unwrap()),
            |n: u32| v6(PREFIX + u128::from(n), 80),
            |n: u32| v6(PREFIX + (u128::from(n) << 64), 80),
        ] {
            let all = filter();
            for number in 0..4096 {
                all.add(Role::Service, &end(number));
                assert!(all.has(Role::Service, &end(number)));
            }
            let bits: u32 = all.0.iter().map(|w| w.load(Relaxed).count_ones()).sum();
            assert!(bits > 3500, "{bits} of 4096");
            let wrong = (4096..20_480).filter(|&n| all.has(Role::Service, &end(n)));
            let (wrong, expected) = (wrong.count(), 16_384 * 4096 / 65_536);
            assert!(wrong < 2 * expected, "{wrong}, {expected} were by chance");
            let role = (0..4096).filter(|&n| all.has(Role::Server, &end(n)));
            assert!(role.count() < 4096 / 4);
        }
    }
}
