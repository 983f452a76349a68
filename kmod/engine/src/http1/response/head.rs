// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a response head says about its message and its connection.

use crate::http1::Framing;
use crate::http1::Version;

/// What the end of a response depends on in the request that it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// Any method but those two.
    Normal,
    /// HEAD: no response to it has a body.
    Head,
    /// CONNECT: success turns the connection into a tunnel.
    Connect,
}

/// What follows a response head on the connection (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseBody {
    /// Nothing: the next byte starts the next response.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks, of which the last is empty, and then a trailer section.
    Chunked,
    /// Everything up to the end of the connection, which can carry no other response.
    UntilClose,
    /// No HTTP/1 any more, in either direction.
    Opaque,
}

impl ResponseBody {
    /// What a [`BodyTracker`](crate::http1::BodyTracker) follows to its end; `None` where the end is
    /// not told by the bytes.
    pub const fn framing(self) -> Option<Framing> {
        match self {
            Self::None => Some(Framing::None),
            Self::Length(length) => Some(Framing::Length(length)),
            Self::Chunked => Some(Framing::Chunked),
            Self::UntilClose | Self::Opaque => None,
        }
    }
}

/// What the fields say about the end of the body, whatever the status and the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Nothing,
    Length(u64),
    Chunked,
    /// Transfer codings of which the last is not chunked.
    Coded,
}

/// A response head that has been read and found right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// Status code, 100 to 999.
    pub status: u16,
    /// HTTP version.
    pub version: Version,
    /// Whether the server means to answer another request on the connection (RFC 9112, 9.3). It
    /// cannot after [`ResponseBody::UntilClose`], whatever it means.
    pub persistent: bool,
    pub(super) told: Told,
}

impl ResponseHead {
    /// Whether it is a 1xx after which another response to the same request follows. A 101 is not:
    /// it is the last response on its connection (RFC 9110, 15.2).
    pub const fn interim(&self) -> bool {
        matches!(self.status, 100 | 102..=199)
    }

    /// What follows the head, if it answers such a request (RFC 9112, 6.3).
    pub const fn body(&self, request: RequestKind) -> ResponseBody {
        match (self.status, request) {
            (101, _) | (200..=299, RequestKind::Connect) => ResponseBody::Opaque,
            (100..=199 | 204 | 304, _) | (_, RequestKind::Head) => ResponseBody::None,
            _ => match self.told {
                Told::Chunked => ResponseBody::Chunked,
                Told::Length(length) => ResponseBody::Length(length),
                Told::Coded | Told::Nothing => ResponseBody::UntilClose,
            },
        }
    }
}
