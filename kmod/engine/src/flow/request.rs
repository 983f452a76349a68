// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The client's side of a flow: where the next request begins.

use super::seq;
use crate::http1::BodyError;
use crate::http1::BodyTracker;
use crate::http1::Framing;
use crate::http1::Head;
use crate::http1::RequestKind;
use crate::record::ImportError;
use crate::record::Reader;
use crate::record::Writer;

/// Farthest that bytes which are not looked at are skipped at once; sequence numbers are compared over less than 2³¹.
const SKIP_MAX: u64 = 1 << 30;

/// What must be known of a request once it has been routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Bytes of its head.
    pub head: u32,
    /// How its body ends.
    pub framing: Framing,
    /// What the end of its response depends on.
    pub kind: RequestKind,
    /// No other request follows on the connection.
    pub last: bool,
    /// It is not HTTP, or not understood: nothing behind it is read, in either direction.
    pub opaque: bool,
    /// Of its head, where that is known.
    pub fingerprint: Option<u64>,
}

impl Message {
    /// What a request's head says.
    #[inline]
    pub fn of(head: &Head<'_>) -> Self {
        Self {
            head: u32::try_from(head.len()).unwrap_or(u32::MAX),
            framing: head.framing(),
            kind: match head.method() {
                b"HEAD" => RequestKind::Head,
                b"CONNECT" => RequestKind::Connect,
                _ => RequestKind::Normal,
            },
            last: !head.persistent(),
            opaque: false,
            fingerprint: None,
        }
    }

    /// A connection that is not read.
    pub const OPAQUE: Self = Self {
        head: 0,
        framing: Framing::None,
        kind: RequestKind::Normal,
        last: true,
        opaque: true,
        fingerprint: None,
    };
}

/// What the next byte of framing belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reading {
    /// A request's head begins there.
    Head,
    /// A body.
    Body(BodyTracker),
    /// The last request has ended.
    Over,
    /// Nothing is read.
    Opaque,
}

/// Where the client's next byte of framing is. Bytes before it may pass in any order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Requests {
    /// Its sequence number.
    pub(super) at: u32,
    /// What it belongs to.
    pub(super) reading: Reading,
    /// The request under way is the last one.
    last: bool,
}

impl Requests {
    pub(super) const fn new(at: u32) -> Self {
        Self {
            at,
            reading: Reading::Head,
            last: false,
        }
    }

    pub(super) const fn is_opaque(&self) -> bool {
        matches!(self.reading, Reading::Opaque)
    }

    /// Writes it; `high`: the end of what was passed on.
    pub(super) fn export(&self, high: u32, to: &mut Writer<'_>) {
        to.near(high, self.at);
        to.byte(u8::from(self.last));
        match &self.reading {
            Reading::Head => to.byte(0),
            Reading::Body(body) => {
                to.byte(1);
                body.export(to);
            }
            Reading::Over => to.byte(2),
            Reading::Opaque => to.byte(3),
        }
    }

    /// Reads it.
    pub(super) fn import(high: u32, from: &mut Reader<'_>) -> Result<Self, ImportError> {
        let at = from.near(high)?;
        let last = from.code(&[false, true], "whether a request is the last one")?;
        let reading = match from.byte()? {
            0 => Reading::Head,
            1 => Reading::Body(BodyTracker::import(from)?),
            2 => Reading::Over,
            3 => Reading::Opaque,
            _ => return Err(ImportError::Field("what is read of a client")),
        };
        Ok(Self { at, reading, last })
    }

    /// Goes over a head.
    #[inline]
    pub(super) fn take(&mut self, message: &Message) {
        if message.opaque {
            self.reading = Reading::Opaque;
            return;
        }
        self.at = self.at.wrapping_add(message.head);
        self.last = message.last;
        match end_of(message.framing) {
            // Nothing is to be followed on the way there.
            Some(length) => {
                self.at = self.at.wrapping_add(length);
                self.reading = self.behind();
            }
            None => {
                self.reading = Reading::Body(BodyTracker::new(message.framing));
                self.settle();
            }
        }
    }

    /// What follows the body.
    #[inline]
    const fn behind(&self) -> Reading {
        if self.last {
            Reading::Over
        } else {
            Reading::Head
        }
    }

    /// Skips what need not be seen, and notes the end of a body.
    fn settle(&mut self) {
        if let Reading::Body(body) = &mut self.reading {
            self.at = self.at.wrapping_add(skip(body));
            if body.done() {
                self.reading = self.behind();
            }
        }
    }

    /// Reads a body's framing, with which `run` begins: [`Requests::at`]. Gives how many bytes it is, and what follows from
    /// them, to be taken over.
    pub(super) fn read(&self, run: &[u8]) -> Result<(usize, Self), BodyError> {
        let mut after = *self;
        let mut framing = 0;
        if let Reading::Body(body) = &mut after.reading {
            framing = body.framing(run)?;
            after.at = after.at.wrapping_add(narrow(framing));
        }
        after.settle();
        Ok((framing, after))
    }

    /// Skips on where the next byte of framing is farther than can be skipped at once.
    #[inline]
    pub(super) fn approach(&mut self, end: u32) {
        if let Reading::Body(body) = &self.reading {
            let near = seq::before(self.at.wrapping_sub(1 << 29), end);
            if body.skippable() > 0 && near {
                self.settle();
            }
        }
    }
}

/// The length of a body of which no byte need be seen, if it can be skipped at once.
#[inline]
pub(super) fn end_of(framing: Framing) -> Option<u32> {
    match framing {
        Framing::None => Some(0),
        Framing::Length(length) if length <= SKIP_MAX => u32::try_from(length).ok(),
        Framing::Length(_) | Framing::Chunked => None,
    }
}

/// Skips data of a body; gives the bytes, at most [`SKIP_MAX`].
pub(super) fn skip(body: &mut BodyTracker) -> u32 {
    u32::try_from(body.skip(SKIP_MAX)).unwrap_or(0)
}

/// A length within a packet.
pub(super) fn narrow(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "tests compute with numbers that they know"
)]
mod tests {
    use super::*;

    /// A body of more bytes than there are sequence numbers: the place of its end is found, and never passed.
    #[test]
    fn a_body_may_be_longer_than_the_sequence_numbers() {
        for length in [1u64 << 31, (5 << 30) + 7, (12 << 30) - 1] {
            let start = 0xffff_0000u32;
            let mut requests = Requests::new(start);
            requests.take(&Message {
                head: 10,
                framing: Framing::Length(length),
                kind: RequestKind::Normal,
                last: false,
                opaque: false,
                fingerprint: None,
            });
            let all = length + 10;
            let mut sent = 10u64;
            while sent < all {
                assert!(matches!(requests.reading, Reading::Body(_)) || all - sent < 1 << 31);
                sent = (sent + (1 << 20) * 3 + 1).min(all);
                let end = start.wrapping_add((sent & 0xffff_ffff) as u32);
                requests.approach(end);
                assert!(!seq::before(requests.at, end), "{sent} of {all}");
            }
            assert!(matches!(requests.reading, Reading::Head));
            assert_eq!(requests.at, start.wrapping_add((all & 0xffff_ffff) as u32));
        }
    }

    #[test]
    fn a_chunk_may_be_as_long() {
        let mut requests = Requests::new(0);
        requests.take(&Message {
            head: 0,
            framing: Framing::Chunked,
            kind: RequestKind::Normal,
            last: true,
            opaque: false,
            fingerprint: None,
        });
        requests = requests.read(b"180000000\r\n").unwrap().1;
        let length = 0x1_8000_0000u64;
        let mut sent = 11u64;
        while sent < length + 11 {
            sent = (sent + (1 << 22)).min(length + 11);
            requests.approach((sent & 0xffff_ffff) as u32);
        }
        assert_eq!(requests.at, 0x8000_000b);
        requests = requests.read(b"\r\n0\r\n\r\n").unwrap().1;
        assert!(matches!(requests.reading, Reading::Over));
    }
}
