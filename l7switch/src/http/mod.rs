// SPDX-License-Identifier: MIT
//! HTTP exchanges: one request and its response, between a client that speaks HTTP/1 or HTTP/2 and a server that speaks HTTP/1.
//!
//! The engine's parser is the only reader of HTTP/1, in both directions. A request of HTTP/2 is written as a head of HTTP/1
//! ([`h2`]) and read by the same parser. Content is taken out of its framing where it comes in and framed anew where it goes
//! out, so that no two readers see different ends of a message. `exchange.rs` has the phases: read, plan, edit, send, answer,
//! record.

pub mod answer;
mod auth;
mod buffers;
mod cors;
mod edit;
mod exchange;
mod feed;
mod fields;
pub mod forwarded;
pub mod h1;
mod h1_codec;
pub mod h2;
mod h2_head;
pub mod headers;
mod mirror;
mod onward;
mod own;
pub mod plan;
mod refusals;
mod response;
pub mod routed;
mod scan;
mod session;
mod traced;
mod upload;
pub mod variables;

use std::task::Context;
use std::task::Poll;

use bytes::Bytes;
use bytes::BytesMut;
use http::Version;

use crate::net::stream::SharedStream;
use crate::observe::reason::Reason;
use crate::observe::reason::Refusal;

/// Content of which so much is still to come is not read, but spliced.
const SPLICED: u64 = 32 * 1024;

/// What comes next of a request's content.
#[derive(Debug)]
pub enum Piece {
    /// Bytes of it, at least one.
    Data(Bytes),
    /// Its end, with the lines of its trailer section.
    End(Vec<u8>),
}

/// How the end of a response's content is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sends {
    /// There is none.
    Nothing,
    /// By the Content-Length that the head has.
    Length,
    /// By the protocol.
    Unknown,
}

/// The client takes nothing, or has gone, for this reason.
#[derive(Debug)]
pub struct NotTaken(pub Reason);

/// The client's end of an exchange, in one version of HTTP.
pub trait Codec {
    /// The version of the request.
    fn version(&self) -> Version;

    /// Whether all of the request's content was read.
    fn is_read(&self) -> bool;

    /// The next piece of the request's content.
    fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Refusal>>;

    /// Bytes of the request's content that come next on the client's socket as they are, nothing before them, and the socket.
    fn unread(&self) -> Option<(u64, &SharedStream)> {
        None
    }

    /// So many of them were taken from the socket.
    fn skip(&mut self, _: u64) {}

    /// Ready when the client wants no response any more.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Ready when the client waits for nothing any more that was not begun: it has gone, or sends no more.
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_gone(cx)
    }

    /// Where the next head is written: its first line as HTTP/1 has it, then its fields. Empty at first.
    fn head(&mut self) -> &mut Vec<u8>;

    /// The head that was written is whole, and one of an interim response.
    fn interim(&mut self);

    /// What a WebSocket's server must answer, where the client's stream is to become one.
    fn wanted_accept(&self) -> Option<&str> {
        None
    }

    /// The head that was written is whole, and with it the protocol changes.
    fn change(&mut self) {
        self.interim();
    }

    /// The head that was written is whole. `last`: the connection ends behind the response.
    fn begin(&mut self, sends: Sends, last: bool);

    /// So many bytes of content follow.
    fn data(&mut self, length: usize);

    /// The client's socket, where content goes out as it is and nothing else is to be sent before it.
    fn raw(&self) -> Option<&SharedStream> {
        None
    }

    /// The content ends behind what follows, with these lines of a trailer section.
    fn end(&mut self, trailers: &[u8]);

    /// Sends what was said to be sent, and all of `data`.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        data: &mut BytesMut,
    ) -> Poll<Result<(), NotTaken>>;
}
