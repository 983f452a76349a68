// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a flow has around it: packets that wait, the rules, its servers. The module and its simulator have the same, over a
//! [`Platform`] each.

mod held;
mod state;

pub use held::HeldPackets;
pub use held::Peek;
pub use held::Queue;
pub use held::HELD_ALL_MAX;
pub use held::HELD_MAX;
pub use state::ConnState;
pub use state::Kept;
pub use state::Notes;
pub use state::RealServer;

use core::ops::Range;

use crate::decide::decide;
use crate::decide::Verdict;
use crate::endpoint::is_ipv4;
use crate::endpoint::Endpoint;
use crate::flow::segment::Parsed;
use crate::flow::seq;
use crate::flow::Ask;
use crate::flow::Build;
use crate::flow::Choice;
use crate::flow::Env;
use crate::flow::Event;
use crate::flow::Failure;
use crate::flow::Leg;
use crate::flow::LegEvent;
use crate::flow::Legs;
use crate::flow::Listener;
use crate::flow::Message;
use crate::flow::Method;
use crate::flow::OutstandingRoutes;
use crate::flow::Packets;
use crate::flow::Payload;
use crate::flow::Rewrite;
use crate::flow::Rules;
use crate::flow::Segment;
use crate::flow::Target;
use crate::form;
use crate::policy;
use crate::policy::Bound;
use crate::policy::Forward;
use crate::policy::Host;
use crate::policy::RulesetView;
use crate::policy::Situation;
use crate::sched;
use crate::table::codes::Action;
use crate::table::codes::Forwarding;
use crate::table::format::RouteRecord;
use crate::table::format::ServiceRecord;
use crate::uri::MAX_HOST;

/// Ports of the switch's own that are tried for one leg.
const PORT_TRIES: u64 = 64;
/// Bytes of a request that are looked at first, where it does not lie in one piece.
const PIECE: usize = 2048;

/// Counted besides the engine's [`Event`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tally {
    /// A request or a connection went to the front.
    ToFront,
    /// A server was not used since this host forwards no packets.
    ForwardingOff,
    /// A server was not used since the addresses and ports of a connection to it are taken.
    TupleInUse,
    /// A server was not used since no port of the switch's was free.
    PortsExhausted,
    /// A server was not used since there is no route to it.
    NoRoute,
    /// A packet could not be sent.
    TxDropped,
    /// A held packet was let go of.
    HoldDropped,
    /// A server did not take a connection.
    ConnectFailed,
    /// A server gets nothing new, since it took no connections.
    ServerFailing,
}

/// Counted of a service, and of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exchange {
    /// A request was passed on.
    Request,
    /// A response came, of a class of status codes: 1 to 5.
    Response(u8),
}

/// Memory to read one request in.
pub struct Buffers<'a> {
    /// Its bytes in one piece, where they do not lie so.
    pub bytes: &'a mut [u8],
    /// Its host in comparison form.
    pub host: &'a mut [u8; MAX_HOST],
    /// Its path in comparison form: as long as `bytes`.
    pub path: &'a mut [u8],
}

/// What a [`FlowEnv`] needs of the kernel, or of a simulated network, for one packet or one tick.
pub trait Platform: Host {
    /// What is kept of a connection.
    type Kept: Kept;
    /// A packet that has come.
    type Packet: Payload;
    /// The rules in force.
    type Rules: RulesetView<Server = <Self::Kept as Kept>::Server>;

    /// Monotonic time, ns.
    fn now(&self) -> u64;
    /// The rules in force.
    fn rules(&self) -> &Self::Rules;
    /// How the service answers.
    fn listener(&self) -> Listener;
    /// Bytes of memory that packets and notes of all connections take.
    fn memory(&self) -> u64;
    /// Calls `with` with memory to read a request in; `None` where there is none now.
    fn with_buffers<T>(&self, with: impl FnOnce(Buffers<'_>) -> T) -> Option<T>;

    /// Whether this host forwards packets of a family.
    fn forwards(&self, ipv4: bool) -> bool;
    /// The switch's address towards a server.
    fn own_address(&self, peer: &[u8; 16]) -> Option<[u8; 16]>;
    /// The switch's ports for connections to servers.
    fn own_ports(&self) -> Range<u16>;
    /// Makes packets from a server lead to a leg; `false` where they lead elsewhere already.
    fn insert(&self, leg: usize, peer: &Endpoint, local: &Endpoint) -> bool;
    /// Undoes that, and forgets the way to the leg's server.
    fn remove(
        &self,
        leg: usize,
        peer: &Endpoint,
        local: &Endpoint,
        routes: &mut <Self::Kept as Kept>::Routes,
    );

    /// Sends a segment of the switch's own when the flow is unlocked; `false` where that cannot be.
    fn send_built(
        &mut self,
        client: &Endpoint,
        state: &mut ConnState<Self::Kept>,
        build: Build,
    ) -> bool;
    /// Sends a part of a packet's data, rewritten, when the flow is unlocked; `false` where that cannot be.
    fn send_held(
        &mut self,
        client: &Endpoint,
        state: &mut ConnState<Self::Kept>,
        packet: <<Self::Kept as Kept>::Queue as Queue>::Packet,
        parsed: &Parsed,
        data: (u32, u32),
        rewrite: &Rewrite,
    ) -> bool;

    /// Counts what the flow saw.
    fn count(&self, event: Event);
    /// Counts what was found around it.
    fn tally(&self, what: Tally);
    /// Counts for a service, by its position in the rules in force.
    fn count_service(&self, service: Option<u32>, what: Exchange);
    /// Counts for a route, by its slot.
    fn count_route(&self, slot: u32, what: Exchange);
    /// The first byte of a response came so many ns after its request.
    fn first_byte(&self, ns: u64);
    /// The largest segment that a server of a service has said to take, bytes.
    fn server_takes(&self, service: u32, server: &Endpoint, mss: u16);
    /// A server of a service knows no timestamps.
    fn server_lacks_timestamps(&self, service: u32);
}

/// The environment of a flow, while it is locked.
pub struct FlowEnv<'e, P: Platform> {
    /// What carries it.
    pub platform: P,
    /// The client.
    pub client: Endpoint,
    /// The service's address.
    pub service: Endpoint,
    /// What is kept of the connection.
    pub state: &'e mut ConnState<P::Kept>,
}

/// What schedulers see of a server.
fn scheduled<S: RealServer>(server: &S) -> &sched::Server {
    server.borrow()
}

/// What the rules make of a request's bytes.
enum Chosen<S> {
    Incomplete,
    Front(Message),
    Stay(Message),
    Go(Bound<S>, Method, Message),
}

impl<P: Platform> FlowEnv<'_, P> {
    /// Bytes of what is held and of `current` from a number on.
    fn available(&self, from: u32, current: Option<(&Segment, &P::Packet)>) -> usize {
        let end = current.map(|(segment, _)| segment.data_end());
        let end = end.or_else(|| self.state.held.end());
        end.map_or(0, |end| end.wrapping_sub(from) as usize)
    }

    /// So many bytes from a number on, copied into one piece.
    fn assemble<'b>(
        &'b self,
        from: u32,
        wanted: usize,
        current: Option<(&Segment, &'b P::Packet)>,
        to: &'b mut [u8],
    ) -> &'b [u8] {
        let (mut len, mut at) = (0usize, from);
        while len < wanted.min(to.len()) {
            let run = self.run(at, current);
            let run = run.get(..wanted.wrapping_sub(len)).unwrap_or(run);
            let Some(place) = to.get_mut(len..) else {
                break;
            };
            let count = run.len().min(place.len());
            if count == 0 {
                break;
            }
            if let (Some(place), Some(run)) = (place.get_mut(..count), run.get(..count)) {
                for (place, byte) in place.iter_mut().zip(run) {
                    *place = *byte;
                }
            }
            len = len.wrapping_add(count);
            at = at.wrapping_add(u32::try_from(count).unwrap_or(0));
        }
        to.get(..len).unwrap_or_default()
    }

    /// Asks the rules about a request's first bytes. Gives the number of the route in the table, too, if one takes it.
    fn ask(
        &self,
        service: Option<u32>,
        active: Option<usize>,
        bytes: &[u8],
        buffers: form::Buffers<'_>,
    ) -> (Chosen<<P::Kept as Kept>::Server>, Option<u32>) {
        let rules = self.platform.rules();
        let table = rules.table();
        // Of a service that is gone the front knows.
        let Some(service) = service else {
            return (Chosen::Front(Message::OPAQUE), None);
        };
        let Some(record) = table.get::<ServiceRecord>(service) else {
            return (Chosen::Front(Message::OPAQUE), None);
        };
        let decision = decide(table, service, self.client.address, bytes, buffers);
        let message = match &decision.head {
            Some(head) => Message::of(head),
            None => Message::OPAQUE,
        };
        let winner = match decision.verdict {
            Verdict::Incomplete => return (Chosen::Incomplete, None),
            Verdict::NoRoute => return (Chosen::Front(message), None),
            Verdict::Refused(_) | Verdict::Front(_) => {
                return (Chosen::Front(Message::OPAQUE), None);
            }
            Verdict::Route(winner) => winner,
        };
        let number = record.routes.saturating_add(winner.position);
        let route = table.get::<RouteRecord>(number);
        let route = route.filter(|route| route.action == Action::Forward.number());
        let situation = Situation {
            active: active.and_then(|leg| self.state.server(leg)),
            places_hold: self.state.is_of(rules.generation()),
            tried: &self.state.tried,
            now: self.platform.now(),
        };
        let forward = route.and_then(|route| {
            let request = decision.request(self.client.address);
            policy::forward(rules, &route, &request, &situation, &self.platform)
        });
        let chosen = match forward {
            None => Chosen::Front(message),
            Some(Forward::Stay) => Chosen::Stay(message),
            Some(Forward::Go(bound, forwarding)) => {
                let method = match forwarding {
                    Forwarding::Nat => Method::Nat,
                    Forwarding::Fullnat => Method::Fullnat,
                };
                Chosen::Go(bound, method, message)
            }
        };
        (chosen, Some(number))
    }

    /// Whether packets get from the client to a server and back: a host that forwards none would lose them wherever they pass
    /// its stack.
    fn forwards(&self, peer: &Endpoint) -> bool {
        self.platform.forwards(is_ipv4(&peer.address))
            || self.platform.is_here(&self.client.address)
            || self.platform.is_here(&peer.address)
    }

    fn go_to_front(&mut self, ask: &Ask, message: Message) -> Choice {
        self.state.chosen = None;
        let active = ask.active.and_then(|leg| self.state.servers.get(leg));
        if active.is_some_and(Option::is_none) {
            return Choice::Stay(message);
        }
        self.platform.tally(Tally::ToFront);
        let target = Target {
            peer: self.service,
            method: Method::Front,
        };
        Choice::Go(target, message)
    }

    /// Takes a port of the switch's to reach a server by.
    fn own_end(&self, leg: usize, peer: &Endpoint) -> Option<Endpoint> {
        let Some(address) = self.platform.own_address(&peer.address) else {
            self.platform.tally(Tally::NoRoute);
            return None;
        };
        let ports = self.platform.own_ports();
        let span = u64::from(ports.end.saturating_sub(ports.start));
        let start = self.platform.random() >> 1;
        for turn in 0..PORT_TRIES {
            // Steps that lead over all ports of any number that 7919, a prime, does not divide.
            let port = start
                .wrapping_add(turn.wrapping_mul(7919))
                .checked_rem(span)?;
            let local = Endpoint {
                address,
                port: ports.start.wrapping_add(u16::try_from(port).ok()?),
            };
            if self.platform.insert(leg, peer, &local) {
                return Some(local);
            }
        }
        self.platform.tally(Tally::PortsExhausted);
        None
    }

    /// Counts for the service, and for a route by the slot that `take` takes of the outstanding requests.
    fn count_exchange(
        &mut self,
        what: Exchange,
        take: impl FnOnce(&mut OutstandingRoutes) -> Option<u32>,
    ) {
        // Slots are those of the rules in force from then on.
        let service = self.state.service(self.platform.rules(), &self.service);
        self.platform.count_service(service, what);
        if let Some(slot) = take(&mut self.state.outstanding) {
            self.platform.count_route(slot, what);
        }
    }

    fn failed(&mut self, leg: usize, failure: Failure) {
        let service = self.state.service(self.platform.rules(), &self.service);
        let Some(bound) = self.state.server(leg) else {
            return;
        };
        match failure {
            Failure::Refused | Failure::Timeout => {
                self.platform.tally(Tally::ConnectFailed);
                if bound.server.fails(self.platform.now()) {
                    self.platform.tally(Tally::ServerFailing);
                }
            }
            Failure::Options => {
                if let Some(service) = service {
                    self.platform.server_lacks_timestamps(service);
                }
            }
            Failure::Taken => {}
        }
        let (pool, position) = (bound.pool, bound.position);
        self.state.tried.add(pool, position);
    }
}

impl<P: Platform> Env for FlowEnv<'_, P> {
    #[inline]
    fn now(&self) -> u64 {
        self.platform.now()
    }

    #[inline]
    fn count(&mut self, event: Event) {
        self.platform.count(event);
    }
}

impl<P: Platform> Rules for FlowEnv<'_, P> {
    fn opens(&mut self, segment: &Segment) -> bool {
        self.platform.listener().opens(segment)
    }

    fn choose(&mut self, ask: &Ask, current: Option<(&Segment, &P::Packet)>) -> Choice {
        let service = self.state.service(self.platform.rules(), &self.service);
        let answer = self.platform.with_buffers(|buffers| {
            let Buffers { bytes, host, path } = buffers;
            // A body may lie behind the head: no more is looked at than is needed.
            let available = self.available(ask.from, current).min(bytes.len());
            let first = self.run(ask.from, current);
            let mut wanted = first.len().min(available);
            loop {
                let bytes = match first.get(..wanted) {
                    Some(bytes) => bytes,
                    None => self.assemble(ask.from, wanted, current, bytes),
                };
                let buffers = form::Buffers { host, path };
                let answer = self.ask(service, ask.active, bytes, buffers);
                if wanted >= available || !matches!(answer.0, Chosen::Incomplete) {
                    return answer;
                }
                wanted = wanted.saturating_mul(4).max(PIECE).min(available);
            }
        });
        let Some((chosen, route)) = answer else {
            return Choice::Incomplete;
        };
        let slot = route.and_then(|route| self.platform.rules().route_slot(route));
        self.state.outstanding.choose(slot);
        match chosen {
            Chosen::Incomplete if ask.last => self.go_to_front(ask, Message::OPAQUE),
            Chosen::Incomplete => Choice::Incomplete,
            Chosen::Front(message) => self.go_to_front(ask, message),
            Chosen::Stay(message) => Choice::Stay(message),
            Chosen::Go(bound, method, message) => {
                let peer = scheduled(&bound.server).endpoint();
                if !self.forwards(&peer) {
                    self.platform.tally(Tally::ForwardingOff);
                    return self.go_to_front(ask, message);
                }
                self.state.chosen = Some(bound);
                Choice::Go(Target { peer, method }, message)
            }
        }
    }
}

impl<P: Platform> Legs for FlowEnv<'_, P> {
    fn reserve(&mut self, leg: usize, target: &Target) -> Option<Endpoint> {
        let local = match target.method {
            // Its packets come by the client's own index entry.
            Method::Front => Some(self.client),
            Method::Nat => {
                let free = self.platform.insert(leg, &target.peer, &self.client);
                if !free {
                    self.platform.tally(Tally::TupleInUse);
                }
                free.then_some(self.client)
            }
            Method::Fullnat => self.own_end(leg, &target.peer),
        };
        let chosen = self.state.chosen.take();
        match local {
            Some(local) => {
                if let Some(place) = self.state.servers.get_mut(leg) {
                    *place = chosen;
                }
                Some(local)
            }
            None => {
                if let Some(bound) = chosen {
                    self.state.tried.add(bound.pool, bound.position);
                }
                None
            }
        }
    }

    fn free(&mut self, leg: usize, was: &Leg) {
        if was.method != Method::Front {
            let routes = &mut self.state.routes;
            self.platform.remove(leg, &was.peer, &was.local, routes);
        }
        if let Some(place) = self.state.servers.get_mut(leg) {
            *place = None;
        }
    }

    #[inline]
    fn event(&mut self, leg: usize, event: LegEvent) {
        match event {
            LegEvent::Requested => {
                if let Some(bound) = self.state.server(leg) {
                    scheduled(&bound.server).start();
                    bound.server.requested();
                }
                self.count_exchange(Exchange::Request, OutstandingRoutes::start);
            }
            LegEvent::Finished => {
                if let Some(bound) = self.state.server(leg) {
                    scheduled(&bound.server).finish();
                }
                self.state.outstanding.finish();
            }
            LegEvent::FirstByte(ns) => {
                if let Some(bound) = self.state.server(leg) {
                    scheduled(&bound.server).observe(ns, self.platform.now());
                }
                self.platform.first_byte(ns);
            }
            LegEvent::Status(status) => {
                let class = u8::try_from(status / 100).unwrap_or(5).clamp(1, 5);
                self.count_exchange(Exchange::Response(class), |routes| routes.oldest());
            }
            LegEvent::Connected(mss) => {
                let service = self.state.service(self.platform.rules(), &self.service);
                if let Some(bound) = self.state.server(leg) {
                    if let Some(service) = service {
                        let peer = scheduled(&bound.server).endpoint();
                        self.platform.server_takes(service, &peer, mss);
                    }
                    bound.server.works();
                }
                self.state.tried.clear();
            }
            LegEvent::Failed(failure) => self.failed(leg, failure),
        }
    }
}

impl<P: Platform> Packets for FlowEnv<'_, P> {
    type Packet = P::Packet;

    fn emit(&mut self, build: Build) {
        if !self.platform.send_built(&self.client, self.state, build) {
            self.platform.tally(Tally::TxDropped);
        }
    }

    #[inline]
    fn held_end(&self) -> Option<u32> {
        self.state.held.end()
    }

    fn held_count(&self) -> u32 {
        self.state.held.count()
    }

    #[inline]
    fn run<'a>(&'a self, at: u32, current: Option<(&Segment, &'a P::Packet)>) -> &'a [u8] {
        // Nothing is held, mostly.
        if !self.state.held.is_empty() {
            if let Some(run) = self.state.held.run(at) {
                return run;
            }
        }
        match current {
            Some((segment, packet)) if seq::at_most(segment.seq, at) => {
                packet.run(at.wrapping_sub(segment.seq))
            }
            _ => &[],
        }
    }

    fn release(&mut self, to: u32, rewrite: &mut dyn FnMut(&Segment, u32, u32) -> Rewrite) {
        while let Some(released) = self.state.held.release(to) {
            let sent = released.packet.is_some_and(|(packet, parsed)| {
                let (from, until) = released.data;
                let rewrite = rewrite(&parsed.segment, from, until);
                let (platform, state) = (&mut self.platform, &mut *self.state);
                platform.send_held(
                    &self.client,
                    state,
                    packet,
                    &parsed,
                    released.data,
                    &rewrite,
                )
            });
            if !sent {
                self.platform.tally(Tally::TxDropped);
            }
            if released.last {
                return;
            }
        }
    }

    fn discard(&mut self) {
        while self.state.held.discard() {
            self.platform.tally(Tally::HoldDropped);
        }
    }

    fn notes(&self) -> &[u8] {
        self.state.notes.bytes()
    }

    fn notes_mut(&mut self, len: usize) -> &mut [u8] {
        let spare = self.platform.memory() <= HELD_ALL_MAX;
        self.state.notes_mut(len, spare)
    }

    fn forget_notes(&mut self) {
        self.state.notes.clear();
    }
}
