// SPDX-License-Identifier: MIT
//! A client that speaks just enough HTTP/2 to send requests that no library would.

use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;

use super::PATIENCE;

/// What became of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    /// A response with this status.
    Status(u16),
    /// The stream was reset.
    Reset,
    /// The connection was ended.
    Closed,
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A length as HPACK has it with a prefix of seven bits (RFC 7541, 5.1), without Huffman's code.
fn string(text: &str, block: &mut Vec<u8>) {
    let mut left = text.len();
    if left < 127 {
        block.push(u8::try_from(left).unwrap());
    } else {
        block.push(127);
        left -= 127;
        while left >= 128 {
            block.push(u8::try_from(left % 128).unwrap() | 128);
            left /= 128;
        }
        block.push(u8::try_from(left).unwrap());
    }
    block.extend(text.as_bytes());
}

/// Sends one request with these fields, pseudo fields among them, and this content, as they are.
pub(crate) fn request(address: SocketAddr, fields: &[(&str, String)], content: &[u8]) -> Outcome {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    let mut block = Vec::new();
    for (name, value) in fields {
        // Literal, not indexed, new name (RFC 7541, 6.2.2).
        block.push(0);
        string(name, &mut block);
        string(value, &mut block);
    }
    let last = if content.is_empty() { END_STREAM } else { 0 };
    bytes.extend(frame(HEADERS, END_HEADERS | last, 1, &block));
    if !content.is_empty() {
        bytes.extend(frame(DATA, END_STREAM, 1, content));
    }
    stream.write_all(&bytes).unwrap();
    outcome(&mut stream)
}

fn outcome(stream: &mut TcpStream) -> Outcome {
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).is_err() {
            return Outcome::Closed;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        if stream.read_exact(&mut payload).is_err() {
            return Outcome::Closed;
        }
        match head[3] {
            HEADERS => return Outcome::Status(status(&payload)),
            RST_STREAM => return Outcome::Reset,
            GOAWAY => return Outcome::Closed,
            _ => (),
        }
    }
}

/// The status, which a header block begins with: an index into the static table (RFC 7541, A), or a
/// literal whose digits may be in Huffman's code (B), where they are the codes 0 to 9.
fn status(block: &[u8]) -> u16 {
    match block[0] {
        0x88 => 200,
        0x89 => 204,
        0x8a => 206,
        0x8b => 304,
        0x8c => 400,
        0x8d => 404,
        0x8e => 500,
        _ => literal_status(&block[1..]),
    }
}

fn literal_status(string: &[u8]) -> u16 {
    let length = usize::from(string[0] & 0x7f);
    let bytes = &string[1..=length];
    if string[0] & 0x80 == 0 {
        return std::str::from_utf8(bytes).unwrap().parse().unwrap();
    }
    let mut bits = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
    let mut take =
        |count: usize| (0..count).fold(0_u16, |all, _| all << 1 | u16::from(bits.next().unwrap()));
    // 0, 1 and 2 have the five bits 0 to 2; 3 to 9 have six, from 0x19 on.
    (0..3).fold(0, |number, _| {
        let five = take(5);
        let digit = if five <= 2 {
            five
        } else {
            (five << 1 | take(1)) - 0x19 + 3
        };
        number * 10 + digit
    })
}
