// SPDX-License-Identifier: MIT
//! A request's content on its way to the server, framed anew, while the response is awaited or already comes.

use std::io::Write as _;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;

use bytes::Bytes;
use bytes::BytesMut;
use tokio::io::AsyncWrite;
use tokio::time::Sleep;

use super::Codec;
use super::Piece;
use super::SPLICED;
use super::exchange::wide;
use super::refusals::broken_off;
use super::refusals::too_long;
use crate::http::headers;
use crate::net::splice::Pipe;
use crate::net::stream::MaybeRaw;
use crate::net::stream::poll_write_both;
use crate::observe::reason::Refusal;
use crate::ruleset::filters::Edit;
use crate::upstream::ServerStream;
use crate::upstream::WaitsFor;

/// A client that waits for 100 (Continue) and a server that never says it would wait for each other: after so long the
/// switch says it. curl goes on by itself after a second.
const CONTINUE: Duration = Duration::from_millis(350);

/// The response with which the switch does.
const CONTINUE_HEAD: &[u8] = b"HTTP/1.1 100 Continue\r\n";

/// What is left to be sent of a request's content.
#[derive(Debug)]
pub(super) struct Upload {
    state: State,
    chunked: bool,
    /// Something comes behind the head, be it the end of content alone.
    is_streamed: bool,
    /// Framing that goes before the data.
    framing: Vec<u8>,
    /// How much of it has gone.
    written: usize,
    data: Bytes,
    /// Where data go that are not seen here, and how many bytes are in it.
    pipe: Option<Pipe>,
    inside: usize,
    /// Bytes of data that came from the client, and how many may come whose number was not announced.
    bytes: u64,
    longest: u64,
    /// Changes with every step.
    moved: u64,
    waits_for: WaitsFor,
    expects: Expects,
    copy: Option<Box<Copied>>,
    /// Fields that the rules take out or set: none of these names comes in a trailer section.
    barred: Option<Box<Edit>>,
    /// What comes behind data that were kept: the end, with the lines of its trailer section.
    end_again: Option<Vec<u8>>,
}

/// Content that is kept, for a copy of the request or another server.
#[derive(Debug)]
struct Copied {
    data: Vec<u8>,
    most: u64,
    /// It may go to another server while it has at most so many bytes, where one may have seen some of it.
    again: u64,
    /// The lines of the trailer section, where all has come.
    end: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// More may come from the client.
    Open,
    /// All has come.
    Ended,
    /// All has gone to the server.
    Done,
    /// The server takes no more.
    Refused,
}

/// What the client waits for before it sends its content.
#[derive(Debug)]
enum Expects {
    /// Nothing.
    Nothing,
    /// 100 (Continue); absent: the wait has not begun.
    Continue(Option<Pin<Box<Sleep>>>),
    /// The switch says it.
    Saying,
}

impl Upload {
    /// Of a request whose content has come with its head.
    pub(super) const fn nothing() -> Self {
        Self {
            state: State::Done,
            chunked: false,
            is_streamed: false,
            framing: Vec::new(),
            written: 0,
            data: Bytes::new(),
            pipe: None,
            inside: 0,
            bytes: 0,
            longest: u64::MAX,
            moved: 0,
            waits_for: WaitsFor::Server,
            expects: Expects::Nothing,
            copy: None,
            barred: None,
            end_again: None,
        }
    }

    /// Bars fields from the trailer section that these edits take out or set.
    pub(super) fn bar(&mut self, edit: Edit) {
        self.barred = Some(Box::new(edit));
    }

    /// Keeps what passes: at most so many bytes, or as many as were wanted before.
    pub(super) fn copy(&mut self, most: u64) {
        let copy = self.copy.get_or_insert_with(|| {
            Box::new(Copied {
                data: Vec::new(),
                most,
                again: 0,
                end: None,
            })
        });
        copy.most = copy.most.max(most);
    }

    /// Keeps what passes for another server, also where one may have seen some of it: at most so many bytes.
    pub(super) fn keep(&mut self, most: u64) {
        self.copy(most);
        if let Some(copy) = &mut self.copy {
            copy.again = most;
        }
    }

    /// Who has to go on.
    pub(super) const fn waits_for(&self) -> WaitsFor {
        self.waits_for
    }

    /// Changes with every step.
    pub(super) const fn moved(&self) -> u64 {
        self.moved
    }

    /// Whether nothing has been taken from the client.
    pub(super) fn is_fresh(&self) -> bool {
        self.state == State::Open
            && self.bytes == 0
            && self.framing.is_empty()
            && self.data.is_empty()
            && self.inside == 0
    }

    /// Whether the content can go to a server from its start.
    pub(super) fn can_begin(&self) -> bool {
        !self.is_streamed || self.is_fresh() || self.copy.is_some()
    }

    /// Whether the rules let it go to a server from its start that another one may have seen some of.
    pub(super) fn may_repeat(&self) -> bool {
        let kept = self.copy.as_ref().filter(|copy| copy.again > 0);
        !self.is_streamed
            || self.is_fresh()
            || kept.is_some_and(|copy| wide(copy.data.len()) <= copy.again)
    }

    /// Whether something is still kept.
    pub(super) const fn is_copying(&self) -> bool {
        self.copy.is_some()
    }

    /// Whether all of the content was kept.
    pub(super) fn is_copied(&self) -> bool {
        self.copy.as_ref().is_some_and(|copy| copy.end.is_some())
    }

    /// What was kept.
    pub(super) fn copied(&self) -> &[u8] {
        self.copy.as_ref().map_or(&[], |copy| &copy.data)
    }

    /// Begins anew with what was kept.
    pub(super) fn repeat(&mut self) {
        let Some(copy) = &self.copy else {
            return;
        };
        self.framing.clear();
        self.written = 0;
        self.data = Bytes::copy_from_slice(&copy.data);
        if self.chunked && !copy.data.is_empty() {
            // A vector takes everything.
            let _ = write!(self.framing, "{:x}\r\n", copy.data.len());
        }
        self.end_again.clone_from(&copy.end);
        self.state = State::Open;
        self.has_moved();
    }

    /// Whether content came behind the head.
    pub(super) const fn was_streamed(&self) -> bool {
        self.is_streamed
    }

    /// Of one whose content is still to come, at most so many bytes. `expects`: the client waits for 100 (Continue).
    pub(super) fn new(chunked: bool, expects: bool, longest: u64) -> Self {
        Self {
            state: State::Open,
            chunked,
            longest,
            is_streamed: true,
            expects: if expects {
                Expects::Continue(None)
            } else {
                Expects::Nothing
            },
            ..Self::nothing()
        }
    }

    /// Whether the server has all of it.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether there is nothing more to be done.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Done | State::Refused)
    }

    /// Something else has moved that belongs to the exchange.
    pub(super) const fn has_moved(&mut self) {
        self.moved = self.moved.wrapping_add(1);
    }

    /// Bytes of data that came.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether a 100 (Continue) of the server is for the client; it is none of its business twice.
    pub(super) fn take_continue(&mut self) -> bool {
        let expects = std::mem::replace(&mut self.expects, Expects::Nothing);
        matches!(expects, Expects::Continue(_))
    }

    /// The final response has come: nobody says 100 (Continue) any more (RFC 9110, 15.2). What was begun of it is sent before.
    pub(super) fn stop_expecting(&mut self) {
        self.expects = Expects::Nothing;
    }

    /// Says 100 (Continue) where the server has not for too long.
    fn poll_continue<C: Codec>(&mut self, codec: &mut C, cx: &mut Context<'_>) -> Poll<()> {
        if let Expects::Continue(sleep) = &mut self.expects {
            let sleep = sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(CONTINUE)));
            if sleep.as_mut().poll(cx).is_ready() {
                codec.head().extend_from_slice(CONTINUE_HEAD);
                codec.interim();
                self.expects = Expects::Saying;
            }
        }
        if matches!(self.expects, Expects::Saying) {
            // A client that has gone is found when its content is read.
            let _ = ready!(codec.poll_send(cx, &mut BytesMut::new()));
            self.expects = Expects::Nothing;
        }
        Poll::Ready(())
    }

    /// Frames a piece of content.
    fn frame(&mut self, piece: Piece) {
        self.framing.clear();
        self.written = 0;
        match piece {
            Piece::Data(data) => {
                self.expects = Expects::Nothing;
                self.bytes = self
                    .bytes
                    .saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
                if self.chunked {
                    let end = if self.bytes_before(&data) { "\r\n" } else { "" };
                    // A vector takes everything.
                    let _ = write!(self.framing, "{end}{:x}\r\n", data.len());
                }
                if let Some(copy) = &mut self.copy {
                    if self.bytes <= copy.most {
                        copy.data.extend_from_slice(&data);
                    } else {
                        self.copy = None;
                    }
                }
                self.data = data;
            }
            Piece::End(trailers) => {
                if let Some(copy) = &mut self.copy {
                    copy.end = Some(trailers.clone());
                }
                self.state = State::Ended;
                if self.chunked {
                    let end: &[u8] = if self.bytes > 0 {
                        b"\r\n0\r\n"
                    } else {
                        b"0\r\n"
                    };
                    self.framing.extend_from_slice(end);
                    let barred = self.barred.as_deref();
                    let lines = trailers.split_inclusive(|byte| *byte == b'\n');
                    let kept = lines.filter(|line| {
                        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
                        !barred.is_some_and(|edit| edit.replaces(name))
                    });
                    for line in kept {
                        headers::clean_trailer_lines(line, &mut self.framing);
                    }
                    self.framing.extend_from_slice(b"\r\n");
                }
            }
        }
    }

    /// Whether data came before these.
    fn bytes_before(&self, data: &Bytes) -> bool {
        u64::try_from(data.len()).is_ok_and(|length| self.bytes > length)
    }

    /// Writes what was framed. `false`: the server takes no more.
    fn poll_write(&mut self, server: &mut ServerStream, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            let mut first = self.framing.get(self.written..).unwrap_or_default();
            let mut second = &*self.data;
            if first.is_empty() && second.is_empty() {
                return Pin::new(server)
                    .poll_flush(cx)
                    .map(|flushed| flushed.is_ok());
            }
            let before = (first.len(), second.len());
            let stream = Pin::new(&mut *server);
            if ready!(poll_write_both(stream, cx, &mut first, &mut second)).is_err() {
                return Poll::Ready(false);
            }
            let of_first = before.0.saturating_sub(first.len());
            let of_second = before.1.saturating_sub(second.len());
            self.written = self.written.saturating_add(of_first);
            let _ = self.data.split_to(of_second);
            self.moved = self.moved.wrapping_add(1);
        }
    }

    /// Has the kernel move the data that come next, where they need no framing. `false`: those are few, or cannot be.
    fn poll_splice<C: Codec>(
        &mut self,
        codec: &mut C,
        server: &mut ServerStream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<bool, Refusal>> {
        if self.inside == 0 {
            let Some((left, stream)) = codec.unread() else {
                return Poll::Ready(Ok(false));
            };
            let is_seen = self.chunked || self.copy.is_some();
            if is_seen || left < SPLICED || server.raw().is_none() {
                return Poll::Ready(Ok(false));
            }
            if self.pipe.is_none() {
                self.pipe = Pipe::take().ok();
            }
            let Some(pipe) = &self.pipe else {
                return Poll::Ready(Ok(false));
            };
            let most = usize::try_from(left).unwrap_or(usize::MAX);
            let Ok(filled @ 1..) = ready!(pipe.poll_fill(stream, cx, most)) else {
                return Poll::Ready(Err(broken_off()));
            };
            let bytes = u64::try_from(filled).unwrap_or(u64::MAX);
            self.expects = Expects::Nothing;
            self.inside = filled;
            self.bytes = self.bytes.saturating_add(bytes);
            self.has_moved();
            codec.skip(bytes);
        }
        self.waits_for = WaitsFor::Server;
        while self.inside > 0
            && let (Some(pipe), Some(stream)) = (&self.pipe, server.raw())
        {
            match ready!(pipe.poll_empty(stream, cx, self.inside)) {
                Ok(emptied @ 1..) => self.inside = self.inside.saturating_sub(emptied),
                _ => {
                    self.state = State::Refused;
                    self.pipe = None;
                }
            }
            self.has_moved();
        }
        if let Some(pipe) = self.pipe.take() {
            pipe.leave();
        }
        Poll::Ready(Ok(true))
    }

    /// Goes on.
    pub(super) fn poll<C: Codec>(
        &mut self,
        codec: &mut C,
        server: &mut ServerStream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Refusal>> {
        loop {
            if self.is_over() {
                return Poll::Ready(Ok(()));
            }
            self.waits_for = WaitsFor::Server;
            if !ready!(self.poll_write(server, cx)) {
                // A server that answers before it has read the whole request and closes resets the connection when more
                // comes. Its response stands in our receive buffer all the same: what is read next tells.
                self.state = State::Refused;
                continue;
            }
            if self.state == State::Ended {
                self.state = State::Done;
                continue;
            }
            if let Some(trailers) = self.end_again.take() {
                self.frame(Piece::End(trailers));
                continue;
            }
            self.waits_for = WaitsFor::Client;
            if self.poll_continue(codec, cx).is_pending() {
                return Poll::Pending;
            }
            if ready!(self.poll_splice(codec, server, cx))? {
                continue;
            }
            let piece = ready!(codec.poll_content(cx))?;
            self.moved = self.moved.wrapping_add(1);
            if let Piece::Data(data) = &piece
                && wide(data.len()) > self.longest.saturating_sub(self.bytes)
            {
                return Poll::Ready(Err(too_long()));
            }
            self.frame(piece);
        }
    }
}
