// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A keyed fingerprint of bytes that were read: what a client sends again has to be what it sent before.
//!
//! The polynomial of the bytes, taken by seven, and of their number at a secret point, modulo the prime 2⁶¹ − 1: two strings
//! that were chosen without knowing the point meet in one of 2³² cases (J. L. Carter, M. N. Wegman: "Universal classes of hash functions", 1979).

const PRIME: u64 = (1 << 61) - 1;

/// A fingerprint that is being made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Print {
    point: u64,
    /// The point's square: two words are taken in at once.
    square: u64,
    sum: u64,
    /// The last bytes, the first lowest: a word is taken in when something follows it.
    word: u64,
    /// How many they are, at most [`WORD`].
    waiting: usize,
    /// Of all bytes.
    count: u64,
}

/// Bytes of a word.
const WORD: usize = 7;
/// The bits of a word in one of eight bytes.
const WORD_BITS: u64 = (1 << 56) - 1;

/// Below 2⁶¹ + 4, and the same modulo the prime. `number` is below 2¹²⁴.
#[inline]
const fn reduce(number: u128) -> u64 {
    // The second term is below 2⁶³.
    #[expect(clippy::cast_possible_truncation, reason = "masked, and below 2⁶³")]
    let folded = (number as u64 & PRIME).wrapping_add((number >> 61) as u64);
    (folded & PRIME).wrapping_add(folded >> 61)
}

#[inline]
const fn times(one: u64, other: u64) -> u128 {
    (one as u128).wrapping_mul(other as u128)
}

impl Print {
    /// The fingerprint of nothing. `secret`: anything that the sender does not know.
    #[inline]
    pub(super) const fn new(secret: u32) -> Self {
        // SplitMix64's mixing: a point that has all bits.
        let mut point = (secret as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
        point = (point ^ (point >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        point = (point ^ (point >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        point = (point ^ (point >> 31)) & PRIME;
        Self {
            point,
            square: reduce(times(point, point)),
            sum: 1,
            word: 0,
            waiting: 0,
            count: 0,
        }
    }

    /// Goes on through bytes; however they are divided.
    #[inline]
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.count = self.count.wrapping_add(bytes.len() as u64);
        let mut rest = bytes;
        if self.waiting != 0 {
            rest = self.fill(rest);
            if rest.is_empty() {
                return;
            }
            self.single(self.word);
        }
        while let Some(bytes) = rest.first_chunk::<15>() {
            let (Some(first), Some(second)) = (bytes.first_chunk(), bytes.last_chunk()) else {
                break;
            };
            self.pair(
                u64::from_le_bytes(*first) & WORD_BITS,
                u64::from_le_bytes(*second) & WORD_BITS,
            );
            rest = rest.get(2 * WORD..).unwrap_or_default();
        }
        if let (Some(first), Some(tail)) = (rest.first_chunk(), rest.get(WORD..)) {
            self.single(u64::from_le_bytes(*first) & WORD_BITS);
            rest = tail;
        }
        // Between one byte and a word, or nothing at all.
        (self.word, self.waiting) = (0, rest.len());
        if let Some(last) = bytes.last_chunk() {
            let others = 8usize.wrapping_sub(rest.len()).wrapping_mul(8);
            self.word = u64::from_le_bytes(*last) >> (others & 63);
        } else {
            for &byte in rest.iter().rev() {
                self.word = self.word << 8 | u64::from(byte);
            }
        }
    }

    /// Completes the word that waits, and gives the bytes behind it.
    fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let mut rest = bytes;
        while let Some((&byte, tail)) = rest.split_first() {
            if self.waiting >= WORD {
                break;
            }
            self.word |= u64::from(byte) << (self.waiting.wrapping_mul(8) & 63);
            self.waiting = self.waiting.wrapping_add(1);
            rest = tail;
        }
        rest
    }

    #[inline]
    fn single(&mut self, word: u64) {
        self.sum = reduce(times(self.sum.wrapping_add(word), self.point));
    }

    /// Takes in two words below 2⁵⁶: what one after the other would give.
    #[inline]
    fn pair(&mut self, first: u64, second: u64) {
        // The first factors are below 2⁶² and 2⁵⁷, the second ones below 2⁶¹ + 4.
        let first = times(self.sum.wrapping_add(first), self.square);
        self.sum = reduce(first.wrapping_add(times(second, self.point)));
    }

    /// 32 bits of it.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "that many are kept")]
    pub(super) fn value(mut self) -> u32 {
        self.pair(self.word, self.count);
        // What is left is below twice the prime, of which 0 and the prime are the same number.
        let sum = if self.sum >= PRIME {
            self.sum.wrapping_sub(PRIME)
        } else {
            self.sum
        };
        (sum ^ (sum >> 32)) as u32
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn print(secret: u32, parts: &[&[u8]]) -> u32 {
        let mut print = Print::new(secret);
        for part in parts {
            print.add(part);
        }
        print.value()
    }

    #[test]
    fn it_depends_on_every_byte_and_not_on_their_division() {
        let whole = print(7, &[b"GET / HTTP/1.1\r\n\r\n"]);
        assert_eq!(print(7, &[b"GET", b"", b" / HTTP/1.1\r\n", b"\r\n"]), whole);
        assert_ne!(
            print(8, &[b"GET / HTTP/1.1\r\n\r\n"]),
            whole,
            "another secret"
        );
        let bytes = *b"GET / HTTP/1.1\r\n\r\n";
        for at in 0..bytes.len() {
            let mut other = bytes;
            other[at] ^= 1;
            assert_ne!(print(7, &[&other]), whole, "{at}");
        }
        assert_ne!(print(7, &[b"\0GET / HTTP/1.1\r\n\r\n"]), whole);
        assert_ne!(print(7, &[b"GET / HTTP/1.1\r\n\r\n\0"]), whole);
    }

    /// The polynomial, word by word.
    #[allow(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        reason = "below 2¹²⁸, and 32 bits are kept"
    )]
    fn plain(secret: u32, bytes: &[u8]) -> u32 {
        let point = u128::from(Print::new(secret).point);
        let mut words: Vec<u128> = bytes
            .chunks(WORD)
            .map(|word| {
                word.iter()
                    .rfold(0, |sum, &byte| sum << 8 | u128::from(byte))
            })
            .collect();
        if words.is_empty() {
            words.push(0);
        }
        words.push(bytes.len() as u128);
        let prime = u128::from(PRIME);
        let sum = words
            .iter()
            .fold(1, |sum, word| (sum + word) * point % prime);
        let sum = u64::try_from(sum).unwrap();
        (sum ^ (sum >> 32)) as u32
    }

    proptest! {
        #[test]
        fn it_is_the_polynomial_however_the_bytes_are_divided(
            bytes in proptest::collection::vec(any::<u8>(), 0..100),
            one in 0_usize..100,
            other in 0_usize..100,
            secret in any::<u32>(),
        ) {
            let (rest, last) = bytes.split_at(one.min(bytes.len()));
            let (first, middle) = rest.split_at(other.min(rest.len()));
            let plain = plain(secret, &bytes);
            prop_assert_eq!(print(secret, &[&bytes]), plain);
            prop_assert_eq!(print(secret, &[first, middle, last]), plain);
            let bytes: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(print(secret, &bytes), plain);
        }
    }
}
