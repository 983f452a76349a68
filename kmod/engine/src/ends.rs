// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A hash of the two ends of a packet, for tables that attackers may fill but whose hashes they do not see.

use crate::endpoint::Endpoint;

/// The secret of a table.
///
/// NH (J. Black et al.: "UMAC: Fast and Secure Message Authentication", 1999, 4) over words of 64 bits: two pairs of ends that
/// were chosen without knowing the secret meet in one of 2⁶⁴ cases.
#[derive(Clone, Copy)]
pub struct Secret([u64; 7]);

impl Secret {
    /// Of words that nobody can foresee.
    pub const fn new(words: [u64; 7]) -> Self {
        Self(words)
    }

    /// The hash of a packet's ends.
    #[inline(always)]
    pub fn hash(&self, source: &Endpoint, destination: &Endpoint) -> u64 {
        let [k0, k1, k2, k3, k4, k5, k6] = self.0;
        let (s0, s1) = halves(&source.address);
        let (d0, d1) = halves(&destination.address);
        let ports = (u64::from(source.port) << 16) | u64::from(destination.port);
        // Where both are IPv4, one word has the addresses, and one the ports: a single pair of NH.
        let sum = if s0 | d0 == 0 && is_mapped(s1) && is_mapped(d1) {
            let addresses = (s1 & !LOW) | (d1 >> 32);
            product(addresses.wrapping_add(k2), ports.wrapping_add(k4))
        } else {
            product(s0.wrapping_add(k0), s1.wrapping_add(k1))
                .wrapping_add(product(d0.wrapping_add(k2), d1.wrapping_add(k3)))
                .wrapping_add(product(ports.wrapping_add(k4), k5))
        };
        // Every bit of what is taken of it depends on all.
        let [low, high] = words(sum);
        let mixed = product(low ^ k6, high ^ 0x9e37_79b9_7f4a_7c15);
        let [low, high] = words(mixed);
        low ^ high
    }
}

/// The lower half of a word.
const LOW: u64 = 0xffff_ffff;

/// Whether the second word of an address whose first is 0 is that of an IPv4-mapped one (RFC 4291, 2.5.5.2).
#[inline]
const fn is_mapped(word: u64) -> bool {
    word & LOW == u64::from_le_bytes([0, 0, 0xff, 0xff, 0, 0, 0, 0])
}

#[inline]
const fn product(one: u64, other: u64) -> u128 {
    (one as u128).wrapping_mul(other as u128)
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the halves of the number")]
const fn words(number: u128) -> [u64; 2] {
    [number as u64, (number >> 64) as u64]
}

/// The two words of an address.
#[inline]
pub(crate) const fn halves(address: &[u8; 16]) -> (u64, u64) {
    // Not by a pattern of all the bytes: of that some are loaded one by one.
    let (Some(first), Some(second)) = (
        address.as_slice().first_chunk::<8>(),
        address.as_slice().last_chunk::<8>(),
    ) else {
        return (0, 0);
    };
    (u64::from_le_bytes(*first), u64::from_le_bytes(*second))
}

#[cfg(test)]
#[allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "tests compute with numbers that they know"
)]
mod tests {
    use std::collections::HashSet;
    use std::vec::Vec;

    use super::*;

    const SECRET: Secret = Secret::new([
        0x0123_4567_89ab_cdef,
        0x1b3d_5f70_8192_a3b4,
        0xf0e1_d2c3_b4a5_9687,
        0x7766_5544_3322_1100,
        0xdead_beef_0bad_f00d,
        0x0f1e_2d3c_4b5a_6978,
        0x1122_3344_5566_7788,
    ]);

    fn endpoint(number: u32, port: u16) -> Endpoint {
        let mut address = [0; 16];
        (address[10], address[11]) = (0xff, 0xff);
        address[12..].copy_from_slice(&number.to_be_bytes());
        Endpoint { address, port }
    }

    /// Neighbours, of addresses and ports, spread over the table and are told from each other by the half that is kept.
    #[test]
    fn neighbours_are_far_apart() {
        let service = endpoint(0x0a00_0164, 80);
        let mut hashes = Vec::new();
        for host in 0..64 {
            for port in 0..1024 {
                hashes.push(SECRET.hash(&endpoint(0x0a00_0000 + host, 1024 + port), &service));
            }
        }
        let halves: HashSet<u32> = hashes.iter().map(|hash| (hash >> 32) as u32).collect();
        assert!(hashes.len() - halves.len() < 10, "{}", halves.len());
        for shift in [0, 24, 32, 56] {
            let mut counts = [0u32; 256];
            for hash in &hashes {
                counts[(hash >> shift) as usize & 255] += 1;
            }
            // 256 each, with a deviation of 16.
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(*least > 170 && *most < 350, "{shift}: {least} to {most}");
        }
    }

    #[test]
    fn the_two_directions_and_every_bit_count() {
        let (one, other) = (endpoint(1, 2), endpoint(3, 4));
        let hash = SECRET.hash(&one, &other);
        assert_ne!(hash, SECRET.hash(&other, &one));
        assert_ne!(hash, Secret::new([5; 7]).hash(&one, &other));
        for bit in 0..128 {
            let mut near = one;
            near.address[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(hash, SECRET.hash(&near, &other));
            let mut near = other;
            near.address[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(hash, SECRET.hash(&one, &near));
        }
    }
}
