// SPDX-License-Identifier: MIT
//! Frames, their sizes, states of streams, and each kind of frame (RFC 9113, 4 to 6).

use super::Case;
use super::Wanted::Answer;
use super::Wanted::Connection;
use super::Wanted::Nothing;
use super::Wanted::Stream;
use super::wire::*;

pub(super) fn cases() -> Vec<Case> {
    vec![
        ("a request", get(1), Answer),
        ("two requests", join(&[get(1), get(3)]), Answer),
        // 4.1
        (
            "4.1: an unknown frame",
            join(&[frame(0x16, 0xff, 0, b"12345678"), get(1)]),
            Answer,
        ),
        (
            "4.1: unknown flags",
            frame(PING, 0x16, 0, b"01234567"),
            Nothing,
        ),
        (
            "4.1: the reserved bit",
            frame(PING, 0, 0x8000_0000, b"01234567"),
            Nothing,
        ),
        // 4.2
        (
            "4.2: the largest frame",
            join(&[post(1), data(END_STREAM, 1, &[b'x'; 16384])]),
            Answer,
        ),
        (
            "4.2: DATA too large",
            join(&[post(1), data(END_STREAM, 1, &[b'x'; 16385])]),
            Stream(SIZE),
        ),
        (
            "4.2: HEADERS too large",
            block(&with(GET, &vec![("x", "y"); 4000])),
            Connection(SIZE),
        ),
        // 4.3
        (
            "4.3: no header block",
            block(&[0x82, 0x84, 0x86, 0x41, 9, b'a']),
            Connection(COMPRESSION),
        ),
        (
            "4.3: PRIORITY within a block",
            join(&[
                open(GET),
                frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16]),
                part(END_HEADERS, 1, &field("a", "b")),
            ]),
            Connection(PROTOCOL),
        ),
        (
            "4.3: HEADERS within a block",
            join(&[open(GET), get(3)]),
            Connection(PROTOCOL),
        ),
        // 5.1
        (
            "5.1: DATA on an idle stream",
            data(END_STREAM, 1, b"x"),
            Connection(PROTOCOL),
        ),
        (
            "5.1: RST_STREAM on an idle stream",
            reset(1, 8),
            Connection(PROTOCOL),
        ),
        (
            "5.1: WINDOW_UPDATE on an idle stream",
            window(1, 1),
            Connection(PROTOCOL),
        ),
        (
            "5.1: CONTINUATION on an idle stream",
            part(END_HEADERS, 1, GET),
            Connection(PROTOCOL),
        ),
        (
            "5.1: DATA behind END_STREAM",
            join(&[get(1), data(END_STREAM, 1, b"x")]),
            Stream(CLOSED),
        ),
        (
            "5.1: HEADERS behind END_STREAM",
            join(&[get(1), get(1)]),
            Stream(CLOSED),
        ),
        (
            "5.1: CONTINUATION behind END_STREAM",
            join(&[get(1), part(END_HEADERS, 1, GET)]),
            Connection(CLOSED),
        ),
        (
            "5.1: DATA behind RST_STREAM",
            join(&[post(1), reset(1, 8), data(END_STREAM, 1, b"x"), get(3)]),
            Answer,
        ),
        (
            "5.1: HEADERS behind RST_STREAM",
            join(&[post(1), reset(1, 8), get(1)]),
            Stream(CLOSED),
        ),
        ("5.1.1: an even stream", get(2), Connection(PROTOCOL)),
        (
            "5.1.1: a smaller stream",
            join(&[get(5), get(3)]),
            Connection(PROTOCOL),
        ),
        (
            "5.1.2: too many streams",
            many(),
            Stream(&[REFUSED_STREAM, PROTOCOL_ERROR, 11]),
        ),
        // 6.1
        (
            "6.1: DATA on stream 0",
            data(0, 0, b"x"),
            Connection(PROTOCOL),
        ),
        (
            "6.1: padded DATA",
            join(&[post(1), data(END_STREAM | PADDED, 1, &[2, b'x', 0, 0])]),
            Answer,
        ),
        (
            "6.1: more padding than frame",
            join(&[post(1), data(END_STREAM | PADDED, 1, &[9, b'x'])]),
            Connection(PROTOCOL),
        ),
        // 6.2
        (
            "6.2: HEADERS on stream 0",
            frame(HEADERS, WHOLE, 0, GET),
            Connection(PROTOCOL),
        ),
        (
            "6.2: padded HEADERS",
            frame(HEADERS, WHOLE | PADDED, 1, &[&[1], GET, &[0]].concat()),
            Answer,
        ),
        (
            "6.2: more padding than frame",
            frame(HEADERS, WHOLE | PADDED, 1, &[&[99], GET].concat()),
            Connection(PROTOCOL),
        ),
        (
            "6.2: HEADERS with priority",
            frame(HEADERS, WHOLE | 0x20, 1, &[&[0, 0, 0, 0, 15], GET].concat()),
            Answer,
        ),
        // 6.3
        (
            "6.3: PRIORITY on stream 0",
            frame(PRIORITY, 0, 0, &[0, 0, 0, 0, 15]),
            Connection(PROTOCOL),
        ),
        (
            "6.3: PRIORITY of 4 bytes",
            frame(PRIORITY, 0, 1, &[0, 0, 0, 0]),
            Stream(SIZE),
        ),
        (
            "6.3: PRIORITY on an idle stream",
            join(&[frame(PRIORITY, 0, 9, &[0, 0, 0, 0, 15]), get(11)]),
            Answer,
        ),
        // 6.4
        (
            "6.4: RST_STREAM on stream 0",
            reset(0, 8),
            Connection(PROTOCOL),
        ),
        (
            "6.4: RST_STREAM of 3 bytes",
            join(&[post(1), frame(RST_STREAM, 0, 1, &[0, 0, 0])]),
            Connection(SIZE),
        ),
        // 6.5
        (
            "6.5: SETTINGS with ACK and content",
            frame(SETTINGS, ACK, 0, &[0; 6]),
            Connection(SIZE),
        ),
        (
            "6.5: SETTINGS on a stream",
            frame(SETTINGS, 0, 1, &[0; 6]),
            Connection(PROTOCOL),
        ),
        (
            "6.5: SETTINGS of 5 bytes",
            frame(SETTINGS, 0, 0, &[0; 5]),
            Connection(SIZE),
        ),
        ("6.5.2: ENABLE_PUSH 2", setting(2, 2), Connection(PROTOCOL)),
        (
            "6.5.2: a window of 2^31",
            setting(4, 0x8000_0000),
            Connection(FLOW),
        ),
        (
            "6.5.2: frames of 16383",
            setting(5, 16383),
            Connection(PROTOCOL),
        ),
        (
            "6.5.2: frames of 2^24",
            setting(5, 0x0100_0000),
            Connection(PROTOCOL),
        ),
        (
            "6.5.2: an unknown setting",
            join(&[setting(0x99, 1), get(1)]),
            Answer,
        ),
        (
            "6.5.3: the last value holds",
            join(&[setting(4, 100), setting(4, 1000), get(1)]),
            Answer,
        ),
        // 6.6
        (
            "6.6: PUSH_PROMISE of a client",
            frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2], GET].concat()),
            Connection(PROTOCOL),
        ),
        // 6.7
        (
            "6.7: PING with ACK",
            frame(PING, ACK, 0, b"invalid!"),
            Nothing,
        ),
        (
            "6.7: PING on a stream",
            frame(PING, 0, 1, b"01234567"),
            Connection(PROTOCOL),
        ),
        (
            "6.7: PING of 6 bytes",
            frame(PING, 0, 0, b"012345"),
            Connection(SIZE),
        ),
        // 6.8
        (
            "6.8: GOAWAY on a stream",
            frame(GOAWAY, 0, 1, &[0; 8]),
            Connection(PROTOCOL),
        ),
        // 6.9
        (
            "6.9: WINDOW_UPDATE of 0",
            window(0, 0),
            Connection(PROTOCOL),
        ),
        (
            "6.9: WINDOW_UPDATE of 0 on a stream",
            join(&[post(1), window(1, 0)]),
            Stream(PROTOCOL),
        ),
        (
            "6.9: WINDOW_UPDATE of 3 bytes",
            frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1]),
            Connection(SIZE),
        ),
        (
            "6.9.1: the connection's window over 2^31-1",
            join(&[window(0, 0x7fff_ffff), window(0, 0x7fff_ffff)]),
            Connection(FLOW),
        ),
        (
            "6.9.1: a stream's window over 2^31-1",
            join(&[post(1), window(1, 0x7fff_ffff), window(1, 0x7fff_ffff)]),
            Stream(FLOW),
        ),
        (
            "6.9.2: a window of 0, then one",
            join(&[setting(4, 0), get(1), window(1, 100)]),
            Answer,
        ),
        (
            "6.9.2: a window less than 0, then one",
            join(&[setting(4, 3), get(1), setting(4, 2), window(1, 100)]),
            Answer,
        ),
        // 6.10
        (
            "6.10: many CONTINUATIONs",
            join(&[
                open(GET),
                part(0, 1, &field("a", "b")),
                part(0, 1, &field("c", "d")),
                part(END_HEADERS, 1, &field("e", "f")),
            ]),
            Answer,
        ),
        (
            "6.10: DATA within a block",
            join(&[open(GET), data(END_STREAM, 1, b"x")]),
            Connection(PROTOCOL),
        ),
        (
            "6.10: CONTINUATION on stream 0",
            join(&[open(GET), part(END_HEADERS, 0, b"")]),
            Connection(PROTOCOL),
        ),
        (
            "6.10: CONTINUATION behind END_HEADERS",
            join(&[post(1), part(END_HEADERS, 1, &field("a", "b"))]),
            Connection(PROTOCOL),
        ),
        (
            "6.10: CONTINUATION behind the last one",
            join(&[
                open(GET),
                part(END_HEADERS, 1, b""),
                part(END_HEADERS, 1, b""),
            ]),
            Connection(PROTOCOL),
        ),
        (
            "6.10: CONTINUATION behind DATA",
            join(&[post(1), data(0, 1, b"x"), part(END_HEADERS, 1, b"")]),
            Connection(PROTOCOL),
        ),
    ]
}
