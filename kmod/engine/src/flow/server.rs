// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Segments from real servers.

use super::client::NEAR;
use super::leg::Phase;
use super::leg::ENDED;
use super::leg::HEADER;
use super::leg::HEARD;
use super::leg::SPOILED;
use super::leg::USED;
use super::milliseconds;
use super::response::Read;
use super::segment::TcpFlags;
use super::segment::ACK;
use super::segment::FIN;
use super::segment::PSH;
use super::segment::RST;
use super::segment::SYN;
use super::seq;
use super::unacked;
use super::Env;
use super::Event;
use super::Failure;
use super::Flow;
use super::Leg;
use super::LegEvent;
use super::LegNumber;
use super::Method;
use super::Payload;
use super::Segment;
use super::Verdict;
use super::CLIENT_FIN;
use super::EAGER;
use super::HOLD_MAX;
use super::NO_SCALE;
use super::SERVER_FIN;
use super::TIMESTAMPS;
use crate::endpoint::is_ipv4;

impl Flow {
    /// Takes a segment of a leg's server.
    pub fn server<E: Env>(
        &mut self,
        leg: LegNumber,
        segment: &Segment,
        packet: &E::Packet,
        env: &mut E,
    ) -> Verdict {
        let speaks = self.active() == Some(leg) && self.leg(leg).is_some_and(Leg::is_open);
        let verdict = if speaks {
            self.server_speaks(leg, segment, packet, env)
        } else {
            self.server_not_in_use(leg, segment, env);
            Verdict::Drop
        };
        self.settle(env);
        verdict
    }

    /// A segment of a leg's server that is not connected, or not the one in use.
    #[cold]
    #[inline(never)]
    fn server_not_in_use<E: Env>(&mut self, leg: LegNumber, segment: &Segment, env: &mut E) {
        let Some(&found) = self.leg(leg) else {
            return;
        };
        // Probes of a server whose leg is not in use are answered here, and say nothing of the client.
        if self.active() == Some(leg) || self.binding() == Some(leg) {
            self.seen = milliseconds(env.now());
        }
        match found.phase {
            Phase::None => env.count(Event::Late),
            Phase::Opening => self.server_answers(leg, &found, segment, env),
            Phase::Open => self.server_parked(leg, &found, segment, env),
            Phase::Lingering => {
                env.count(Event::Late);
                if segment.is(FIN) {
                    let seq = found.acked.wrapping_add(found.to_server).wrapping_add(1);
                    env.emit(self.for_leg(&found, seq, found.since, ACK));
                }
            }
        }
    }

    /// The answer to a SYN (RFC 9293, 3.10.7.3).
    fn server_answers<E: Env>(
        &mut self,
        index: LegNumber,
        leg: &Leg,
        segment: &Segment,
        env: &mut E,
    ) {
        let sent = leg.start.wrapping_add(leg.to_server);
        let acknowledges = segment.is(ACK) && segment.ack == sent;
        match segment.flags.control() {
            flags if flags.intersects(RST) && acknowledges => {
                self.bind_failed(Failure::Refused, env);
            }
            flags if flags.intersects(RST) => env.count(Event::OutOfWindow),
            flags if flags == SYN | ACK && acknowledges => {
                self.server_connects(index, segment, env);
            }
            flags if flags.intersects(ACK) && !acknowledges => {
                // It holds an older connection of the same addresses and ports: that one is reset, and this one begun
                // again, from another number where it has been tried.
                let mut build = self.for_leg(leg, segment.ack, 0, RST);
                build.timestamps = None;
                env.emit(build);
                let (again, tries) = (self.tries > 1, self.tries);
                if again {
                    let leg = self.leg_mut(index);
                    leg.to_server = segment.ack.wrapping_add(1 << 17).wrapping_sub(leg.start);
                }
                if tries < 4 {
                    self.send_syn(index, env);
                }
            }
            _ => env.count(Event::Malformed),
        }
    }

    fn server_connects<E: Env>(&mut self, index: LegNumber, segment: &Segment, env: &mut E) {
        if self.has(TIMESTAMPS) && segment.timestamps.is_none() {
            self.bind_failed(Failure::Options, env);
            return;
        }
        let shown = self.shown_clock;
        let leg = self.leg_mut(index);
        leg.phase = Phase::Open;
        leg.scale = segment.offer.window_scale.unwrap_or(NO_SCALE);
        if let Some(timestamps) = segment.timestamps {
            leg.clock = shown.wrapping_sub(timestamps.value);
            leg.told = timestamps.value;
        }
        let (start, send_next) = (leg.start, leg.start.wrapping_add(leg.to_server));
        let header = leg.header.filter(|_| leg.is(HEADER));
        self.binding = None;
        self.put_to_use(index, start, send_next, segment.seq.wrapping_add(1));
        // A PROXY header of the client's stays here, and one of the switch's goes before its first byte.
        let header = header.map_or(0, |version| env.proxy_header(version).size());
        let first = start.wrapping_add(header);
        self.high = seq::max(self.high, first);
        env.skip(first);
        if self.client_scale == NO_SCALE {
            // Nobody scales: the option was not sent.
            self.leg_mut(index).scale = NO_SCALE;
        }
        self.responses.begin(self.to_client);
        self.asked = env.now();
        let largest = segment.offer.largest(is_ipv4(&segment.source.address));
        // The front is on this host, and takes any.
        if self
            .leg(index)
            .is_some_and(|leg| leg.method != Method::Front)
        {
            self.limit = self.limit.min(largest);
        }
        env.event(index, LegEvent::Connected(largest));
        if header > 0 {
            self.leg_mut(index).since = first;
            self.tries = 0;
            env.count(Event::ProxySent);
            self.send_header(index, env);
        }
        if env.held_end().is_some() {
            self.parse_requests(None, false, env);
            return;
        }
        if !self.has(EAGER) {
            // What was held has been let go of: it is read again when it comes again.
            for _ in 0..self.responses.outstanding() {
                env.event(index, LegEvent::Finished);
            }
            self.take_back(env);
        }
        // A header says that, too.
        if let Some(&leg) = self.leg(index).filter(|_| header == 0) {
            env.emit(self.for_leg(&leg, send_next, segment.seq.wrapping_add(1), ACK));
        }
    }

    /// A server whose leg is not in use: it has everything, and sends again what it thinks lost.
    fn server_parked<E: Env>(
        &mut self,
        index: LegNumber,
        leg: &Leg,
        segment: &Segment,
        env: &mut E,
    ) {
        if segment.is(RST) {
            if segment.seq == leg.since {
                self.drop_leg(index, false, env);
            } else {
                env.count(Event::OutOfWindow);
            }
        } else if segment.is(FIN) && segment.data_end() == leg.since {
            self.end_leg(index, leg.since.wrapping_add(1), env);
        } else if segment.is_empty() {
            env.count(Event::Absorbed);
        } else if segment.data_end().wrapping_sub(leg.since).wrapping_sub(1) < NEAR {
            // It has answered everything: it would be taken for the response to what is asked next.
            env.count(Event::Unsolicited);
            self.drop_leg(index, true, env);
        } else {
            env.count(Event::Absorbed);
            let seq = leg.acked.wrapping_add(leg.to_server);
            env.emit(self.for_leg(leg, seq, leg.since, ACK));
        }
    }

    /// A SYN or reset of the server of the leg in use.
    #[cold]
    #[inline(never)]
    fn server_begins_or_resets<E: Env>(
        &mut self,
        index: LegNumber,
        segment: &Segment,
        env: &mut E,
    ) -> Verdict {
        let Some(&leg) = self.leg(index) else {
            return Verdict::Drop;
        };
        if segment.is(SYN) {
            // The acknowledgement of its SYN was lost; or it is another's, and shows in the answer (RFC 5961, 4). That one may
            // be repeated for ever, and is no sign of life of this connection.
            if leg.is(HEADER) {
                env.count(Event::ProxyResent);
                self.send_header(index, env);
                return Verdict::Drop;
            }
            let (seq, ack) = (self.high, self.acked.wrapping_sub(leg.to_client));
            env.emit(self.for_leg(&leg, seq.wrapping_add(leg.to_server), ack, ACK));
            return Verdict::Drop;
        }
        self.seen = milliseconds(env.now());
        let start = segment.seq.wrapping_add(leg.to_client);
        self.server_resets(index, &leg, segment, start, env)
    }

    fn server_speaks<E: Env>(
        &mut self,
        index: LegNumber,
        segment: &Segment,
        packet: &E::Packet,
        env: &mut E,
    ) -> Verdict {
        if segment.is(SYN | RST) {
            return self.server_begins_or_resets(index, segment, env);
        }
        self.seen = milliseconds(env.now());
        let Some(leg) = self.leg(index) else {
            return Verdict::Drop;
        };
        let start = segment.seq.wrapping_add(leg.to_client);
        let ack = segment.ack.wrapping_sub(leg.to_server);
        let room = self.client_window().max(HOLD_MAX).wrapping_add(NEAR);
        let far = seq::before(self.acked.wrapping_add(room), start);
        // From before the leg's use: an older connection's of the same addresses and ports, or late.
        let old = seq::before(ack, leg.start);
        if !segment.is(ACK) || seq::before(self.high, ack) || old || far {
            env.count(Event::OutOfWindow);
            return Verdict::Drop;
        }
        if seq::before(leg.acked, ack) {
            let leg = self.leg_mut(index);
            leg.acked = ack;
            leg.start = seq::follow(leg.start, ack);
            leg.mark(HEARD);
            self.responses.follow(ack);
            if self.head_len > 0 && self.unproven().is_none() {
                self.head_len = 0;
            }
            if !env.unacked().is_empty() {
                unacked::trim(env, ack);
            }
        }
        let has_header = self.leg(index).is_none_or(|leg| !leg.is(HEADER));
        if !has_header && !self.header_acked(index, ack, env) {
            // It says nothing of what the client has sent, and says everything again when it has the header.
            env.count(Event::Absorbed);
            return Verdict::Drop;
        }
        let end = start.wrapping_add(segment.payload);
        if segment.payload > 0 {
            let to = self.read_response(index, segment, packet, start, env);
            if to == start {
                return Verdict::Drop;
            }
            self.to_client = seq::max(self.to_client, to);
            if to != end {
                return self.forward_part(index, segment, to.wrapping_sub(start));
            }
        }
        let verdict = if segment.is(FIN) {
            self.server_ends(index, segment, end, env)
        } else {
            self.forward(index, segment, segment.flags)
        };
        // Proof, or an acknowledgement, that a request waited for.
        if env.held_end().is_some() {
            self.parse_requests(None, false, env);
        }
        verdict
    }

    /// Passes the first bytes of a segment's data on to the client.
    #[cold]
    #[inline(never)]
    fn forward_part(&mut self, leg: LegNumber, segment: &Segment, bytes: u32) -> Verdict {
        self.toward_client(
            leg,
            segment,
            segment.flags.difference(FIN | PSH),
            Some(bytes),
        )
    }

    #[inline]
    fn forward(&mut self, leg: LegNumber, segment: &Segment, flags: TcpFlags) -> Verdict {
        self.toward_client(leg, segment, flags, None)
    }

    /// Follows the responses in a segment whose data begin at `start`, as the client sees it. Gives where what may pass
    /// ends.
    fn read_response<E: Env>(
        &mut self,
        index: LegNumber,
        segment: &Segment,
        packet: &E::Packet,
        start: u32,
        env: &mut E,
    ) -> u32 {
        let end = start.wrapping_add(segment.payload);
        self.responses.approach(end);
        self.reach(index, end, env);
        if self.responses.passes_all() {
            return end;
        }
        if !seq::before(self.responses.at, end) {
            return end;
        }
        if seq::before(self.responses.at, start) {
            env.count(Event::OutOfOrder);
            return start;
        }
        while seq::before(self.responses.at, end) && !self.responses.passes_all() {
            if self.responses.at_start() && !self.solicited(index) {
                return self.unsolicited(index, start, env);
            }
            if self.responses.unanswered().is_some() {
                let wait = env.now().saturating_sub(self.asked);
                env.event(index, LegEvent::FirstByte(wait));
            }
            let run = packet.run(self.responses.at.wrapping_sub(start));
            let left = usize::try_from(end.wrapping_sub(self.responses.at)).unwrap_or(0);
            let run = run.get(..left).unwrap_or(run);
            if run.is_empty() {
                env.count(Event::Unreadable);
                return start;
            }
            match self.responses.read(run) {
                Read::Some => {}
                Read::Head(status) => {
                    env.event(index, LegEvent::Status(status));
                    if self.responses.is_opaque() {
                        self.requests.take(&super::Message::OPAQUE);
                    }
                }
                Read::Broken => env.count(Event::BadResponse),
            }
            self.reach(index, end, env);
        }
        self.leg_mut(index).mark(USED);
        end
    }

    /// Whether the data of a segment of a leg's server may have to be read: a response may begin or end there.
    #[must_use]
    pub fn reads_of_server(&self, leg: LegNumber, segment: &Segment) -> bool {
        let in_use = self.leg(leg).filter(|_| self.active() == Some(leg));
        in_use.is_some_and(|leg| {
            let end = segment.data_end().wrapping_add(leg.to_client);
            !self.responses.passes_all() && seq::before(self.responses.at, end)
        })
    }

    /// Whether data of such a segment have to be read that are not among `own`, the first of them.
    #[must_use]
    pub fn reads_of_server_behind(&self, leg: LegNumber, segment: &Segment, own: &[u8]) -> bool {
        let Some(found) = self.leg(leg) else {
            return false;
        };
        let start = segment.seq.wrapping_add(found.to_client);
        let end = start.wrapping_add(segment.payload);
        let mut responses = self.responses;
        responses.approach(end);
        responses.reach(end);
        while seq::before(responses.at, end) && !responses.passes_all() {
            let offset = responses.at.wrapping_sub(start) as usize;
            let run = own.get(offset..).unwrap_or_default();
            if run.is_empty() || matches!(responses.read(run), Read::Broken) {
                return true;
            }
            responses.reach(end);
        }
        false
    }

    /// What comes where no response is waited for, in a segment whose data begin at `start`. Gives where what may pass ends.
    #[cold]
    #[inline(never)]
    fn unsolicited<E: Env>(&mut self, index: LegNumber, start: u32, env: &mut E) -> u32 {
        let to = self.responses.at;
        env.count(Event::Unsolicited);
        // The leg is needed until the client has what came before.
        if to == start && self.client_has_all() {
            self.replay_elsewhere(index, env);
        } else if self.responses.outstanding() == 0 {
            self.leg_mut(index).mark(ENDED | SPOILED);
        }
        to
    }

    /// Data before `end` pass to the client: responses may have ended.
    fn reach<E: Env>(&mut self, index: LegNumber, end: u32, env: &mut E) {
        self.responses.reach(end);
        let ended = self.responses.take_ended();
        for _ in 0..ended {
            env.event(index, LegEvent::Finished);
        }
        if ended > 0 {
            // The next response's time begins, or that of a head that is held.
            self.asked = env.now();
        }
    }

    /// Whether the leg's server has seen something of the request that the next response answers.
    #[inline]
    fn solicited(&self, leg: LegNumber) -> bool {
        match (self.responses.unanswered(), self.leg(leg)) {
            (Some(start), Some(leg)) => seq::before(start, leg.acked),
            // Behind an interim response.
            _ => self.responses.outstanding() > 0,
        }
    }

    /// Whether nothing of the requests without a response has been taken by the leg's server: the client has it all still.
    fn untaken(&self, leg: &Leg) -> bool {
        !self.requests.is_opaque()
            && self
                .responses
                .unanswered()
                .is_some_and(|start| seq::at_most(leg.acked, start))
    }

    /// The server's FIN, behind data that end at `end`.
    #[cold]
    #[inline(never)]
    fn server_ends<E: Env>(
        &mut self,
        index: LegNumber,
        segment: &Segment,
        end: u32,
        env: &mut E,
    ) -> Verdict {
        if self.has(SERVER_FIN) {
            return self.forward(index, segment, segment.flags);
        }
        let Some(leg) = self.leg(index).copied().filter(|_| end == self.to_client) else {
            // What it means shows when the data before it have come. It is sent again.
            env.count(Event::OutOfOrder);
            return if segment.payload == 0 {
                Verdict::Drop
            } else {
                self.forward(index, segment, segment.flags.difference(FIN))
            };
        };
        let idle = self.responses.idle()
            && self.responses.persistent()
            && !self.has(CLIENT_FIN)
            && leg.acked == self.requests.at;
        if idle {
            // The end of the leg, not of the client's connection.
            let verdict = if segment.payload == 0 {
                Verdict::Drop
            } else {
                self.forward(index, segment, segment.flags.difference(FIN))
            };
            self.leg_mut(index).mark(ENDED);
            return verdict;
        }
        if self.untaken(&leg) {
            // It closed while the request was on its way. It says so again if the client has not everything yet.
            if segment.payload != 0 {
                env.count(Event::OutOfOrder);
                return self.forward(index, segment, segment.flags.difference(FIN));
            }
            if self.client_has_all() {
                env.count(Event::Replay);
                self.replay_elsewhere(index, env);
            } else {
                env.count(Event::OutOfOrder);
            }
            return Verdict::Drop;
        }
        self.flags |= SERVER_FIN;
        self.to_client = end.wrapping_add(1);
        self.forward(index, segment, segment.flags)
    }

    /// Gives a leg up. What was sent to it and has no answer is the client's still, and goes elsewhere.
    fn replay_elsewhere<E: Env>(&mut self, index: LegNumber, env: &mut E) {
        if self.leg(index).is_some_and(|leg| !leg.is(USED)) {
            env.event(index, LegEvent::Failed(Failure::Refused));
        }
        self.drop_leg(index, true, env);
        if self.take_back(env) {
            env.discard();
        }
    }

    fn server_resets<E: Env>(
        &mut self,
        index: LegNumber,
        leg: &Leg,
        segment: &Segment,
        start: u32,
        env: &mut E,
    ) -> Verdict {
        let far = self.client_window().max(1);
        let behind = start.wrapping_sub(self.acked);
        // A reset that acknowledges without sequence answers what its sender does not know.
        if behind > far && segment.seq != 0 {
            env.count(Event::OutOfWindow);
            return Verdict::Drop;
        }
        let ack = segment.ack.wrapping_sub(leg.to_server);
        let mut leg = *leg;
        if segment.is(ACK) && seq::before(leg.acked, ack) && seq::at_most(ack, self.high) {
            // It had taken that much.
            leg.acked = ack;
        }
        let leg = &leg;
        let closing = self.has(CLIENT_FIN) || self.has(SERVER_FIN);
        // What has come is lost with the server, if the client has not got it.
        let has_all = self.client_has_all();
        if has_all && self.untaken(leg) {
            env.count(Event::Replay);
            self.replay_elsewhere(index, env);
            return Verdict::Drop;
        }
        // Where the server has not taken all of the last request's body, the client has to know that it never will.
        let idle =
            self.responses.idle() && self.responses.persistent() && leg.acked == self.requests.at;
        if has_all && idle && !closing {
            self.drop_leg(index, false, env);
            return Verdict::Drop;
        }
        let verdict = self.forward(index, segment, segment.flags);
        self.drop_leg(index, false, env);
        self.reset(false, env);
        verdict
    }
}
