// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The servers' side of a flow: which request the next response answers, and where it ends.
//!
//! It is the proof that a request may go to another server: until the response before is complete, a byte of either would
//! be taken for the other's.

use super::request::end_of;
use super::request::narrow;
use super::request::skip;
use super::seq;
use crate::http1::BodyTracker;
use crate::http1::RequestKind;
use crate::http1::ResponseBody;
use crate::http1::ResponseParser;
use crate::record::ImportError;
use crate::record::Reader;
use crate::record::Writer;

/// Most requests that wait for their responses: clients that send ahead are rare, and wait a little.
pub(super) const QUEUE: usize = 3;

/// What the next byte of framing belongs to.
#[derive(Clone, Copy, Debug)]
enum Reading {
    /// A response begins there.
    Start,
    /// A head of which something has been read.
    Head(ResponseParser),
    /// A body.
    Body(BodyTracker),
    /// A response ends there, behind data that have not all passed.
    End,
    /// A response that ends with the connection, or whose end is not known.
    UntilClose,
    /// Nothing is read.
    Opaque,
}

/// What came of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// Read so far.
    Some,
    /// A head with this status code.
    Head(u16),
    /// The head or body breaks the rules: what follows passes, and its end is not known.
    Broken,
}

/// Where the servers' next byte of framing is, as the client sees the numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Responses {
    /// Its sequence number.
    pub(super) at: u32,
    reading: Reading,
    /// Where the requests that wait begin, the oldest first.
    starts: [u32; QUEUE],
    /// Their kinds, two bits each, the oldest lowest.
    kinds: u8,
    queued: u8,
    /// The connection to the server goes on after the response.
    persistent: bool,
    /// A byte of the oldest response has come.
    begun: bool,
    /// Responses ended since it was asked last.
    ended: u8,
}

impl Responses {
    pub(super) const fn new(at: u32) -> Self {
        Self {
            at,
            reading: Reading::Start,
            starts: [0; QUEUE],
            kinds: 0,
            queued: 0,
            persistent: true,
            begun: false,
            ended: 0,
        }
    }

    /// Writes it; `high`, `to_client`: the ends of what was passed on.
    pub(super) fn export(&self, high: u32, to_client: u32, to: &mut Writer<'_>) {
        to.near(to_client, self.at);
        to.bytes(&[u8::from(self.persistent), u8::from(self.begun)]);
        match &self.reading {
            Reading::Start => to.byte(0),
            Reading::Head(head) => {
                to.byte(1);
                head.export(to);
            }
            Reading::Body(body) => {
                to.byte(2);
                body.export(to);
            }
            Reading::End => to.byte(3),
            Reading::UntilClose => to.byte(4),
            Reading::Opaque => to.byte(5),
        }
        to.byte(self.queued);
        if self.queued > 0 {
            to.byte(self.kinds);
        }
        for start in self.starts.iter().take(usize::from(self.queued)) {
            to.near(high, *start);
        }
    }

    /// Reads it.
    pub(super) fn import(
        high: u32,
        to_client: u32,
        from: &mut Reader<'_>,
    ) -> Result<Self, ImportError> {
        let at = from.near(to_client)?;
        let persistent = from.code(&[false, true], "whether a server goes on")?;
        let begun = from.code(&[false, true], "whether a response has begun")?;
        let reading = match from.byte()? {
            0 => Reading::Start,
            1 => Reading::Head(ResponseParser::import(from)?),
            2 => Reading::Body(BodyTracker::import(from)?),
            3 => Reading::End,
            4 => Reading::UntilClose,
            5 => Reading::Opaque,
            _ => return Err(ImportError::Field("what is read of a server")),
        };
        let queued = from.byte()?;
        let kinds = if queued > 0 { from.byte()? } else { 0 };
        let mut starts = [0; QUEUE];
        let waiting = starts
            .get_mut(..usize::from(queued))
            .ok_or(ImportError::Field("how many requests wait"))?;
        for start in waiting {
            *start = from.near(high)?;
        }
        Ok(Self {
            at,
            reading,
            starts,
            kinds,
            queued,
            persistent,
            begun,
            ended: 0,
        })
    }

    /// Requests that wait for the end of their response.
    pub(super) const fn outstanding(&self) -> u32 {
        self.queued as u32
    }

    /// Whether no other request can be passed on.
    pub(super) const fn full(&self) -> bool {
        self.queued as usize >= QUEUE
    }

    /// Whether every response that was asked for is complete.
    pub(super) const fn idle(&self) -> bool {
        self.queued == 0 && matches!(self.reading, Reading::Start)
    }

    /// Where the oldest request begins that waits for a response of which no byte has come.
    pub(super) const fn unanswered(&self) -> Option<u32> {
        let [oldest, ..] = self.starts;
        if self.queued > 0 && !self.begun {
            Some(oldest)
        } else {
            None
        }
    }

    /// The server has acknowledged so much: that it has something of the oldest request stays true of the longest.
    pub(super) fn follow(&mut self, acked: u32) {
        let [oldest, ..] = &mut self.starts;
        *oldest = seq::follow(*oldest, acked);
    }

    /// Where the latest request begins that waits for the end of its response.
    pub(super) fn latest(&self) -> Option<u32> {
        let index = usize::from(self.queued).checked_sub(1)?;
        self.starts.get(index).copied()
    }

    /// Whether the next byte is the first of a response, interim ones counted.
    pub(super) const fn at_start(&self) -> bool {
        matches!(self.reading, Reading::Start)
    }

    /// Whether the server keeps its connection after the last response.
    pub(super) const fn persistent(&self) -> bool {
        self.persistent
    }

    /// Whether nothing is read any more.
    pub(super) const fn passes_all(&self) -> bool {
        matches!(self.reading, Reading::Opaque | Reading::UntilClose)
    }

    /// A request that begins at `start` was passed on.
    pub(super) fn push(&mut self, start: u32, kind: RequestKind, opaque: bool) {
        if opaque {
            self.reading = Reading::Opaque;
        }
        let bits = match kind {
            RequestKind::Normal => 0,
            RequestKind::Head => 1,
            RequestKind::Connect => 2,
        };
        if let Some(place) = self.starts.get_mut(usize::from(self.queued)) {
            *place = start;
            let at = u32::from(self.queued).wrapping_mul(2);
            self.kinds = (self.kinds & !3u8.wrapping_shl(at)) | u8::wrapping_shl(bits, at);
            self.queued = self.queued.wrapping_add(1);
        }
    }

    /// The oldest request has its response.
    #[inline]
    const fn pop(&mut self) {
        let [_, b, c] = self.starts;
        self.starts = [b, c, 0];
        self.kinds = self.kinds.wrapping_shr(2);
        self.queued = self.queued.saturating_sub(1);
        self.ended = self.ended.saturating_add(1);
        self.begun = false;
    }

    /// No request waits any more: their server did not take them.
    pub(super) const fn forget(&mut self) {
        self.queued = 0;
        self.begun = false;
        self.reading = Reading::Start;
    }

    /// Another server's responses begin here.
    pub(super) const fn begin(&mut self, at: u32) {
        self.at = at;
        self.persistent = true;
    }

    /// How many responses have ended since it was asked last.
    pub(super) const fn take_ended(&mut self) -> u8 {
        let ended = self.ended;
        self.ended = 0;
        ended
    }

    const fn kind(&self) -> RequestKind {
        match self.kinds & 3 {
            1 => RequestKind::Head,
            2 => RequestKind::Connect,
            _ => RequestKind::Normal,
        }
    }

    /// Data before `end` pass: a response that ends there or before has ended.
    #[inline]
    pub(super) const fn reach(&mut self, end: u32) {
        if matches!(self.reading, Reading::End) && seq::at_most(self.at, end) {
            self.pop();
            self.reading = Reading::Start;
        }
    }

    /// Reads on: `run` begins at [`Responses::at`].
    pub(super) fn read(&mut self, run: &[u8]) -> Read {
        match &mut self.reading {
            Reading::Start => {
                self.begun = true;
                let parser = ResponseParser::new();
                return self.read_head(parser, run);
            }
            Reading::Head(parser) => {
                let parser = *parser;
                return self.read_head(parser, run);
            }
            Reading::Body(body) => match body.consume(run) {
                Ok(progress) => self.at = self.at.wrapping_add(narrow(progress.consumed)),
                Err(_) => return self.broken(),
            },
            Reading::End | Reading::UntilClose | Reading::Opaque => {}
        }
        self.settle();
        Read::Some
    }

    /// Reads on in a head.
    // The reader is stored only where the head is not whole, which few are not.
    #[inline]
    fn read_head(&mut self, mut parser: ResponseParser, run: &[u8]) -> Read {
        let Ok(progress) = parser.consume(run) else {
            return self.broken();
        };
        self.at = self.at.wrapping_add(narrow(progress.consumed));
        let Some(head) = progress.head else {
            self.reading = Reading::Head(parser);
            return Read::Some;
        };
        if head.interim() {
            self.reading = Reading::Start;
            return Read::Head(head.status);
        }
        let body = head.body(self.kind());
        self.persistent = head.persistent;
        self.reading = match (body, body.framing()) {
            (ResponseBody::Opaque, _) => Reading::Opaque,
            (_, Some(framing)) => match end_of(framing) {
                // Nothing is to be followed on the way there.
                Some(length) => {
                    self.at = self.at.wrapping_add(length);
                    Reading::End
                }
                None => Reading::Body(BodyTracker::of_response(framing)),
            },
            (_, None) => Reading::UntilClose,
        };
        self.settle();
        Read::Head(head.status)
    }

    const fn broken(&mut self) -> Read {
        self.reading = Reading::UntilClose;
        self.persistent = false;
        Read::Broken
    }

    #[inline]
    fn settle(&mut self) {
        if let Reading::Body(body) = &mut self.reading {
            self.at = self.at.wrapping_add(skip(body));
            if body.done() {
                self.reading = Reading::End;
            }
        }
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

    /// Whether the connection is no HTTP any more.
    pub(super) const fn is_opaque(&self) -> bool {
        matches!(self.reading, Reading::Opaque)
    }
}

#[cfg(test)]
#[allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "tests compute with numbers that they know"
)]
mod tests {
    use super::*;

    #[test]
    fn a_response_may_be_longer_than_the_sequence_numbers() {
        let start = 0xffff_ff00u32;
        let mut responses = Responses::new(start);
        responses.push(7, RequestKind::Normal, false);
        let head = b"HTTP/1.1 200 \r\nContent-Length: 6000000000\r\n\r\n";
        assert_eq!(responses.read(head), Read::Head(200));
        let all = 6_000_000_000 + head.len() as u64;
        let mut passed = head.len() as u64;
        while passed < all {
            assert!(!responses.idle() && responses.take_ended() == 0, "{passed}");
            passed = (passed + 40_000_003).min(all);
            let end = start.wrapping_add((passed & 0xffff_ffff) as u32);
            responses.approach(end);
            responses.reach(end);
            assert!(!seq::before(responses.at, end));
        }
        assert!(responses.idle() && responses.take_ended() == 1);
    }

    #[test]
    fn requests_that_wait_are_known_by_their_places() {
        let mut responses = Responses::new(0);
        responses.push(10, RequestKind::Normal, false);
        responses.push(20, RequestKind::Head, false);
        responses.push(30, RequestKind::Normal, false);
        assert!(responses.full());
        assert_eq!(
            (responses.unanswered(), responses.latest()),
            (Some(10), Some(30))
        );
        let first = b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n";
        assert_eq!(responses.read(first), Read::Head(200));
        assert_eq!(responses.unanswered(), None, "a byte has come");
        responses.reach(responses.at);
        assert_eq!(responses.unanswered(), Some(20));
        // The response to HEAD has no body.
        let second = b"HTTP/1.1 200 \r\nContent-Length: 9\r\n\r\n";
        assert_eq!(responses.read(second), Read::Head(200));
        responses.reach(responses.at);
        assert_eq!(
            (responses.unanswered(), responses.outstanding()),
            (Some(30), 1)
        );
        responses.forget();
        assert!(responses.idle() && responses.unanswered().is_none());
    }
}
