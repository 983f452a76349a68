// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A keyed fingerprint of bytes that were read: what a client sends again has to be what it sent before, and a head that was
//! decided about is known again.
//!
//! The polynomial of the bytes, taken by seven, and of their number at a secret point, modulo the prime 2⁶¹ − 1: two strings of
//! n words that were chosen without knowing the point meet in one of 2⁶¹ / n cases (J. L. Carter, M. N. Wegman: "Universal
//! classes of hash functions", 1979).

const PRIME: u64 = (1 << 61) - 1;

/// What fingerprints are made with, a secret.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    point: u64,
    /// The point's square: two words are taken in at once.
    square: u64,
}

impl Key {
    /// Of a random number.
    pub const fn new(random: u64) -> Self {
        let point = random & PRIME;
        Self {
            point,
            square: reduce(times(point, point)),
        }
    }
}

/// A fingerprint that is being made.
#[derive(Clone, Copy, Debug)]
pub struct Fingerprint {
    key: Key,
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

impl Fingerprint {
    /// That of nothing.
    #[inline]
    pub const fn new(key: &Key) -> Self {
        Self {
            key: *key,
            sum: 1,
            word: 0,
            waiting: 0,
            count: 0,
        }
    }

    /// That of some bytes.
    #[inline]
    pub fn of(key: &Key, bytes: &[u8]) -> u64 {
        let mut fingerprint = Self::new(key);
        fingerprint.add(bytes);
        fingerprint.value()
    }

    /// Goes on through bytes; however they are divided.
    #[inline]
    pub fn add(&mut self, bytes: &[u8]) {
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
        self.sum = reduce(times(self.sum.wrapping_add(word), self.key.point));
    }

    /// Takes in two words below 2⁵⁶: what one after the other would give.
    #[inline]
    const fn pair(&mut self, first: u64, second: u64) {
        // The first factors are below 2⁶² and 2⁵⁷, the second ones below 2⁶¹ + 4.
        let first = times(self.sum.wrapping_add(first), self.key.square);
        self.sum = reduce(first.wrapping_add(times(second, self.key.point)));
    }

    /// It, below 2⁶¹.
    #[inline]
    pub const fn value(mut self) -> u64 {
        self.pair(self.word, self.count);
        // What is left is below twice the prime, of which 0 and the prime are the same number.
        if self.sum >= PRIME {
            self.sum.wrapping_sub(PRIME)
        } else {
            self.sum
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn print(random: u64, parts: &[&[u8]]) -> u64 {
        let mut print = Fingerprint::new(&Key::new(random));
        for part in parts {
            print.add(part);
        }
        print.value()
    }

    #[test]
    fn it_depends_on_every_byte_and_not_on_their_division() {
        let whole = print(7, &[b"GET / HTTP/1.1\r\n\r\n"]);
        assert_eq!(print(7, &[b"GET", b"", b" / HTTP/1.1\r\n", b"\r\n"]), whole);
        assert_ne!(print(8, &[b"GET / HTTP/1.1\r\n\r\n"]), whole, "another key");
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
    #[allow(clippy::arithmetic_side_effects, reason = "below 2¹²⁸")]
    fn plain(random: u64, bytes: &[u8]) -> u64 {
        let point = u128::from(Key::new(random).point);
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
        u64::try_from(sum).unwrap()
    }

    proptest! {
        #[test]
        fn it_is_the_polynomial_however_the_bytes_are_divided(
            bytes in proptest::collection::vec(any::<u8>(), 0..100),
            one in 0_usize..100,
            other in 0_usize..100,
            random in any::<u64>(),
        ) {
            let (rest, last) = bytes.split_at(one.min(bytes.len()));
            let (first, middle) = rest.split_at(other.min(rest.len()));
            let plain = plain(random, &bytes);
            prop_assert_eq!(print(random, &[&bytes]), plain);
            prop_assert_eq!(print(random, &[first, middle, last]), plain);
            let bytes: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(print(random, &bytes), plain);
        }
    }
}
