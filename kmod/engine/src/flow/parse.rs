// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What of the client's bytes may go on: requests are read where they begin, routed, and bound to a leg.

use super::leg::ENDED;
use super::request::narrow;
use super::request::Message;
use super::request::Reading;
use super::segment::MSS_DEFAULT;
use super::seq;
use super::unacked;
use super::unacked::Piece;
use super::Ask;
use super::Choice;
use super::Env;
use super::Event;
use super::Failure;
use super::Flow;
use super::LegEvent;
use super::LegNumber;
use super::Method;
use super::Payload;
use super::Segment;
use super::State;
use super::Target;
use super::CLIENT_FIN;
use super::EAGER;
use super::FIRST;
use super::HOLD_MAX;
use super::HOLD_SEGMENTS;
use super::SERVER_FIN;
use crate::fingerprint::Fingerprint;

/// Most requests that are routed, or targets that are tried, at one packet.
const TARGETS: u8 = 32;

/// Most bytes of options in a segment with data.
const OPTIONS: u32 = 40;
/// How long a head may come again that cannot be compared, ns.
const UNPROVEN_NS: u64 = 5_000_000_000;

/// What may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// Bytes before this number, to the leg in use.
    To(u32),
    /// Nothing.
    Nothing,
}

impl Flow {
    /// Reads what the client has sent, held and `current` behind it, as far as it can be decided about, and sends what is
    /// held and may go. What of `current` may go is answered.
    pub(super) fn parse_requests<E: Env>(
        &mut self,
        current: Option<(&Segment, &E::Packet)>,
        last: bool,
        env: &mut E,
    ) -> Pass {
        let held = env.held_end();
        let end = match (current, held) {
            (Some((segment, _)), _) => segment.data_end(),
            (None, Some(end)) => end,
            (None, None) => return self.may_pass(self.requests.at),
        };
        // Every turn takes at least a byte, or finds a target whose place is taken.
        let mut targets = 0u8;
        while self.state == State::Open && self.binding().is_none() && targets < TARGETS {
            if !seq::before(self.requests.at, end) {
                break;
            }
            let go_on = match self.requests.reading {
                Reading::Opaque | Reading::Over => false,
                Reading::Head => {
                    targets = targets.wrapping_add(1);
                    self.request(current, end, last, env)
                }
                Reading::Body(_) => {
                    let piece = Piece::of(env.run(self.requests.at, current));
                    self.body(&piece, env)
                }
            };
            if !go_on {
                break;
            }
        }
        let pass = self.may_pass(end);
        if let (Pass::To(to), Some(_)) = (pass, held) {
            self.release(to, env);
        }
        pass
    }

    /// Bytes before `end` that may go on.
    #[inline]
    fn may_pass(&self, end: u32) -> Pass {
        let connected = self.active().and_then(|leg| self.leg(leg));
        if self.state != State::Open || !connected.is_some_and(super::Leg::is_open) {
            return Pass::Nothing;
        }
        match self.requests.reading {
            Reading::Opaque => Pass::To(end),
            _ => Pass::To(seq::min(self.requests.at, end)),
        }
    }

    /// Sends what is held, up to a number, to the leg in use.
    fn release<E: Env>(&mut self, to: u32, env: &mut E) {
        let Some(leg) = self.active().and_then(|leg| self.toward_server(leg)) else {
            return;
        };
        let mut high = self.high;
        let mut fin = false;
        env.release(to, &mut |segment, from, to| {
            high = seq::max(high, segment.seq.wrapping_add(to));
            if segment.is(super::segment::FIN) && to == segment.payload {
                fin = true;
                high = seq::max(high, segment.data_end().wrapping_add(1));
            }
            leg.rewrite_held(segment, from, to)
        });
        self.high = high;
        if fin {
            self.flags |= super::CLIENT_FIN;
        }
    }

    /// Routes the request that begins at the next byte. Whether another may be looked at.
    fn request<E: Env>(
        &mut self,
        current: Option<(&Segment, &E::Packet)>,
        end: u32,
        last: bool,
        env: &mut E,
    ) -> bool {
        if self.responses.full() || self.responses.passes_all() || self.has(SERVER_FIN) {
            return false;
        }
        if self.unproven().is_some() {
            // One head at a time is remembered.
            return false;
        }
        let active = self.active().filter(|&leg| {
            self.leg(leg)
                .is_some_and(|leg| leg.is_open() && !leg.is(ENDED))
        });
        let from = self.requests.at;
        let mut ask = Ask {
            from,
            first: self.has(FIRST) && from == self.first,
            active,
            refusal: active
                .and_then(|leg| self.leg(leg))
                .and_then(super::Leg::refusal),
            last: last || end.wrapping_sub(from) >= HOLD_MAX || env.held_count() >= HOLD_SEGMENTS,
        };
        let mut choice = env.choose(&ask, current);
        if let Choice::Begins(len) = choice {
            env.count(Event::ProxyRead);
            self.requests.at = from.wrapping_add(len);
            (ask.from, ask.first) = (self.requests.at, false);
            choice = env.choose(&ask, current);
        }
        let from = ask.from;
        match choice {
            // One header is read, and no more.
            Choice::Begins(_) | Choice::Later => false,
            Choice::Incomplete => {
                if env.held_end().is_none() && self.responses.idle() {
                    self.asked = env.now();
                }
                false
            }
            Choice::Stay(message) => {
                let Some(leg) = active else {
                    env.leave(&ask);
                    return false;
                };
                self.take(leg, &message, current, end, env);
                true
            }
            Choice::Go(target, message) => {
                let here =
                    active.filter(|&leg| self.leg(leg).is_some_and(|leg| leg.leads_to(&target)));
                if let Some(leg) = here {
                    self.take(leg, &message, current, end, env);
                    return true;
                }
                if !self.may_rebind(from) {
                    env.leave(&ask);
                    return false;
                }
                self.go(&target, &message, current, end, env)
            }
        }
    }

    /// A leg may be left where nothing on it is outstanding: every response is complete and the client has it, and the
    /// server has every byte of the requests.
    fn may_rebind(&self, from: u32) -> bool {
        let sent = self.active().and_then(|leg| self.leg(leg));
        self.responses.idle() && self.client_has_all() && sent.is_none_or(|leg| leg.acked == from)
    }

    /// Notes a request that goes to a leg.
    fn take<E: Env>(
        &mut self,
        leg: LegNumber,
        message: &Message,
        current: Option<(&Segment, &E::Packet)>,
        end: u32,
        env: &mut E,
    ) {
        self.remember(leg, message, current, end, env);
        if self.responses.outstanding() == 0 {
            self.asked = env.now();
        }
        let start = self.requests.at;
        self.responses.push(start, message.kind, message.opaque);
        self.requests.take(message);
        env.event(leg, LegEvent::Requested);
        env.count(Event::Request);
    }

    /// Reads what a body has next of framing. Whether there is some, and it may go on.
    fn body<E: Env>(&mut self, piece: &Piece, env: &mut E) -> bool {
        let Ok((framing, after)) = self.requests.read(piece.bytes()) else {
            env.count(Event::BadBody);
            self.reset(true, env);
            return false;
        };
        let at = self.requests.at;
        let framing = piece.bytes().get(..framing).unwrap_or_default();
        let front = self
            .active()
            .and_then(|leg| self.leg(leg))
            .is_some_and(|leg| leg.method == Method::Front);
        // Where there is no room it waits until the server has some of what is kept.
        if framing.is_empty() || !(front || unacked::add(env, at, framing)) {
            return false;
        }
        self.requests = after;
        true
    }

    /// Remembers what a request was routed by, so that its server never sees another in its place: a client may send it
    /// again, and nobody has what it sent before. The front routes by itself.
    fn remember<E: Env>(
        &mut self,
        leg: LegNumber,
        message: &Message,
        current: Option<(&Segment, &E::Packet)>,
        end: u32,
        env: &mut E,
    ) {
        let start = self.requests.at;
        let len = if message.opaque {
            end.wrapping_sub(start)
        } else {
            message.head
        };
        self.head_len = 0;
        if self.leg(leg).is_some_and(|leg| leg.method == Method::Front) {
            return;
        }
        // What came as one segment may have been several on the wire, or become several, and be cut otherwise when it comes
        // again; behind other data it is cut wherever it happens to be.
        let behind = current.is_some_and(|(segment, _)| segment.seq != start);
        let several = len.wrapping_add(OPTIONS) > u32::from(MSS_DEFAULT)
            || env.held_end().is_some()
            || behind;
        let end = start.wrapping_add(len);
        if several && self.keep_unacked(start, end, current, env) {
            return;
        }
        let Ok(len) = u16::try_from(len) else {
            return;
        };
        self.head_len = len;
        if let (Some(fingerprint), false) = (message.fingerprint, message.opaque) {
            self.head_print = fingerprint;
            return;
        }
        let mut print = Fingerprint::new(&env.fingerprint_key());
        let mut at = start;
        while seq::before(at, end) {
            let run = env.run(at, current);
            let left = usize::try_from(end.wrapping_sub(at)).unwrap_or(0);
            let run = run.get(..left).unwrap_or(run);
            if run.is_empty() {
                break;
            }
            print.add(run);
            at = at.wrapping_add(narrow(run.len()));
        }
        self.head_print = print.value();
    }

    /// Keeps a stretch of what came. Whether there was room for all of it.
    fn keep_unacked<E: Env>(
        &self,
        start: u32,
        end: u32,
        current: Option<(&Segment, &E::Packet)>,
        env: &mut E,
    ) -> bool {
        let mut at = start;
        while seq::before(at, end) {
            let run = env.run(at, current);
            let left = usize::try_from(end.wrapping_sub(at)).unwrap_or(0);
            let piece = Piece::of(run.get(..left).unwrap_or(run));
            if piece.bytes().is_empty() || !unacked::add(env, at, piece.bytes()) {
                return false;
            }
            at = at.wrapping_add(narrow(piece.bytes().len()));
        }
        true
    }

    /// The latest request's head, from and to, if the server has not acknowledged all of it.
    #[inline]
    pub(super) fn unproven(&self) -> Option<(u32, u32)> {
        let start = self.responses.latest()?;
        let end = start.wrapping_add(u32::from(self.head_len));
        let leg = self.active().and_then(|leg| self.leg(leg))?;
        (self.head_len > 0 && seq::before(leg.acked, end)).then_some((start, end))
    }

    /// Whether a segment has nothing but what was read before in the place of a head that the server may not have.
    #[inline]
    pub(super) fn consistent<E: Env>(
        &mut self,
        segment: &Segment,
        packet: &E::Packet,
        env: &mut E,
    ) -> bool {
        let Some((start, end)) = self.unproven() else {
            return true;
        };
        if !seq::before(segment.seq, end) || !seq::before(start, segment.data_end()) {
            return true;
        }
        if seq::at_most(segment.seq, start) && seq::at_most(end, segment.data_end()) {
            let mut print = Fingerprint::new(&env.fingerprint_key());
            let mut at = start;
            while seq::before(at, end) {
                let run = packet.run(at.wrapping_sub(segment.seq));
                let left = usize::try_from(end.wrapping_sub(at)).unwrap_or(0);
                let run = run.get(..left).unwrap_or(run);
                if run.is_empty() {
                    break;
                }
                print.add(run);
                at = at.wrapping_add(narrow(run.len()));
            }
            if print.value() == self.head_print {
                return true;
            }
        }
        // A part of it cannot be compared.
        self.inconsistent(env);
        false
    }

    /// Whether what is sent again of what is kept is the same.
    #[inline]
    pub(super) fn is_as_unacked<E: Env>(
        &self,
        segment: &Segment,
        packet: &E::Packet,
        env: &E,
    ) -> bool {
        let unacked = env.unacked();
        if unacked.is_empty() || !seq::before(segment.seq, self.high) {
            return true;
        }
        let Some(leg) = self.active().and_then(|leg| self.leg(leg)) else {
            return true;
        };
        unacked::agree(unacked, segment, packet, leg.acked)
    }

    /// What came again is not passed on.
    pub(super) fn inconsistent<E: Env>(&mut self, env: &mut E) {
        env.count(Event::Inconsistent);
        if env.now().saturating_sub(self.asked) > UNPROVEN_NS {
            self.reset(true, env);
        }
    }

    /// Takes a request to a target: to a leg that leads there, or to a new one.
    fn go<E: Env>(
        &mut self,
        target: &Target,
        message: &Message,
        current: Option<(&Segment, &E::Packet)>,
        end: u32,
        env: &mut E,
    ) -> bool {
        let from = self.requests.at;
        if !self.has(FIRST) {
            env.count(Event::Rebind);
        }
        self.park(env);
        let leads_there = |leg: &LegNumber| self.leg(*leg).is_some_and(|leg| leg.leads_to(target));
        if let Some(leg) = LegNumber::ALL.into_iter().find(leads_there) {
            self.use_again(leg, from);
            self.responses.begin(self.to_client);
            // The environment knows the leg's server by now: it is the same one.
            self.take(leg, message, current, end, env);
            return true;
        }
        let Some(leg) = self.open_leg(target, from, env) else {
            // Another target is asked for.
            return true;
        };
        self.take(leg, message, current, end, env);
        false
    }

    /// Chooses a server for a client that has sent nothing.
    pub(super) fn begin<E: Env>(&mut self, env: &mut E) {
        for _ in 0..TARGETS {
            if self.binding().is_some() || !self.request(None, self.requests.at, false, env) {
                return;
            }
        }
    }

    /// The leg that was being opened failed: the request is the client's still, and another server's.
    pub(super) fn bind_failed<E: Env>(&mut self, failure: Failure, env: &mut E) {
        let Some(index) = self.binding() else {
            return;
        };
        let was = self.leg(index).map(|leg| leg.method);
        env.event(index, LegEvent::Failed(failure));
        self.drop_leg(index, failure != Failure::Refused, env);
        self.take_back(env);
        if was == Some(Method::Front) {
            env.count(Event::NoFront);
            self.reset(true, env);
            return;
        }
        // A PROXY header that was read is no request.
        let nothing_held = |end| !seq::before(self.requests.at, end);
        if self.has(EAGER) && env.held_end().is_none_or(nothing_held) {
            self.begin(env);
        } else {
            self.parse_requests(None, false, env);
        }
    }

    /// Requests that no server has taken are read again. Whether there are some.
    pub(super) fn take_back<E: Env>(&mut self, env: &mut E) -> bool {
        let Some(start) = self.responses.unanswered() else {
            return false;
        };
        self.requests = super::request::Requests::new(start);
        self.responses.forget();
        self.responses.begin(self.to_client);
        // Where no server was there yet, nobody has the client's PROXY header.
        self.high = if self.has(FIRST) { self.first } else { start };
        self.head_len = 0;
        env.forget_unacked();
        self.flags = self.flags.difference(CLIENT_FIN);
        true
    }
}
