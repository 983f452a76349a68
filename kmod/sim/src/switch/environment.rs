// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a flow has of its surroundings: segments that are held, addresses and ports, the rules, the servers.

use std::collections::HashMap;

use l7switch_engine::decide::Space;
use l7switch_engine::decide::Verdict as Decided;
use l7switch_engine::decide::decide;
use l7switch_engine::flow::Ask;
use l7switch_engine::flow::Asked;
use l7switch_engine::flow::Build;
use l7switch_engine::flow::Checksum;
use l7switch_engine::flow::Choice;
use l7switch_engine::flow::Env;
use l7switch_engine::flow::Event;
use l7switch_engine::flow::Failure;
use l7switch_engine::flow::Flow;
use l7switch_engine::flow::Listener;
use l7switch_engine::flow::Message;
use l7switch_engine::flow::Method;
use l7switch_engine::flow::Payload;
use l7switch_engine::flow::Rewrite;
use l7switch_engine::flow::Segment;
use l7switch_engine::flow::Target;
use l7switch_engine::flow::cookie::EPOCH_SECONDS;
use l7switch_engine::flow::milliseconds;
use l7switch_engine::sched::Identity;

use super::rules::table;
use super::stats::Stats;
use crate::plan::EAGER;
use crate::plan::FRONT;
use crate::plan::Plan;
use crate::plan::server_port;
use crate::rng::Rng;
use crate::wire;
use crate::wire::Read;

/// A packet with its place in memory.
pub(super) struct Packet<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) data: usize,
    /// Data lie in pieces of so many bytes, as in a paged buffer.
    pub(super) piece: usize,
}

impl Payload for Packet<'_> {
    fn run(&self, offset: u32) -> &[u8] {
        piece(&self.bytes[self.data..], offset, self.piece)
    }
}

pub(super) fn piece(data: &[u8], offset: u32, piece: usize) -> &[u8] {
    let offset = offset as usize;
    let end = (offset / piece + 1) * piece;
    data.get(offset..end.min(data.len())).unwrap_or_default()
}

#[derive(Clone)]
pub(super) struct Held {
    pub(super) segment: Segment,
    pub(super) read: Read,
    pub(super) bytes: Vec<u8>,
    /// Data before it have gone.
    pub(super) from: u32,
}

/// What the shell keeps of a flow besides the engine's state.
pub(super) struct Extra {
    pub(super) id: usize,
    pub(super) held: Vec<Held>,
    /// When the last packet came.
    pub(super) seen: Option<u64>,
    pub(super) notes: Vec<u8>,
    /// Servers that failed since one was connected.
    pub(super) tried: Vec<u8>,
    /// The server of each leg, with its outstanding requests.
    pub(super) legs: [Option<(u8, Identity, Identity, u32)>; 2],
    pub(super) chosen: u8,
    /// The pools that outstanding requests were routed to.
    pub(super) asked: Asked,
    pub(super) service: u32,
    pub(super) eager: bool,
    pub(super) client: Identity,
    pub(super) address: Identity,
    pub(super) piece: usize,
}

pub(super) struct Entry {
    pub(super) flow: Flow,
    pub(super) extra: Extra,
    pub(super) scheduled: u64,
}

impl Shared {
    /// Rewrites a packet, and sends it in segments that its receiver takes.
    pub(super) fn rewrite(
        &mut self,
        mut packet: Vec<u8>,
        read: &Read,
        rewrite: &Rewrite,
        out: &mut Vec<Vec<u8>>,
    ) {
        let done = rewrite.apply(&mut packet, read.tcp, Checksum::Full);
        let Some(read) = done.and_then(|()| wire::read(&packet)) else {
            self.errors.push("a packet could not be rewritten".into());
            return;
        };
        let to = (rewrite.destination, rewrite.source);
        if let Some(&takes) = self.takes.get(&to)
            && rewrite.limit > takes
        {
            let error = format!(
                "segments of {} bytes to {to:?}, which takes {takes}",
                rewrite.limit
            );
            self.errors.push(error);
        }
        let segments = wire::segments(&packet, &read, rewrite.limit);
        if segments.len() > 1 {
            self.verdict("cut");
        }
        out.extend(segments);
    }
}

/// What is common to all flows.
pub(super) struct Shared {
    pub(super) plan: Plan,
    pub(super) servers: Vec<[u8; 16]>,
    pub(super) snat: [u8; 16],
    pub(super) by_leg: HashMap<(Identity, Identity), (usize, usize)>,
    /// The largest segments that servers take, as they said on connections.
    pub(super) takes: HashMap<(Identity, Identity), u16>,
    pub(super) rng: Rng,
    pub(super) key: [u64; 2],
    pub(super) round: usize,
    pub(super) trace: bool,
    pub(super) notes: Vec<String>,
    pub(super) errors: Vec<String>,
    pub(super) stats: Stats,
    pub(super) next_port: u16,
}

pub(super) struct Context<'a> {
    pub(super) shared: &'a mut Shared,
    pub(super) extra: &'a mut Extra,
    pub(super) now: u64,
    pub(super) out: &'a mut Vec<Vec<u8>>,
    pub(super) emitted: Vec<Build>,
}

impl Shared {
    pub(super) fn listener(&self, service: &Identity, now: u64) -> Listener {
        Listener {
            key: self.key,
            epoch: (now / 1_000_000_000 / EPOCH_SECONDS) as u32,
            now: milliseconds(now),
            mss: self.plan.mss,
            window_scale: self.plan.scale,
            timestamps: self.plan.timestamps,
            sack: self.plan.sack,
            eager: service.port == EAGER,
        }
    }

    pub(super) fn note(&mut self, note: impl FnOnce() -> String) {
        if self.trace {
            let note = note();
            self.notes.push(note);
        }
    }

    pub(super) fn verdict(&mut self, name: &'static str) {
        *self.stats.verdicts.entry(name).or_default() += 1;
    }
}

impl Context<'_> {
    fn pick(&mut self, pool: u8) -> u8 {
        let count = self.shared.plan.servers.len();
        for _ in 0..count {
            self.shared.round = (self.shared.round + 1) % count;
            let server = self.shared.round as u8;
            if self.shared.plan.servers[self.shared.round].pool == pool
                && !self.extra.tried.contains(&server)
            {
                return server;
            }
        }
        FRONT
    }

    fn target(&mut self, server: u8) -> Target {
        self.extra.chosen = server;
        if server == FRONT {
            return Target {
                peer: self.extra.address,
                method: Method::Front,
            };
        }
        let index = usize::from(server);
        Target {
            peer: Identity {
                address: self.shared.servers[index],
                port: server_port(self.extra.address.port),
            },
            method: if self.shared.plan.servers[index].fullnat {
                Method::Fullnat
            } else {
                Method::Nat
            },
        }
    }

    fn held_run(&self, at: u32) -> Option<&[u8]> {
        self.extra.held.iter().find_map(|held| {
            let offset = at.wrapping_sub(held.segment.seq);
            let done = held.from.wrapping_sub(held.segment.seq);
            (offset < held.segment.payload && offset >= done)
                .then(|| piece(&held.bytes[held.read.data..], offset, self.extra.piece))
        })
    }

    fn bytes(&self, from: u32, current: Option<(&Segment, &Packet<'_>)>) -> Vec<u8> {
        let mut out = Vec::new();
        let mut at = from;
        loop {
            let run = self.look(at, current);
            if run.is_empty() {
                return out;
            }
            out.extend_from_slice(run);
            at = at.wrapping_add(run.len() as u32);
        }
    }

    fn look<'b>(&'b self, at: u32, current: Option<(&Segment, &'b Packet<'_>)>) -> &'b [u8] {
        if let Some(run) = self.held_run(at) {
            return run;
        }
        let Some((segment, packet)) = current else {
            return &[];
        };
        let offset = at.wrapping_sub(segment.seq);
        if offset < segment.payload {
            packet.run(offset)
        } else {
            &[]
        }
    }

    fn server_name(&self, leg: usize) -> u8 {
        self.extra.legs[leg].map_or(255, |leg| leg.0)
    }

    fn send(&mut self, packet: Vec<u8>, read: &Read, rewrite: &Rewrite) {
        self.shared.rewrite(packet, read, rewrite, self.out);
    }
}

impl<'p> Env for Context<'p> {
    type Packet = Packet<'p>;

    fn now(&self) -> u64 {
        self.now
    }

    fn count(&mut self, event: Event) {
        let name = format!("{event:?}");
        self.shared.note(|| format!("    count {name}"));
        *self.shared.stats.events.entry(name).or_default() += 1;
    }

    fn opens(&mut self, segment: &Segment) -> bool {
        self.shared
            .listener(&self.extra.address, self.now)
            .opens(segment)
    }

    fn choose(&mut self, ask: &Ask, current: Option<(&Segment, &Packet<'p>)>) -> Choice {
        let bytes = self.bytes(ask.from, current);
        let mut host = [0; l7switch_engine::uri::MAX_HOST];
        let mut path = vec![0; bytes.len().max(1)];
        let space = Space {
            host: &mut host,
            path: &mut path,
        };
        let decision = decide(
            table(),
            self.extra.service,
            self.extra.client.address,
            &bytes,
            space,
        );
        let message = decision.head.as_ref().map_or(Message::OPAQUE, Message::of);
        let (pool, message) = match decision.verdict {
            Decided::Route(winner) => (winner.position as u8, message),
            Decided::Incomplete if !ask.last => {
                self.shared
                    .note(|| format!("    choose: {} bytes are incomplete", bytes.len()));
                return Choice::Incomplete;
            }
            _ => (FRONT, Message::OPAQUE),
        };
        let number = (pool != FRONT).then_some(u32::from(pool));
        self.extra.asked.choose(number);
        let stays = ask.active.and_then(|leg| {
            let (server, ..) = self.extra.legs[leg]?;
            let same = if server == FRONT {
                pool == FRONT
            } else {
                self.shared.plan.servers[usize::from(server)].pool == pool
            };
            (same && self.shared.plan.sticky).then_some(server)
        });
        if let Some(server) = stays {
            self.shared
                .note(|| format!("    choose: stay at s{server:02}"));
            return Choice::Stay(message);
        }
        let server = if pool == FRONT {
            FRONT
        } else {
            self.pick(pool)
        };
        let message = if server == FRONT {
            Message::OPAQUE
        } else {
            message
        };
        self.shared
            .note(|| format!("    choose: go to s{server:02}"));
        Choice::Go(self.target(server), message)
    }

    fn reserve(&mut self, leg: usize, target: &Target) -> Option<Identity> {
        let server = self.extra.chosen;
        let local = match target.method {
            Method::Nat | Method::Front => self.extra.client,
            Method::Fullnat => {
                let ports = self.shared.plan.ports;
                let free = (0..ports).find_map(|_| {
                    self.shared.next_port = (self.shared.next_port + 1) % ports;
                    let local = Identity {
                        address: self.shared.snat,
                        port: 32768 + self.shared.next_port,
                    };
                    (!self.shared.by_leg.contains_key(&(target.peer, local))).then_some(local)
                });
                match free {
                    Some(local) => local,
                    None => {
                        self.extra.tried.push(server);
                        self.shared.verdict("no-port");
                        return None;
                    }
                }
            }
        };
        if self.shared.by_leg.contains_key(&(target.peer, local)) {
            self.shared
                .note(|| format!("    reserve s{server:02}: taken"));
            self.shared.verdict("taken");
            self.extra.tried.push(server);
            if server == FRONT {
                self.shared
                    .errors
                    .push("the front's tuple of a client is taken".into());
            }
            return None;
        }
        if self.extra.legs[leg].is_some() {
            self.shared
                .errors
                .push("a leg is reserved that was not freed".into());
        }
        self.shared
            .by_leg
            .insert((target.peer, local), (self.extra.id, leg));
        self.extra.legs[leg] = Some((server, target.peer, local, 0));
        self.shared.stats.reserved += 1;
        Some(local)
    }

    fn free(&mut self, leg: usize, _was: &l7switch_engine::flow::Leg) {
        match self.extra.legs[leg].take() {
            Some((_, peer, local, outstanding)) => {
                self.shared.by_leg.remove(&(peer, local));
                self.shared.takes.remove(&(peer, local));
                self.shared.stats.freed += 1;
                if outstanding != 0 {
                    self.shared.errors.push(format!(
                        "a leg is freed with {outstanding} outstanding requests"
                    ));
                }
            }
            None => self
                .shared
                .errors
                .push("a leg is freed that was not reserved".into()),
        }
    }

    fn emit(&mut self, build: Build) {
        self.emitted.push(build);
    }

    fn held_end(&self) -> Option<u32> {
        self.extra.held.last().map(|held| held.segment.data_end())
    }

    fn held_count(&self) -> u32 {
        self.extra.held.len() as u32
    }

    fn run<'a>(&'a self, at: u32, current: Option<(&Segment, &'a Packet<'p>)>) -> &'a [u8] {
        self.look(at, current)
    }

    fn release(&mut self, to: u32, rewrite: &mut dyn FnMut(&Segment, u32, u32) -> Rewrite) {
        let held = std::mem::take(&mut self.extra.held);
        for mut held in held {
            let end = held.segment.data_end();
            let from = held.from.wrapping_sub(held.segment.seq);
            if before(to, end) {
                if before(held.from, to) {
                    let until = to.wrapping_sub(held.segment.seq);
                    let rewrite = rewrite(&held.segment, from, until);
                    let part = wire::cut(&held.bytes, &held.read, from, until);
                    self.send(part, &held.read, &rewrite);
                    held.from = to;
                }
                self.extra.held.push(held);
            } else {
                let until = held.segment.payload;
                let rewrite = rewrite(&held.segment, from, until);
                let part = wire::cut(&held.bytes, &held.read, from, until);
                self.send(part, &held.read, &rewrite);
            }
        }
    }

    fn discard(&mut self) {
        self.extra.held.clear();
    }

    fn notes(&self) -> &[u8] {
        &self.extra.notes
    }

    fn notes_mut(&mut self, len: usize) -> &mut [u8] {
        self.shared.verdict("note");
        self.extra.notes.resize(len.max(self.extra.notes.len()), 0);
        &mut self.extra.notes
    }

    fn forget_notes(&mut self) {
        self.extra.notes.clear();
    }

    fn started(&mut self, leg: usize) {
        self.shared.stats.started += 1;
        self.extra.asked.start();
        match &mut self.extra.legs[leg] {
            Some(leg) => leg.3 += 1,
            None => self.shared.errors.push("started on no leg".into()),
        }
    }

    fn finished(&mut self, leg: usize) {
        self.shared.stats.finished += 1;
        self.extra.asked.finish();
        match &mut self.extra.legs[leg] {
            Some(leg) if leg.3 > 0 => leg.3 -= 1,
            _ => self
                .shared
                .errors
                .push("finished what had not been started".into()),
        }
    }

    fn first_byte(&mut self, leg: usize, ns: u64) {
        let server = self.server_name(leg);
        self.shared
            .note(|| format!("    first byte of s{server:02} after {} us", ns / 1000));
    }

    fn status(&mut self, leg: usize, status: u16) {
        let server = self.server_name(leg);
        self.shared
            .note(|| format!("    status {status} of s{server:02}"));
        // The response is counted for the route by which its request came to this server.
        let pool = self.shared.plan.servers.get(usize::from(server));
        let asked = self.extra.asked.oldest();
        if asked != pool.map(|server| u32::from(server.pool)) {
            let error = format!("a response of s{server:02} is for a request to {asked:?}");
            self.shared.errors.push(error);
        }
    }

    fn connected(&mut self, leg: usize, largest: u16) {
        if let Some((server, peer, local, _)) = self.extra.legs[leg]
            && server != FRONT
        {
            self.shared.takes.insert((peer, local), largest);
        }
        let server = self.server_name(leg);
        self.shared
            .note(|| format!("    connected to s{server:02}"));
        self.shared.stats.connected += 1;
        self.extra.tried.clear();
    }

    fn failed(&mut self, leg: usize, failure: Failure) {
        let server = self.server_name(leg);
        self.shared
            .note(|| format!("    s{server:02} failed: {failure:?}"));
        self.extra.tried.push(server);
    }
}

pub(super) fn before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) & 0x8000_0000 != 0
}
