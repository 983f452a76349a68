// SPDX-License-Identifier: MIT
//! Frames, and blocks of fields, as bytes (RFC 9113, 4.1; RFC 7541, 6.2).

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;
pub(super) const WHOLE: u8 = END_STREAM | END_HEADERS;

pub(super) const PROTOCOL_ERROR: u32 = 1;
pub(super) const FLOW_CONTROL_ERROR: u32 = 3;
pub(super) const STREAM_CLOSED: u32 = 5;
pub(super) const FRAME_SIZE_ERROR: u32 = 6;
pub(super) const REFUSED_STREAM: u32 = 7;
pub(super) const COMPRESSION_ERROR: u32 = 9;

/// GET / of http, at `a`, from the static table and one literal.
pub(super) const GET: &[u8] = &[0x82, 0x84, 0x86, 0x41, 1, b'a'];
/// POST of the same.
pub(super) const POST: &[u8] = &[0x83, 0x84, 0x86, 0x41, 1, b'a'];

pub(super) const PROTOCOL: &[u32] = &[PROTOCOL_ERROR];
pub(super) const CLOSED: &[u32] = &[STREAM_CLOSED, PROTOCOL_ERROR];
pub(super) const SIZE: &[u32] = &[FRAME_SIZE_ERROR, PROTOCOL_ERROR];
pub(super) const FLOW: &[u32] = &[FLOW_CONTROL_ERROR, PROTOCOL_ERROR];
pub(super) const COMPRESSION: &[u32] = &[COMPRESSION_ERROR, PROTOCOL_ERROR];

/// A GET with these fields.
pub(super) fn headers(fields: &[(&str, &str)]) -> Vec<u8> {
    block(&with(GET, fields))
}

/// A request whose block of fields is this.
pub(super) fn block(bytes: &[u8]) -> Vec<u8> {
    frame(HEADERS, WHOLE, 1, bytes)
}

/// A part of a block.
pub(super) fn part(flags: u8, stream: u32, bytes: &[u8]) -> Vec<u8> {
    frame(CONTINUATION, flags, stream, bytes)
}

/// The first part of a block.
pub(super) fn open(bytes: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_STREAM, 1, bytes)
}

pub(super) fn data(flags: u8, stream: u32, bytes: &[u8]) -> Vec<u8> {
    frame(DATA, flags, stream, bytes)
}

pub(super) fn window(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

pub(super) fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// Trailers.
pub(super) fn late(fields: &[(&str, &str)], flags: u8) -> Vec<u8> {
    frame(HEADERS, flags, 1, &with(b"", fields))
}

/// A POST whose Content-Length is this.
pub(super) fn length(value: &str) -> Vec<u8> {
    frame(
        HEADERS,
        END_HEADERS,
        1,
        &with(POST, &[("content-length", value)]),
    )
}

/// More requests than may be open at once.
pub(super) fn many() -> Vec<u8> {
    (0..200)
        .flat_map(|n| frame(HEADERS, END_HEADERS, 1 + 2 * n, POST))
        .collect()
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut out = length[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

pub(super) fn setting(id: u16, value: u32) -> Vec<u8> {
    frame(
        SETTINGS,
        0,
        0,
        &[&id.to_be_bytes()[..], &value.to_be_bytes()].concat(),
    )
}

/// A literal field without indexing.
pub(super) fn field(name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![0, u8::try_from(name.len()).unwrap()];
    out.extend(name.bytes());
    out.push(u8::try_from(value.len()).unwrap());
    out.extend(value.bytes());
    out
}

pub(super) fn with(block: &[u8], fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = block.to_vec();
    for (name, value) in fields {
        out.extend(field(name, value));
    }
    out
}

pub(super) fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, GET)
}

pub(super) fn post(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, POST)
}

pub(super) fn join(frames: &[Vec<u8>]) -> Vec<u8> {
    frames.concat()
}
