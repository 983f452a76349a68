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
    sum: u64,
    /// Bytes that make no word yet.
    word: u64,
    /// How many of them there are.
    waiting: u32,
    /// Of all bytes.
    count: u64,
}

/// Bytes of a word.
const WORD: u32 = 7;

impl Print {
    /// The fingerprint of nothing. `secret`: anything that the sender does not know.
    pub(super) const fn new(secret: u32) -> Self {
        // SplitMix64's mixing: a point that has all bits.
        let mut point = (secret as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
        point = (point ^ (point >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        point = (point ^ (point >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self {
            point: (point ^ (point >> 31)) & PRIME,
            sum: 1,
            word: 0,
            waiting: 0,
            count: 0,
        }
    }

    /// Goes on through bytes; however they are divided.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.count = self.count.wrapping_add(bytes.len() as u64);
        let mut rest = bytes;
        while let Some((&first, tail)) = rest.split_first() {
            // Eight are read at once, where seven are wanted.
            let eight = rest.first_chunk::<8>().filter(|_| self.waiting == 0);
            if let (Some(eight), Some(tail)) = (eight, rest.get(7..)) {
                self.term(u64::from_be_bytes(*eight) >> 8);
                rest = tail;
                continue;
            }
            self.word = (self.word << 8) | u64::from(first);
            self.waiting = self.waiting.wrapping_add(1);
            if self.waiting == WORD {
                self.term(self.word);
                (self.word, self.waiting) = (0, 0);
            }
            rest = tail;
        }
    }

    #[inline]
    fn term(&mut self, word: u64) {
        // Below 2⁶² and 2⁶¹.
        let term = self.sum.wrapping_add(word);
        let product = u128::from(term).wrapping_mul(u128::from(self.point));
        // Below 2¹²³, so that one folding leaves less than 2⁶³.
        #[expect(clippy::cast_possible_truncation, reason = "masked, and below 2⁶³")]
        let folded = (product as u64 & PRIME).wrapping_add((product >> 61) as u64);
        self.sum = (folded & PRIME).wrapping_add(folded >> 61);
    }

    /// 32 bits of it.
    #[expect(clippy::cast_possible_truncation, reason = "that many are kept")]
    pub(super) fn value(mut self) -> u32 {
        self.term(self.word);
        self.term(self.count);
        // 2⁶¹ − 1 and 0 are the same number.
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
}
