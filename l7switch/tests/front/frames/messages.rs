// SPDX-License-Identifier: MIT
//! Error codes, messages and compression (RFC 9113, 7 and 8; RFC 7541).

use super::Case;
use super::Wanted::Answer;
use super::Wanted::Connection;
use super::Wanted::Stream;
use super::wire::*;

pub(super) fn cases() -> Vec<Case> {
    vec![
        // 7
        (
            "7: an unknown code in RST_STREAM",
            join(&[post(1), reset(1, 0xff), get(3)]),
            Answer,
        ),
        // 8.1
        (
            "8.1: HEADERS again without an end",
            join(&[post(1), late(&[("a", "b")], END_HEADERS)]),
            Stream(PROTOCOL),
        ),
        (
            "8.1: a trailer section",
            join(&[post(1), data(0, 1, b"x"), late(&[("a", "b")], WHOLE)]),
            Answer,
        ),
        // 8.2
        (
            "8.2: a name in upper case",
            headers(&[("X-Test", "1")]),
            Stream(PROTOCOL),
        ),
        (
            "8.2.1: white space around a value",
            headers(&[("x-test", " 1")]),
            Stream(PROTOCOL),
        ),
        (
            "8.2.1: LF in a value",
            headers(&[("x-test", "a\nb")]),
            Stream(PROTOCOL),
        ),
        (
            "8.2.1: NUL in a value",
            headers(&[("x-test", "a\0b")]),
            Stream(PROTOCOL),
        ),
        (
            "8.2.1: a colon in a name",
            headers(&[("x:test", "1")]),
            Stream(PROTOCOL),
        ),
        (
            "8.2.2: Connection",
            headers(&[("connection", "keep-alive")]),
            Stream(PROTOCOL),
        ),
        (
            "8.2.2: Transfer-Encoding",
            headers(&[("transfer-encoding", "chunked")]),
            Stream(PROTOCOL),
        ),
        (
            "8.2.2: TE with more than trailers",
            headers(&[("te", "trailers, deflate")]),
            Stream(PROTOCOL),
        ),
        (
            "8.2.2: TE with trailers",
            headers(&[("te", "trailers")]),
            Answer,
        ),
        // 8.3
        (
            "8.3: an unknown pseudo-field",
            headers(&[(":test", "1")]),
            Stream(PROTOCOL),
        ),
        (
            "8.3: a response's pseudo-field",
            headers(&[(":status", "200")]),
            Stream(PROTOCOL),
        ),
        (
            "8.3: a pseudo-field behind a field",
            block(&[&field("a", "b")[..], GET].concat()),
            Stream(PROTOCOL),
        ),
        (
            "8.3.1: an empty :path",
            block(&with(&[0x82, 0x86], &[(":path", ""), (":authority", "a")])),
            Stream(PROTOCOL),
        ),
        (
            "8.3.1: no :method",
            block(&[0x84, 0x86, 0x41, 1, b'a']),
            Stream(PROTOCOL),
        ),
        (
            "8.3.1: no :scheme",
            block(&[0x82, 0x84, 0x41, 1, b'a']),
            Stream(PROTOCOL),
        ),
        (
            "8.3.1: no :path",
            block(&[0x82, 0x86, 0x41, 1, b'a']),
            Stream(PROTOCOL),
        ),
        (
            "8.3.1: no :authority and no Host",
            block(&[0x82, 0x84, 0x86]),
            Stream(PROTOCOL),
        ),
        (
            "8.3.1: Host alone",
            block(&with(&[0x82, 0x84, 0x86], &[("host", "a")])),
            Answer,
        ),
        (
            "8.3.1: two :method",
            block(&[&[0x82], GET].concat()),
            Stream(PROTOCOL),
        ),
        (
            "8.3.1: two :scheme",
            block(&[&[0x86], GET].concat()),
            Stream(PROTOCOL),
        ),
        (
            "8.3.1: two :path",
            block(&[&[0x84], GET].concat()),
            Stream(PROTOCOL),
        ),
        (
            "8.3.1: another :authority than Host",
            headers(&[("host", "b")]),
            Stream(PROTOCOL),
        ),
        (
            "8.3.1: :authority with a user",
            block(&with(&[0x82, 0x84, 0x86], &[(":authority", "u@a")])),
            Stream(PROTOCOL),
        ),
        (
            "8.1.1: a length that is less",
            join(&[length("1"), data(END_STREAM, 1, b"xy")]),
            Stream(PROTOCOL),
        ),
        (
            "8.1.1: a length that is more",
            join(&[length("3"), data(END_STREAM, 1, b"xy")]),
            Stream(PROTOCOL),
        ),
        (
            "8.1.1: a length over two frames",
            join(&[length("5"), data(0, 1, b"xy"), data(END_STREAM, 1, b"z")]),
            Stream(PROTOCOL),
        ),
        (
            "8.1.1: a length that is right",
            join(&[length("2"), data(END_STREAM, 1, b"xy")]),
            Answer,
        ),
        (
            "8.1.1: a length that is none",
            join(&[length("x"), data(END_STREAM, 1, b"xy")]),
            Stream(PROTOCOL),
        ),
        // RFC 7541
        (
            "HPACK 2.3.3: index 70",
            block(&[&[0xc6], GET].concat()),
            Connection(COMPRESSION),
        ),
        (
            "HPACK 6.1: index 0",
            block(&[&[0x80], GET].concat()),
            Connection(COMPRESSION),
        ),
        (
            "HPACK 4.2: a table size at the end",
            block(&[GET, &[0x3f, 0xe1, 0x1f]].concat()),
            Connection(COMPRESSION),
        ),
        (
            "HPACK 6.3: a table too large",
            block(&[&[0x3f, 0xff, 0xff, 0x7f], GET].concat()),
            Connection(COMPRESSION),
        ),
        (
            "HPACK 5.2: Huffman padding of 8 bits",
            block(&[GET, &[0, 0x82, 0x1f, 0xff, 1, b'x']].concat()),
            Connection(COMPRESSION),
        ),
        (
            "HPACK 5.2: Huffman padding of zeros",
            block(&[GET, &[0, 0x81, 0x18, 1, b'x']].concat()),
            Connection(COMPRESSION),
        ),
        (
            "HPACK 5.2: Huffman EOS",
            block(&[GET, &[0, 0x84, 0xff, 0xff, 0xff, 0xff, 1, b'x']].concat()),
            Connection(COMPRESSION),
        ),
        (
            "HPACK: Huffman",
            block(&[&[0x82, 0x84, 0x86, 0x41], &[0x81, 0x1f][..]].concat()),
            Answer,
        ),
    ]
}
