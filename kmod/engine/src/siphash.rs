// SPDX-License-Identifier: GPL-2.0 OR MIT
//! SipHash, the keyed hash of Aumasson and Bernstein (2012).
//!
//! "SipHash: a fast short-input PRF", Indocrypt 2012. The kernel has the same in lib/siphash.c;
//! its `hsiphash` is SipHash-1-3 cut to 32 bits on machines of 64 bits.

/// A key of 128 bits, as the two little-endian words k0 and k1 of the paper.
pub type Key = [u64; 2];

/// SipHash-2-4 of `bytes`: the authors' proposal where an attacker sees the hashes.
pub fn siphash24(key: Key, bytes: &[u8]) -> u64 {
    siphash::<2, 4>(key, bytes)
}

/// SipHash-1-3 of `bytes`: for tables whose hashes nobody sees; about twice as fast.
pub fn siphash13(key: Key, bytes: &[u8]) -> u64 {
    siphash::<1, 3>(key, bytes)
}

/// SipHash-1-3 of words' little-endian bytes.
#[inline]
pub fn siphash13_words<const N: usize>(key: Key, words: [u64; N]) -> u64 {
    let mut state = State::new(key);
    for word in words {
        state.absorb::<1>(word);
    }
    // Eight bytes each, modulo 256.
    state.absorb::<1>((N as u64) << 59);
    state.finish::<3>()
}

/// The kernel's `hsiphash` of one 32-bit value (`hsiphash_1u32` in include/linux/siphash.h), as a
/// machine of 64 bits computes it: SipHash-1-3 of the value's four little-endian bytes, low half.
pub fn hsiphash_u32(key: Key, value: u32) -> u32 {
    let [a, b, c, d, ..] = siphash13(key, &value.to_le_bytes()).to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

fn siphash<const COMPRESS: u32, const FINISH: u32>(key: Key, bytes: &[u8]) -> u64 {
    let mut state = State::new(key);
    let mut rest = bytes;
    while let Some((word, tail)) = rest.split_first_chunk::<8>() {
        state.absorb::<COMPRESS>(u64::from_le_bytes(*word));
        rest = tail;
    }
    // The last word: up to seven bytes, and the length modulo 256 on top of them.
    let mut last = [0_u8; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    let [.., top] = &mut last;
    let [length, ..] = bytes.len().to_le_bytes();
    *top = length;
    state.absorb::<COMPRESS>(u64::from_le_bytes(last));
    state.finish::<FINISH>()
}

/// [`siphash13`] of bytes that come in pieces.
pub struct Siphash13 {
    state: State,
    /// Bytes of the word that is not whole, the first the least significant.
    word: u64,
    /// Bytes so far, modulo 256.
    len: u8,
}

impl Siphash13 {
    /// Of no bytes.
    pub const fn new(key: Key) -> Self {
        Self {
            state: State::new(key),
            word: 0,
            len: 0,
        }
    }

    /// Adds bytes.
    pub fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            let place = u32::from(self.len & 7).wrapping_mul(8);
            self.word |= u64::from(byte).wrapping_shl(place);
            self.len = self.len.wrapping_add(1);
            if self.len & 7 == 0 {
                self.state.absorb::<1>(self.word);
                self.word = 0;
            }
        }
    }

    /// The hash.
    pub fn finish(mut self) -> u64 {
        self.state
            .absorb::<1>(self.word | (u64::from(self.len) << 56));
        self.state.finish::<3>()
    }
}

struct State {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl State {
    /// The constants spell "somepseudorandomlygeneratedbytes" (section 2.1 of the paper).
    const fn new(key: Key) -> Self {
        let [k0, k1] = key;
        Self {
            v0: k0 ^ 0x736f_6d65_7073_6575,
            v1: k1 ^ 0x646f_7261_6e64_6f6d,
            v2: k0 ^ 0x6c79_6765_6e65_7261,
            v3: k1 ^ 0x7465_6462_7974_6573,
        }
    }

    fn absorb<const ROUNDS: u32>(&mut self, word: u64) {
        self.v3 ^= word;
        self.rounds::<ROUNDS>();
        self.v0 ^= word;
    }

    fn finish<const ROUNDS: u32>(mut self) -> u64 {
        self.v2 ^= 0xff;
        self.rounds::<ROUNDS>();
        self.v0 ^ self.v1 ^ self.v2 ^ self.v3
    }

    fn rounds<const ROUNDS: u32>(&mut self) {
        for _ in 0..ROUNDS {
            self.v0 = self.v0.wrapping_add(self.v1);
            self.v1 = self.v1.rotate_left(13) ^ self.v0;
            self.v0 = self.v0.rotate_left(32);
            self.v2 = self.v2.wrapping_add(self.v3);
            self.v3 = self.v3.rotate_left(16) ^ self.v2;
            self.v0 = self.v0.wrapping_add(self.v3);
            self.v3 = self.v3.rotate_left(21) ^ self.v0;
            self.v2 = self.v2.wrapping_add(self.v1);
            self.v1 = self.v1.rotate_left(17) ^ self.v2;
            self.v2 = self.v2.rotate_left(32);
        }
    }
}

#[cfg(test)]
mod tests {
    use core::hash::Hasher;
    use std::collections::hash_map::DefaultHasher;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// Key 00 01 … 0f, as the authors' vectors and the kernel's lib/siphash_kunit.c use it.
    const KEY: Key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];

    /// Of the messages of 0 to 63 bytes 00 01 02 …, by length.
    const SIPHASH24: [(usize, u64); 12] = [
        (0, 0x726f_db47_dd0e_0e31),
        (1, 0x74f8_39c5_93dc_67fd),
        (2, 0x0d6c_8009_d9a9_4f5a),
        (7, 0xab02_00f5_8b01_d137),
        (8, 0x93f5_f579_9a93_2462),
        (9, 0x9e00_82df_0ba9_e4b0),
        (15, 0xa129_ca61_49be_45e5),
        (16, 0x3f2a_cc7f_57c2_9bdb),
        (31, 0x32d8_92fa_d841_c342),
        (32, 0x7127_512f_72f2_7cce),
        (47, 0xd06c_98cd_5c09_75eb),
        (63, 0x958a_324c_eb06_4572),
    ];

    /// The kernel's hsiphash on a machine of 64 bits, of the same messages.
    const HSIPHASH: [(usize, u32); 10] = [
        (0, 0x050f_c4dc),
        (1, 0x7d57_ca93),
        (3, 0xe7dd_f7fb),
        (4, 0x88d3_8328),
        (7, 0x9bb1_1140),
        (8, 0x8d29_9a8e),
        (15, 0x2a51_9956),
        (16, 0x7d90_8b66),
        (32, 0x16a7_b60d),
        (63, 0xb7bb_b3a8),
    ];

    fn message(length: usize) -> Vec<u8> {
        (0_u8..64).take(length).collect()
    }

    #[test]
    fn words_are_their_bytes() {
        let words = [0x0123_4567_89ab_cdef, 42, u64::MAX];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(siphash13_words(KEY, words), siphash13(KEY, &bytes));
    }

    #[test]
    fn siphash24_gives_the_authors_vectors() {
        for (length, hash) in SIPHASH24 {
            assert_eq!(siphash24(KEY, &message(length)), hash, "length {length}");
        }
    }

    #[test]
    fn siphash13_gives_the_kernels_vectors_in_its_low_half() {
        for (length, hash) in HSIPHASH {
            assert_eq!(
                siphash13(KEY, &message(length)) & 0xffff_ffff,
                u64::from(hash)
            );
        }
    }

    #[test]
    fn hsiphash_of_a_word_is_that_of_its_four_bytes() {
        assert_eq!(hsiphash_u32(KEY, 0x0302_0100), 0x88d3_8328);
    }

    proptest! {
        #[test]
        fn pieces_are_hashed_as_the_whole(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20)) {
            let mut hash = Siphash13::new(KEY);
            pieces.iter().for_each(|piece| hash.write(piece));
            prop_assert_eq!(hash.finish(), siphash13(KEY, &pieces.concat()));
        }

        /// The standard library's hasher is SipHash-1-3 with a key of zeros.
        #[test]
        fn siphash13_agrees_with_the_standard_library(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let mut theirs = DefaultHasher::new();
            theirs.write(&bytes);
            prop_assert_eq!(siphash13([0, 0], &bytes), theirs.finish());
        }
    }
}
