// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The switch of the simulation: what the kernel's shell is to the flow engine.

mod environment;
mod rules;
mod stats;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::HashMap;

use l7switch_engine::flow::Asked;
use l7switch_engine::flow::Build;
use l7switch_engine::flow::Flow;
use l7switch_engine::flow::Fresh;
use l7switch_engine::flow::LEN_MAX;
use l7switch_engine::flow::Segment;
use l7switch_engine::flow::State;
use l7switch_engine::flow::Verdict;
use l7switch_engine::flow::fresh;
use l7switch_engine::flow::milliseconds;
use l7switch_engine::flow::segment::ACK;
use l7switch_engine::flow::segment::FIN;
use l7switch_engine::flow::segment::RST;
use l7switch_engine::flow::segment::SYN;
use l7switch_engine::sched::Identity;

use crate::plan::ALSO;
use crate::plan::EAGER;
use crate::plan::Plan;
use crate::plan::TLS;
use crate::rng::Rng;
use crate::wire;
use crate::wire::Read;

use environment::Context;
use environment::Entry;
use environment::Extra;
use environment::Held;
use environment::Packet;
use environment::Shared;
use environment::before;
pub use stats::Stats;

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
                takes: HashMap::new(),
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

    /// Takes a packet; gives those that go out. Whether it began a connection in the place of another.
    pub fn input(&mut self, now: u64, packet: &[u8], out: &mut Vec<Vec<u8>>) -> bool {
        let Some(read) = wire::read(packet) else {
            self.shared.note(|| "  switch: a bad packet".into());
            self.shared.verdict("bad");
            return false;
        };
        let segment = read.segment;
        let clock = now + self.base;
        if segment.destination.address == self.service
            && !self
                .shared
                .by_leg
                .contains_key(&(segment.source, segment.destination))
        {
            return self.client(now, clock, packet, &read, out);
        }
        let leg = self
            .shared
            .by_leg
            .get(&(segment.source, segment.destination))
            .copied();
        let Some((id, leg)) = leg else {
            self.stray(packet, &read, out);
            return false;
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
                self.shared.rewrite(packet.to_vec(), &read, &rewrite, out);
            }
            Verdict::Part(bytes, rewrite) => {
                self.shared.verdict("server-part");
                let part = wire::cut(packet, &read, 0, bytes);
                self.shared.rewrite(part, &read, &rewrite, out);
            }
            verdict => self
                .shared
                .errors
                .push(format!("of a server's segment: {verdict:?}")),
        }
        self.after(now, id);
        false
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

    fn client(
        &mut self,
        now: u64,
        clock: u64,
        packet: &[u8],
        read: &Read,
        out: &mut Vec<Vec<u8>>,
    ) -> bool {
        let mut reopened = false;
        let segment = read.segment;
        let key = (segment.source, segment.destination);
        if segment.flags & (SYN | ACK | RST) != SYN
            && let Some(&id) = self.by_client.get(&key)
        {
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
                reopened = true;
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
                return false;
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
        reopened
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
                seen: None,
                notes: Vec::new(),
                tried: Vec::new(),
                legs: [None; 2],
                chosen: 0,
                asked: Asked::new(),
                service: match segment.destination.port {
                    ALSO => 1,
                    TLS => 2,
                    EAGER => 3,
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
        // Held segments may be let go of at any time, but not within a burst: a long one would never get through.
        let forgotten = self.shared.rng.ppm(self.shared.plan.forget);
        if forgotten && entry.extra.seen != Some(now) {
            entry.extra.held.clear();
            self.shared
                .note(|| "  switch: what was held is let go of".into());
        }
        entry.extra.seen = Some(now);
        let packet = Packet {
            bytes: packet,
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
            let part = wire::cut(packet, read, 0, part);
            self.shared.rewrite(part, read, &rewrite, out);
        }
        if let (Some(from), Some(entry)) = (hold, &mut self.flows[id]) {
            if before(from, segment.seq) || before(segment.data_end(), from) {
                self.shared
                    .errors
                    .push(format!("held from {from}, outside of the segment"));
            }
            if self.shared.rng.ppm(self.shared.plan.forget) {
                self.shared.note(|| "  switch: it is not held".into());
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
        let due = entry.flow.due(!context.extra.held.is_empty());
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
        if let (Some(leg), Some((_, peer, local, _))) = (flow.leg(leg), entry.extra.legs[leg])
            && (leg.peer != peer || leg.local != local)
        {
            wrong.push("a leg's addresses are not those that were reserved".into());
        }
    }
    let outstanding: u32 = entry.extra.legs.iter().flatten().map(|leg| leg.3).sum();
    if outstanding != flow.outstanding() && flow.state() != State::Dead {
        wrong.push(format!(
            "{outstanding} requests are counted, {} are outstanding",
            flow.outstanding()
        ));
    }
    if entry.extra.asked.outstanding() != outstanding {
        wrong.push(format!("{:?} is not {outstanding}", entry.extra.asked));
    }
    if let Some(active) = flow.active()
        && flow.leg(active).is_none_or(|leg| !leg.is_open())
    {
        wrong.push("the leg in use is not connected".into());
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
