// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The host: its connections, and those that begin.

use std::collections::HashMap;
use std::collections::HashSet;
use std::collections::VecDeque;

use l7switch_engine::endpoint::Endpoint;
use l7switch_engine::flow::Segment;
use l7switch_engine::flow::segment::ACK;
use l7switch_engine::flow::segment::RST;
use l7switch_engine::flow::segment::SYN;

use super::OwnConfig;
use super::send::Out;
use super::tcb::MS;
use super::tcb::SECOND;
use super::tcb::State;
use super::tcb::Tcb;
use super::tcb::before;
use crate::rng::Rng;
use crate::rng::mix;
use crate::stack::Handle;
use crate::stack::Stack;
use crate::stack::Status;
use crate::wire;
use crate::wire::Header;

/// A host whose TCP is our own.
pub struct Own {
    config: OwnConfig,
    address: [u8; 16],
    rng: Rng,
    secret: u64,
    base: u64,
    listening: HashSet<u16>,
    tcbs: Vec<Option<Tcb>>,
    index: HashMap<(u16, Endpoint), Handle>,
    accepted: VecDeque<Handle>,
    packets: Vec<Vec<u8>>,
    errors: Vec<String>,
}

impl Own {
    /// A host at an address.
    pub fn new(config: OwnConfig, address: [u8; 16], seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        Self {
            config,
            address,
            secret: rng.next(),
            base: rng.below(1 << 32),
            rng,
            listening: HashSet::new(),
            tcbs: Vec::new(),
            index: HashMap::new(),
            accepted: VecDeque::new(),
            packets: Vec::new(),
            errors: Vec::new(),
        }
    }

    fn clock(&self, now: u64) -> u32 {
        (now / MS + self.base) as u32
    }

    /// RFC 6528: a clock of 64 ns, and a hash of the addresses.
    fn isn(&self, now: u64, port: u16, remote: &Endpoint) -> u32 {
        let mut hash = self.secret ^ u64::from(port) << 16 ^ u64::from(remote.port);
        for byte in remote.address {
            hash = mix(hash ^ u64::from(byte));
        }
        (hash as u32).wrapping_add((now / 64) as u32)
    }

    fn insert(&mut self, tcb: Tcb) -> Handle {
        let key = (tcb.local.port, tcb.remote);
        let handle = match self.tcbs.iter().position(Option::is_none) {
            Some(handle) => {
                self.tcbs[handle] = Some(tcb);
                handle
            }
            None => {
                self.tcbs.push(Some(tcb));
                self.tcbs.len() - 1
            }
        };
        self.index.insert(key, handle);
        handle
    }

    fn remove(&mut self, handle: Handle) {
        if let Some(tcb) = self.tcbs[handle].take() {
            let key = (tcb.local.port, tcb.remote);
            if self.index.get(&key) == Some(&handle) {
                self.index.remove(&key);
            }
        }
    }

    /// Calls a connection with what it needs to send.
    fn with<T>(
        &mut self,
        now: u64,
        handle: Handle,
        call: impl FnOnce(&mut Tcb, &mut Out<'_>, &mut Vec<String>) -> T,
    ) -> Option<T> {
        let clock = self.clock(now);
        let tcb = self.tcbs[handle].as_mut()?;
        let mut out = Out {
            config: &self.config,
            now,
            clock,
            rng: &mut self.rng,
            packets: &mut self.packets,
        };
        Some(call(tcb, &mut out, &mut self.errors))
    }

    /// Answers a segment that belongs to no connection.
    fn refuse(&mut self, segment: &Segment) {
        if segment.is(RST) {
            return;
        }
        let (seq, ack, flags) = if segment.is(ACK) {
            (segment.ack, 0, RST)
        } else {
            (0, segment.seq.wrapping_add(segment.len()), RST | ACK)
        };
        let header = Header {
            source: segment.destination,
            destination: segment.source,
            seq,
            ack,
            flags,
            window: 0,
            options: Vec::new(),
        };
        self.packets.push(header.packet(&[]));
    }

    fn listen_to(&mut self, now: u64, segment: &Segment, least: Option<u32>) {
        let mut iss = self.isn(now, segment.destination.port, &segment.source);
        if let Some(least) = least
            && !before(least, iss)
        {
            iss = least.wrapping_add(65_535 + 2);
        }
        let mut tcb = Tcb::new(segment.destination, segment.source, iss, &self.config);
        tcb.state = State::SynReceived;
        let handle = self.insert(tcb);
        self.with(now, handle, |tcb, out, _| {
            tcb.agree(segment, out);
            tcb.heard = now;
            tcb.syn(out);
        });
    }

    /// What TIME-WAIT makes of a segment (tcp_timewait_state_process in net/ipv4/tcp_minisocks.c). Whether it has taken it.
    fn time_wait(&mut self, now: u64, handle: Handle, segment: &Segment) -> bool {
        let Some(tcb) = &self.tcbs[handle] else {
            return false;
        };
        let (rcv, max, recent) = (tcb.rcv, tcb.max, tcb.ts_recent);
        if segment.flags.control() == SYN {
            let newer = match (tcb.timestamps, segment.timestamps) {
                (true, Some(t)) => before(recent, t.value),
                _ => false,
            };
            if newer || before(rcv, segment.seq) {
                self.remove(handle);
                self.listen_to(now, segment, Some(max));
                return true;
            }
        }
        if segment.is(RST) {
            if segment.seq == rcv {
                // What has come may be unread.
                if let Some(tcb) = &mut self.tcbs[handle] {
                    tcb.state = State::Closed;
                }
            }
            return true;
        }
        if segment.is(SYN) || !segment.is_empty() {
            self.with(now, handle, |tcb, out, _| {
                tcb.until = Some(now + out.config.time_wait);
                tcb.ack(out);
            });
        }
        true
    }
}

impl Stack for Own {
    fn input(&mut self, now: u64, packet: Vec<u8>) {
        let Some(read) = wire::read(&packet) else {
            return;
        };
        let segment = read.segment;
        if segment.destination.address != self.address {
            return;
        }
        let key = (segment.destination.port, segment.source);
        if let Some(&handle) = self.index.get(&key) {
            let state = self.tcbs[handle].as_ref().map(|tcb| tcb.state);
            let gone = match state {
                Some(State::TimeWait) => {
                    if self.time_wait(now, handle, &segment) {
                        return;
                    }
                    false
                }
                Some(State::Closed | State::Reset) | None => true,
                Some(_) => false,
            };
            if !gone {
                let sacks = wire::sack_blocks(&packet, &read);
                let data = &packet[read.data..];
                let accepted = self.with(now, handle, |tcb, out, errors| {
                    tcb.take(&segment, data, &sacks, out, errors);
                    let done = !tcb.accepted && tcb.state == State::Established
                        || tcb.state == State::CloseWait;
                    let passive = tcb.until.is_none() && done && !tcb.accepted;
                    tcb.accepted |= done;
                    passive
                });
                if accepted == Some(true) {
                    self.accepted.push_back(handle);
                }
                return;
            }
            self.index.remove(&key);
        }
        if segment.flags.control() == SYN && self.listening.contains(&segment.destination.port) {
            self.listen_to(now, &segment, None);
        } else {
            self.refuse(&segment);
        }
    }

    fn poll(&mut self, now: u64, out: &mut Vec<Vec<u8>>) {
        for handle in 0..self.tcbs.len() {
            self.with(now, handle, |tcb, out, _| tcb.tick(out));
            let gone = self.tcbs[handle].as_ref().is_some_and(|tcb| {
                matches!(tcb.state, State::Closed | State::Reset) && (tcb.released || !tcb.accepted)
            });
            if gone {
                self.remove(handle);
            }
        }
        out.append(&mut self.packets);
    }

    fn wake(&mut self, _: u64) -> Option<u64> {
        self.tcbs
            .iter()
            .flatten()
            .filter_map(|tcb| tcb.wake(&self.config))
            .min()
    }

    fn listen(&mut self, port: u16) {
        self.listening.insert(port);
    }

    fn connect(&mut self, now: u64, port: u16, to: Endpoint) -> Option<Handle> {
        let mut least = None;
        if let Some(&handle) = self.index.get(&(port, to)) {
            match &self.tcbs[handle] {
                Some(tcb) if tcb.state == State::TimeWait && tcb.released => {
                    // As Linux does with net.ipv4.tcp_tw_reuse.
                    least = Some(tcb.max.wrapping_add(65_535 + 2));
                    self.remove(handle);
                }
                Some(tcb) if !matches!(tcb.state, State::Closed | State::Reset) => return None,
                _ => {}
            }
        }
        let local = Endpoint {
            address: self.address,
            port,
        };
        let iss = least.unwrap_or_else(|| self.isn(now, port, &to));
        let mut tcb = Tcb::new(local, to, iss, &self.config);
        tcb.accepted = true;
        tcb.rto = SECOND;
        let handle = self.insert(tcb);
        self.with(now, handle, |tcb, out, _| tcb.syn(out));
        Some(handle)
    }

    fn accept(&mut self) -> Option<Handle> {
        self.accepted.pop_front()
    }

    fn remote(&self, handle: Handle) -> Endpoint {
        match &self.tcbs[handle] {
            Some(tcb) => tcb.remote,
            None => unreachable!("a handle that was released"),
        }
    }

    fn local(&self, handle: Handle) -> Endpoint {
        match &self.tcbs[handle] {
            Some(tcb) => tcb.local,
            None => unreachable!("a handle that was released"),
        }
    }

    fn status(&self, handle: Handle) -> Status {
        match self.tcbs[handle].as_ref().map(|tcb| tcb.state) {
            None | Some(State::Reset) => Status::Reset,
            Some(State::SynSent | State::SynReceived) => Status::Opening,
            Some(State::Closed | State::TimeWait) => Status::Closed,
            Some(_) => Status::Open,
        }
    }

    fn read(&mut self, handle: Handle, limit: usize, to: &mut Vec<u8>) -> usize {
        let receive = self.config.receive as u32;
        let Some(tcb) = &mut self.tcbs[handle] else {
            return 0;
        };
        let len = tcb.ready.len().min(limit);
        to.extend(tcb.ready.drain(..len));
        // A window that was nearly closed is opened at once.
        let known = tcb.edge.wrapping_sub(tcb.rcv);
        let free = receive.saturating_sub(tcb.ready.len() as u32);
        if len > 0 && free > known + (receive / 2).min(2 * tcb.mss) && !tcb.ended() {
            tcb.ack_at = Some(0);
        }
        len
    }

    fn ended(&self, handle: Handle) -> bool {
        self.tcbs[handle]
            .as_ref()
            .is_none_or(|tcb| tcb.ended() && tcb.ready.is_empty())
    }

    fn write(&mut self, handle: Handle, bytes: &[u8]) -> usize {
        let room = self.config.send;
        let Some(tcb) = &mut self.tcbs[handle] else {
            return 0;
        };
        if tcb.fin || matches!(tcb.state, State::Closed | State::Reset) {
            return 0;
        }
        let len = room.saturating_sub(tcb.buffer.len()).min(bytes.len());
        tcb.buffer.extend(&bytes[..len]);
        len
    }

    fn unacknowledged(&self, handle: Handle) -> usize {
        self.tcbs[handle].as_ref().map_or(0, |tcb| tcb.buffer.len())
    }

    fn shutdown(&mut self, handle: Handle) {
        if let Some(tcb) = &mut self.tcbs[handle] {
            tcb.fin = true;
            if tcb.state == State::SynSent {
                tcb.state = State::Closed;
            }
        }
    }

    fn abort(&mut self, handle: Handle) {
        // The time does not matter: there is no timer.
        self.with(0, handle, |tcb, out, _| {
            if !matches!(
                tcb.state,
                State::SynSent | State::Closed | State::Reset | State::TimeWait
            ) {
                let max = tcb.max;
                tcb.timestamps = false;
                tcb.emit(max, RST | ACK, &[], out);
            }
            tcb.state = State::Reset;
        });
    }

    fn release(&mut self, handle: Handle) {
        let Some(tcb) = &mut self.tcbs[handle] else {
            return;
        };
        tcb.released = true;
        if !tcb.ready.is_empty() && !matches!(tcb.state, State::Closed | State::Reset) {
            // Data that nobody has read: the peer is told (RFC 2525, 2.17).
            self.abort(handle);
        }
    }

    fn resets_what_is_closed(&self) -> bool {
        true
    }

    fn errors(&mut self) -> Vec<String> {
        std::mem::take(&mut self.errors)
    }

    fn dump(&self) -> String {
        format!("{:?}", self.tcbs)
    }
}
