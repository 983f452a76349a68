// SPDX-License-Identifier: MIT
//! A client that speaks just enough HTTP/2 to send requests that no library would.

use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::time::Instant;

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
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
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
    let mut connection = Connection::open(address, &[]);
    connection.headers(fields, content.is_empty());
    if !content.is_empty() {
        connection.data(content, true);
    }
    connection.outcome()
}

/// A connection with one stream.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    deadline: Instant,
}

impl Connection {
    /// Opens a connection with these settings (RFC 9113, 6.5.2).
    pub(crate) fn open(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(SETTINGS, 0, 0, &payload));
        stream.write_all(&bytes).unwrap();
        Self {
            stream,
            deadline: Instant::now() + PATIENCE,
        }
    }

    pub(crate) fn headers(&mut self, fields: &[(&str, String)], last: bool) {
        let mut block = Vec::new();
        for (name, value) in fields {
            // Literal, not indexed, new name (RFC 7541, 6.2.2).
            block.push(0);
            string(name, &mut block);
            string(value, &mut block);
        }
        let flags = END_HEADERS | if last { END_STREAM } else { 0 };
        self.stream
            .write_all(&frame(HEADERS, flags, 1, &block))
            .unwrap();
    }

    pub(crate) fn data(&mut self, content: &[u8], last: bool) {
        let flags = if last { END_STREAM } else { 0 };
        // The switch may have ended the connection because of the fields.
        let _ = self.stream.write_all(&frame(DATA, flags, 1, content));
    }

    /// Waits for a response head, a reset or the end.
    pub(crate) fn outcome(&mut self) -> Outcome {
        loop {
            let Some((kind, payload)) = self.frame() else {
                return Outcome::Closed;
            };
            match kind {
                HEADERS => return Outcome::Status(status(&payload)),
                RST_STREAM => return Outcome::Reset,
                GOAWAY => return Outcome::Closed,
                _ => (),
            }
        }
    }

    /// Reads until the stream is reset or the connection ended.
    pub(crate) fn until_ended(&mut self) {
        while let Some((kind, _)) = self.frame() {
            if kind == RST_STREAM {
                return;
            }
        }
    }

    /// The next frame, nothing at the end. Fails the test where neither comes.
    fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        assert!(
            Instant::now() < self.deadline,
            "only pings come, and no end"
        );
        let mut head = [0; 9];
        self.exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.exact(&mut payload)?;
        // Answered, or the switch would take the client for dead.
        if head[3] == PING && head[4] == 0 {
            self.stream
                .write_all(&frame(PING, ACK, 0, &payload))
                .unwrap();
        }
        Some((head[3], payload))
    }

    fn exact(&mut self, buffer: &mut [u8]) -> Option<()> {
        match self.stream.read_exact(buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("nothing comes, and no end");
            }
            result => result.ok(),
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
