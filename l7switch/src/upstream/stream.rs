// SPDX-License-Identifier: MIT
//! A connection to a server.

use std::fmt;
use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;

use bytes::BytesMut;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio_rustls::client::TlsStream;
use tokio_util::io::poll_read_buf;

use super::http2::Unseen;
use super::idle::Free;
use super::idle::State;
use crate::net::stream::MaybeRaw;
use crate::net::stream::SharedStream;

/// A layer above a socket.
pub(super) trait Layer: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin {
    /// Makes the end of the connection a reset.
    fn abort(&self);

    /// Why the server has not seen the request, where the connection has ended and it says so.
    fn unseen(&self) -> Option<Unseen> {
        None
    }
}

impl Layer for TlsStream<SharedStream> {
    fn abort(&self) {
        self.get_ref().0.abort();
    }
}

/// What carries the bytes.
#[derive(Debug)]
enum Transport {
    /// The socket's bytes are the connection's.
    Clear(SharedStream),
    /// They are not.
    Layered(Box<dyn Layer>),
}

/// A connection to a server. Dropped within an exchange it is reset: a server that does not read would otherwise keep what
/// was written, and not hear that nobody waits any more.
#[derive(Debug)]
pub struct ServerStream {
    transport: Transport,
    within: bool,
}

impl ServerStream {
    /// A connection in clear text, without an exchange.
    pub(super) const fn clear(stream: SharedStream) -> Self {
        Self {
            transport: Transport::Clear(stream),
            within: false,
        }
    }

    /// A connection with a layer above its socket, without an exchange.
    pub(super) fn layered(layer: impl Layer + 'static) -> Self {
        Self {
            transport: Transport::Layered(Box::new(layer)),
            within: false,
        }
    }

    /// An exchange begins, or is over.
    pub(super) const fn set_within(&mut self, within: bool) {
        self.within = within;
    }

    /// Makes the end of the connection a reset.
    pub fn abort(&self) {
        match &self.transport {
            Transport::Clear(stream) => stream.abort(),
            Transport::Layered(layer) => layer.abort(),
        }
    }

    /// Why the server has not seen the request, where the connection has ended and it says so.
    pub(super) fn unseen(&self) -> Option<Unseen> {
        match &self.transport {
            Transport::Clear(_) => None,
            Transport::Layered(layer) => layer.unseen(),
        }
    }

    /// Reads into the room that the buffer has.
    pub fn poll_read_buf(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        poll_read_buf(Pin::new(self), cx, buffer)
    }
}

impl Drop for ServerStream {
    fn drop(&mut self) {
        if self.within {
            self.abort();
        }
    }
}

impl Free for ServerStream {
    fn state(&mut self) -> State {
        let mut first = [0; 12];
        let read = match &mut self.transport {
            Transport::Clear(stream) => stream.peek(&mut first),
            Transport::Layered(layer) => {
                // What is no content (session tickets of TLS 1.3, say) is dealt with there.
                let mut buffer = ReadBuf::new(&mut first);
                let mut cx = Context::from_waker(Waker::noop());
                match Pin::new(layer).poll_read(&mut cx, &mut buffer) {
                    Poll::Ready(read) => read.map(|()| buffer.filled().len()),
                    Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
                }
            }
        };
        match read {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => State::Quiet,
            Ok(0) | Err(_) => State::Closed,
            // Some servers say that they end a connection for want of requests (RFC 9110, 15.5.9).
            Ok(length) if first.get(..length) == Some(b"HTTP/1.1 408") => State::Closed,
            Ok(_) => State::Surplus,
        }
    }
}

impl MaybeRaw for ServerStream {
    fn raw(&self) -> Option<&SharedStream> {
        match &self.transport {
            Transport::Clear(stream) => Some(stream),
            Transport::Layered(_) => None,
        }
    }
}

impl AsyncRead for ServerStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Clear(stream) => Pin::new(stream).poll_read(cx, buf),
            Transport::Layered(layer) => Pin::new(layer).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for ServerStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().transport {
            Transport::Clear(stream) => Pin::new(stream).poll_write(cx, buf),
            Transport::Layered(layer) => Pin::new(layer).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().transport {
            Transport::Clear(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Transport::Layered(layer) => Pin::new(layer).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Clear(stream) => stream.is_write_vectored(),
            Transport::Layered(layer) => layer.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Clear(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Layered(layer) => Pin::new(layer).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Clear(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Layered(layer) => Pin::new(layer).poll_shutdown(cx),
        }
    }
}
