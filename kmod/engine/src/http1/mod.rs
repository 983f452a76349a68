// SPDX-License-Identifier: GPL-2.0 OR MIT
//! HTTP/1 messages: heads and their framing (RFC 9112).
//!
//! A message that two readers could understand differently is refused: the server behind the switch
//! would be the second reader, and what it takes for the next request was never routed.

mod body;
pub(crate) mod bytes;
mod error;
mod facts;
mod head;
mod names;
mod parser;
mod preface;
mod response;
mod target;
mod whole;
mod words;

pub(crate) use bytes::find as find_byte;

pub use body::BodyError;
pub use body::BodyTracker;
pub use body::Progress;
pub use body::EXTENSION_MAX;
pub use body::TRAILER_MAX;
pub use error::HeadError;
pub use head::FieldIter;
pub use head::Head;
pub use parser::HeadParser;
pub use parser::Limits;
pub use parser::METHOD_MAX;
pub use preface::h2_preface;
pub use preface::Preface;
pub use preface::H2_PREFACE;
pub use response::RequestKind;
pub use response::ResponseBody;
pub use response::ResponseError;
pub use response::ResponseHead;
pub use response::ResponseParser;
pub use response::ResponseProgress;
pub use response::RESPONSE_HEAD_MAX;
pub use target::Target;

/// HTTP version of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// How the end of a message body is told (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// It has so many bytes.
    Length(u64),
    /// It comes in chunks, of which the last is empty, and then a trailer section.
    Chunked,
}
