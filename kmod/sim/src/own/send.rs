// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a connection sends, and when.

use l7switch_engine::flow::TcpFlags;
use l7switch_engine::flow::segment::ACK;
use l7switch_engine::flow::segment::FIN;
use l7switch_engine::flow::segment::PSH;
use l7switch_engine::flow::segment::RST;
use l7switch_engine::flow::segment::SYN;

use super::OwnConfig;
use super::tcb::RTO_MIN;
use super::tcb::SECOND;
use super::tcb::State;
use super::tcb::Tcb;
use super::tcb::before;
use crate::lost::PROBES;
use crate::rng::Rng;
use crate::wire::Header;

/// What sending needs.
pub(super) struct Out<'a> {
    pub(super) config: &'a OwnConfig,
    pub(super) now: u64,
    pub(super) clock: u32,
    pub(super) rng: &'a mut Rng,
    pub(super) packets: &'a mut Vec<Vec<u8>>,
}

impl Tcb {
    fn options(&self, flags: TcpFlags, out: &Out<'_>) -> Vec<u8> {
        let mut options = Vec::new();
        if flags.intersects(SYN) {
            let header = if l7switch_engine::endpoint::is_ipv4(&self.local.address) {
                40
            } else {
                60
            };
            let [a, b] = ((out.config.mtu - header) as u16).to_be_bytes();
            options.extend_from_slice(&[2, 4, a, b]);
            // As Linux orders them: SACK, timestamps, NOP, window scale.
            match (self.sack, self.timestamps) {
                (true, true) => options.extend_from_slice(&[4, 2]),
                (true, false) => options.extend_from_slice(&[1, 1, 4, 2]),
                (false, true) => options.extend_from_slice(&[1, 1]),
                (false, false) => {}
            }
        } else if self.timestamps {
            options.extend_from_slice(&[1, 1]);
        }
        if self.timestamps && !flags.intersects(RST) {
            options.extend_from_slice(&[8, 10]);
            options.extend_from_slice(&out.clock.to_be_bytes());
            let echo = if flags.intersects(ACK) {
                self.ts_recent
            } else {
                0
            };
            options.extend_from_slice(&echo.to_be_bytes());
        } else if flags.intersects(RST) {
            options.clear();
        }
        if flags.intersects(SYN) {
            let scale = match self.state {
                State::SynSent => out.config.scale,
                _ => out.config.scale.filter(|_| self.receive_scale != 255),
            };
            if let Some(scale) = scale {
                options.extend_from_slice(&[1, 3, 3, scale]);
            }
        } else if self.sack && !flags.intersects(RST) {
            let mut blocks: Vec<(u32, u32)> = self.dsack.into_iter().collect();
            for (seq, data) in &self.later {
                let end = seq.wrapping_add(data.len() as u32);
                match blocks.last_mut() {
                    Some(last) if last.1 == *seq && Some(*last) != self.dsack => last.1 = end,
                    _ => blocks.push((*seq, end)),
                }
            }
            blocks.truncate(3);
            if !blocks.is_empty() {
                options.extend_from_slice(&[1, 1, 5, 2 + 8 * blocks.len() as u8]);
                for (left, right) in blocks {
                    options.extend_from_slice(&left.to_be_bytes());
                    options.extend_from_slice(&right.to_be_bytes());
                }
            }
        }
        options
    }

    /// Sends a segment.
    pub(super) fn emit(&mut self, seq: u32, flags: TcpFlags, data: &[u8], out: &mut Out<'_>) {
        let scale = if flags.intersects(SYN) || self.receive_scale == 255 {
            0
        } else {
            self.receive_scale
        };
        let free = self.free(out.config);
        let edge = self.rcv.wrapping_add(free);
        if before(self.edge, edge) {
            self.edge = edge;
        }
        let window = (self.edge.wrapping_sub(self.rcv) >> scale).min(0xffff);
        if flags.intersects(ACK) {
            self.ack_at = None;
            self.unacked = 0;
            self.wup = self.rcv;
        }
        let header = Header {
            source: self.local,
            destination: self.remote,
            seq,
            ack: if flags.intersects(ACK) { self.rcv } else { 0 },
            flags,
            window: window as u16,
            options: self.options(flags, out),
        };
        self.dsack = None;
        out.packets.push(header.packet(data));
    }

    pub(super) fn ack(&mut self, out: &mut Out<'_>) {
        self.emit(self.nxt_or_max(), ACK, &[], out);
    }

    fn nxt_or_max(&self) -> u32 {
        self.max
    }

    pub(super) fn arm(&mut self, now: u64) {
        self.rto_at = Some(now + self.rto);
    }

    pub(super) fn syn(&mut self, out: &mut Out<'_>) {
        let flags = if self.state == State::SynSent {
            SYN
        } else {
            let first = self.syn_clocks.map_or(out.clock, |(first, _)| first);
            self.syn_clocks = Some((first, out.clock));
            SYN | ACK
        };
        self.emit(self.iss, flags, &[], out);
        self.nxt = self.iss.wrapping_add(1);
        self.max = self.nxt;
        self.arm(out.now);
    }

    /// Sends what the windows allow.
    pub(super) fn output(&mut self, out: &mut Out<'_>) {
        if !matches!(
            self.state,
            State::Established
                | State::CloseWait
                | State::FinWait1
                | State::Closing
                | State::LastAck
        ) {
            return;
        }
        loop {
            let flight = self.nxt.wrapping_sub(self.una);
            let end = self.data_end();
            let fin_in = u32::from(self.fin);
            if before(end.wrapping_add(fin_in), self.nxt) || self.nxt == end.wrapping_add(fin_in) {
                break;
            }
            let left = if before(self.nxt, end) {
                end.wrapping_sub(self.nxt)
            } else {
                0
            };
            let allowed = self.window.min(self.cwnd).saturating_sub(flight);
            let again = before(self.nxt, self.max);
            let mut most = self.mss * out.config.gso;
            if again {
                most = self.mss;
                if out.config.resplit {
                    most = self.piece(out.rng, self.mss);
                }
            }
            let len = left.min(allowed).min(most);
            if len == 0 && (left > 0 || !self.fin) {
                break;
            }
            if len < self.mss && len < left && flight > 0 && !again {
                break;
            }
            let offset = self.nxt.wrapping_sub(self.una) as usize;
            let data: Vec<u8> = self
                .buffer
                .range(offset..offset + len as usize)
                .copied()
                .collect();
            let mut flags = ACK;
            if len > 0 && len == left {
                flags |= PSH;
            }
            if self.fin && len == left {
                flags |= FIN;
                self.state = match self.state {
                    State::Established => State::FinWait1,
                    State::CloseWait => State::LastAck,
                    state => state,
                };
            }
            let seq = self.nxt;
            self.nxt = seq
                .wrapping_add(len)
                .wrapping_add(u32::from(flags.intersects(FIN)));
            self.emit(seq, flags, &data, out);
            if before(self.max, self.nxt) {
                self.max = self.nxt;
            }
            if self.rto_at.is_none() {
                self.arm(out.now);
            }
        }
        let waits = before(self.nxt, self.data_end());
        if waits && self.window == 0 && self.nxt == self.una {
            if self.persist_at.is_none() {
                self.persist_at = Some(out.now + self.rto);
            }
        } else {
            self.persist_at = None;
        }
    }

    /// How much of what is sent again goes at once: no path asks for less than 536 bytes, with their options.
    fn piece(&self, rng: &mut Rng, longest: u32) -> u32 {
        let least = self.mss.min(496);
        rng.range(u64::from(least), u64::from(longest.max(least))) as u32
    }

    /// Sends the first unacknowledged bytes again.
    pub(super) fn resend(&mut self, out: &mut Out<'_>) {
        let sent = self.max.wrapping_sub(self.una);
        let fin = u32::from(self.fin_sent());
        let data = (self.buffer.len() as u32).min(sent.saturating_sub(fin));
        let mut most = self.mss;
        if out.config.resplit {
            let longest = self.mss * out.config.gso.min(2);
            most = self.piece(out.rng, longest);
        }
        let len = data.min(most);
        let bytes: Vec<u8> = self.buffer.range(..len as usize).copied().collect();
        let mut flags = ACK;
        if self.fin_sent() && len == data && data == self.buffer.len() as u32 {
            flags |= FIN;
        }
        if len > 0 || flags.intersects(FIN) {
            self.emit(self.una, flags, &bytes, out);
        }
    }

    /// Does what time has come for.
    pub(super) fn tick(&mut self, out: &mut Out<'_>) {
        if matches!(self.state, State::Closed | State::Reset) {
            return;
        }
        if self.state == State::FinWait2 && self.released && self.until.is_none() {
            self.until = Some(out.now + 60 * SECOND);
        }
        if self.until.is_some_and(|at| out.now >= at) {
            self.state = State::Closed;
            return;
        }
        if self.ack_at.is_some_and(|at| out.now >= at) {
            self.ack(out);
        }
        if self.rto_at.is_some_and(|at| out.now >= at) {
            self.timeout(out);
        }
        if self.persist_at.is_some_and(|at| out.now >= at) {
            self.rto = (self.rto * 2).min(120 * SECOND);
            self.persist_at = Some(out.now + self.rto);
            self.emit(self.una.wrapping_sub(1), ACK, &[], out);
        }
        let idle = matches!(self.state, State::Established | State::CloseWait)
            && self.una == self.max
            && self.persist_at.is_none();
        if let (Some(after), true) = (out.config.keep_alive, idle) {
            let wait = after + u64::from(self.probes) * 5 * SECOND;
            if out.now >= self.heard + wait {
                self.probes += 1;
                if self.probes > PROBES {
                    self.emit(self.max, RST | ACK, &[], out);
                    self.state = State::Reset;
                    return;
                }
                let byte: &[u8] = if out.config.probe_byte { b"\xff" } else { b"" };
                self.emit(self.max.wrapping_sub(1), ACK, byte, out);
            }
        }
        self.output(out);
    }

    fn timeout(&mut self, out: &mut Out<'_>) {
        self.rto_at = None;
        if self.una == self.max {
            return;
        }
        self.tries += 1;
        if self.tries > 15 {
            self.state = State::Reset;
            return;
        }
        self.rto = (self.rto * 2).clamp(RTO_MIN, 120 * SECOND);
        match self.state {
            State::SynSent | State::SynReceived => self.syn(out),
            _ => {
                self.ssthresh = (self.max.wrapping_sub(self.una) / 2).max(2 * self.mss);
                self.cwnd = self.mss;
                self.recover = None;
                self.duplicates = 0;
                self.nxt = self.una;
                if self.window == 0 {
                    // A probe with what is due.
                    self.resend(out);
                } else {
                    self.output(out);
                }
                self.arm(out.now);
            }
        }
    }

    /// When it has something to do.
    pub(super) fn wake(&self, config: &OwnConfig) -> Option<u64> {
        if matches!(self.state, State::Closed | State::Reset) {
            return None;
        }
        let idle = matches!(self.state, State::Established | State::CloseWait)
            && self.una == self.max
            && self.persist_at.is_none();
        let probe = config
            .keep_alive
            .filter(|_| idle)
            .map(|after| self.heard + after + u64::from(self.probes) * 5 * SECOND);
        [self.rto_at, self.persist_at, self.ack_at, self.until, probe]
            .into_iter()
            .flatten()
            .min()
    }
}
