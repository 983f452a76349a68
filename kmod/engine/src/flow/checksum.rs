// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The Internet checksum (RFC 1071), and its update where a header changes (RFC 1624).

/// A change of a checksum: the sum of what was added less what was taken away, of words as they lie in memory (RFC 1071,
/// 2 (B)), so that no byte has to be swapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Change(u64);

impl Change {
    /// A 16-bit word, at an even offset, becomes another.
    #[inline]
    pub(super) const fn word(&mut self, old: u16, new: u16) {
        // ~m + m' of RFC 1624, equation 3. A u64 holds sums of 2⁴⁸ words.
        let sum = self.0.wrapping_add(!old.to_be() as u64);
        self.0 = sum.wrapping_add(new.to_be() as u64);
    }

    /// A 32-bit word at an even offset becomes another.
    #[inline]
    pub(super) const fn double(&mut self, old: u32, new: u32) {
        // A word of 32 bits is what its halves sum up to, modulo 2¹⁶ − 1.
        let sum = self.0.wrapping_add(!old.to_be() as u64);
        self.0 = sum.wrapping_add(new.to_be() as u64);
    }

    /// A byte at an offset becomes another.
    pub(super) const fn byte(&mut self, offset: usize, old: u8, new: u8) {
        let shift = if offset & 1 == 0 { 8 } else { 0 };
        self.word((old as u16) << shift, (new as u16) << shift);
    }

    /// Both.
    #[inline]
    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    /// The checksum field after the change; it holds the complement of a sum.
    #[inline]
    pub(super) const fn of_complement(self, field: u16) -> u16 {
        !u16::from_be(fold(self.0.wrapping_add(!field.to_be() as u64)))
    }

    /// The field after the change where it holds a sum as it is (CHECKSUM_PARTIAL).
    #[inline]
    pub(super) const fn of_sum(self, field: u16) -> u16 {
        u16::from_be(fold(self.0.wrapping_add(field.to_be() as u64)))
    }
}

#[inline]
const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff).wrapping_add(sum >> 32);
    let sum = (sum & 0xffff).wrapping_add(sum >> 16);
    let sum = (sum & 0xffff).wrapping_add(sum >> 16);
    (sum & 0xffff).wrapping_add(sum >> 16) as u16
}

/// The sum of bytes, taken as 16-bit words of network order; a last odd byte is followed by a zero.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum(u64);

impl Sum {
    /// Adds bytes that begin at an even offset.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((&word, tail)) = rest.split_first_chunk::<2>() {
            self.0 = self.0.wrapping_add(u64::from(u16::from_be_bytes(word)));
            rest = tail;
        }
        if let [last] = rest {
            self.0 = self.0.wrapping_add(u64::from(*last) << 8);
        }
    }

    /// Adds a number.
    pub(super) const fn number(&mut self, number: u32) {
        let halves = (number as u64 >> 16).wrapping_add(number as u64 & 0xffff);
        self.0 = self.0.wrapping_add(halves);
    }

    /// The complement: what a checksum field holds.
    pub(super) const fn complement(self) -> u16 {
        !fold(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_is_the_sum_anew() {
        let mut bytes = [
            0x45u8, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0,
            0xc7,
        ];
        let of = |bytes: &[u8]| {
            let mut sum = Sum::default();
            sum.add(bytes);
            sum.complement()
        };
        assert_eq!(of(&bytes), 0xb861, "the example that everybody uses");
        let before = of(&bytes);
        let mut change = Change::default();
        change.double(0xc0a8_0001, 0xffff_0000);
        bytes[12..16].copy_from_slice(&[0xff, 0xff, 0, 0]);
        change.byte(8, 0x40, 3);
        bytes[8] = 3;
        change.byte(9, 0x11, 6);
        bytes[9] = 6;
        change.word(0x73, 0xfffe);
        bytes[2..4].copy_from_slice(&[0xff, 0xfe]);
        assert_eq!(change.of_complement(before), of(&bytes));
        assert_eq!(change.of_sum(!before), !of(&bytes));
    }

    #[test]
    fn no_change_changes_nothing() {
        for field in [0u16, 1, 0x1234, 0xfffe] {
            assert_eq!(Change::default().of_complement(field), field);
            assert_eq!(Change::default().of_sum(field), field);
        }
    }
}
