// SPDX-License-Identifier: MIT
//! Bytes of a head found eight at a time: lines are too short for more to pay.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Sets the high bit of each byte that is zero. A borrow may set it above such a byte too: the lowest one set is exact.
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHS
}

/// The same for each byte below the space.
const fn below_space(word: u64) -> u64 {
    word.wrapping_sub(ONES.wrapping_mul(0x20)) & !word & HIGHS
}

const fn every(byte: u8) -> u64 {
    ONES.wrapping_mul(u64::from_le_bytes([byte, 0, 0, 0, 0, 0, 0, 0]))
}

/// The first colon at or behind `from`; the length of `buf` where there is none.
pub(super) fn colon(buf: &[u8], from: usize) -> usize {
    find(buf, from, |word| zeros(word ^ every(b':')))
}

/// The first control character at or behind `from` (below the space, or DEL); the length of `buf` where there is none.
pub(super) fn control(buf: &[u8], from: usize) -> usize {
    find(buf, from, |word| {
        below_space(word) | zeros(word ^ every(0x7f))
    })
}

/// `rest` is the end of `buf` throughout: no difference wraps.
#[inline]
fn find(buf: &[u8], from: usize, hits: impl Fn(u64) -> u64) -> usize {
    let mut rest = buf.get(from..).unwrap_or_default();
    while let Some((chunk, tail)) = rest.split_first_chunk::<8>() {
        let found = hits(u64::from_le_bytes(*chunk));
        if found != 0 {
            let before = (found.trailing_zeros() / 8) as usize;
            return buf.len().wrapping_sub(rest.len()).wrapping_add(before);
        }
        rest = tail;
    }
    for byte in rest {
        if hits(every(*byte)) != 0 {
            break;
        }
        rest = rest.get(1..).unwrap_or_default();
    }
    buf.len().wrapping_sub(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_found_at_every_place() {
        for byte in 0..=u8::MAX {
            for place in 0..20 {
                let mut buf = vec![b'a'; 20];
                buf[place] = byte;
                buf[19] = 0x80;
                buf[place] = byte;
                let expected = |hit: bool| if hit { place } else { buf.len() };
                assert_eq!(
                    colon(&buf, 0),
                    expected(byte == b':'),
                    "{byte:#x} at {place}"
                );
                let is_control = byte < b' ' || byte == 0x7f;
                assert_eq!(
                    control(&buf, 0),
                    expected(is_control),
                    "{byte:#x} at {place}"
                );
                assert_eq!(control(&buf, place + 1), buf.len());
            }
        }
        assert_eq!(colon(b"ab", 5), 2);
    }
}
