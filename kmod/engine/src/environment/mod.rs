// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a flow has around it: packets that wait, the rules, its servers. The module and its simulator have the same, over a
//! [`Platform`] each.

mod choosing;
mod held;
mod record;
mod state;
#[cfg(test)]
mod tests;

pub use held::HeldPackets;
pub use held::Peek;
pub use held::Queue;
pub use held::HELD_ALL_MAX;
pub use held::HELD_MAX;
pub use record::pool_key;
pub use record::Imported;
pub use record::RECORD_MAX;
pub use record::RECORD_WHOLE_MAX;
pub use state::ConnState;
pub use state::Kept;
pub use state::RealServer;
pub use state::UnackedBytes;

use core::ops::Range;

use crate::decisions::Decisions;
use crate::endpoint::Endpoint;
use crate::fingerprint;
use crate::flow::segment::Parsed;
use crate::flow::seq;
use crate::flow::Build;
use crate::flow::Env;
use crate::flow::Event;
use crate::flow::Failure;
use crate::flow::Leg;
use crate::flow::LegEvent;
use crate::flow::LegNumber;
use crate::flow::Legs;
use crate::flow::Listener;
use crate::flow::Method;
use crate::flow::OutstandingRoutes;
use crate::flow::Packets;
use crate::flow::Payload;
use crate::flow::Rewrite;
use crate::flow::Segment;
use crate::flow::Target;
use crate::policy::Host;
use crate::policy::RulesetView;
use crate::proxy_header;
use crate::proxy_header::Ends;
use crate::proxy_header::Written;
use crate::sched;
use crate::table::codes::ProxyVersion;
use crate::uri::MAX_HOST;

/// Ports of the switch's own that are tried for one leg.
const PORT_TRIES: u64 = 64;

/// Counted besides the engine's [`Event`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tally {
    /// A request or a connection went to the front.
    ToFront,
    /// A request went to the front to be refused, since a rate limit of its route's was reached.
    RateLimited,
    /// A request went to the front to be refused, since its pool's servers have as many as they may.
    ServersFull,
    /// A request went to the front since this host forwards no packets.
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
    /// What was decided not long ago.
    pub decisions: Decisions<'a>,
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
    /// What heads are known again by, a secret of this host's.
    fn fingerprint_key(&self) -> fingerprint::Key;
    /// How the service answers.
    fn listener(&self) -> Listener;
    /// Bytes of memory that packets and unacknowledged bytes of all connections take.
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
    fn insert(&self, leg: LegNumber, peer: &Endpoint, local: &Endpoint) -> bool;
    /// Undoes that, and forgets the way to the leg's server.
    fn remove(
        &self,
        leg: LegNumber,
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
    /// The same with data: a PROXY header.
    fn send_header(
        &mut self,
        client: &Endpoint,
        state: &mut ConnState<Self::Kept>,
        build: Build,
        header: &Written,
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

    /// Takes a token for a client's request, of the rate limit that has this number in the rules in force; `false` where there
    /// is none.
    fn takes_token(&self, rate: u32, client: &[u8; 16]) -> bool;

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

impl<'e, P: Platform> FlowEnv<'e, P> {
    /// That of a client's connection to a service's address.
    #[inline(always)]
    pub const fn new(
        platform: P,
        client: Endpoint,
        service: Endpoint,
        state: &'e mut ConnState<P::Kept>,
    ) -> Self {
        Self {
            platform,
            client,
            service,
            state,
        }
    }
}

impl<P: Platform> FlowEnv<'_, P> {
    /// A request goes to a leg's server, and was outstanding there since it was chosen for.
    #[cold]
    #[inline(never)]
    fn starts_in_place(&mut self, leg: LegNumber) {
        self.state.has_place = false;
        // The leg may have been begun for another pool's server at the same address. Nothing is outstanding on it then: it is this
        // one's from now on.
        if let Some(chosen) = self.state.chosen.take() {
            *self.state.servers.get_mut(leg) = Some(chosen);
        }
    }

    /// Takes a port of the switch's to reach a server by.
    fn own_end(&self, leg: LegNumber, peer: &Endpoint) -> Option<Endpoint> {
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

    fn failed(&mut self, leg: LegNumber, failure: Failure) {
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
    fn fingerprint_key(&self) -> fingerprint::Key {
        self.platform.fingerprint_key()
    }

    #[inline]
    fn count(&mut self, event: Event) {
        self.platform.count(event);
    }
}

impl<P: Platform> Legs for FlowEnv<'_, P> {
    fn reserve(&mut self, leg: LegNumber, target: &Target) -> Option<Endpoint> {
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
                *self.state.servers.get_mut(leg) = chosen;
                Some(local)
            }
            None => {
                if let Some(bound) = chosen {
                    if core::mem::take(&mut self.state.has_place) {
                        let server = scheduled(&bound.server);
                        server.finish();
                    }
                    self.state.tried.add(bound.pool, bound.position);
                }
                None
            }
        }
    }

    fn free(&mut self, leg: LegNumber, was: &Leg) {
        if was.method != Method::Front {
            let routes = &mut self.state.routes;
            self.platform.remove(leg, &was.peer, &was.local, routes);
        }
        *self.state.servers.get_mut(leg) = None;
    }

    fn proxy_header(&self, version: ProxyVersion) -> Written {
        let own = Ends {
            source: self.client,
            destination: self.service,
        };
        proxy_header::write(version, Some(self.state.ends.as_ref().unwrap_or(&own)))
    }

    #[inline]
    fn event(&mut self, leg: LegNumber, event: LegEvent) {
        match event {
            LegEvent::Requested => {
                let has_place = self.state.has_place;
                match self.state.server(leg) {
                    Some(bound) => {
                        if !has_place {
                            scheduled(&bound.server).start();
                        }
                        bound.server.requested();
                        if has_place {
                            self.starts_in_place(leg);
                        }
                    }
                    None => {
                        self.platform.tally(Tally::ToFront);
                        if let Some(why) = self.state.to_front.take() {
                            self.platform.tally(why);
                        }
                    }
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

    fn emit_header(&mut self, build: Build, header: &Written) {
        let (platform, state) = (&mut self.platform, &mut *self.state);
        if !platform.send_header(&self.client, state, build, header) {
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

    fn skip(&mut self, to: u32) {
        self.state.held.skip(to);
    }

    fn discard(&mut self) {
        while self.state.held.discard() {
            self.platform.tally(Tally::HoldDropped);
        }
    }

    fn unacked(&self) -> &[u8] {
        self.state.unacked.bytes()
    }

    fn unacked_mut(&mut self, len: usize) -> &mut [u8] {
        let spare = self.platform.memory() <= HELD_ALL_MAX;
        self.state.unacked_mut(len, spare)
    }

    fn forget_unacked(&mut self) {
        self.state.unacked.clear();
    }
}
