// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The switch of the simulation: what the kernel's shell is to the flow engine.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::BinaryHeap;
use std::collections::HashMap;
use std::sync::OnceLock;

use l7switch_engine::decide::Space;
use l7switch_engine::decide::Verdict as Decided;
use l7switch_engine::decide::decide;
use l7switch_engine::flow::Ask;
use l7switch_engine::flow::Build;
use l7switch_engine::flow::Checksum;
use l7switch_engine::flow::Choice;
use l7switch_engine::flow::Env;
use l7switch_engine::flow::Event;
use l7switch_engine::flow::Failure;
use l7switch_engine::flow::Flow;
use l7switch_engine::flow::Fresh;
use l7switch_engine::flow::LEN_MAX;
use l7switch_engine::flow::Listener;
use l7switch_engine::flow::Message;
use l7switch_engine::flow::Method;
use l7switch_engine::flow::Payload;
use l7switch_engine::flow::Rewrite;
use l7switch_engine::flow::Segment;
use l7switch_engine::flow::State;
use l7switch_engine::flow::Target;
use l7switch_engine::flow::Verdict;
use l7switch_engine::flow::cookie::EPOCH_SECONDS;
use l7switch_engine::flow::fresh;
use l7switch_engine::flow::milliseconds;
use l7switch_engine::flow::segment::ACK;
use l7switch_engine::flow::segment::FIN;
use l7switch_engine::flow::segment::RST;
use l7switch_engine::flow::segment::SYN;
use l7switch_engine::sched::Identity;
use l7switch_engine::table::Table;

use crate::plan::EAGER;
use crate::plan::FRONT;
use crate::plan::Plan;
use crate::plan::TLS;
use crate::rng::Rng;
use crate::wire;
use crate::wire::Read;

const RULES: &str = r#"
[service.a-http]
listen = "10.0.0.1:80"
[[service.a-http.route]]
path = { prefix = "/p0/" }
pool = "p0"
[[service.a-http.route]]
path = { prefix = "/p1/" }
pool = "p1"
[[service.a-http.route]]
path = { prefix = "/p2/" }
pool = "p2"

[service.b-tls]
listen = "10.0.0.1:443"
protocol = "tls"
[[service.b-tls.route]]
host = "p0.test"
pool = "p0"
[[service.b-tls.route]]
host = "p1.test"
pool = "p1"
[[service.b-tls.route]]
host = "p2.test"
pool = "p2"

[service.c-eager]
listen = "10.0.0.1:25"
protocol = "tcp"
[[service.c-eager.route]]
pool = "p0"

[pool.p0]
servers = ["10.2.0.1:80"]
[pool.p1]
servers = ["10.2.0.2:80"]
[pool.p2]
servers = ["10.2.0.3:80"]
"#;

fn table() -> &'static Table<Vec<u8>> {
    static TABLE: OnceLock<Table<Vec<u8>>> = OnceLock::new();
    TABLE.get_or_init(|| match l7switch_rules::load_text("sim", RULES) {
        Ok(rules) => rules.table,
        Err(report) => panic!("the simulation's rules: {report:?}"),
    })
}

/// A packet with its place in memory.
pub struct Packet<'a> {
    bytes: &'a [u8],
    read: Option<Read>,
    data: usize,
    /// Data lie in pieces of so many bytes, as in a paged buffer.
    piece: usize,
}

impl Payload for Packet<'_> {
    fn run(&self, offset: u32) -> &[u8] {
        piece(&self.bytes[self.data..], offset, self.piece)
    }
}

fn piece(data: &[u8], offset: u32, piece: usize) -> &[u8] {
    let offset = offset as usize;
    let end = (offset / piece + 1) * piece;
    data.get(offset..end.min(data.len())).unwrap_or_default()
}

#[derive(Clone)]
struct Held {
    segment: Segment,
    read: Read,
    bytes: Vec<u8>,
    /// Data before it have gone.
    from: u32,
}

/// What the shell keeps of a flow besides the engine's state.
struct Extra {
    id: usize,
    held: Vec<Held>,
    kept: Vec<Held>,
    /// Servers that failed since one was connected.
    tried: Vec<u8>,
    /// The server of each leg, with its outstanding requests.
    legs: [Option<(u8, Identity, Identity, u32)>; 2],
    chosen: u8,
    service: u32,
    eager: bool,
    client: Identity,
    address: Identity,
    piece: usize,
}

struct Entry {
    flow: Flow,
    extra: Extra,
    scheduled: u64,
}

/// What is common to all flows.
struct Shared {
    plan: Plan,
    servers: Vec<[u8; 16]>,
    snat: [u8; 16],
    by_leg: HashMap<(Identity, Identity), (usize, usize)>,
    rng: Rng,
    key: [u64; 2],
    round: usize,
    trace: bool,
    notes: Vec<String>,
    errors: Vec<String>,
    stats: Stats,
    next_port: u16,
}

/// Counters.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Of the engine.
    pub events: BTreeMap<String, u64>,
    /// Requests begun and ended, for every server.
    pub started: u64,
    /// See [`Stats::started`].
    pub finished: u64,
    /// Legs' addresses taken and given back.
    pub reserved: u64,
    /// See [`Stats::reserved`].
    pub freed: u64,
    /// Flows made.
    pub flows: u64,
    /// The most that were there at once.
    pub most: usize,
    /// Connections to servers that were taken.
    pub connected: u64,
    /// Verdicts, and what became of segments that belong to no flow.
    pub verdicts: BTreeMap<&'static str, u64>,
}

impl Stats {
    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        for (name, count) in &other.events {
            *self.events.entry(name.clone()).or_default() += count;
        }
        for (name, count) in &other.verdicts {
            *self.verdicts.entry(name).or_default() += count;
        }
        self.started += other.started;
        self.finished += other.finished;
        self.reserved += other.reserved;
        self.freed += other.freed;
        self.flows += other.flows;
        self.most = self.most.max(other.most);
        self.connected += other.connected;
    }
}

struct Context<'a> {
    shared: &'a mut Shared,
    extra: &'a mut Extra,
    now: u64,
    out: &'a mut Vec<Vec<u8>>,
    emitted: Vec<Build>,
}

impl Shared {
    fn listener(&self, service: &Identity, now: u64) -> Listener {
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

    fn note(&mut self, note: impl FnOnce() -> String) {
        if self.trace {
            let note = note();
            self.notes.push(note);
        }
    }

    fn verdict(&mut self, name: &'static str) {
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
                port: self.extra.address.port,
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
        let mut packet = packet;
        if rewrite
            .apply(&mut packet, read.tcp, Checksum::Full)
            .is_none()
        {
            self.shared
                .errors
                .push("a packet could not be rewritten".into());
            return;
        }
        self.out.push(packet);
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

    fn keep(&mut self, to: u32, current: Option<(&Segment, &Packet<'p>)>) {
        let held = self.extra.held.iter().cloned();
        let current = current.and_then(|(segment, packet)| {
            Some(Held {
                segment: *segment,
                read: packet.read?,
                bytes: packet.bytes.to_vec(),
                from: segment.seq,
            })
        });
        self.extra.kept = held
            .chain(current)
            .filter(|held| before(held.segment.seq, to))
            .collect();
        self.shared.verdict("keep");
    }

    fn again(
        &mut self,
        from: u32,
        to: u32,
        rewrite: &mut dyn FnMut(&Segment, u32, u32) -> Rewrite,
    ) -> bool {
        let kept = std::mem::take(&mut self.extra.kept);
        let mut sent = false;
        for held in &kept {
            let (seq, end) = (held.segment.seq, held.segment.data_end());
            let first = if before(seq, from) { from } else { seq };
            let last = if before(to, end) { to } else { end };
            if before(first, last) {
                let (first, last) = (first.wrapping_sub(seq), last.wrapping_sub(seq));
                let rewrite = rewrite(&held.segment, first, last);
                let part = wire::cut(&held.bytes, &held.read, first, last);
                self.send(part, &held.read, &rewrite);
                sent = true;
            }
        }
        self.extra.kept = kept;
        self.shared.verdict("again");
        sent
    }

    fn let_go(&mut self) {
        self.extra.kept.clear();
    }

    fn started(&mut self, leg: usize) {
        self.shared.stats.started += 1;
        match &mut self.extra.legs[leg] {
            Some(leg) => leg.3 += 1,
            None => self.shared.errors.push("started on no leg".into()),
        }
    }

    fn finished(&mut self, leg: usize) {
        self.shared.stats.finished += 1;
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
    }

    fn connected(&mut self, leg: usize) {
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

fn before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) & 0x8000_0000 != 0
}

/// The switch.
pub struct Switch {
    shared: Shared,
    flows: Vec<Option<Entry>>,
    spare: Vec<usize>,
    by_client: HashMap<(Identity, Identity), usize>,
    timers: BinaryHeap<Reverse<(u64, usize)>>,
    live: usize,
    base: u64,
    service: [u8; 16],
}

impl Switch {
    /// A switch before the servers of a plan.
    pub fn new(
        plan: &Plan,
        service: [u8; 16],
        snat: [u8; 16],
        servers: Vec<[u8; 16]>,
        trace: bool,
    ) -> Self {
        let mut rng = Rng::new(plan.seed ^ 0x5111);
        let key = [rng.next(), rng.next()];
        Self {
            shared: Shared {
                plan: plan.clone(),
                servers,
                snat,
                by_leg: HashMap::new(),
                rng,
                key,
                round: 0,
                trace,
                notes: Vec::new(),
                errors: Vec::new(),
                stats: Stats::default(),
                next_port: 0,
            },
            flows: Vec::new(),
            spare: Vec::new(),
            by_client: HashMap::new(),
            timers: BinaryHeap::new(),
            live: 0,
            base: plan.base_ms * 1_000_000,
            service,
        }
    }

    /// What was decided since the last call, for a trace.
    pub fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.shared.notes)
    }

    /// What went wrong since the last call.
    pub fn errors(&mut self) -> Vec<String> {
        std::mem::take(&mut self.shared.errors)
    }

    /// Counters.
    pub fn stats(&self) -> &Stats {
        &self.shared.stats
    }

    /// Flows that are there.
    pub fn live(&self) -> usize {
        self.live
    }

    /// Flows, legs and packets that are left.
    pub fn left(&self) -> Vec<String> {
        let mut left: Vec<String> = self
            .flows
            .iter()
            .flatten()
            .map(|entry| format!("{:?}", entry.flow))
            .collect();
        for legs in self.shared.by_leg.keys() {
            left.push(format!("{legs:?}"));
        }
        left
    }

    /// When a flow is to be looked at next.
    pub fn wake(&self) -> Option<u64> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes a packet; gives those that go out.
    pub fn input(&mut self, now: u64, packet: &[u8], out: &mut Vec<Vec<u8>>) {
        let Some(read) = wire::read(packet) else {
            self.shared.note(|| "  switch: a bad packet".into());
            self.shared.verdict("bad");
            return;
        };
        let segment = read.segment;
        let clock = now + self.base;
        if segment.destination.address == self.service
            && !self
                .shared
                .by_leg
                .contains_key(&(segment.source, segment.destination))
        {
            self.client(now, clock, packet, &read, out);
            return;
        }
        let leg = self
            .shared
            .by_leg
            .get(&(segment.source, segment.destination))
            .copied();
        let Some((id, leg)) = leg else {
            self.stray(packet, &read, out);
            return;
        };
        let verdict = self.with(
            now,
            id,
            out,
            |flow, context, packet| flow.server(leg, &segment, packet, context),
            packet,
            &read,
        );
        self.shared
            .note(|| format!("  switch: {}", short(&verdict)));
        match verdict {
            Verdict::Drop => self.shared.verdict("server-drop"),
            Verdict::Forward(rewrite) => {
                self.shared.verdict("server-forward");
                let mut packet = packet.to_vec();
                match rewrite.apply(&mut packet, read.tcp, Checksum::Full) {
                    Some(()) => out.push(packet),
                    None => self.shared.errors.push("not rewritten".into()),
                }
            }
            Verdict::Part(bytes, rewrite) => {
                self.shared.verdict("server-part");
                let mut part = wire::cut(packet, &read, 0, bytes);
                match rewrite.apply(&mut part, read.tcp, Checksum::Full) {
                    Some(()) => out.push(part),
                    None => self.shared.errors.push("not rewritten".into()),
                }
            }
            verdict => self
                .shared
                .errors
                .push(format!("of a server's segment: {verdict:?}")),
        }
        self.after(now, id);
    }

    /// A packet of a server's, or of the front's, that belongs to no leg.
    fn stray(&mut self, packet: &[u8], read: &Read, out: &mut Vec<Vec<u8>>) {
        let segment = read.segment;
        if segment.source.address == self.service {
            // The front's own.
            self.shared.verdict("front-pass");
            out.push(packet.to_vec());
            return;
        }
        self.shared.verdict("server-stray");
        self.shared.note(|| "  switch: of no leg".into());
        if segment.flags & (RST | ACK) == ACK {
            // What a host answers that does not know of it.
            let build = Build {
                source: segment.destination,
                destination: segment.source,
                seq: segment.ack,
                ack: 0,
                flags: RST,
                window: 0,
                timestamps: None,
                offer: l7switch_engine::flow::Offer::default(),
            };
            write(&build, out);
        }
    }

    fn client(&mut self, now: u64, clock: u64, packet: &[u8], read: &Read, out: &mut Vec<Vec<u8>>) {
        let segment = read.segment;
        let key = (segment.source, segment.destination);
        if segment.flags & (SYN | ACK | RST) != SYN {
            if let Some(&id) = self.by_client.get(&key) {
                let verdict = self.with(
                    now,
                    id,
                    out,
                    |flow, context, packet| flow.client(&segment, packet, context),
                    packet,
                    read,
                );
                if verdict == Verdict::Reopen {
                    self.shared.note(|| "  switch: Reopen".into());
                    self.shared.verdict("reopen");
                    self.with(
                        now,
                        id,
                        out,
                        |flow, context, _| flow.end(context),
                        packet,
                        read,
                    );
                    self.after(now, id);
                } else {
                    self.apply(now, id, verdict, packet, read, out);
                    self.after(now, id);
                    return;
                }
            }
        }
        let listener = self.shared.listener(&segment.destination, clock);
        match fresh(&listener, &segment) {
            Fresh::Pass => {
                self.shared
                    .note(|| "  switch: passes to the local stack".into());
                self.shared.verdict("pass");
                out.push(packet.to_vec());
            }
            Fresh::Drop => {
                self.shared.note(|| "  switch: needs nothing".into());
                self.shared.verdict("fresh-drop");
            }
            Fresh::Answer(build) => {
                self.shared.note(|| "  switch: answers".into());
                self.shared.verdict("answer");
                write(&build, out);
            }
            Fresh::Open(flow) => {
                self.shared.note(|| "  switch: a flow".into());
                self.shared.verdict("open");
                let id = self.insert(flow, &segment);
                let verdict = self.with(
                    now,
                    id,
                    out,
                    |flow, context, packet| flow.client(&segment, packet, context),
                    packet,
                    read,
                );
                self.apply(now, id, verdict, packet, read, out);
                self.after(now, id);
            }
        }
    }

    fn insert(&mut self, flow: Flow, segment: &Segment) -> usize {
        let id = self.spare.pop().unwrap_or_else(|| {
            self.flows.push(None);
            self.flows.len() - 1
        });
        let piece = self.shared.rng.pick(&[7, 512, 4096, usize::MAX / 4]);
        self.flows[id] = Some(Entry {
            flow,
            extra: Extra {
                id,
                held: Vec::new(),
                kept: Vec::new(),
                tried: Vec::new(),
                legs: [None; 2],
                chosen: 0,
                service: match segment.destination.port {
                    TLS => 1,
                    EAGER => 2,
                    _ => 0,
                },
                eager: segment.destination.port == EAGER,
                client: segment.source,
                address: segment.destination,
                piece,
            },
            scheduled: u64::MAX,
        });
        if self
            .by_client
            .insert((segment.source, segment.destination), id)
            .is_some()
        {
            self.shared
                .errors
                .push("two flows of one client's tuple".into());
        }
        self.live += 1;
        self.shared.stats.flows += 1;
        self.shared.stats.most = self.shared.stats.most.max(self.live);
        id
    }

    /// Calls a flow.
    fn with<T>(
        &mut self,
        now: u64,
        id: usize,
        out: &mut Vec<Vec<u8>>,
        call: impl for<'p> FnOnce(&mut Flow, &mut Context<'p>, &Packet<'p>) -> T,
        packet: &[u8],
        read: &Read,
    ) -> T {
        let Some(entry) = &mut self.flows[id] else {
            unreachable!("an index leads to no flow")
        };
        // Held segments may be let go of at any time.
        if self.shared.rng.ppm(self.shared.plan.forget) {
            entry.extra.held.clear();
        }
        let packet = Packet {
            bytes: packet,
            read: Some(*read),
            data: read.data,
            piece: entry.extra.piece,
        };
        let mut context = Context {
            shared: &mut self.shared,
            extra: &mut entry.extra,
            now: now + self.base,
            out,
            emitted: Vec::new(),
        };
        let result = call(&mut entry.flow, &mut context, &packet);
        let emitted = context.emitted;
        for build in emitted {
            write(&build, out);
        }
        result
    }

    fn apply(
        &mut self,
        now: u64,
        id: usize,
        verdict: Verdict,
        packet: &[u8],
        read: &Read,
        out: &mut Vec<Vec<u8>>,
    ) {
        let segment = read.segment;
        self.shared
            .note(|| format!("  switch: {}", short(&verdict)));
        let (name, part, rewrite, hold) = match verdict {
            Verdict::Drop => ("drop", 0, None, None),
            Verdict::Forward(rewrite) => ("forward", segment.payload, Some(rewrite), None),
            Verdict::Hold(from) => ("hold", 0, None, Some(from)),
            Verdict::Part(bytes, rewrite) => ("part", bytes, Some(rewrite), None),
            Verdict::PartHold(bytes, rewrite) => (
                "part-hold",
                bytes,
                Some(rewrite),
                Some(segment.seq.wrapping_add(bytes)),
            ),
            Verdict::Reopen => {
                self.shared.errors.push("reopened twice".into());
                return;
            }
        };
        self.shared.verdict(name);
        let _ = now;
        if let Some(rewrite) = rewrite {
            let mut part = wire::cut(packet, read, 0, part);
            match rewrite.apply(&mut part, read.tcp, Checksum::Full) {
                Some(()) => out.push(part),
                None => self.shared.errors.push("not rewritten".into()),
            }
        }
        if let (Some(from), Some(entry)) = (hold, &mut self.flows[id]) {
            if before(from, segment.seq) || before(segment.data_end(), from) {
                self.shared
                    .errors
                    .push(format!("held from {from}, outside of the segment"));
            }
            if self.shared.rng.ppm(self.shared.plan.forget) {
                return;
            }
            if let Some(last) = entry.extra.held.last() {
                let end = last.segment.data_end();
                if before(end, segment.seq) || before(segment.data_end(), end) {
                    self.shared
                        .errors
                        .push("held segments do not follow each other".into());
                }
            }
            entry.extra.held.push(Held {
                segment,
                read: *read,
                bytes: packet.to_vec(),
                from,
            });
        }
    }

    /// Forgets a flow that is dead, or sees that it is looked at in time.
    fn after(&mut self, now: u64, id: usize) {
        let Some(entry) = &mut self.flows[id] else {
            return;
        };
        check(entry, &mut self.shared);
        if entry.flow.state() == State::Dead {
            if entry.extra.legs.iter().any(Option::is_some) {
                self.shared
                    .errors
                    .push("a flow is dead and has a leg".into());
            }
            if !entry.extra.held.is_empty() {
                self.shared.errors.push("a flow is dead and holds".into());
            }
            let key = (entry.extra.client, entry.extra.address);
            self.by_client.remove(&key);
            self.flows[id] = None;
            self.spare.push(id);
            self.live -= 1;
            self.shared.note(|| "  switch: the flow is gone".into());
            return;
        }
        let clock = now + self.base;
        let mut nothing = Vec::new();
        let context = Context {
            shared: &mut self.shared,
            extra: &mut entry.extra,
            now: clock,
            out: &mut nothing,
            emitted: Vec::new(),
        };
        let due = entry.flow.due(&context);
        let wait = due.wrapping_sub(milliseconds(clock));
        let wait = if wait > 1 << 31 { 0 } else { wait };
        let at = (clock / 1_000_000 + u64::from(wait)) * 1_000_000 - self.base;
        let at = at.max(now + 1_000_000);
        if at < entry.scheduled {
            entry.scheduled = at;
            self.timers.push(Reverse((at, id)));
        }
    }

    /// Does what time has come for.
    pub fn tick(&mut self, now: u64, out: &mut Vec<Vec<u8>>) {
        while let Some(&Reverse((at, id))) = self.timers.peek() {
            if at > now {
                return;
            }
            self.timers.pop();
            let Some(entry) = &mut self.flows[id] else {
                continue;
            };
            if entry.scheduled != at {
                continue;
            }
            entry.scheduled = u64::MAX;
            let empty = wire::Header {
                source: entry.extra.client,
                destination: entry.extra.address,
                seq: 0,
                ack: 0,
                flags: FIN,
                window: 0,
                options: Vec::new(),
            }
            .packet(&[]);
            let Some(read) = wire::read(&empty) else {
                continue;
            };
            self.shared.note(|| format!("  switch: tick of flow {id}"));
            self.with(
                now,
                id,
                out,
                |flow, context, _| flow.tick(context),
                &empty,
                &read,
            );
            self.after(now, id);
        }
    }
}

fn write(build: &Build, out: &mut Vec<Vec<u8>>) {
    let mut bytes = [0; LEN_MAX];
    let len = build.write(&mut bytes);
    out.push(bytes[..len].to_vec());
}

/// A verdict in a few words.
fn short(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Forward(_) => "Forward".into(),
        Verdict::Part(bytes, _) => format!("Part({bytes})"),
        Verdict::PartHold(bytes, _) => format!("PartHold({bytes})"),
        verdict => format!("{verdict:?}"),
    }
}

/// What holds of a flow whenever it is not being called.
fn check(entry: &Entry, shared: &mut Shared) {
    let flow = &entry.flow;
    let mut wrong = Vec::new();
    for leg in 0..2 {
        let there = flow.leg(leg).is_some();
        if there != entry.extra.legs[leg].is_some() {
            wrong.push(format!("leg {leg} and its reservation differ"));
        }
        if let (Some(leg), Some((_, peer, local, _))) = (flow.leg(leg), entry.extra.legs[leg]) {
            if leg.peer != peer || leg.local != local {
                wrong.push("a leg's addresses are not those that were reserved".into());
            }
        }
    }
    let outstanding: u32 = entry.extra.legs.iter().flatten().map(|leg| leg.3).sum();
    if outstanding != flow.outstanding() && flow.state() != State::Dead {
        wrong.push(format!(
            "{outstanding} requests are counted, {} are outstanding",
            flow.outstanding()
        ));
    }
    if let Some(active) = flow.active() {
        if flow.leg(active).is_none_or(|leg| !leg.is_open()) {
            wrong.push("the leg in use is not connected".into());
        }
    }
    if let Some(binding) = flow.binding() {
        if flow.leg(binding).is_none_or(|leg| !leg.is_opening()) {
            wrong.push("the leg that is being opened is not".into());
        }
        if flow.active().is_some() {
            wrong.push("a leg is opened while another is in use".into());
        }
    }
    let held: usize = entry.extra.held.iter().map(|held| held.bytes.len()).sum();
    if held > 200_000 {
        wrong.push(format!("{held} bytes are held"));
    }
    let _ = entry.extra.eager;
    for wrong in wrong {
        shared.errors.push(format!("{wrong}: {flow:?}"));
    }
}
