// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The usual request head, whole in the buffer, in one go.
//!
//! Nothing is taken here that [`HeadParser`](super::HeadParser) would not take step by step, and all is
//! read as it reads it. What is unusual or wrong is left to it.

use super::bytes;
use super::facts::Facts;
use super::head::narrow;
use super::head::Head;
use super::head::Places;
use super::head::Span;
use super::names;
use super::parser::METHOD_MAX;

const HTTP11: u64 = u64::from_le_bytes(*b"HTTP/1.1");

/// The head at the start of `buf`, if it is whole, right and a usual one: HTTP/1.1, a target that starts
/// with a slash. The limits are those of [`Limits`](super::Limits).
#[inline(never)]
pub(super) fn read(buf: &[u8], target_limit: u32, fields: u32) -> Option<Head<'_>> {
    let at = |rest: &[u8]| narrow(buf.len().wrapping_sub(rest.len()));
    let target = after_method(buf)?;
    let start = at(target);
    let mut facts = Facts::new();
    let (path_end, rest) = after_target(target, &mut facts)?;
    let places = Places {
        method: Span {
            start: 0,
            end: start.wrapping_sub(1),
        },
        authority: start,
        path: Span {
            start,
            end: at(path_end),
        },
        target_end: at(rest),
    };
    if places.target_end.wrapping_sub(start) > target_limit {
        return None;
    }
    let (version, rest) = rest.get(1..)?.split_first_chunk()?;
    if u64::from_le_bytes(*version) != HTTP11 {
        return None;
    }
    facts.see_http11();
    let body = after_fields(buf, bytes::after_crlf(rest)?, fields, &mut facts)?;
    Some(Head {
        bytes: buf.get(..buf.len().wrapping_sub(body.len()))?,
        places,
        facts,
    })
}

/// What follows the fields and the empty line behind them, at most so many. `lines` is the end of `buf`.
#[inline]
fn after_fields<'a>(buf: &[u8], lines: &'a [u8], most: u32, facts: &mut Facts) -> Option<&'a [u8]> {
    let mut line = lines;
    let mut left = most;
    loop {
        if let Some(body) = bytes::after_crlf(line) {
            facts.finish().ok()?;
            return Some(body);
        }
        left = left.checked_sub(1)?;
        let value = match names::known_host(line) {
            Some(value) => value,
            None => match bytes::after_token(line) {
                [b':', value @ ..] => value,
                _ => return None,
            },
        };
        let name = line.get(..line.len().wrapping_sub(value.len()).wrapping_sub(1))?;
        if name.is_empty() {
            return None;
        }
        if let (true, [b' ', host @ ..]) = (bytes::is_word(name, b"host"), value) {
            let end = bytes::after_normalized_host(buf, host)?;
            let (port, end_of_port) = after_port(end);
            if let Some(next) = bytes::after_crlf(end_of_port) {
                let host = host.get(..host.len().wrapping_sub(end.len()))?;
                let at = narrow(buf.len().wrapping_sub(value.len()).wrapping_add(1));
                if !facts.see_normalized_host(host, port, at) {
                    return None;
                }
                line = next;
                continue;
            }
        }
        let end = bytes::after_value(buf, value)?;
        line = bytes::after_crlf(end)?;
        if Facts::may_matter(name) {
            let text = value.get(..value.len().wrapping_sub(end.len()))?;
            let at = narrow(buf.len().wrapping_sub(value.len()));
            facts.see_field(name, text, at).ok()?;
        }
    }
}

/// Goes past a colon and up to four digits, if there are some: longer ports may be none. Gives how many bytes that are.
#[inline]
fn after_port(buf: &[u8]) -> (u8, &[u8]) {
    let [b':', digits @ ..] = buf else {
        return (0, buf);
    };
    let mut rest = digits;
    let mut len = 1u8;
    while let ([b'0'..=b'9', tail @ ..], 1..=4) = (rest, len) {
        rest = tail;
        len = len.wrapping_add(1);
    }
    (len, rest)
}

/// What follows the method and its space.
#[inline]
fn after_method(buf: &[u8]) -> Option<&[u8]> {
    // Not a comparison of slices: this one is one instruction.
    if buf.first_chunk() == Some(b"GET ") {
        return buf.get(4..);
    }
    let rest = bytes::after_token(buf);
    let method = buf.get(..buf.len().wrapping_sub(rest.len()))?;
    match rest.split_first()? {
        (b' ', rest) if matches!(method.len(), 1..=METHOD_MAX) && method != b"CONNECT" => {
            Some(rest)
        }
        _ => None,
    }
}

/// What is left from the end of the path on, and from the end of the target on. Notes whether the path is
/// plain.
#[inline]
fn after_target<'a>(target: &'a [u8], facts: &mut Facts) -> Option<(&'a [u8], &'a [u8])> {
    if target.first() != Some(&b'/') {
        return None;
    }
    let mut rest = target;
    let mut path_end = None;
    let mut plain = true;
    loop {
        rest = bytes::after_normalized_path(rest)?;
        let (&byte, tail) = rest.split_first()?;
        match byte {
            b' ' => break,
            b'?' if path_end.is_none() => path_end = Some(rest),
            // A segment that may be one of dots, or an escape, or what is taken for a slash.
            b'.' | b'%' | b'\\' if path_end.is_none() => {
                let before = target.len().wrapping_sub(rest.len()).wrapping_sub(1);
                plain &= byte == b'.' && target.get(before) != Some(&b'/');
            }
            _ if !bytes::is_target(byte) => return None,
            _ => (),
        }
        rest = tail;
    }
    if plain {
        facts.see_normalized_path();
    }
    Some((path_end.unwrap_or(rest), rest))
}

#[cfg(test)]
mod tests {
    use std::string::String;

    use proptest::prelude::*;

    use super::*;
    use crate::uri;
    use crate::uri::Allow;
    use crate::uri::MAX_HOST;

    fn fast(text: &str) -> Head<'_> {
        read(text.as_bytes(), 8192, 100).unwrap()
    }

    #[test]
    fn what_clients_send_is_read_in_one_go() {
        let head = fast("GET /small HTTP/1.1\r\nHost: 10.0.1.100\r\n\r\n");
        assert_eq!(head.normalized_path(), Some(&b"/small"[..]));
        assert_eq!(head.normalized_host(), Some(&b"10.0.1.100"[..]));
        for (host, plain) in [
            ("a.b:80", Some(&b"a.b"[..])),
            ("a.b:", Some(b"a.b")),
            ("a.b:12345", None),
            ("a.b:8 ", None),
        ] {
            let text = std::format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let head = fast(&text);
            assert_eq!(head.normalized_host(), plain, "{host}");
            assert_eq!(head.host(), Some(host.trim().as_bytes()));
        }
        assert!(read(b"GET / HTTP/1.1\r\nHost: :80\r\n\r\n", 80, 9).is_none());
        let text = "DELETE /a.b/c-d?e=../%41 HTTP/1.1\r\nhOST:a.example\t \r\nX:\r\n\r\nbody";
        let head = fast(text);
        assert_eq!(head.method(), b"DELETE");
        assert_eq!(head.normalized_path(), Some(&b"/a.b/c-d"[..]));
        assert_eq!(head.query(), Some(&b"e=../%41"[..]));
        assert_eq!(head.host(), Some(&b"a.example"[..]));
        assert_eq!(head.normalized_host(), None, "it is not known");
        assert_eq!(head.len(), text.len() - 4);
    }

    #[test]
    fn limits_are_those_of_the_reader() {
        let text = b"GET /small HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
        assert!(read(text, 6, 2).is_some());
        assert!(read(text, 5, 2).is_none());
        assert!(read(text, 6, 1).is_none());
        for end in 0..text.len() {
            assert!(read(&text[..end], 6, 2).is_none(), "{end}");
        }
    }

    proptest! {
        #[test]
        fn what_is_plain_is_in_comparison_form(
            host in "[a-cA._~:0-9-]{1,12}|[a.]{1,3}(:[0-9]{0,6})?|[a.]{250,260}(:80)?",
            path in "/[a-c./%2eE\\\\?_-]{0,20}",
            target in prop_oneof![4 => Just(""), 1 => Just("http://Other.example")],
        ) {
            let text: String = [
                "GET ", target, path.as_str(), " HTTP/1.1\r\nHost: ", host.as_str(), "\r\n\r\n",
            ].concat();
            let mut reader = super::super::HeadParser::new(Default::default());
            let Ok(Some(head)) = reader.parse(text.as_bytes()) else {
                return Ok(());
            };
            if let Some(plain) = head.normalized_host() {
                let mut buf = [0; MAX_HOST];
                let form = uri::host(head.host().unwrap(), &mut buf).unwrap();
                prop_assert_eq!(plain, form);
            }
            if let Some(plain) = head.normalized_path() {
                prop_assert_eq!(plain, head.path());
                prop_assert_eq!(uri::normalise(head.path(), Allow::NONE, &mut []), Ok(plain));
            }
        }
    }
}
