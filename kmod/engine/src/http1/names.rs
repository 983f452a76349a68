// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Field names of nearly all messages, in the case in which they are written.

use super::words::Word;

/// Eight bytes, as they are compared: in one instruction.
const fn eight(bytes: &[u8; 8]) -> u64 {
    u64::from_le_bytes(*bytes)
}

const SERVER: u64 = eight(b"Server: ");
const CONTENT: u64 = eight(b"Content-");
const LAST_MOD: u64 = eight(b"Last-Mod");
const ACCEPT_R: u64 = eight(b"Accept-R");
const CONNECTI: u64 = eight(b"Connecti");
const CACHE_CO: u64 = eight(b"Cache-Co");
const SET_COOK: u64 = eight(b"Set-Cook");
const TRANSFER: u64 = eight(b"Transfer");

/// The first five of eight bytes.
const FIVE: u64 = eight(b"\xff\xff\xff\xff\xff\0\0\0");
const DATE: u64 = eight(b"Date:\0\0\0");
const ETAG: u64 = eight(b"ETag:\0\0\0");
const VARY: u64 = eight(b"Vary:\0\0\0");

const SIX: u64 = eight(b"\xff\xff\xff\xff\xff\xff\0\0");
const HOST: u64 = eight(b"Host: \0\0");

/// What comes after the colon of a request's Host field that starts a line. `None`: it is not written as usual.
#[inline(always)]
pub(super) fn known_host(line: &[u8]) -> Option<&[u8]> {
    let start = line.first_chunk::<8>()?;
    (eight(start) & SIX == HOST).then(|| line.get(5..))?
}

/// The name that starts a line of a response, if it matters, and what comes after its colon. `None`: it is none of those that are known
/// here.
#[inline(always)]
pub(super) fn known(line: &[u8]) -> Option<(Option<Word>, &[u8])> {
    let (start, rest) = line.split_first_chunk::<8>()?;
    let (word, value) = match eight(start) {
        SERVER => (None, line.get(7..)),
        CONTENT => match rest.strip_prefix(b"Length:") {
            Some(value) => (Some(Word::ContentLength), Some(value)),
            None => (None, rest.strip_prefix(b"Type:")),
        },
        LAST_MOD => (None, rest.strip_prefix(b"ified:")),
        ACCEPT_R => (None, rest.strip_prefix(b"anges:")),
        CONNECTI => (Some(Word::Connection), rest.strip_prefix(b"on:")),
        CACHE_CO => (None, rest.strip_prefix(b"ntrol:")),
        SET_COOK => (None, rest.strip_prefix(b"ie:")),
        TRANSFER => (
            Some(Word::TransferEncoding),
            rest.strip_prefix(b"-Encoding:"),
        ),
        start if matches!(start & FIVE, DATE | ETAG | VARY) => (None, line.get(5..)),
        _ => return None,
    };
    Some((word, value?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_whole_and_only_then() {
        for (name, word) in [
            ("Server", None),
            ("Content-Type", None),
            ("Content-Length", Some(Word::ContentLength)),
            ("Last-Modified", None),
            ("Accept-Ranges", None),
            ("Connection", Some(Word::Connection)),
            ("Cache-Control", None),
            ("Set-Cookie", None),
            ("Transfer-Encoding", Some(Word::TransferEncoding)),
            ("Date", None),
            ("ETag", None),
            ("Vary", None),
        ] {
            let line = std::format!("{name}: 12\r\n\r\n");
            assert_eq!(known(line.as_bytes()), Some((word, &b" 12\r\n\r\n"[..])));
            for at in 0..=name.len() {
                assert_eq!(known(&line.as_bytes()[..at]), None, "{line} {at}");
                for byte in 0..=u8::MAX {
                    let mut other = line.clone().into_bytes();
                    if other[at] == byte {
                        continue;
                    }
                    other[at] = byte;
                    assert_eq!(known(&other), None, "{line} {at} {byte}");
                }
            }
        }
        assert_eq!(known(b"Server:x\r\n\r\n"), None, "it is not known");
        assert_eq!(known_host(b"Host: a\r\n"), Some(&b" a\r\n"[..]));
        for other in ["host: a\r\n", "Host:ab\r\n", "Hosts: a\r\n", "Host: a"] {
            assert_eq!(known_host(other.as_bytes()), None, "{other}");
        }
    }
}
