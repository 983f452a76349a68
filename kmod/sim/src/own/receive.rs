// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a connection makes of a segment (RFC 9293, 3.10.7).

use l7switch_engine::flow::Segment;
use l7switch_engine::flow::segment::ACK;
use l7switch_engine::flow::segment::FIN;
use l7switch_engine::flow::segment::RST;
use l7switch_engine::flow::segment::SYN;

use super::send::Out;
use super::tcb::RTO_MIN;
use super::tcb::SECOND;
use super::tcb::State;
use super::tcb::Tcb;
use super::tcb::before;

impl Tcb {
    /// Takes the options of a SYN, or of the answer to one.
    pub(super) fn agree(&mut self, segment: &Segment, out: &Out<'_>) {
        self.timestamps = self.timestamps && segment.timestamps.is_some();
        self.sack = self.sack && segment.offer.sack;
        match (segment.offer.window_scale, out.config.scale) {
            (Some(theirs), Some(ours)) => {
                self.send_scale = theirs;
                self.receive_scale = ours;
            }
            _ => {
                self.send_scale = 0;
                self.receive_scale = 255;
            }
        }
        let header = if l7switch_engine::endpoint::is_ipv4(&self.local.address) {
            40
        } else {
            60
        };
        let theirs = if segment.offer.mss == 0 {
            536
        } else {
            u32::from(segment.offer.mss)
        };
        let options = if self.timestamps { 12 } else { 0 };
        self.mss = theirs.min(out.config.mtu as u32 - header) - options;
        self.cwnd = self.mss * out.config.initial;
        self.rcv = segment.seq.wrapping_add(1);
        self.wup = self.rcv;
        self.edge = self.rcv;
        self.window = u32::from(segment.window);
        self.window_seq = segment.seq;
        self.window_ack = self.iss;
        if let Some(t) = segment.timestamps {
            self.ts_recent = t.value;
        }
    }

    /// Takes a segment. What cannot be true of it is written to `errors`.
    pub(super) fn take(
        &mut self,
        segment: &Segment,
        data: &[u8],
        sacks: &[(u32, u32)],
        out: &mut Out<'_>,
        errors: &mut Vec<String>,
    ) {
        if self.state == State::SynSent {
            self.syn_sent(segment, out);
            return;
        }
        if matches!(self.state, State::Closed | State::Reset) {
            return;
        }
        // A SYN is another connection's, which has agreed on nothing yet.
        if self.timestamps && !segment.is(RST | SYN) {
            let Some(t) = segment.timestamps else {
                errors.push("a segment without the timestamps that were agreed on".into());
                return;
            };
            if t.echo != 0 && before(out.clock, t.echo) {
                errors.push(format!("an echo of clock {} at {}", t.echo, out.clock));
            }
            // Linux takes nothing that echoes another clock (tcp_check_req).
            if let Some((first, last)) = self.syn_clocks
                && self.state == State::SynReceived
                && t.echo != 0
                && (before(t.echo, first) || before(last, t.echo))
            {
                self.ack(out);
                return;
            }
            if before(t.value, self.ts_recent) && self.state != State::SynReceived {
                self.ack(out);
                return;
            }
        }
        let end = segment.seq.wrapping_add(segment.len());
        let window = self.edge.wrapping_sub(self.rcv);
        let acceptable =
            !before(end, self.wup) && !before(self.rcv.wrapping_add(window), segment.seq);
        if segment.is(RST) {
            if segment.seq == self.rcv {
                self.state = State::Reset;
            } else if acceptable {
                self.ack(out);
            }
            return;
        }
        if !acceptable {
            if !segment.is_empty() && before(segment.seq, self.rcv) {
                self.dsack = Some((
                    segment.seq,
                    segment.seq.wrapping_add(segment.payload.max(1)),
                ))
                .filter(|_| self.sack && segment.payload > 0);
            }
            self.ack(out);
            return;
        }
        if segment.is(SYN) {
            if self.state == State::SynReceived {
                self.syn(out);
            } else {
                self.ack(out);
            }
            return;
        }
        if !segment.is(ACK) {
            return;
        }
        self.heard = out.now;
        self.probes = 0;
        if self.state == State::SynReceived {
            if segment.ack != self.nxt {
                self.emit(segment.ack, RST, &[], out);
                return;
            }
            self.state = State::Established;
        }
        if let Some(t) = segment.timestamps
            && !before(self.wup, segment.seq)
        {
            self.ts_recent = t.value;
        }
        self.acknowledged(segment, sacks, out, errors);
        if matches!(self.state, State::Closed | State::Reset) {
            return;
        }
        self.data(segment, data, out);
        self.output(out);
    }

    fn syn_sent(&mut self, segment: &Segment, out: &mut Out<'_>) {
        let sent = self.iss.wrapping_add(1);
        if segment.is(ACK) && segment.ack != sent {
            if !segment.is(RST) {
                self.emit(segment.ack, RST, &[], out);
            }
            return;
        }
        if segment.is(RST) {
            if segment.is(ACK) {
                self.state = State::Reset;
            }
            return;
        }
        if segment.flags & (SYN | ACK) == SYN | ACK {
            self.agree(segment, out);
            self.una = sent;
            self.state = State::Established;
            self.rto = SECOND;
            self.rto_at = None;
            self.tries = 0;
            self.heard = out.now;
            self.ack(out);
            self.output(out);
        }
    }

    fn acknowledged(
        &mut self,
        segment: &Segment,
        sacks: &[(u32, u32)],
        out: &mut Out<'_>,
        errors: &mut Vec<String>,
    ) {
        let ack = segment.ack;
        if before(self.max, ack) {
            errors.push(format!(
                "an acknowledgement of {} bytes that were not sent",
                ack.wrapping_sub(self.max)
            ));
            return;
        }
        // Who has not agreed on them leaves them alone.
        for (left, right) in sacks.iter().filter(|_| self.sack) {
            // A first block may be of what came twice (RFC 2883).
            if before(self.max, *right) || !before(*left, *right) || before(*left, self.iss) {
                errors.push(format!(
                    "a block {}-{} of {} bytes",
                    left.wrapping_sub(self.iss),
                    right.wrapping_sub(self.iss),
                    self.max.wrapping_sub(self.iss)
                ));
            }
        }
        let window = u32::from(segment.window) << self.send_scale;
        if before(self.una, ack) {
            let mut acked = ack.wrapping_sub(self.una);
            if self.una == self.iss {
                acked -= 1;
            }
            let data = (acked as usize).min(self.buffer.len());
            self.buffer.drain(..data);
            self.una = ack;
            if before(self.nxt, ack) {
                self.nxt = ack;
            }
            self.tries = 0;
            self.rto = RTO_MIN;
            self.duplicates = 0;
            if self.cwnd < self.ssthresh {
                self.cwnd = self.cwnd.saturating_add(acked.min(self.mss * 2));
            } else {
                self.cwnd = self
                    .cwnd
                    .saturating_add((self.mss * self.mss / self.cwnd.max(1)).max(1));
            }
            self.cwnd = self.cwnd.min(1 << 22);
            if ack == self.max {
                self.rto_at = None;
                self.recover = None;
            } else {
                self.arm(out.now);
                if self.recover.is_some_and(|recover| before(ack, recover)) {
                    self.resend(out);
                } else {
                    self.recover = None;
                }
            }
            if self.fin_sent() && ack == self.max && self.buffer.is_empty() {
                self.state = match self.state {
                    State::FinWait1 => State::FinWait2,
                    State::Closing => State::TimeWait,
                    State::LastAck => State::Closed,
                    state => state,
                };
                match self.state {
                    State::FinWait2 if self.released => self.until = Some(out.now + 60 * SECOND),
                    State::TimeWait => self.until = Some(out.now + out.config.time_wait),
                    _ => {}
                }
            }
        } else if ack == self.una
            && self.una != self.max
            && segment.payload == 0
            && !segment.is(FIN)
            && window == self.window
        {
            self.duplicates += 1;
            if self.duplicates == 3 && self.recover.is_none() {
                self.recover = Some(self.max);
                self.ssthresh = (self.max.wrapping_sub(self.una) / 2).max(2 * self.mss);
                self.cwnd = self.ssthresh;
                self.resend(out);
                self.arm(out.now);
            }
        }
        if !before(segment.seq, self.window_seq) && !before(ack, self.window_ack) {
            self.window = window;
            self.window_seq = segment.seq;
            self.window_ack = ack;
        }
    }

    fn data(&mut self, segment: &Segment, data: &[u8], out: &mut Out<'_>) {
        if segment.is_empty() {
            // A probe from before the window is answered.
            if before(segment.seq, self.rcv) {
                self.ack(out);
            }
            return;
        }
        let open = matches!(
            self.state,
            State::Established | State::FinWait1 | State::FinWait2
        );
        let end = segment.seq.wrapping_add(segment.payload);
        if !open {
            self.ack(out);
            if self.state == State::TimeWait {
                self.until = Some(out.now + out.config.time_wait);
            }
            return;
        }
        if self.released && before(self.rcv, end) {
            // Nobody reads it any more.
            self.emit(segment.ack, RST, &[], out);
            self.state = State::Reset;
            return;
        }
        let mut seq = segment.seq;
        let mut data = data;
        if before(seq, self.rcv) {
            let old = (self.rcv.wrapping_sub(seq) as usize).min(data.len());
            if self.sack && old > 0 {
                self.dsack = Some((seq, seq.wrapping_add(old as u32)));
            }
            data = &data[old..];
            seq = seq.wrapping_add(old as u32);
        }
        let room = self.edge.wrapping_sub(seq) as usize;
        let whole = data.len() <= room;
        data = &data[..data.len().min(room)];
        if segment.is(FIN) && whole {
            self.fin_at = Some(end);
        }
        let before_this = self.rcv;
        if seq == self.rcv {
            self.ready.extend(data);
            self.rcv = self.rcv.wrapping_add(data.len() as u32);
            self.gather();
        } else if !data.is_empty() {
            let at = self
                .later
                .iter()
                .position(|(other, _)| before(seq, *other))
                .unwrap_or(self.later.len());
            self.later.insert(at, (seq, data.to_vec()));
        }
        let mut now = self.rcv == before_this || !self.later.is_empty() || self.dsack.is_some();
        if self.fin_at == Some(self.rcv) {
            self.rcv = self.rcv.wrapping_add(1);
            self.fin_at = None;
            now = true;
            self.state = match self.state {
                State::Established => State::CloseWait,
                State::FinWait1 => State::Closing,
                State::FinWait2 => {
                    self.until = Some(out.now + out.config.time_wait);
                    State::TimeWait
                }
                state => state,
            };
        }
        self.unacked += 1 + segment.payload / self.mss.max(1);
        if now || self.unacked >= 2 {
            self.ack(out);
        } else if self.ack_at.is_none() {
            self.ack_at = Some(out.now + out.config.delayed_ack);
        }
    }

    /// What came early may be next now.
    fn gather(&mut self) {
        while let Some((seq, data)) = self.later.first() {
            if before(self.rcv, *seq) {
                return;
            }
            let old = self.rcv.wrapping_sub(*seq) as usize;
            if old < data.len() {
                let rest = data[old..].to_vec();
                self.rcv = self.rcv.wrapping_add(rest.len() as u32);
                self.ready.extend(rest);
            }
            self.later.remove(0);
        }
    }
}
