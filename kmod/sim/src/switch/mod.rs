// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The switch of the simulation: what the kernel's shell is to the flow engine.

#[cfg(test)]
mod choosing_tests;
mod packet;
mod platform;
mod restart;
mod rules;
mod stats;

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::HashMap;
use std::collections::HashSet;
use std::rc::Rc;

use l7switch_engine::endpoint::Endpoint;
use l7switch_engine::environment::FlowEnv;
use l7switch_engine::flow::Build;
use l7switch_engine::flow::Flow;
use l7switch_engine::flow::Fresh;
use l7switch_engine::flow::LEN_MAX;
use l7switch_engine::flow::Listener;
use l7switch_engine::flow::Segment;
use l7switch_engine::flow::State;
use l7switch_engine::flow::Verdict;
use l7switch_engine::flow::cookie;
use l7switch_engine::flow::cookie::EPOCHS;
use l7switch_engine::flow::cookie::Opening;
use l7switch_engine::flow::fresh;
use l7switch_engine::flow::milliseconds;
use l7switch_engine::flow::segment::ACK;
use l7switch_engine::flow::segment::FIN;
use l7switch_engine::flow::segment::RST;
use l7switch_engine::flow::segment::SYN;
use l7switch_engine::flow::seq::before;

use crate::plan::Plan;
use crate::wire;
use crate::wire::Read;

use packet::Owned;
use packet::Packet;
use packet::UnackedMemory;
use packet::Waiting;
use platform::Carrier;
pub use platform::Counted;
use platform::Shared;
use rules::SimRules;
pub use stats::Stats;

/// A flow, with what is kept beside it.
struct Entry {
    flow: Flow,
    state: platform::State,
    client: Endpoint,
    service: Endpoint,
    /// Its packets' data lie in pieces of so many bytes.
    piece: usize,
    /// When the last packet came.
    seen: Option<u64>,
    /// When it is looked at next.
    scheduled: u64,
}

/// The switch.
pub struct Switch {
    shared: RefCell<Shared>,
    rules: Rc<SimRules>,
    /// Addresses of the real servers, by host.
    servers: Vec<[u8; 16]>,
    flows: Vec<Option<Entry>>,
    spare: Vec<usize>,
    by_client: HashMap<(Endpoint, Endpoint), usize>,
    passed: bool,
    timers: BinaryHeap<Reverse<(u64, usize)>>,
    /// When rules are replaced, the last time first.
    reloads: Vec<u64>,
    live: usize,
    base: u64,
    service: [u8; 16],
    /// SYNs that were answered: client, service, number, cookie.
    answered: HashSet<(Endpoint, Endpoint, u32, u32)>,
    /// A cookie was met by chance.
    chance: bool,
    /// Flows that have been given up because nothing came: client and service.
    silent: Vec<(Endpoint, Endpoint)>,
}

/// Servers that were left out are put back that often, ns.
const RECOVERY: u64 = 100_000_000;

impl Switch {
    /// A switch before the servers of a plan.
    pub fn new(
        plan: &Plan,
        service: [u8; 16],
        snat: [u8; 16],
        servers: Vec<[u8; 16]>,
        trace: bool,
    ) -> Self {
        let mut reloads = plan.rules.reloads.clone();
        reloads.sort_unstable_by(|a, b| b.cmp(a));
        Self {
            shared: RefCell::new(Shared::new(plan, snat, trace)),
            rules: Rc::new(SimRules::new(plan, service, &servers, 1, None)),
            servers,
            flows: Vec::new(),
            spare: Vec::new(),
            by_client: HashMap::new(),
            passed: false,
            timers: BinaryHeap::new(),
            reloads,
            live: 0,
            base: plan.base_ms * 1_000_000,
            service,
            answered: HashSet::new(),
            chance: false,
            silent: Vec::new(),
        }
    }

    fn note(&self, note: impl FnOnce() -> String) {
        self.shared.borrow_mut().note(note);
    }

    fn verdict(&self, name: &'static str) {
        self.shared.borrow_mut().verdict(name);
    }

    fn error(&self, error: impl Into<String>) {
        self.shared.borrow_mut().error(error);
    }

    /// Puts rules in force whose time has come, and servers back.
    fn keep_rules(&mut self, now: u64) {
        while self.reloads.last().is_some_and(|&at| at <= now) {
            self.reloads.pop();
            self.note(|| "  switch: other rules".into());
            self.verdict("reload");
            let plan = self.shared.borrow().plan.clone();
            let (servers, before) = (&self.servers, &self.rules);
            let generation = l7switch_engine::policy::RulesetView::generation(&**before) + 1;
            let rules = SimRules::new(&plan, self.service, servers, generation, Some(before));
            self.rules = Rc::new(rules);
        }
        self.rules.recover((now + self.base) / RECOVERY * RECOVERY);
    }

    /// What was decided since the last call, for a trace.
    pub fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.shared.borrow_mut().notes)
    }

    /// What went wrong since the last call.
    pub fn errors(&mut self) -> Vec<String> {
        std::mem::take(&mut self.shared.borrow_mut().errors)
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        self.shared.borrow().stats.clone()
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
        for legs in self.shared.borrow().by_leg.keys() {
            left.push(format!("{legs:?}"));
        }
        let active = self.rules.active();
        if active > 0 {
            left.push(format!("{active} requests that servers have"));
        }
        left
    }

    /// Whether a segment was taken for one of a connection that never was, since its numbers happened to be those of a cookie
    /// (one in 2²⁴ for each epoch): what comes of it shows nothing.
    pub fn chance(&self) -> bool {
        self.chance
    }

    /// What was counted between a client and a service.
    pub fn counted(&self, client: Endpoint, service: Endpoint) -> Counted {
        let shared = self.shared.borrow();
        shared
            .counted
            .get(&(client, service))
            .copied()
            .unwrap_or_default()
    }

    /// Requests that were counted for a server's host.
    pub fn requests(&self, host: u8) -> u64 {
        self.rules.requests(host)
    }

    /// Requests that servers have, as flows see it.
    fn outstanding(&self) -> u32 {
        let entries = self.flows.iter().flatten().filter(|entry| {
            let leg = entry.flow.active().or(entry.flow.binding());
            leg.is_some_and(|leg| entry.state.server(leg).is_some())
        });
        entries.map(|entry| entry.flow.outstanding()).sum()
    }

    /// Flows that have been given up since the last call because nothing came: client and service.
    pub fn silent(&mut self) -> Vec<(Endpoint, Endpoint)> {
        std::mem::take(&mut self.silent)
    }

    /// The client and the service whose flow has a leg between a server and an address of the switch's.
    pub fn client_of(&self, server: Endpoint, local: Endpoint) -> Option<(Endpoint, Endpoint)> {
        let (id, _) = *self.shared.borrow().by_leg.get(&(server, local))?;
        let entry = self.flows.get(id)?.as_ref()?;
        Some((entry.client, entry.service))
    }

    /// Whether what went out last is a packet of the front's stack that is no leg's, as it came.
    pub fn take_passed(&mut self) -> bool {
        std::mem::take(&mut self.passed)
    }

    /// When a flow is to be looked at next.
    pub fn wake(&self) -> Option<u64> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes a packet; gives those that go out. Whether it began a connection in the place of another.
    pub fn input(&mut self, now: u64, packet: &[u8], out: &mut Vec<Vec<u8>>) -> bool {
        let Some(read) = wire::read(packet) else {
            self.note(|| "  switch: a bad packet".into());
            self.verdict("bad");
            return false;
        };
        self.keep_rules(now);
        let segment = read.segment;
        let clock = now + self.base;
        let ends = (segment.source, segment.destination);
        let from_front = segment.source.address == self.service;
        let leg = if from_front {
            // It answers clients at their own addresses.
            let id = self.by_client.get(&(segment.destination, segment.source));
            let entry = id.and_then(|&id| Some((id, self.flows[id].as_ref()?)));
            entry.and_then(|(id, entry)| Some((id, entry.flow.front_leg()?)))
        } else {
            self.shared.borrow().by_leg.get(&ends).copied()
        };
        if leg.is_none() && !from_front && segment.destination.address == self.service {
            return self.client(now, clock, packet, &read, out);
        }
        let Some((id, leg)) = leg else {
            self.stray(packet, &read, out);
            return false;
        };
        if !from_front && segment.flags & (SYN | ACK) == SYN | ACK {
            let ipv4 = l7switch_engine::endpoint::is_ipv4(&segment.source.address);
            let takes = segment.offer.largest(ipv4);
            self.shared.borrow_mut().takes.insert(ends, takes);
        }
        let verdict = self.with(
            now,
            id,
            out,
            |flow, env, packet| flow.server(leg, &segment, packet, env),
            packet,
            &read,
        );
        self.note(|| format!("  switch: {}", short(&verdict)));
        match verdict {
            Verdict::Drop => self.verdict("server-drop"),
            Verdict::Forward(rewrite) => {
                self.verdict("server-forward");
                self.shared
                    .borrow_mut()
                    .rewrite(packet.to_vec(), &read, &rewrite, out);
            }
            Verdict::Part(bytes, rewrite) => {
                self.verdict("server-part");
                let part = wire::cut(packet, &read, 0, bytes);
                self.shared.borrow_mut().rewrite(part, &read, &rewrite, out);
            }
            verdict => self.error(format!("of a server's segment: {verdict:?}")),
        }
        self.after(now, id);
        false
    }

    /// A packet of a server's, or of the front's, that belongs to no leg.
    fn stray(&mut self, packet: &[u8], read: &Read, out: &mut Vec<Vec<u8>>) {
        let segment = read.segment;
        if segment.source.address == self.service {
            // The front's own.
            self.verdict("front-pass");
            self.passed = true;
            out.push(packet.to_vec());
            return;
        }
        self.verdict("server-stray");
        self.note(|| "  switch: of no leg".into());
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
                refusal: None,
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
        let is_live = |id: &&usize| {
            let entry = self.flows[**id].as_ref();
            entry.is_some_and(|entry| entry.flow.is_live())
        };
        let begins = segment.flags.control() == SYN;
        let id = self.by_client.get(&key);
        if let Some(&id) = id.filter(|id| !begins || is_live(id)) {
            let verdict = self.take(now, id, packet, read, out);
            if verdict == Verdict::Reopen {
                self.note(|| "  switch: Reopen".into());
                self.verdict("reopen");
                reopened = true;
                self.with(now, id, out, |flow, env, _| flow.end(env), packet, read);
                self.after(now, id);
            } else {
                self.apply(now, id, verdict, packet, read, out);
                self.after(now, id);
                return false;
            }
        }
        let listener = self.shared.borrow().listener(&segment.destination, clock);
        self.chance |= self.by_chance(&listener, &segment);
        match fresh(&listener, &segment) {
            Fresh::Pass => {
                self.note(|| "  switch: passes to the local stack".into());
                self.verdict("pass");
                out.push(packet.to_vec());
            }
            Fresh::Drop | Fresh::Overtook => {
                self.note(|| "  switch: needs nothing".into());
                self.verdict("fresh-drop");
            }
            Fresh::Answer(build) => {
                self.note(|| "  switch: answers".into());
                if build.flags.intersects(SYN) {
                    let isn = build.ack.wrapping_sub(1);
                    self.answered.insert((key.0, key.1, isn, build.seq));
                }
                self.verdict("answer");
                write(&build, out);
            }
            Fresh::Open(flow) => {
                self.note(|| "  switch: a flow".into());
                self.verdict("open");
                let id = self.insert(flow, &segment);
                let verdict = self.take(now, id, packet, read, out);
                self.apply(now, id, verdict, packet, read, out);
                self.after(now, id);
            }
        }
        reopened
    }

    /// Gives a client's packet to its flow.
    fn take(
        &mut self,
        now: u64,
        id: usize,
        packet: &[u8],
        read: &Read,
        out: &mut Vec<Vec<u8>>,
    ) -> Verdict {
        self.with(
            now,
            id,
            out,
            |flow, env, packet| flow.client(&read.segment, packet, env),
            packet,
            read,
        )
    }

    /// Whether what a segment acknowledges is what a SYN of its connection would have been answered with within the last
    /// epochs, and none was.
    fn by_chance(&self, listener: &Listener, segment: &Segment) -> bool {
        if segment.flags.control() != ACK {
            return false;
        }
        // As fresh() looks at it: of the first data, of a probe before them, of the last acknowledgement.
        let probe = segment.payload <= 1 && !segment.is(FIN);
        let last = segment.payload == 0 && !segment.is(FIN);
        let places = [(1, 1, true), (0, 1, probe), (2, 2, last)];
        for (isn, ack, _) in places.into_iter().filter(|(.., looked)| *looked) {
            let (isn, cookie) = (segment.seq.wrapping_sub(isn), segment.ack.wrapping_sub(ack));
            let (client, service) = (segment.source, segment.destination);
            if self.answered.contains(&(client, service, isn, cookie)) {
                return false;
            }
            let opening = Opening {
                client,
                service,
                isn,
            };
            let (key, epoch) = (listener.key, listener.epoch);
            // What the check takes and no answer is would be its fault.
            let made = |offer| {
                let make = |age| cookie::make(key, &opening, epoch.wrapping_sub(age), &offer);
                (0..EPOCHS).any(|age| make(age) == cookie)
            };
            if cookie::check(key, &opening, epoch, cookie).is_some_and(made) {
                return true;
            }
        }
        false
    }

    fn insert(&mut self, flow: Flow, segment: &Segment) -> usize {
        let id = self.spare.pop().unwrap_or_else(|| {
            self.flows.push(None);
            self.flows.len() - 1
        });
        let piece = self
            .shared
            .borrow_mut()
            .rng
            .pick(&[7, 512, 4096, usize::MAX / 4]);
        self.flows[id] = Some(Entry {
            flow,
            state: platform::State::new(Waiting::default(), UnackedMemory::default(), ()),
            client: segment.source,
            service: segment.destination,
            piece,
            seen: None,
            scheduled: u64::MAX,
        });
        if self
            .by_client
            .insert((segment.source, segment.destination), id)
            .is_some()
        {
            self.error("two flows of one client's tuple");
        }
        self.live += 1;
        let stats = &mut self.shared.borrow_mut().stats;
        stats.flows += 1;
        stats.most = stats.most.max(self.live);
        id
    }

    /// Calls a flow.
    fn with<T>(
        &mut self,
        now: u64,
        id: usize,
        out: &mut Vec<Vec<u8>>,
        call: impl for<'p> FnOnce(&mut Flow, &mut FlowEnv<'p, Carrier<'p>>, &Packet<'p>) -> T,
        packet: &[u8],
        read: &Read,
    ) -> T {
        let Some(entry) = &mut self.flows[id] else {
            unreachable!("an index leads to no flow")
        };
        // Held segments may be let go of at any time, but not within a burst: a long one would never get through.
        let forgets = {
            let shared = &mut *self.shared.borrow_mut();
            shared.rng.ppm(shared.plan.forget)
        };
        if forgets && entry.seen != Some(now) {
            entry.state.held = Default::default();
            self.shared
                .borrow_mut()
                .note(|| "  switch: what was held is let go of".into());
        }
        entry.seen = Some(now);
        let from = read.segment.source.address;
        let from = self.servers.iter().position(|&server| server == from);
        let platform = Carrier {
            shared: &self.shared,
            rules: Rc::clone(&self.rules),
            id,
            client: entry.client,
            service: entry.service,
            now: now + self.base,
            out,
            emitted: Vec::new(),
            from: from.map(|host| host as u8),
        };
        let mut env = FlowEnv::new(platform, entry.client, entry.service, &mut entry.state);
        let packet = Packet {
            bytes: packet,
            data: read.data,
            piece: entry.piece,
        };
        let result = call(&mut entry.flow, &mut env, &packet);
        let emitted = env.platform.emitted;
        if entry.flow.is_opaque() {
            let ends = (entry.client, entry.service);
            let shared = &mut *self.shared.borrow_mut();
            shared.counted.entry(ends).or_default().unread = true;
        }
        if entry.state.has_unacked() {
            self.shared.borrow_mut().verdict("unacked");
        }
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
        self.note(|| format!("  switch: {}", short(&verdict)));
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
                self.error("reopened twice");
                return;
            }
        };
        self.verdict(name);
        let _ = now;
        if let Some(rewrite) = rewrite {
            let part = wire::cut(packet, read, 0, part);
            self.shared.borrow_mut().rewrite(part, read, &rewrite, out);
        }
        let (Some(from), Some(entry)) = (hold, &mut self.flows[id]) else {
            return;
        };
        let shared = &mut *self.shared.borrow_mut();
        if before(from, segment.seq) || before(segment.data_end(), from) {
            shared.error(format!("held from {from}, outside of the segment"));
        }
        if shared.rng.ppm(shared.plan.forget) {
            shared.note(|| "  switch: it is not held".into());
            return;
        }
        let packet = Owned {
            bytes: packet.to_vec(),
            read: *read,
            piece: entry.piece,
        };
        if !entry.state.held.hold(packet, &segment, from, 0) {
            shared.verdict("hold-refused");
        }
    }

    /// Forgets a flow that is dead, or sees that it is looked at in time.
    fn after(&mut self, now: u64, id: usize) {
        let (servers, flows) = (self.rules.active(), self.outstanding());
        if servers != flows {
            self.error(format!(
                "servers have {servers} requests, but flows wait for {flows}"
            ));
        }
        if let Some((active, bound)) = self.rules.over_bound() {
            self.error(format!(
                "a server has {active} requests, and may have {bound}"
            ));
        }
        let Some(entry) = &mut self.flows[id] else {
            return;
        };
        if let Some(broken) = entry.state.broken(&entry.flow) {
            let error = format!("{broken}: {:?}", entry.flow);
            self.shared.borrow_mut().error(error);
        }
        if entry.flow.state() == State::Dead {
            let key = (entry.client, entry.service);
            self.by_client.remove(&key);
            self.flows[id] = None;
            self.spare.push(id);
            self.live -= 1;
            self.note(|| "  switch: the flow is gone".into());
            return;
        }
        let clock = now + self.base;
        let due = entry.flow.due(!entry.state.held.is_empty());
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
        self.keep_rules(now);
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
                source: entry.client,
                destination: entry.service,
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
            let ends = (entry.client, entry.service);
            self.note(|| format!("  switch: tick of flow {id}"));
            self.with(now, id, out, |flow, env, _| flow.tick(env), &empty, &read);
            if std::mem::take(&mut self.shared.borrow_mut().idle) {
                self.silent.push(ends);
            }
            self.after(now, id);
        }
    }
}

fn write(build: &Build, out: &mut Vec<Vec<u8>>) {
    let mut bytes = [0; LEN_MAX];
    let len = build.write(&[], &mut bytes);
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
