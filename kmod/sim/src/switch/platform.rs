// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What flows' environments have of the simulated network: addresses and ports, memory, and somebody who checks what they do.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use l7switch_engine::decisions::Decisions;
use l7switch_engine::decisions::Entry;
use l7switch_engine::endpoint::Endpoint;
use l7switch_engine::environment;
use l7switch_engine::environment::Buffers;
use l7switch_engine::environment::ConnState;
use l7switch_engine::environment::Exchange;
use l7switch_engine::environment::Kept;
use l7switch_engine::environment::Tally;
use l7switch_engine::fingerprint;
use l7switch_engine::flow::Build;
use l7switch_engine::flow::Checksum;
use l7switch_engine::flow::Event;
use l7switch_engine::flow::HOLD_MAX;
use l7switch_engine::flow::LEN_WITH_HEADER;
use l7switch_engine::flow::LegNumber;
use l7switch_engine::flow::Listener;
use l7switch_engine::flow::Rewrite;
use l7switch_engine::flow::cookie::EPOCH_SECONDS;
use l7switch_engine::flow::milliseconds;
use l7switch_engine::flow::segment::Parsed;
use l7switch_engine::policy::Host;
use l7switch_engine::proxy_header::Written;
use l7switch_engine::uri::MAX_HOST;

use super::packet::Owned;
use super::packet::Packet;
use super::packet::UnackedMemory;
use super::packet::Waiting;
use super::rules::Handle;
use super::rules::SimRules;
use super::stats::Stats;
use crate::plan::EAGER;
use crate::plan::Plan;
use crate::rng::Rng;
use crate::wire;
use crate::wire::Read;

/// Decisions that are remembered; a power of two.
const DECISIONS: usize = 16;

/// What the simulation keeps of a connection.
pub(super) enum Simulated {}

impl Kept for Simulated {
    type Queue = Waiting;
    type Unacked = UnackedMemory;
    type Server = Handle;
    type Routes = ();
}

/// What is kept of a connection besides its flow.
pub(super) type State = ConnState<Simulated>;

/// What was counted between a client and a service.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    /// Requests.
    pub requests: u64,
    /// Final responses.
    pub responses: u64,
    /// Requests that were counted for a route.
    pub routed: u64,
    /// Something passed that was not read.
    pub unread: bool,
}

/// What is common to all flows.
pub(super) struct Shared {
    pub(super) plan: Plan,
    pub(super) snat: [u8; 16],
    /// Legs, by the ends of their servers' packets: flow and leg.
    pub(super) by_leg: HashMap<(Endpoint, Endpoint), (usize, LegNumber)>,
    /// The largest segments that servers take, as they said on connections.
    pub(super) takes: HashMap<(Endpoint, Endpoint), u16>,
    pub(super) rng: Rng,
    pub(super) key: [u64; 2],
    pub(super) trace: bool,
    pub(super) notes: Vec<String>,
    pub(super) errors: Vec<String>,
    pub(super) stats: Stats,
    /// What was counted for services, by client and service.
    pub(super) counted: HashMap<(Endpoint, Endpoint), Counted>,
    /// A flow was given up because nothing came.
    pub(super) idle: bool,
    /// Memory to read requests in.
    buffers: Vec<(Vec<u8>, Vec<u8>)>,
    /// What was decided about requests: few, so that they take each other's places.
    pub(super) decisions: Vec<Entry>,
}

impl Shared {
    pub(super) fn new(plan: &Plan, snat: [u8; 16], trace: bool) -> Self {
        let mut rng = Rng::new(plan.seed ^ 0x5111);
        let key = [rng.next(), rng.next()];
        Self {
            plan: plan.clone(),
            snat,
            by_leg: HashMap::new(),
            takes: HashMap::new(),
            rng,
            key,
            trace,
            notes: Vec::new(),
            errors: Vec::new(),
            stats: Stats::default(),
            counted: HashMap::new(),
            idle: false,
            buffers: Vec::new(),
            decisions: vec![Entry::NONE; DECISIONS],
        }
    }

    pub(super) fn listener(&self, service: &Endpoint, now: u64) -> Listener {
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

    pub(super) fn error(&mut self, error: impl Into<String>) {
        self.errors.push(error.into());
    }

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
            self.error("a packet could not be rewritten");
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
            self.error(error);
        }
        let segments = wire::segments(&packet, &read, rewrite.limit);
        if segments.len() > 1 {
            self.verdict("cut");
        }
        out.extend(segments);
    }
}

/// Carries a flow's environment.
pub(super) struct Carrier<'a> {
    pub(super) shared: &'a RefCell<Shared>,
    pub(super) rules: Rc<SimRules>,
    /// The flow, by number.
    pub(super) id: usize,
    pub(super) client: Endpoint,
    pub(super) service: Endpoint,
    /// Now, ns of the switch's clock.
    pub(super) now: u64,
    /// Where packets go.
    pub(super) out: &'a mut Vec<Vec<u8>>,
    /// Segments of the switch's own: sent behind them.
    pub(super) emitted: Vec<Build>,
    /// The host that the packet has come from, where it is a server's.
    pub(super) from: Option<u8>,
}

impl Carrier<'_> {
    fn note(&self, note: impl FnOnce() -> String) {
        self.shared.borrow_mut().note(note);
    }
}

impl Host for Carrier<'_> {
    fn random(&self) -> u64 {
        self.shared.borrow_mut().rng.next()
    }

    fn is_here(&self, address: &[u8; 16]) -> bool {
        *address == self.service.address
    }
}

impl<'a> environment::Platform for Carrier<'a> {
    type Kept = Simulated;
    type Packet = Packet<'a>;
    type Rules = SimRules;

    fn now(&self) -> u64 {
        self.now
    }

    fn rules(&self) -> &SimRules {
        &self.rules
    }

    fn listener(&self) -> Listener {
        self.shared.borrow().listener(&self.service, self.now)
    }

    fn fingerprint_key(&self) -> fingerprint::Key {
        let [random, _] = self.shared.borrow().key;
        fingerprint::Key::new(random)
    }

    fn memory(&self) -> u64 {
        // Nothing of it is counted: a connection's own limit is what is looked at here.
        0
    }

    fn with_buffers<T>(&self, with: impl FnOnce(Buffers<'_>) -> T) -> Option<T> {
        let spare = self.shared.borrow_mut().buffers.pop();
        let len = 2 * HOLD_MAX as usize;
        let (mut bytes, mut path) = spare.unwrap_or_else(|| (vec![0; len], vec![0; len]));
        let mut decisions = std::mem::take(&mut self.shared.borrow_mut().decisions);
        let result = with(Buffers {
            bytes: &mut bytes,
            host: &mut [0; MAX_HOST],
            path: &mut path,
            decisions: Decisions(&mut decisions),
        });
        self.shared.borrow_mut().decisions = decisions;
        self.shared.borrow_mut().buffers.push((bytes, path));
        Some(result)
    }

    fn forwards(&self, ipv4: bool) -> bool {
        self.shared.borrow().plan.forwards[usize::from(!ipv4)]
    }

    fn own_address(&self, _: &[u8; 16]) -> Option<[u8; 16]> {
        Some(self.shared.borrow().snat)
    }

    fn own_ports(&self) -> Range<u16> {
        32_768..32_768 + self.shared.borrow().plan.ports
    }

    fn insert(&self, leg: LegNumber, peer: &Endpoint, local: &Endpoint) -> bool {
        let mut shared = self.shared.borrow_mut();
        if shared.by_leg.contains_key(&(*peer, *local)) {
            shared.note(|| format!("    {peer:?} {local:?} is taken"));
            return false;
        }
        shared.by_leg.insert((*peer, *local), (self.id, leg));
        shared.stats.reserved += 1;
        true
    }

    fn remove(&self, leg: LegNumber, peer: &Endpoint, local: &Endpoint, _: &mut ()) {
        let mut shared = self.shared.borrow_mut();
        if shared.by_leg.remove(&(*peer, *local)) != Some((self.id, leg)) {
            shared.error("a leg is freed that was not reserved");
        }
        shared.takes.remove(&(*peer, *local));
        shared.stats.freed += 1;
    }

    fn send_built(&mut self, _: &Endpoint, _: &mut State, build: Build) -> bool {
        self.emitted.push(build);
        true
    }

    fn send_header(&mut self, _: &Endpoint, _: &mut State, build: Build, header: &Written) -> bool {
        let mut bytes = [0; LEN_WITH_HEADER];
        let len = build.write(header.bytes(), &mut bytes);
        self.out.push(bytes[..len].to_vec());
        true
    }

    fn send_held(
        &mut self,
        _: &Endpoint,
        _: &mut State,
        packet: Owned,
        parsed: &Parsed,
        (from, to): (u32, u32),
        rewrite: &Rewrite,
    ) -> bool {
        let mut shared = self.shared.borrow_mut();
        if from > to || to > parsed.segment.payload {
            shared.error(format!("bytes {from} to {to} of a held packet: {parsed:?}"));
            return false;
        }
        let part = wire::cut(&packet.bytes, &packet.read, from, to);
        shared.rewrite(part, &packet.read, rewrite, self.out);
        true
    }

    fn takes_token(&self, rate: u32, client: &[u8; 16]) -> bool {
        self.rules.takes_token(rate, client, self.now)
    }

    fn count(&self, event: Event) {
        let name = format!("{event:?}");
        self.note(|| format!("    count {name}"));
        let mut shared = self.shared.borrow_mut();
        *shared.stats.events.entry(name).or_default() += 1;
        shared.idle |= event == Event::Idle;
    }

    fn tally(&self, what: Tally) {
        let name = format!("{what:?}");
        self.note(|| format!("    tally {name}"));
        let mut shared = self.shared.borrow_mut();
        *shared.stats.events.entry(name).or_default() += 1;
    }

    fn count_service(&self, service: Option<u32>, what: Exchange) {
        let mut shared = self.shared.borrow_mut();
        if service.is_none() {
            shared.error(format!("{what:?} of no service"));
        }
        let counted = shared.counted.entry((self.client, self.service));
        match what {
            Exchange::Request => {
                counted.or_default().requests += 1;
                shared.stats.requests += 1;
            }
            Exchange::Response(class) => counted.or_default().responses += u64::from(class > 1),
        }
    }

    fn count_route(&self, slot: u32, what: Exchange) {
        self.note(|| format!("    {what:?} of route {slot}"));
        if what == Exchange::Request {
            let mut shared = self.shared.borrow_mut();
            let counted = shared.counted.entry((self.client, self.service));
            counted.or_default().routed += 1;
        }
        // The response is counted for the route by which its request came to this server.
        if let (Exchange::Response(_), Some(host)) = (what, self.from)
            && !self.rules.leads(slot, host)
        {
            let error = format!("a response of s{host:02} is counted for route {slot}");
            self.shared.borrow_mut().error(error);
        }
    }

    fn first_byte(&self, ns: u64) {
        self.note(|| format!("    first byte after {} us", ns / 1000));
    }

    fn server_takes(&self, _: u32, server: &Endpoint, mss: u16) {
        self.note(|| format!("    {server:?} takes {mss}"));
    }

    fn server_lacks_timestamps(&self, _: u32) {
        self.note(|| "    no timestamps".into());
    }
}
