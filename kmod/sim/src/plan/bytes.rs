// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Every byte that clients and servers say.

use super::Exchange;
use super::Frame;
use super::Method;
use crate::rng::Rng;
use crate::rng::mix;

/// Bytes that only this body has.
pub fn body(conn: u32, index: u32, server: u8, len: usize) -> Vec<u8> {
    let key = u64::from(conn) << 32 | u64::from(index) << 8 | u64::from(server);
    let mut out = Vec::with_capacity(len + 8);
    let mut at = mix(key);
    while out.len() < len {
        at = at
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        out.extend_from_slice(&(at ^ (at >> 29)).to_le_bytes());
    }
    out.truncate(len);
    out
}

/// The body in chunks whose sizes depend on the same.
fn chunked(conn: u32, index: u32, server: u8, len: usize, out: &mut Vec<u8>) {
    let data = body(conn, index, server, len);
    let mut rng = Rng::new(u64::from(conn) << 16 ^ u64::from(index) ^ 77);
    let mut rest = &data[..];
    while !rest.is_empty() {
        let most = rng.pick(&[1, 10, 500, 5_000, 40_000]);
        let size = (rng.range(1, most) as usize).min(rest.len());
        out.extend_from_slice(format!("{size:x}").as_bytes());
        if rng.percent(10) {
            out.extend_from_slice(b";name=\"a;b\"");
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&rest[..size]);
        out.extend_from_slice(b"\r\n");
        rest = &rest[size..];
    }
    out.extend_from_slice(b"0\r\n");
    if rng.percent(20) {
        out.extend_from_slice(b"X-Trailer: t\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

impl Exchange {
    /// The request's head.
    pub fn head(&self) -> Vec<u8> {
        let method = match self.method {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
        };
        let mut head = format!(
            "{method} /p{}/c{}/r{} HTTP/1.1\r\nHost: x.test\r\n",
            self.pool, self.conn, self.index
        );
        match self.frame {
            Frame::Length => head.push_str(&format!("Content-Length: {}\r\n", self.body)),
            Frame::Chunked => head.push_str("Transfer-Encoding: chunked\r\n"),
            Frame::None | Frame::Close => {}
        }
        if self.expect {
            head.push_str("Expect: 100-continue\r\n");
        }
        if self.close {
            head.push_str("Connection: close\r\n");
        }
        if self.upgrade.is_some() {
            head.push_str("Connection: Upgrade\r\nUpgrade: sim\r\n");
        }
        pad(&mut head, self.padding, self.conn ^ self.index);
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// The request's body, framed.
    pub fn body(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self.frame {
            Frame::Length => out = body(self.conn, self.index, 200, self.body),
            Frame::Chunked => chunked(self.conn, self.index, 200, self.body, &mut out),
            Frame::None | Frame::Close => {}
        }
        out
    }

    /// Whether the connection to the server ends after the response.
    pub fn ends_server(&self) -> bool {
        self.answer_close || self.close || self.answer_frame == Frame::Close
    }

    /// Bytes of the interim responses at the start of [`Exchange::response`].
    pub fn interim_len(&self, server: u8) -> usize {
        let mut ends = 0;
        self.response(server)
            .windows(4)
            .position(|end| {
                ends += usize::from(end == b"\r\n\r\n");
                ends == usize::from(self.interim)
            })
            .map_or(0, |at| at + 4)
    }

    /// The response of a server.
    pub fn response(&self, server: u8) -> Vec<u8> {
        let mut out = Vec::new();
        for interim in 0..self.interim {
            let status = if interim == 0 && self.expect {
                100
            } else {
                103
            };
            out.extend_from_slice(
                format!("HTTP/1.1 {status} s{server:02}\r\nX-Hint: {interim}\r\n\r\n").as_bytes(),
            );
        }
        let mut head = format!(
            "HTTP/1.1 {} s{server:02}\r\nX-For: c{}r{}\r\n",
            self.status, self.conn, self.index
        );
        match self.answer_frame {
            Frame::Length => head.push_str(&format!("Content-Length: {}\r\n", self.answer)),
            Frame::Chunked => head.push_str("transfer-encoding: chunked\r\n"),
            Frame::None | Frame::Close => {}
        }
        if self.answer_close || self.close {
            head.push_str("Connection: close\r\n");
        }
        if self.upgrade.is_some() {
            head.push_str("Connection: Upgrade\r\nUpgrade: sim\r\n");
        }
        pad(&mut head, self.answer_padding, self.conn);
        head.push_str("\r\n");
        out.extend_from_slice(head.as_bytes());
        if self.method == Method::Head {
            return out;
        }
        match self.answer_frame {
            Frame::Length | Frame::Close => {
                out.extend_from_slice(&body(self.conn, self.index, server, self.answer));
            }
            Frame::Chunked => chunked(self.conn, self.index, server, self.answer, &mut out),
            Frame::None => {}
        }
        if let Some((_, down)) = self.upgrade {
            out.extend_from_slice(&body(self.conn, self.index, server ^ 0x80, down));
        }
        out
    }

    /// What the client sends after a 101.
    pub fn upgraded(&self) -> Vec<u8> {
        self.upgrade
            .map(|(up, _)| body(self.conn, self.index, 201, up))
            .unwrap_or_default()
    }
}

fn pad(head: &mut String, padding: usize, salt: u32) {
    static LETTERS: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| "abcdefghijklmnopqrstuvwxyz".repeat(9));
    let mut left = padding;
    let mut n = 0;
    while left > 0 {
        let len = left.min(200);
        head.push_str(&format!("X-Pad-{n}: "));
        let from = ((salt + n) % 26) as usize;
        head.push_str(&LETTERS[from..from + len]);
        head.push_str("\r\n");
        left -= len;
        n += 1;
    }
}

/// A ClientHello for `pN.test`, in one record or two, `len` bytes at least.
pub fn client_hello(conn: u32, pool: u8, len: usize) -> Vec<u8> {
    let name = format!("p{pool}.test");
    let mut extensions = Vec::new();
    let filler = body(conn, 0, 202, len);
    // A key share first: the name lies far behind.
    extensions.extend_from_slice(&[0, 51]);
    extensions.extend_from_slice(&(filler.len() as u16).to_be_bytes());
    extensions.extend_from_slice(&filler);
    extensions.extend_from_slice(&[0, 0]);
    extensions.extend_from_slice(&(name.len() as u16 + 5).to_be_bytes());
    extensions.extend_from_slice(&(name.len() as u16 + 3).to_be_bytes());
    extensions.push(0);
    extensions.extend_from_slice(&(name.len() as u16).to_be_bytes());
    extensions.extend_from_slice(name.as_bytes());
    let mut hello = vec![3, 3];
    // Whose it is, in what should be random.
    hello.extend_from_slice(format!("c{conn:08}").as_bytes());
    hello.extend_from_slice(&body(conn, 1, 202, 23));
    hello.push(0);
    hello.extend_from_slice(&[0, 2, 0x13, 1, 1, 0]);
    hello.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
    hello.extend_from_slice(&extensions);
    let mut message = vec![1, 0];
    message.extend_from_slice(&(hello.len() as u16).to_be_bytes());
    message.extend_from_slice(&hello);
    let mut out = Vec::new();
    let cut = if conn.is_multiple_of(3) {
        message.len() / 2
    } else {
        message.len()
    };
    for part in [&message[..cut], &message[cut..]] {
        if !part.is_empty() {
            out.extend_from_slice(&[22, 3, 1]);
            out.extend_from_slice(&(part.len() as u16).to_be_bytes());
            out.extend_from_slice(part);
        }
    }
    out
}

/// What the client of an opaque connection sends: a line that says whose it is, then bytes.
pub fn opaque_up(conn: u32, len: usize) -> Vec<u8> {
    let mut out = format!("c{conn:08}\n").into_bytes();
    out.extend_from_slice(&body(conn, 3, 203, len));
    out
}

/// What a server says on an opaque connection.
pub fn opaque_down(conn: u32, server: u8, len: usize) -> Vec<u8> {
    let mut out = format!("s{server:02} c{conn:08}\n").into_bytes();
    out.extend_from_slice(&body(conn, 4, server, len));
    out
}

/// What a server says first.
pub fn banner(server: u8) -> Vec<u8> {
    format!("220 s{server:02} ready\n").into_bytes()
}

/// Bytes of the key share in a connection's ClientHello.
pub fn hello_len(conn: u32) -> usize {
    [50, 600, 1700, 4000][mix(u64::from(conn)) as usize % 4]
}
