// SPDX-License-Identifier: MIT
//! The client's end of an exchange in HTTP/1.

use std::io::Write as _;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use bytes::Buf;
use bytes::BytesMut;
use http::Version;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio_util::io::poll_read_buf;

use super::Codec;
use super::NotTaken;
use super::Piece;
use super::Sends;
use super::fields::push;
use super::h1::status;
use super::refusals::broken_off;
use crate::http::headers;
use crate::net::content::Decoder;
use crate::net::stream::MaybeRaw;
use crate::net::stream::SharedStream;
use crate::net::stream::StreamHandle;
use crate::net::stream::poll_write_both;
use crate::observe::reason::Reason;
use crate::observe::reason::Refusal;

/// Read at a time of a request's content.
const READ_CONTENT: usize = 64 * 1024;

/// Content of so many bytes is copied behind its head, instead of being written as a second piece.
const SHORT: usize = 4 * 1024;

/// The client's end of an exchange in HTTP/1.
pub(super) struct Http1<'a, S> {
    pub(super) stream: &'a mut S,
    /// The connection below, and who waits for the end of what the client sends on it.
    socket: Option<&'a StreamHandle>,
    ended: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync + 'a>>>,
    /// Received, and not part of what was read.
    pub(super) received: BytesMut,
    pub(super) version: Version,
    /// The rest of the request's content; absent: there is none.
    pub(super) content: Option<Decoder>,
    /// What is to be sent before data.
    pub(super) out: Vec<u8>,
    /// How much of it has gone.
    sent: usize,
    /// What is to be sent behind data.
    tail: Vec<u8>,
    chunks: Chunks,
}

/// How content goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunks {
    /// As it is.
    None,
    /// In chunks, of which none was begun.
    First,
    /// In chunks, of which one was begun.
    Next,
}

impl<'a, S> Http1<'a, S> {
    pub(super) const fn new(
        stream: &'a mut S,
        received: BytesMut,
        socket: Option<&'a StreamHandle>,
    ) -> Self {
        Self {
            stream,
            socket,
            ended: None,
            received,
            version: Version::HTTP_11,
            content: None,
            out: Vec::new(),
            sent: 0,
            tail: Vec::new(),
            chunks: Chunks::None,
        }
    }

    /// The end of the chunk that was begun, if one was.
    const fn chunk_end(&self) -> &'static str {
        match self.chunks {
            Chunks::Next => "\r\n",
            Chunks::None | Chunks::First => "",
        }
    }
}

impl<S: AsyncRead + AsyncWrite + MaybeRaw + Unpin> Codec for Http1<'_, S> {
    fn version(&self) -> Version {
        self.version
    }

    fn is_read(&self) -> bool {
        self.content.is_none()
    }

    fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Refusal>> {
        loop {
            let Some(decoder) = &mut self.content else {
                return Poll::Ready(Ok(Piece::End(Vec::new())));
            };
            if decoder.has_ended() {
                let trailers = decoder.trailers().to_vec();
                self.content = None;
                return Poll::Ready(Ok(Piece::End(trailers)));
            }
            if !self.received.is_empty() {
                let decoded = decoder.decode(&mut self.received).map_err(|error| {
                    Refusal::new(
                        Reason::BadRequest,
                        status(error.status()),
                        error.to_string(),
                    )
                })?;
                let mut piece = self.received.split_to(decoded.length);
                piece.truncate(decoded.data.end);
                piece.advance(decoded.data.start);
                if !piece.is_empty() {
                    return Poll::Ready(Ok(Piece::Data(piece.freeze())));
                }
                continue;
            }
            self.received.reserve(READ_CONTENT);
            let stream = Pin::new(&mut *self.stream);
            if !matches!(
                ready!(poll_read_buf(stream, cx, &mut self.received)),
                Ok(1..)
            ) {
                return Poll::Ready(Err(broken_off()));
            }
        }
    }

    fn unread(&self) -> Option<(u64, &SharedStream)> {
        let decoder = self.content.as_ref().filter(|_| self.received.is_empty())?;
        Some((decoder.next_data(), self.stream.raw()?))
    }

    fn skip(&mut self, length: u64) {
        if let Some(decoder) = &mut self.content {
            decoder.skip(length);
        }
    }

    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
        // Who serves the connection looks for it.
        Poll::Pending
    }

    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(socket) = self.socket else {
            return Poll::Pending;
        };
        let ended = self.ended.get_or_insert_with(|| Box::pin(socket.ended()));
        ready!(ended.as_mut().poll(cx));
        self.ended = None;
        Poll::Ready(())
    }

    fn head(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    fn interim(&mut self) {
        self.out.extend_from_slice(b"\r\n");
    }

    fn begin(&mut self, sends: Sends, last: bool) {
        self.chunks = Chunks::None;
        let is_http10 = self.version == Version::HTTP_10;
        if sends == Sends::Unknown && !is_http10 {
            self.chunks = Chunks::First;
            push(&mut self.out, b"transfer-encoding", b"chunked");
        }
        match (last, is_http10) {
            (true, _) => push(&mut self.out, b"connection", b"close"),
            (false, true) => push(&mut self.out, b"connection", b"keep-alive"),
            (false, false) => (),
        }
        self.out.extend_from_slice(b"\r\n");
    }

    fn data(&mut self, length: usize) {
        if self.chunks != Chunks::None && length > 0 {
            // A vector takes everything.
            let end = self.chunk_end();
            let _ = write!(self.out, "{end}{length:x}\r\n");
            self.chunks = Chunks::Next;
        }
    }

    fn raw(&self) -> Option<&SharedStream> {
        match self.chunks {
            Chunks::None => self.stream.raw(),
            Chunks::First | Chunks::Next => None,
        }
    }

    fn end(&mut self, trailers: &[u8]) {
        self.tail.clear();
        if self.chunks != Chunks::None {
            let end = self.chunk_end().as_bytes();
            self.tail.extend_from_slice(end);
            self.tail.extend_from_slice(b"0\r\n");
            headers::clean_trailer_lines(trailers, &mut self.tail);
            self.tail.extend_from_slice(b"\r\n");
            self.chunks = Chunks::None;
        }
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        data: &mut BytesMut,
    ) -> Poll<Result<(), NotTaken>> {
        if !self.tail.is_empty() {
            // There is room behind the data: the server's framing stood there.
            data.extend_from_slice(&self.tail);
            self.tail.clear();
        }
        if self.sent == 0 && !self.out.is_empty() && data.len() <= SHORT {
            self.out.extend_from_slice(data);
            data.clear();
        }
        loop {
            let mut first = self.out.get(self.sent..).unwrap_or_default();
            let mut second = &**data;
            if first.is_empty() && second.is_empty() {
                break;
            }
            let before = (first.len(), second.len());
            let stream = Pin::new(&mut *self.stream);
            if ready!(poll_write_both(stream, cx, &mut first, &mut second)).is_err() {
                return Poll::Ready(Err(NotTaken(Reason::ClientGone)));
            }
            let of_first = before.0.saturating_sub(first.len());
            let of_second = before.1.saturating_sub(second.len());
            self.sent = self.sent.saturating_add(of_first);
            data.advance(of_second);
        }
        self.out.clear();
        self.sent = 0;
        Pin::new(&mut *self.stream)
            .poll_flush(cx)
            .map_err(|_| NotTaken(Reason::ClientGone))
    }
}
