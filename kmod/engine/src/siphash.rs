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
