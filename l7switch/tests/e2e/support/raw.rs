// SPDX-License-Identifier: MIT
//! A client that sends whatever bytes it is told.

use std::fmt;
use std::io;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::time::Duration;

use super::PATIENCE;
use super::curl::shorten;

/// A connection to the switch.
#[derive(Debug)]
pub(crate) struct Raw {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A response.
#[derive(Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ", self.head)?;
        shorten(&self.body).fmt(f)
    }
}

impl Response {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn short() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the connection ended within a response",
    )
}

impl Raw {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
        })
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Sends up to `limit` bytes, `block` again and again, until the peer has taken none of them for
    /// a second; gives how many were sent.
    pub(crate) fn send_until_stalled(&mut self, block: &[u8], limit: usize) -> usize {
        self.stream
            .set_write_timeout(Some(Duration::from_secs(1)))
            .unwrap();
        let mut sent = 0;
        while sent < limit {
            let part = block.len().min(limit - sent);
            match self.stream.write(&block[..part]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        self.stream.set_write_timeout(Some(PATIENCE)).unwrap();
        sent
    }

    /// The switch's address.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.stream.peer_addr().unwrap()
    }

    /// Whether something can be read, or the end.
    pub(crate) fn has_input(&self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).unwrap();
        !peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Ends what this side sends.
    pub(crate) fn finish(&self) {
        self.stream.shutdown(std::net::Shutdown::Write).unwrap();
    }

    fn more(&mut self) -> io::Result<bool> {
        let mut chunk = [0; 64 * 1024];
        let count = self.stream.read(&mut chunk)?;
        self.buffer.extend_from_slice(&chunk[..count]);
        Ok(count > 0)
    }

    fn take_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|window| window == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            if !self.more()? {
                return Err(short());
            }
        }
    }

    pub(crate) fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < count {
            if !self.more()? {
                return Err(short());
            }
        }
        Ok(self.buffer.drain(..count).collect())
    }

    /// The next response's head, whose content is read otherwise.
    pub(crate) fn head(&mut self) -> io::Result<String> {
        let mut head = String::new();
        loop {
            let line = self.take_line()?;
            if line == "\r\n" {
                return Ok(head);
            }
            head.push_str(&line);
        }
    }

    /// The next response to a request that is not HEAD; `None` where the connection ends before it.
    pub(crate) fn response(&mut self) -> io::Result<Option<Response>> {
        if self.buffer.is_empty() && !self.more()? {
            return Ok(None);
        }
        let head = self.head()?;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no status: {head}")))?;
        let body = if status < 200 || status == 204 || status == 304 {
            Vec::new()
        } else if let Some(length) = field(&head, "content-length") {
            self.exactly(length.parse().map_err(io::Error::other)?)?
        } else if field(&head, "transfer-encoding") == Some("chunked") {
            self.chunks()?
        } else {
            self.rest()?
        };
        Ok(Some(Response { status, head, body }))
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let size = self.take_line()?;
            let size = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
            if size == 0 {
                break;
            }
            body.extend(self.exactly(size)?);
            self.exactly(2)?;
        }
        while self.take_line()? != "\r\n" {}
        Ok(body)
    }

    /// Everything until the peer ends.
    pub(crate) fn rest(&mut self) -> io::Result<Vec<u8>> {
        while self.more()? {}
        Ok(std::mem::take(&mut self.buffer))
    }

    /// A GET of this target on the connection, and its response.
    pub(crate) fn get(&mut self, target: &str) -> io::Result<Response> {
        self.send(format!(
            "GET {target} HTTP/1.1\r\nHost: raw.example\r\n\r\n"
        ))?;
        self.response()?.ok_or_else(short)
    }
}
