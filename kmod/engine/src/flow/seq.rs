// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Sequence numbers: arithmetic modulo 2³² (RFC 9293, 3.4).

/// Whether `a` comes before `b`: by less than 2³¹.
#[inline]
pub const fn before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) & 0x8000_0000 != 0
}

/// Whether `a` is `b` or comes before it.
#[inline]
pub const fn at_most(a: u32, b: u32) -> bool {
    !before(b, a)
}

/// The later of two.
#[inline]
pub const fn max(a: u32, b: u32) -> u32 {
    if before(a, b) {
        b
    } else {
        a
    }
}

/// The earlier of two.
#[inline]
pub const fn min(a: u32, b: u32) -> u32 {
    if before(a, b) {
        a
    } else {
        b
    }
}

/// A mark that stays where it is, but never so far behind a number that it would be taken for one ahead of it.
#[inline]
pub const fn follow(mark: u32, number: u32) -> u32 {
    let behind = number.wrapping_sub(mark);
    if behind >= 1 << 29 && behind < 1 << 31 {
        number.wrapping_sub(1 << 28)
    } else {
        mark
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_wrap() {
        assert!(before(u32::MAX, 0) && before(0xffff_fff0, 16) && !before(16, 0xffff_fff0));
        assert!(at_most(7, 7) && !before(7, 7));
        assert_eq!((max(u32::MAX, 3), min(u32::MAX, 3)), (3, u32::MAX));
    }

    #[test]
    fn a_mark_is_never_ahead() {
        // A window of 2³⁰ at once is the most that TCP knows.
        let (mut mark, mut number) = (u32::MAX - 5, 0u32);
        for step in 0..100 {
            number = number.wrapping_add([1, 1 << 20, 0x3fff_c000][step % 3]);
            mark = follow(mark, number);
            assert!(at_most(mark, number), "{step}");
        }
        assert_eq!(follow(7, 1000), 7);
        assert_eq!(follow(1000, 7), 1000);
    }
}
