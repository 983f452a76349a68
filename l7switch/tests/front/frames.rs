// SPDX-License-Identifier: MIT
//! HTTP/2 frame by frame (RFC 9113, RFC 7541): what is wrong ends its stream or its connection with the right code, and what is odd and
//! allowed does not. The cases are those that conformance suites have for servers, by section.

use std::time::Duration;

use l7switch::Switch;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::Server;
use crate::support::address;
use crate::support::simple;
use crate::support::start;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const WHOLE: u8 = END_STREAM | END_HEADERS;

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const REFUSED_STREAM: u32 = 7;
const COMPRESSION_ERROR: u32 = 9;

/// GET / of http, at `a`, from the static table and one literal.
const GET: &[u8] = &[0x82, 0x84, 0x86, 0x41, 1, b'a'];
/// POST of the same.
const POST: &[u8] = &[0x83, 0x84, 0x86, 0x41, 1, b'a'];

/// What has to come of it.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    /// GOAWAY with one of these codes, or the connection's end.
    Connection(&'static [u32]),
    /// RST_STREAM with one of these codes or a 400, or what [`Wanted::Connection`] allows.
    Stream(&'static [u32]),
    /// The stream is answered, and a PING behind all is too.
    Answer,
    /// A PING behind all is answered, and nothing is reset.
    Nothing,
}

use Wanted::Answer;
use Wanted::Connection;
use Wanted::Nothing;
use Wanted::Stream;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut out = length[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

fn setting(id: u16, value: u32) -> Vec<u8> {
    frame(
        SETTINGS,
        0,
        0,
        &[&id.to_be_bytes()[..], &value.to_be_bytes()].concat(),
    )
}

/// A literal field without indexing.
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![0, u8::try_from(name.len()).unwrap()];
    out.extend(name.bytes());
    out.push(u8::try_from(value.len()).unwrap());
    out.extend(value.bytes());
    out
}

fn with(block: &[u8], fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = block.to_vec();
    for (name, value) in fields {
        out.extend(field(name, value));
    }
    out
}

fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, GET)
}

fn post(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, POST)
}

/// Everything that came: frames, and whether the connection ended.
#[derive(Debug, Default)]
struct Came {
    frames: Vec<(u8, u8, u32, Vec<u8>)>,
    ended: bool,
}

impl Came {
    fn codes(&self, kind: u8, at: usize) -> Vec<u32> {
        self.frames
            .iter()
            .filter(|frame| frame.0 == kind)
            .map(|frame| u32::from_be_bytes(frame.3[at..at + 4].try_into().unwrap()))
            .collect()
    }

    fn has_pong(&self) -> bool {
        self.frames
            .iter()
            .any(|f| f.0 == PING && f.1 & ACK != 0 && f.3 == *b"l7switch")
    }

    fn has_answer(&self) -> bool {
        // 8 is the index of ":status: 200".
        self.frames
            .iter()
            .any(|f| f.0 == HEADERS && f.3.contains(&0x88))
    }

    fn has_400(&self) -> bool {
        // 12 is the index of ":status: 400".
        self.frames
            .iter()
            .any(|f| f.0 == HEADERS && f.3.contains(&0x8c))
    }

    fn is(&self, wanted: Wanted) -> bool {
        let (away, reset) = (self.codes(GOAWAY, 4), self.codes(RST_STREAM, 0));
        let ends = |codes: &[u32]| {
            away.iter().any(|code| codes.contains(code)) || (away.is_empty() && self.ended)
        };
        match wanted {
            Connection(codes) => ends(codes),
            Stream(codes) => {
                reset.iter().any(|code| codes.contains(code)) || self.has_400() || ends(codes)
            }
            // What was sent behind a reset may be reset again.
            Answer => {
                self.has_answer()
                    && self.has_pong()
                    && reset.iter().all(|code| [0, STREAM_CLOSED].contains(code))
            }
            Nothing => self.has_pong() && away.is_empty() && reset.is_empty(),
        }
    }
}

/// Sends, and reads until what is wanted has come, or for three seconds.
async fn send(switch: &Switch, bytes: &[u8], wanted: Wanted) -> Came {
    let mut stream = TcpStream::connect(address(switch, "web")).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut all = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    all.extend(frame(SETTINGS, 0, 0, b""));
    all.extend(frame(SETTINGS, ACK, 0, b""));
    all.extend(bytes);
    // It may be cut off.
    let _ = stream.write_all(&all).await;
    // What follows from streams comes a moment later.
    tokio::time::sleep(Duration::from_millis(60)).await;
    let _ = stream.write_all(&frame(PING, 0, 0, b"l7switch")).await;
    let mut came = Came::default();
    let mut buffer = Vec::new();
    let reading = async {
        while !came.is(wanted) && !came.ended {
            came.ended = !matches!(stream.read_buf(&mut buffer).await, Ok(1..));
            while let Some((head, rest)) = buffer.split_at_checked(9) {
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                let Some(payload) = rest.get(..length) else {
                    break;
                };
                let stream = u32::from_be_bytes(head[5..9].try_into().unwrap());
                came.frames
                    .push((head[3], head[4], stream, payload.to_vec()));
                buffer = rest[length..].to_vec();
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(3), reading).await;
    came
}

fn join(frames: &[Vec<u8>]) -> Vec<u8> {
    frames.concat()
}

fn cases() -> Vec<(&'static str, Vec<u8>, Wanted)> {
    const PROTOCOL: &[u32] = &[PROTOCOL_ERROR];
    const CLOSED: &[u32] = &[STREAM_CLOSED, PROTOCOL_ERROR];
    const SIZE: &[u32] = &[FRAME_SIZE_ERROR, PROTOCOL_ERROR];
    const FLOW: &[u32] = &[FLOW_CONTROL_ERROR, PROTOCOL_ERROR];
    const COMPRESSION: &[u32] = &[COMPRESSION_ERROR, PROTOCOL_ERROR];
    let headers = |fields: &[(&str, &str)]| frame(HEADERS, WHOLE, 1, &with(GET, fields));
    let block = |bytes: &[u8]| frame(HEADERS, WHOLE, 1, bytes);
    let part = |flags: u8, stream: u32, bytes: &[u8]| frame(CONTINUATION, flags, stream, bytes);
    let open = |bytes: &[u8]| frame(HEADERS, END_STREAM, 1, bytes);
    let data = |flags: u8, stream: u32, bytes: &[u8]| frame(DATA, flags, stream, bytes);
    let window = |stream: u32, by: u32| frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes());
    let reset = |stream: u32, code: u32| frame(RST_STREAM, 0, stream, &code.to_be_bytes());
    let late = |fields: &[(&str, &str)], flags: u8| frame(HEADERS, flags, 1, &with(b"", fields));
    let length = |value: &str| {
        frame(
            HEADERS,
            END_HEADERS,
            1,
            &with(POST, &[("content-length", value)]),
        )
    };
    let many: Vec<u8> = (0..200)
        .flat_map(|n| frame(HEADERS, END_HEADERS, 1 + 2 * n, POST))
        .collect();
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
            many,
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

#[tokio::test]
async fn each_frame_has_its_consequence() {
    let server = Server::echo().await;
    let switch = start(&simple(&[server.address], "", ""));
    let tasks: Vec<_> = cases()
        .into_iter()
        .map(|(name, bytes, wanted)| {
            let switch = std::sync::Arc::clone(&switch);
            tokio::spawn(async move {
                let came = send(&switch, &bytes, wanted).await;
                (!came.is(wanted)).then(|| format!("{name}: not {wanted:?} but {came:?}"))
            })
        })
        .collect();
    let mut wrong = Vec::new();
    for task in tasks {
        wrong.extend(task.await.unwrap());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
