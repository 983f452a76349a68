// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Classes of bytes and the scans over them.
//!
//! A scan gives the index of the first byte that stops it, or the length of the buffer. Values are
//! scanned eight bytes at a time in an ordinary register: the kernel may not touch vector registers
//! in softirq without saving them, which costs more than a head has bytes.

use super::head::narrow;

/// `tchar` (RFC 9110, 5.6.2).
const TOKEN: u8 = 1;
/// What a request target may be made of: visible ASCII, but no fragment (RFC 9112, 3.2).
const TARGET: u8 = 1 << 1;
/// The unreserved characters of RFC 3986, 2.3, of which host names are made.
const UNRESERVED: u8 = 1 << 2;

static CLASSES: [u8; 256] = classes();

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "runs in the compiler only"
)]
const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < table.len() {
        let byte = index as u8;
        let mut class = 0;
        if byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            )
        {
            class |= TOKEN;
        }
        if byte.is_ascii_graphic() && byte != b'#' {
            class |= TARGET;
        }
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            class |= UNRESERVED;
        }
        table[index] = class;
        index += 1;
    }
    table
}

#[inline]
fn has(byte: u8, class: u8) -> bool {
    CLASSES
        .get(usize::from(byte))
        .is_some_and(|&classes| classes & class != 0)
}

/// Whether the byte may be part of a token (RFC 9110, 5.6.2).
#[inline]
pub(super) fn is_token(byte: u8) -> bool {
    has(byte, TOKEN)
}

/// Whether all of it is one token.
pub(super) fn all_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_token(byte))
}

/// Whether the byte is an unreserved character of RFC 3986, 2.3, which may be part of a host name.
#[inline]
pub(crate) fn is_unreserved(byte: u8) -> bool {
    has(byte, UNRESERVED)
}

/// Whether the byte may stand in a field value: HTAB, SP, visible ASCII and obs-text
/// (RFC 9110, 5.5).
#[inline]
pub(super) fn is_value(byte: u8) -> bool {
    byte == b'\t' || (byte >= 0x20 && byte != 0x7f)
}

/// The first byte at or after `from` that is no token character.
#[inline]
pub(super) fn skip_token(buf: &[u8], from: usize) -> usize {
    let rest = after_token(buf.get(from..).unwrap_or_default());
    buf.len().wrapping_sub(rest.len())
}

/// What is left of `buf` from the first byte on that is no token character.
#[inline]
pub(super) fn after_token(buf: &[u8]) -> &[u8] {
    let mut rest = buf;
    while let Some((chunk, tail)) = rest.split_first_chunk::<8>() {
        let hits = no_name(u64::from_le_bytes(*chunk));
        if hits == 0 {
            rest = tail;
            continue;
        }
        rest = rest.get(lowest(hits)..).unwrap_or_default();
        match rest.split_first() {
            // What nearly all names end with needs no look at the classes.
            Some((b':', _)) => return rest,
            Some((&byte, tail)) if is_token(byte) => rest = tail,
            _ => return rest,
        }
    }
    while let Some((&byte, tail)) = rest.split_first() {
        if !is_token(byte) {
            break;
        }
        rest = tail;
    }
    rest
}

/// The first byte at or after `from` that may not stand in a request target.
#[inline]
pub(super) fn skip_target(buf: &[u8], from: usize) -> usize {
    skip(buf, from, TARGET)
}

/// Whether the byte may stand in a request target.
#[inline]
pub(super) fn is_target(byte: u8) -> bool {
    has(byte, TARGET)
}

#[inline]
fn skip(buf: &[u8], from: usize, class: u8) -> usize {
    let rest = buf.get(from..).unwrap_or_default();
    match rest.iter().position(|&byte| !has(byte, class)) {
        Some(length) => from.wrapping_add(length),
        None => buf.len(),
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;
/// The bit that tells a lower case letter from an upper case one.
const CASE: u64 = 0x2020_2020_2020_2020;

/// Sets the high bit of each byte of `word` that is zero. A borrow may also set it above such a
/// byte, so only the lowest one set is exact; that is the one that is asked for.
#[inline]
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHS
}

/// Likewise for each byte below the space.
#[inline]
const fn below_space(word: u64) -> u64 {
    word.wrapping_sub(ONES.wrapping_mul(0x20)) & !word & HIGHS
}

/// Likewise for each control character except those at 0x80 and above.
#[inline]
const fn controls(word: u64) -> u64 {
    below_space(word) | zeros(word ^ ONES.wrapping_mul(0x7f))
}

/// Likewise for each byte that is neither a letter nor a hyphen, of which nearly all field names are made.
/// A sum carries only out of a byte with its high bit set, which is one of those.
#[inline]
const fn no_name(word: u64) -> u64 {
    let lower = word | CASE;
    let from_a = lower.wrapping_add(ONES.wrapping_mul(0x80 - 0x61));
    let past_z = lower.wrapping_add(ONES.wrapping_mul(0x80 - 0x7b));
    let no_hyphen = (word ^ ONES.wrapping_mul(0x2d)).wrapping_add(ONES.wrapping_mul(0x7f));
    (!(from_a & !past_z) & no_hyphen | word) & HIGHS
}

/// Likewise for each byte that is not a letter, digit, hyphen or slash, of which most paths are made.
#[inline]
const fn no_path(word: u64) -> u64 {
    let lower = word | CASE;
    let from_a = lower.wrapping_add(ONES.wrapping_mul(0x80 - 0x61));
    let past_z = lower.wrapping_add(ONES.wrapping_mul(0x80 - 0x7b));
    let from_hyphen = word.wrapping_add(ONES.wrapping_mul(0x80 - 0x2d));
    let past_9 = word.wrapping_add(ONES.wrapping_mul(0x80 - 0x3a));
    let no_dot = (word ^ ONES.wrapping_mul(0x2e)).wrapping_add(ONES.wrapping_mul(0x7f));
    (!(from_a & !past_z | from_hyphen & !past_9 & no_dot) | word) & HIGHS
}

/// Likewise for each byte that is not a small letter, digit, hyphen or dot.
#[inline]
const fn no_normalized_host(word: u64) -> u64 {
    let from_a = word.wrapping_add(ONES.wrapping_mul(0x80 - 0x61));
    let past_z = word.wrapping_add(ONES.wrapping_mul(0x80 - 0x7b));
    let from_hyphen = word.wrapping_add(ONES.wrapping_mul(0x80 - 0x2d));
    let past_9 = word.wrapping_add(ONES.wrapping_mul(0x80 - 0x3a));
    let no_slash = (word ^ ONES.wrapping_mul(0x2f)).wrapping_add(ONES.wrapping_mul(0x7f));
    (!(from_a & !past_z | from_hyphen & !past_9 & no_slash) | word) & HIGHS
}

/// Whether `token` is `word` in any case. The word has 4 bytes or more, all of them lower case
/// letters and hyphens, which no other token character becomes by the bit that is the case.
#[inline(always)]
pub(super) fn is_word(token: &[u8], word: &[u8]) -> bool {
    #[expect(clippy::cast_possible_truncation, reason = "half of it is meant")]
    let short = |one: Option<&[u8; 4]>, other: Option<&[u8; 4]>| match (one, other) {
        (Some(one), Some(other)) => {
            u32::from_le_bytes(*one) | CASE as u32 == u32::from_le_bytes(*other)
        }
        _ => false,
    };
    let same = |one: Option<&[u8; 8]>, other: Option<&[u8; 8]>| match (one, other) {
        (Some(one), Some(other)) => u64::from_le_bytes(*one) | CASE == u64::from_le_bytes(*other),
        _ => false,
    };
    let middle = |bytes: &[u8]| bytes.get(8..).and_then(<[u8]>::first_chunk::<8>).copied();
    token.len() == word.len()
        && if word.len() < 8 {
            short(token.first_chunk(), word.first_chunk())
                && short(token.last_chunk(), word.last_chunk())
        } else {
            same(token.first_chunk(), word.first_chunk())
                && (word.len() <= 16 || same(middle(token).as_ref(), middle(word).as_ref()))
                && same(token.last_chunk(), word.last_chunk())
        }
}

/// Index of the byte with the lowest bit set.
#[inline]
fn lowest(hits: u64) -> usize {
    // At most 7.
    usize::try_from(hits.trailing_zeros() >> 3).unwrap_or(0)
}

/// The first byte at or after `from` that may not stand in a field value.
#[inline]
pub(super) fn skip_value(buf: &[u8], from: usize) -> usize {
    let mut rest = buf.get(from..).unwrap_or_default();
    while let Some((chunk, tail)) = rest.split_first_chunk::<8>() {
        let hits = controls(u64::from_le_bytes(*chunk));
        if hits == 0 {
            rest = tail;
            continue;
        }
        rest = rest.get(lowest(hits)..).unwrap_or_default();
        match rest.split_first() {
            Some((b'\t', tail)) => rest = tail,
            _ => return buf.len().wrapping_sub(rest.len()),
        }
    }
    let valid = rest
        .iter()
        .position(|&byte| !is_value(byte))
        .unwrap_or(rest.len());
    buf.len().wrapping_sub(rest.len()).wrapping_add(valid)
}

/// What is left of `buf` from the first byte on that is not one of those of which most paths are made.
/// `None`: fewer than 8 bytes are left before it.
#[inline]
pub(super) fn after_normalized_path(buf: &[u8]) -> Option<&[u8]> {
    let mut rest = buf;
    loop {
        let (chunk, tail) = rest.split_first_chunk::<8>()?;
        let hits = no_path(u64::from_le_bytes(*chunk));
        if hits != 0 {
            return rest.get(lowest(hits)..);
        }
        rest = tail;
    }
}

/// The next 8 bytes of `rest`, which is the end of `buf`. Where fewer are left, the others are NUL.
#[inline]
fn word_of(buf: &[u8], rest: &[u8]) -> Option<u64> {
    if let Some(chunk) = rest.first_chunk::<8>() {
        return Some(u64::from_le_bytes(*chunk));
    }
    let others = 8usize.wrapping_sub(rest.len()).wrapping_mul(8);
    u64::from_le_bytes(*buf.last_chunk::<8>()?).checked_shr(narrow(others))
}

/// What is left of `rest`, which is the end of `buf`, from the first byte on that may not stand in a field
/// value. `None`: there is none, or `buf` has fewer than 8 bytes.
#[inline]
pub(super) fn after_value<'a>(buf: &[u8], rest: &'a [u8]) -> Option<&'a [u8]> {
    let mut rest = rest;
    loop {
        let word = word_of(buf, rest)?;
        // Visible ASCII and spaces only: none of the sums carries, unless an earlier byte is found.
        let ascii = word.wrapping_sub(ONES.wrapping_mul(0x20)) | word.wrapping_add(ONES) | word;
        if ascii & HIGHS == 0 {
            rest = rest.get(8..)?;
            continue;
        }
        let hits = controls(word);
        if hits == 0 {
            rest = rest.get(8..)?;
            continue;
        }
        rest = rest.get(lowest(hits)..)?;
        match rest.split_first()? {
            (b'\t', tail) => rest = tail,
            _ => return Some(rest),
        }
    }
}

/// What is left of `rest`, which is the end of `buf`, from the first byte on that is no small letter, digit,
/// hyphen or dot. `None`: there is none, or `buf` has fewer than 8 bytes.
#[inline]
pub(super) fn after_normalized_host<'a>(buf: &[u8], rest: &'a [u8]) -> Option<&'a [u8]> {
    let mut rest = rest;
    loop {
        let hits = no_normalized_host(word_of(buf, rest)?);
        if hits != 0 {
            return rest.get(lowest(hits)..).filter(|rest| !rest.is_empty());
        }
        rest = rest.get(8..)?;
    }
}

/// What follows the end of a line, if there is one at the start of `buf`.
#[inline]
pub(super) fn after_crlf(buf: &[u8]) -> Option<&[u8]> {
    // Not a pattern or a comparison of slices: this one is one instruction.
    let (end, rest) = buf.split_first_chunk::<2>()?;
    (u16::from_le_bytes(*end) == u16::from_le_bytes(*b"\r\n")).then_some(rest)
}

/// What is left of `buf` from the first CR, LF or NUL on.
#[inline]
pub(super) fn after_text(buf: &[u8]) -> &[u8] {
    let mut rest = buf;
    while let Some((chunk, tail)) = rest.split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        // Nothing is below the space if no byte has its high bit after this: a borrow starts at one
        // that has it.
        let maybe = word.wrapping_sub(ONES.wrapping_mul(0x20)) & HIGHS;
        if maybe == 0 {
            rest = tail;
            continue;
        }
        let hits = maybe & !word;
        if hits == 0 {
            rest = tail;
            continue;
        }
        rest = rest.get(lowest(hits)..).unwrap_or_default();
        // The end of a line is nearly all that is found.
        if after_crlf(rest).is_some() {
            return rest;
        }
        match rest.split_first() {
            Some((byte, tail)) if !matches!(byte, b'\r' | b'\n' | b'\0') => rest = tail,
            _ => return rest,
        }
    }
    while let Some((byte, tail)) = rest.split_first() {
        if matches!(byte, b'\r' | b'\n' | b'\0') {
            break;
        }
        rest = tail;
    }
    rest
}

/// The first `byte` in `buf`.
#[inline]
pub(crate) fn find(buf: &[u8], byte: u8) -> Option<usize> {
    let pattern = ONES.wrapping_mul(u64::from(byte));
    let mut rest = buf;
    while let Some((chunk, tail)) = rest.split_first_chunk::<8>() {
        let hits = zeros(u64::from_le_bytes(*chunk) ^ pattern);
        if hits != 0 {
            return Some(
                buf.len()
                    .wrapping_sub(rest.len())
                    .wrapping_add(lowest(hits)),
            );
        }
        rest = tail;
    }
    let length = rest.iter().position(|&other| other == byte)?;
    Some(buf.len().wrapping_sub(rest.len()).wrapping_add(length))
}

/// Takes optional white space off both ends (RFC 9110, 5.6.3).
#[inline]
pub(super) fn trim(value: &[u8]) -> &[u8] {
    trim_end(trim_start(value))
}

/// Takes optional white space off the start.
#[inline]
pub(super) fn trim_start(mut value: &[u8]) -> &[u8] {
    // One space, as everyone sends it, needs no loop.
    if let Some((b' ', rest)) = value.split_first() {
        if rest.first().is_some_and(|&next| next > b' ') {
            return rest;
        }
    }
    while let Some((b' ' | b'\t', rest)) = value.split_first() {
        value = rest;
    }
    value
}

/// Takes optional white space off the end.
#[inline]
pub(super) fn trim_end(mut value: &[u8]) -> &[u8] {
    while let Some((b' ' | b'\t', rest)) = value.split_last() {
        value = rest;
    }
    value
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn token_characters_are_those_of_rfc_9110() {
        let others: Vec<u8> = (0x21..0x7f).filter(|&byte| !is_token(byte)).collect();
        assert_eq!(others, b"\"(),/:;<=>?@[\\]{}");
        assert!((0..=0x20).chain(0x7f..=0xff).all(|byte| !is_token(byte)));
    }

    #[test]
    fn every_byte_is_classed_the_same_at_every_place_in_a_word() {
        for byte in 0..=u8::MAX {
            for place in 0..24 {
                let mut buf = vec![b'a'; 24];
                buf[place] = byte;
                let expected = if is_value(byte) { buf.len() } else { place };
                assert_eq!(skip_value(&buf, 0), expected, "{byte:#x} at {place}");
                let text = !matches!(byte, b'\r' | b'\n' | b'\0');
                let expected = if text { &[] } else { &buf[place..] };
                assert_eq!(after_text(&buf), expected, "{byte:#x} at {place}");
                let expected = if is_token(byte) { buf.len() } else { place };
                assert_eq!(skip_token(&buf, 0), expected, "{byte:#x} at {place}");
                let plain = byte.is_ascii_alphanumeric() || b"-/".contains(&byte);
                let expected = if plain { None } else { Some(&buf[place..]) };
                assert_eq!(
                    after_normalized_path(&buf),
                    expected,
                    "{byte:#x} at {place}"
                );
                let plain = matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
                let expected = if plain { None } else { Some(&buf[place..]) };
                assert_eq!(
                    after_normalized_host(&buf, &buf),
                    expected,
                    "{byte:#x} at {place}"
                );
                let found = after_normalized_host(&buf, &buf[place..]);
                assert_eq!(found, expected, "{byte:#x} at {place}");
            }
        }
    }

    #[test]
    fn words_are_the_same_in_any_case_only() {
        for word in [
            &b"host"[..],
            b"expect",
            b"upgrade",
            b"connection",
            b"content-length",
            b"transfer-encoding",
        ] {
            assert!(is_word(word, word));
            assert!(is_word(&word.to_ascii_uppercase(), word));
            assert!(!is_word(&word[1..], word));
            assert!(!is_word(&[word, b"s"].concat(), word));
            for at in 0..word.len() {
                for byte in (0..=u8::MAX).filter(|&byte| is_token(byte)) {
                    let mut other = word.to_vec();
                    other[at] = byte;
                    assert_eq!(is_word(&other, word), other.eq_ignore_ascii_case(word));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn scans_agree_with_their_definitions(
            buf in proptest::collection::vec(prop_oneof![8 => 0x20_u8..0x7f, 1 => any::<u8>()], 0..80),
            from in 0_usize..90,
            byte in any::<u8>(),
        ) {
            let rest = buf.get(from..).unwrap_or_default();
            let stop = rest.iter().position(|&b| !is_value(b)).map_or(buf.len(), |at| from.wrapping_add(at));
            prop_assert_eq!(skip_value(&buf, from), stop);
            let found = after_value(&buf, rest);
            let left = buf.get(stop..).filter(|left| buf.len() >= 8 && !left.is_empty());
            prop_assert_eq!(found, left);
            let stop = rest.iter().position(|&b| !is_token(b)).map_or(buf.len(), |at| from.wrapping_add(at));
            prop_assert_eq!(skip_token(&buf, from), stop);
            let stop = rest.iter().position(|b| b"\r\n\0".contains(b)).unwrap_or(rest.len());
            prop_assert_eq!(after_text(rest), &rest[stop..]);
            prop_assert_eq!(find(&buf, byte), buf.iter().position(|&b| b == byte));
        }
    }
}
