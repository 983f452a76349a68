// SPDX-License-Identifier: MIT
//! A connection to a server.

use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use bytes::BytesMut;
use tokio_util::io::poll_read_buf;

use super::idle::Free;
use super::idle::State;
use crate::net::stream::SharedStream;

/// A connection to a server. Dropped within an exchange it is reset: a server that does not read would otherwise keep what
/// was written, and not hear that nobody waits any more.
#[derive(Debug)]
pub struct ServerStream {
    stream: SharedStream,
    within: bool,
}

impl ServerStream {
    /// A connection without an exchange.
    pub(super) const fn new(stream: SharedStream) -> Self {
        Self {
            stream,
            within: false,
        }
    }

    /// The stream.
    pub const fn stream(&mut self) -> &mut SharedStream {
        &mut self.stream
    }

    /// The stream alone, which becomes another protocol's.
    pub(super) fn into_stream(mut self) -> SharedStream {
        self.within = false;
        self.stream.same()
    }

    /// An exchange begins, or is over.
    pub(super) const fn set_within(&mut self, within: bool) {
        self.within = within;
    }

    /// Reads into the room that the buffer has.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        poll_read_buf(Pin::new(&mut self.stream), cx, buffer)
    }
}

impl Drop for ServerStream {
    fn drop(&mut self) {
        if self.within {
            self.stream.abort();
        }
    }
}

impl Free for ServerStream {
    fn state(&self) -> State {
        let mut first = [0; 12];
        match self.stream.peek(&mut first) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => State::Quiet,
            Ok(0) | Err(_) => State::Closed,
            // Some servers say that they end a connection for want of requests (RFC 9110, 15.5.9).
            Ok(length) if first.get(..length) == Some(b"HTTP/1.1 408") => State::Closed,
            Ok(_) => State::Surplus,
        }
    }
}
