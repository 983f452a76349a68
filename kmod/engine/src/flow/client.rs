// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Segments from the client.

use super::leg::ENDED;
use super::leg::SPOILED;
use super::milliseconds;
use super::parse::Pass;
use super::request::Reading;
use super::segment::ACK;
use super::segment::FIN;
use super::segment::RST;
use super::segment::SYN;
use super::seq;
use super::shift;
use super::Build;
use super::Env;
use super::Event;
use super::Flow;
use super::LegNumber;
use super::Segment;
use super::State;
use super::Verdict;
use super::CLIENT_FIN;
use super::EAGER;
use super::FIRST;
use super::OWN_FIN;
use super::RESET;
use super::SERVER_FIN;
use super::TIMESTAMPS;

/// How far a segment may be outside of what is expected and still be one of the connection, bytes.
pub(super) const NEAR: u32 = 1 << 22;

/// How far a late segment's clock may be behind, in its ticks of a ms at least.
const EARLIER: u32 = 1 << 17;

/// Nothing of a segment has to go on.
#[cold]
fn absorbed<E: Env>(env: &mut E) -> Verdict {
    env.count(Event::Absorbed);
    Verdict::Drop
}

impl Flow {
    /// Takes a segment of the client; where the flow [is not live](Flow::is_live), SYNs are for [`fresh`](super::fresh()). The
    /// packet's checksum must have been verified: what the server would not take must not be read as a request.
    pub fn client<E: Env>(
        &mut self,
        segment: &Segment,
        packet: &E::Packet,
        env: &mut E,
    ) -> Verdict {
        let fast =
            segment.flags.control() == ACK && self.state == State::Open && self.near(segment);
        if fast {
            self.seen = milliseconds(env.now());
        } else if let Some(verdict) = self.client_slow(segment, env) {
            return verdict;
        }
        self.client_clock(segment);
        let acked = self.acked;
        self.client_ack(segment);
        let verdict = if segment.is_empty() {
            if self.has(EAGER) && self.has(FIRST) && self.binding().is_none() {
                self.begin(env);
            }
            self.client_empty(segment, env)
        } else {
            self.client_data(segment, packet, env)
        };
        if acked != self.acked && matches!(verdict, Verdict::Drop | Verdict::Hold(_)) {
            self.acknowledge(env);
        }
        self.settle(env);
        verdict
    }

    /// Takes what is not an acknowledgement near what is expected of a connection that is open. `None`: it goes on as one,
    /// since only the connection is not open any more.
    #[cold]
    #[inline(never)]
    fn client_slow<E: Env>(&mut self, segment: &Segment, env: &mut E) -> Option<Verdict> {
        if segment.is(SYN) {
            return Some(self.client_begins(segment, env));
        }
        let near = self.near(segment);
        // A late copy of what began this very connection begins none, nor a probe that was before it.
        let same = self.first.wrapping_sub(segment.seq) <= 1;
        // Of a live one neither, as of a socket: its client is asked first (RFC 5961, 4), where it begins another.
        if !self.is_live() && !same && !self.earlier(segment) && env.opens(segment) {
            return Some(Verdict::Reopen);
        }
        if !near {
            env.count(Event::OutOfWindow);
            return Some(Verdict::Drop);
        }
        self.seen = milliseconds(env.now());
        if self.has(RESET) {
            env.count(Event::Late);
            if segment.flags & (RST | ACK) == ACK {
                let mut build = self.for_client(RST);
                (build.seq, build.ack) = (segment.ack, 0);
                build.timestamps = None;
                env.emit(build);
            }
            return Some(Verdict::Drop);
        }
        if segment.is(RST) {
            return Some(self.client_reset(segment, env));
        }
        if !segment.is(ACK) {
            env.count(Event::Malformed);
            return Some(Verdict::Drop);
        }
        None
    }

    /// A SYN of a client whose connection is live. If it has forgotten that one, it answers by a reset, which ends it, and begins
    /// anew (RFC 5961, 4); a late copy changes nothing.
    fn client_begins<E: Env>(&self, segment: &Segment, env: &mut E) -> Verdict {
        if self.is_live() && segment.flags.control() == SYN {
            env.count(Event::Challenge);
            let mut build = self.for_client(ACK);
            // It may be a late copy: what was passed on is not yet what the server has.
            if let Some(leg) = self.active().and_then(|leg| self.leg(leg)) {
                build.ack = leg.acked;
            }
            env.emit(build);
        } else {
            env.count(Event::Malformed);
        }
        Verdict::Drop
    }

    /// Tells the server in use what the client has acknowledged with data that stay here: it may say so in nothing else.
    fn acknowledge<E: Env>(&self, env: &mut E) {
        let Some(leg) = self.active() else {
            return;
        };
        if let (Some(to_server), Some(leg)) = (self.toward_server(leg), self.leg(leg)) {
            let (ack, window) = to_server.acknowledge(self.acked, self.window);
            let seq = self.high.wrapping_add(leg.to_server);
            env.emit(Build {
                window,
                ..self.for_leg(leg, seq, ack, ACK)
            });
        }
    }

    /// Whether a segment's numbers are near what is expected. An acknowledgement beyond what was sent is not, and one that
    /// is older than a whole window is not the server's to take (RFC 5961, 5.2).
    #[inline]
    fn near(&self, segment: &Segment) -> bool {
        let low = self
            .active()
            .and_then(|leg| self.leg(leg))
            .map_or(self.high, |leg| leg.acked);
        let span = seq::max(self.high, self.edge).wrapping_sub(low);
        let from = segment.seq.wrapping_sub(low).wrapping_add(NEAR);
        let acked = !segment.is(ACK)
            || (seq::at_most(segment.ack, self.to_client)
                && seq::at_most(self.acked.wrapping_sub(NEAR), segment.ack));
        from <= span.wrapping_add(NEAR.wrapping_mul(2)) && acked
    }

    /// Whether a segment's clock is a little behind what the client's has shown: one of an earlier connection of the same port
    /// that was long under way. Farther behind is a clock that began anew with the connection (RFC 7323, 5.4).
    fn earlier(&self, segment: &Segment) -> bool {
        segment.timestamps.is_some_and(|timestamps| {
            let behind = self.client_clock.wrapping_sub(timestamps.value);
            self.has(TIMESTAMPS) && behind > 0 && behind < EARLIER
        })
    }

    fn client_clock(&mut self, segment: &Segment) {
        if let (Some(timestamps), true) = (segment.timestamps, self.has(TIMESTAMPS)) {
            self.client_clock = seq::max(self.client_clock, timestamps.value);
        }
    }

    fn client_ack(&mut self, segment: &Segment) {
        if seq::at_most(self.acked, segment.ack) {
            self.acked = segment.ack;
            self.window = segment.window;
            let acked = self.acked;
            if let Some(leg) = self.active() {
                let leg = self.leg_mut(leg);
                leg.floor = seq::follow(leg.floor, acked);
            }
        }
    }

    /// A reset is the client's where it stands at what is expected, or within what the client was allowed to send
    /// (RFC 9293, 3.10.7.4); the server looks closer (RFC 5961, 3.2).
    fn client_reset<E: Env>(&mut self, segment: &Segment, env: &mut E) -> Verdict {
        let active = self
            .active()
            .filter(|&leg| self.leg(leg).is_some_and(super::Leg::is_open));
        // What was passed on may not have arrived.
        let from = active
            .and_then(|leg| self.leg(leg))
            .map_or(self.high, |leg| leg.acked);
        let within = seq::at_most(from, segment.seq)
            && seq::at_most(segment.seq, seq::max(self.edge, self.high));
        if !within {
            env.count(Event::OutOfWindow);
            return Verdict::Drop;
        }
        let verdict = match active.and_then(|leg| self.toward_server(leg)) {
            Some(leg) => {
                let segment = self.behind(segment);
                Verdict::Forward(leg.rewrite(&segment, 0, segment.payload))
            }
            None => Verdict::Drop,
        };
        // A server that lacks something of what was passed on takes it only from where it stands (RFC 5961, 3.2), and there
        // is nobody to answer its challenge later.
        if let Some(leg) = active.and_then(|leg| self.leg(leg)).copied() {
            if leg.acked != seq::min(segment.seq, self.high) {
                let seq = leg.acked.wrapping_add(leg.to_server);
                env.emit(self.for_leg(&leg, seq, 0, RST));
            }
        }
        if let Some(leg) = active {
            self.drop_leg(leg, false, env);
        }
        self.reset(false, env);
        // It knows.
        self.flags |= CLIENT_FIN;
        verdict
    }

    /// The segment where its sender would stand if it had sent only what was passed on: the server has not seen what is
    /// held, and takes no segment from behind its window.
    fn behind(&self, segment: &Segment) -> Segment {
        Segment {
            seq: seq::min(segment.seq, self.high),
            ..*segment
        }
    }

    /// A segment that takes no sequence number: an acknowledgement, a window, a probe.
    fn client_empty<E: Env>(&mut self, segment: &Segment, env: &mut E) -> Verdict {
        let active = self.active().and_then(|leg| self.toward_server(leg));
        let verdict = if let Some(leg) = active {
            Verdict::Forward(leg.rewrite(&self.behind(segment), 0, 0))
        } else {
            // A keep-alive probe is answered, where there is no server to do it.
            if self.binding().is_none() && seq::before(segment.seq, self.high) {
                env.emit(self.for_client(ACK));
            } else {
                env.count(Event::Absorbed);
            }
            Verdict::Drop
        };
        // It may have been the proof that a request waited for.
        if env.held_end().is_some() {
            self.parse_requests(None, false, env);
        }
        verdict
    }

    fn client_data<E: Env>(
        &mut self,
        segment: &Segment,
        packet: &E::Packet,
        env: &mut E,
    ) -> Verdict {
        let end = segment.data_end();
        if !self.is_as_unacked(segment, packet, env) {
            self.inconsistent(env);
            return Verdict::Drop;
        }
        let unproven = self.unproven();
        if !self.consistent(segment, packet, env) {
            // What comes before the head is a body's, and may be what its server waits for.
            return match unproven {
                Some((head, _)) if self.state == State::Open => self.pass(segment, head, env),
                _ => Verdict::Drop,
            };
        }
        if self.has(CLIENT_FIN) {
            // Nothing follows a FIN: what comes is old, or a probe.
            return if seq::at_most(segment.seq.wrapping_add(segment.len()), self.high) {
                self.pass(segment, end, env)
            } else {
                env.count(Event::OutOfWindow);
                Verdict::Drop
            };
        }
        self.requests.approach(end);
        let held = env.held_end();
        if self.has(FIRST) && held.is_none() && self.binding().is_none() {
            // A PROXY header that was read has been let go of: it comes again, and nobody else has told the client of it.
            self.requests.at = self.first;
        }
        let framing = self.requests.at;
        let next = held.unwrap_or(framing);
        if self.requests.is_opaque() && held.is_none() {
            return self.pass(segment, end, env);
        }
        if self.answers_no_more() && (held.is_some() || seq::before(framing, end)) {
            env.count(Event::Late);
            self.reset(true, env);
            return Verdict::Drop;
        }
        if seq::at_most(end, framing) {
            // A body's data, or what has passed before.
            return match held {
                Some(_) if segment.payload == 0 => absorbed(env),
                _ => self.pass(segment, framing, env),
            };
        }
        if seq::before(next, segment.seq) {
            env.count(Event::OutOfOrder);
            return Verdict::Drop;
        }
        if seq::at_most(end, next) {
            // Held already. What comes before it has passed, and may have been lost.
            return if seq::before(segment.seq, framing) {
                self.pass(segment, framing, env)
            } else {
                absorbed(env)
            };
        }
        if self.old_by_clock(segment) {
            env.count(Event::OldTimestamp);
            return Verdict::Drop;
        }
        if end.wrapping_sub(framing) > super::HOLD_MAX.wrapping_mul(2) && !self.is_connected() {
            env.count(Event::HoldRefused);
            return Verdict::Drop;
        }
        let pass = self.parse_requests(Some((segment, packet)), segment.is(FIN), env);
        if self.state != State::Open {
            return Verdict::Drop;
        }
        // What was held of it has been read from there, and not from here.
        let twice = held.is_some() && seq::before(segment.seq, next);
        if twice && !self.is_as_read(segment, packet, env) {
            return Verdict::Drop;
        }
        let over = matches!(self.requests.reading, Reading::Over);
        match pass {
            Pass::To(to) if seq::at_most(end, to) => self.pass(segment, end, env),
            Pass::To(to) if over => self.pass(segment, to, env),
            Pass::To(to) if seq::before(segment.seq, to) => match self.pass(segment, to, env) {
                Verdict::Part(bytes, rewrite) => Verdict::PartHold(bytes, rewrite),
                verdict => verdict,
            },
            Pass::To(to) => Verdict::Hold(seq::max(to, next)),
            Pass::Nothing => Verdict::Hold(next),
        }
    }

    /// Whether a segment has what was read in its place.
    // Alone, and what it calls: few segments need it.
    #[cold]
    #[inline(never)]
    fn is_as_read<E: Env>(&mut self, segment: &Segment, packet: &E::Packet, env: &mut E) -> bool {
        if !self.is_as_unacked(segment, packet, env) {
            self.inconsistent(env);
            return false;
        }
        self.consistent(segment, packet, env)
    }

    /// Whether a request would have no answer, and its client has all that was sent, so that a reset takes nothing from it.
    fn answers_no_more(&self) -> bool {
        self.has(SERVER_FIN)
            && self.client_has_all()
            && matches!(self.requests.reading, Reading::Head | Reading::Over)
    }

    /// RFC 7323, 5: the server would drop it.
    fn old_by_clock(&self, segment: &Segment) -> bool {
        match segment.timestamps {
            Some(timestamps) if self.has(TIMESTAMPS) => {
                seq::before(timestamps.value, self.client_clock)
            }
            _ => false,
        }
    }

    fn is_connected(&self) -> bool {
        self.active()
            .and_then(|leg| self.leg(leg))
            .is_some_and(super::Leg::is_open)
    }

    /// Whether a segment's data may have to be read: they may begin a request, or have to be what was read before. `held`:
    /// something is held; `unacked`: bytes of framing are kept.
    #[must_use]
    pub fn reads_of_client(&self, segment: &Segment, held: bool, unacked: bool) -> bool {
        let again = seq::before(segment.seq, self.high) && (unacked || self.head_len > 0);
        let framing = seq::before(self.requests.at, segment.data_end());
        held || again || (framing && !self.requests.is_opaque())
    }

    /// Passes a segment's data before a number on to the leg in use, with its FIN where nothing is left out.
    fn pass<E: Env>(&mut self, segment: &Segment, to: u32, env: &mut E) -> Verdict {
        let Some(leg) = self.active().and_then(|leg| self.toward_server(leg)) else {
            return self.without_server(segment, env);
        };
        if leg.overlaps_header(segment) {
            return self.before_header(env);
        }
        let end = segment.data_end();
        if seq::at_most(end, to) {
            let rewrite = leg.rewrite(segment, 0, segment.payload);
            self.high = seq::max(self.high, segment.seq.wrapping_add(segment.len()));
            if segment.is(FIN) {
                self.flags |= CLIENT_FIN;
            }
            return Verdict::Forward(rewrite);
        }
        if !seq::before(segment.seq, to) {
            return Verdict::Drop;
        }
        let bytes = to.wrapping_sub(segment.seq);
        let rewrite = leg.rewrite(segment, 0, bytes);
        self.high = seq::max(self.high, to);
        Verdict::Part(bytes, rewrite)
    }

    /// Data with the numbers that the leg's PROXY header has, which the server lacks: they would be taken for it. The client has
    /// been told of them, or they are the header that it sent itself, and sends them again.
    #[cold]
    #[inline(never)]
    fn before_header<E: Env>(&self, env: &mut E) -> Verdict {
        if let Some(leg) = self.active() {
            env.count(Event::ProxyResent);
            self.send_header(leg, env);
        }
        absorbed(env)
    }

    /// What has been seen before, or a FIN, where no server is connected.
    fn without_server<E: Env>(&mut self, segment: &Segment, env: &mut E) -> Verdict {
        if self.binding().is_some() || env.held_end().is_some() {
            return absorbed(env);
        }
        if segment.is(FIN) && segment.data_end() == self.requests.at && !self.has(CLIENT_FIN) {
            // The client ends between two requests: nobody else is to be told.
            self.high = segment.data_end().wrapping_add(1);
            self.flags |= CLIENT_FIN;
            self.end_to_client(env);
            for leg in LegNumber::ALL {
                self.drop_leg(leg, true, env);
            }
        } else if self.has(OWN_FIN) && self.acked != self.to_client {
            self.end_to_client(env);
        } else {
            env.emit(self.for_client(ACK));
        }
        Verdict::Drop
    }

    /// What follows from an acknowledgement, of either side.
    #[inline]
    pub(super) fn settle<E: Env>(&mut self, env: &mut E) {
        let leg = self.active().and_then(|leg| self.leg(leg));
        if self.has(CLIENT_FIN | SERVER_FIN) || leg.is_some_and(|leg| leg.is(ENDED)) {
            self.settle_ended(env);
        }
    }

    /// The same where a side has ended.
    #[cold]
    #[inline(never)]
    fn settle_ended<E: Env>(&mut self, env: &mut E) {
        if self.state != State::Open {
            return;
        }
        self.end_ended(env);
        if self.has(CLIENT_FIN) && !self.has(SERVER_FIN) && self.nobody() {
            self.end_to_client(env);
        }
        if !self.has(CLIENT_FIN) || !self.has(SERVER_FIN) {
            return;
        }
        let heard = match self.active().and_then(|leg| self.leg(leg)) {
            Some(leg) => seq::at_most(self.high, leg.acked),
            None => true,
        };
        if heard && self.acked == self.to_client {
            self.state = State::Closing;
            let active = self.active();
            for leg in LegNumber::ALL {
                if active != Some(leg) {
                    self.drop_leg(leg, true, env);
                }
            }
        }
    }

    /// Whether there is no server, and none is being connected to.
    fn nobody(&self) -> bool {
        self.active().is_none() && self.binding().is_none()
    }

    /// Ends the leg in use if its server has ended it and the client has everything that came on it.
    fn end_ended<E: Env>(&mut self, env: &mut E) {
        let Some(index) = self.active().filter(|_| self.client_has_all()) else {
            return;
        };
        let Some(leg) = self.leg(index).filter(|leg| leg.is(ENDED)) else {
            return;
        };
        if leg.is(SPOILED) {
            self.drop_leg(index, true, env);
            return;
        }
        let receive_next = self.to_client.wrapping_sub(leg.to_client).wrapping_add(1);
        self.active = None;
        self.end_leg(index, receive_next, env);
    }

    /// The window of the client in bytes.
    pub(super) fn client_window(&self) -> u32 {
        u32::from(self.window).wrapping_shl(shift(self.client_scale))
    }
}
