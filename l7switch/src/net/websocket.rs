// SPDX-License-Identifier: MIT
//! WebSockets over HTTP/2 (RFC 8441) and HTTP/1 (RFC 6455, 4): a stream that an extended CONNECT has opened is a stream of bytes, and
//! what an upgrade of HTTP/1 needs besides is made up.

use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use h2::Reason;
use h2::RecvStream;
use h2::SendStream;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

/// What the key is joined with (RFC 6455, 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Most bytes that are handed to the library at a time.
const PIECE: usize = 32 * 1024;

/// What a server is asked with, and must answer with.
#[derive(Debug)]
pub struct Handshake {
    /// Sec-WebSocket-Key.
    pub key: String,
    /// Sec-WebSocket-Accept.
    pub accept: String,
}

impl Handshake {
    /// One with a random key (RFC 6455, 4.1).
    pub fn random() -> Self {
        Self::with(STANDARD.encode(fastrand::u128(..).to_ne_bytes()))
    }

    fn with(key: String) -> Self {
        let accept = accept(key.as_bytes());
        Self { key, accept }
    }
}

/// Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455, 4.2.2).
pub fn accept(key: &[u8]) -> String {
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key);
    hash.update(GUID);
    STANDARD.encode(hash.finish())
}

/// A stream of HTTP/2, as a stream of bytes.
#[derive(Debug)]
pub struct Stream {
    from: RecvStream,
    to: SendStream<Bytes>,
    /// Bytes that have come and were not read yet.
    left: Bytes,
    is_ended: bool,
}

impl Stream {
    /// Of both directions of the stream.
    pub const fn new(from: RecvStream, to: SendStream<Bytes>) -> Self {
        Self {
            from,
            to,
            left: Bytes::new(),
            is_ended: false,
        }
    }

    /// Ends the stream so that nobody takes it for one that has ended in order.
    pub fn reset(&mut self) {
        self.to.send_reset(Reason::CANCEL);
    }
}

fn broken(error: h2::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.left.is_empty() {
            match ready!(self.from.poll_data(cx)) {
                Some(Ok(data)) => self.left = data,
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                // A trailer section would mean nothing (RFC 9113, 8.5).
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.left.len().min(buf.remaining());
        let piece = self.left.split_to(length);
        buf.put_slice(&piece);
        let _ = self.from.flow_control().release_capacity(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.to.reserve_capacity(bytes.len().min(PIECE));
        while self.to.capacity() == 0 {
            match ready!(self.to.poll_capacity(cx)) {
                Some(Ok(_)) => (),
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let length = self.to.capacity().min(bytes.len());
        let piece = Bytes::copy_from_slice(bytes.get(..length).unwrap_or_default());
        let sent = self.to.send_data(piece, false).map_err(broken);
        Poll::Ready(sent.map(|()| length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.is_ended, true) {
            self.to.send_data(Bytes::new(), true).map_err(broken)?;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_its_answer() {
        // The example of RFC 6455, 1.3.
        let handshake = Handshake::with("dGhlIHNhbXBsZSBub25jZQ==".to_owned());
        assert_eq!(handshake.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let (one, other) = (Handshake::random(), Handshake::random());
        assert_ne!(one.key, other.key);
        assert_eq!(STANDARD.decode(&one.key).unwrap().len(), 16);
    }
}
