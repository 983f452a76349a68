// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a flow needs of the kernel, while its shard is locked.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;

use kernel::prelude::*;
use kernel::sync::rcu;

use l7switch_engine::decide::Space;
use l7switch_engine::flow;
use l7switch_engine::flow::cookie;
use l7switch_engine::flow::seq;
use l7switch_engine::flow::Ask;
use l7switch_engine::flow::Build;
use l7switch_engine::flow::Choice;
use l7switch_engine::flow::Env;
use l7switch_engine::flow::Event;
use l7switch_engine::flow::Failure;
use l7switch_engine::flow::Flow;
use l7switch_engine::flow::Leg;
use l7switch_engine::flow::Listener;
use l7switch_engine::flow::Message;
use l7switch_engine::flow::Method;
use l7switch_engine::flow::Payload;
use l7switch_engine::flow::Rewrite;
use l7switch_engine::flow::Segment;
use l7switch_engine::flow::Target;
use l7switch_engine::sched::Identity;

use super::choose::Chosen;
use super::choose::Question;
use super::choose::Room;
use super::connection::Bound;
use super::connection::Surroundings;
use super::flows::Flows;
use super::flows::Location;
use super::path::Case;
use super::scratch::Scratch;
use super::sending::Out;
use super::view;
use super::view::View;
use super::Counter;
use super::Switch;
use super::ROUTE_REQUESTS;
use super::ROUTE_RESPONSES;
use super::TRAFFIC_REQUESTS;
use super::TRAFFIC_RESPONSES;
use crate::shell::clock;
use crate::shell::net::Net;
use crate::shell::packet::Buffer;
use crate::shell::packet::Owned;
use crate::shell::random;
use crate::shell::route::Hop;
use crate::shell::route::Route;
use crate::shell::way::Way;

/// Ports that the switch takes on its own addresses: below those that local clients get (net.ipv4.ip_local_port_range).
const PORTS: core::ops::Range<u16> = 10_000..32_768;
/// Ports that are tried for one leg.
const PORT_TRIES: u32 = 64;
/// Most memory that waiting packets of one connection may take, and those of all, bytes.
const HELD_MAX: u32 = 256 * 1024;
/// See there.
const HELD_ALL_MAX: u64 = 64 << 20;
/// Bytes of a request that are looked at first, where it does not lie in one piece.
const PIECE: usize = 2048;
/// Least bytes of one connection's notes, if there are some, and most: the longest head that is held, and some chunks' sizes.
const NOTES_MIN: usize = 1024;
/// See there.
const NOTES_MAX: usize = 40 * 1024;

/// The surroundings of a flow.
pub(super) struct Around<'e, 'g> {
    pub(super) case: &'e Case<'g>,
    pub(super) location: Location,
    pub(super) client: Identity,
    pub(super) service: Identity,
    pub(super) around: &'e mut Surroundings,
    pub(super) out: &'e mut Out<'g>,
}

/// The clock of cookies.
pub(super) fn epoch() -> u32 {
    let seconds = u64::try_from(clock::real_seconds()).unwrap_or(0);
    (seconds / cookie::EPOCH_SECONDS) as u32
}

impl Around<'_, '_> {
    /// Bytes of what is held and of `current` from a number on.
    fn available(&self, from: u32, current: Option<(&Segment, &View<'_>)>) -> usize {
        match (current, self.held_end()) {
            (Some((segment, _)), _) => segment.data_end().wrapping_sub(from) as usize,
            (None, Some(end)) => end.wrapping_sub(from) as usize,
            (None, None) => 0,
        }
    }

    /// So many bytes from a number on, copied into one piece.
    fn assemble<'b>(
        &'b self,
        from: u32,
        wanted: usize,
        current: Option<(&Segment, &'b View<'_>)>,
        scratch: &'b mut [u8],
    ) -> &'b [u8] {
        let mut len = 0usize;
        while len < wanted.min(scratch.len()) {
            let run = self.run(from.wrapping_add(len as u32), current);
            let run = run.get(..wanted.wrapping_sub(len)).unwrap_or(run);
            let Some(place) = scratch.get_mut(len..) else {
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
        }
        scratch.get(..len).unwrap_or_default()
    }

    /// Counts for the service.
    fn traffic(&mut self, counter: usize) {
        let live = self.case.live;
        let service = self.around.service(live, &self.service);
        if let Some(traffic) = service.and_then(|service| live.traffic(service)) {
            traffic.add(counter, 1);
        }
    }

    /// Counts for a route, by its slot.
    #[inline]
    fn route(&self, slot: Option<u32>, counter: usize) {
        if let Some(slot) = slot {
            self.case.live.routes().add(slot, counter);
        }
    }

    /// Whether packets get from the client to a server and back: a host that forwards none would lose them wherever they pass its
    /// stack.
    fn forwards(&self, peer: &Identity) -> bool {
        let Case { net, guard, .. } = *self.case;
        net.forwards(guard, flow::is_ipv4(&peer.address))
            || Route::is_here(net, self.client.address)
            || Route::is_here(net, peer.address)
    }

    fn go_to_front(&mut self, ask: &Ask, message: Message) -> Choice {
        self.around.chosen = None;
        let active = ask.active.and_then(|leg| self.around.servers.get(leg));
        if active.is_some_and(Option::is_none) {
            return Choice::Stay(message);
        }
        self.case.switch.count(Counter::ToFront);
        let target = Target {
            peer: self.service,
            method: Method::Front,
        };
        Choice::Go(target, message)
    }

    /// An address and port of the switch's, to reach a server by.
    fn own_end(&self, leg: usize, peer: &Identity) -> Option<Identity> {
        let address = Route::source(self.case.net, peer.address)?;
        let span = u32::from(PORTS.end.wrapping_sub(PORTS.start));
        let start = (random::number() as u32) % span;
        for turn in 0..PORT_TRIES {
            let port = start.wrapping_add(turn.wrapping_mul(7919)) % span;
            let local = Identity {
                address,
                port: PORTS.start.wrapping_add(port as u16),
            };
            if self.case.flows.reserve(self.location, leg, peer, &local) {
                return Some(local);
            }
        }
        self.case.switch.count(Counter::PortsSpent);
        None
    }
}

impl<'e> Env for Around<'e, '_> {
    type Packet = View<'e>;

    fn now(&self) -> u64 {
        self.case.now
    }

    fn count(&mut self, event: Event) {
        self.case.switch.count(Counter::of(event));
    }

    fn opens(&mut self, segment: &Segment) -> bool {
        self.case
            .switch
            .listener(self.case.flows, self.case.now)
            .opens(segment)
    }

    fn choose(&mut self, ask: &Ask, current: Option<(&Segment, &View<'e>)>) -> Choice {
        let live = self.case.live;
        let service = self.around.service(live, &self.service);
        let Some(mut scratch) = self.case.flows.scratches.take() else {
            return Choice::Incomplete;
        };
        let Scratch {
            bytes,
            path,
            joined,
            host,
        } = &mut *scratch;
        let question = Question {
            live,
            net: self.case.net,
            service,
            source: self.client.address,
            active: ask.active,
            now: self.case.now,
        };
        // A body may lie behind the head: no more is looked at than is needed.
        let available = self.available(ask.from, current).min(bytes.len());
        let first = self.run(ask.from, current);
        let mut wanted = first.len().min(available);
        let (chosen, route) = loop {
            let bytes = match first.get(..wanted) {
                Some(bytes) => bytes,
                None => self.assemble(ask.from, wanted, current, bytes),
            };
            let room = Room {
                space: Space { host, path },
                joined,
            };
            let answer = question.ask(bytes, self.around, room);
            if wanted >= available || !matches!(answer.0, Chosen::Incomplete) {
                break answer;
            }
            wanted = wanted.saturating_mul(4).max(PIECE).min(available);
        };
        drop(scratch);
        let slot = route.and_then(|route| live.routes().slot(route));
        self.around.asked.choose(slot);
        match chosen {
            Chosen::Incomplete if ask.last => self.go_to_front(ask, Message::OPAQUE),
            Chosen::Incomplete => Choice::Incomplete,
            Chosen::Front(message) => self.go_to_front(ask, message),
            Chosen::Stay(message) => Choice::Stay(message),
            Chosen::Server(target, _, message) if !self.forwards(&target.peer) => {
                self.case.switch.count(Counter::ForwardingOff);
                self.go_to_front(ask, message)
            }
            Chosen::Server(target, bound, message) => {
                self.around.chosen = Some(bound);
                Choice::Go(target, message)
            }
        }
    }

    fn reserve(&mut self, leg: usize, target: &Target) -> Option<Identity> {
        let local = match target.method {
            Method::Front => Some(self.client),
            Method::Nat => {
                let local = self.client;
                let free = self
                    .case
                    .flows
                    .reserve(self.location, leg, &target.peer, &local);
                free.then_some(local)
            }
            Method::Fullnat => self.own_end(leg, &target.peer),
        };
        let chosen = self.around.chosen.take();
        match local {
            Some(local) => {
                if let Some(place) = self.around.servers.get_mut(leg) {
                    *place = chosen;
                }
                Some(local)
            }
            None => {
                if let Some(bound) = chosen {
                    self.around.tried(&bound);
                }
                self.case.switch.count(Counter::LegsTaken);
                None
            }
        }
    }

    fn free(&mut self, leg: usize, was: &Leg) {
        if was.method != Method::Front {
            self.case
                .flows
                .free(self.location, leg, &was.peer, &was.local);
        }
        if let Some(place) = self.around.servers.get_mut(leg) {
            *place = None;
        }
        if let Some(way) = self.around.to_server.get_mut(leg) {
            way.forget();
        }
    }

    fn emit(&mut self, build: Build) {
        let (from, to) = (&build.source, &build.destination);
        self.out.know(&to.address, || {
            self.around
                .way(&self.client, self.case.guard, self.case.net, from, to)
        });
        if !self.out.build(build) {
            self.case.switch.count(Counter::SendsLost);
        }
    }

    fn held_end(&self) -> Option<u32> {
        (!self.around.held.is_empty()).then_some(self.around.held_end)
    }

    fn held_count(&self) -> u32 {
        self.around.held.count()
    }

    #[inline]
    fn run<'a>(&'a self, at: u32, current: Option<(&Segment, &'a View<'e>)>) -> &'a [u8] {
        // Nothing is held, mostly.
        if !self.around.held.is_empty() {
            if let Some(run) = self.around.held_run(at) {
                return run;
            }
        }
        match current {
            Some((segment, view)) if seq::at_most(segment.seq, at) => {
                view.run(at.wrapping_sub(segment.seq))
            }
            _ => &[],
        }
    }

    fn release(&mut self, to: u32, rewrite: &mut dyn FnMut(&Segment, u32, u32) -> Rewrite) {
        let around = &mut *self.around;
        while let Some(parsed) = around.held.iter().next().map(|p| view::parse_again(&*p)) {
            let Some(parsed) = parsed else {
                // It was read when it was held: it cannot be.
                around.held.pop();
                self.case.switch.count(Counter::SendsLost);
                continue;
            };
            let segment = parsed.segment;
            let start = seq::max(around.held_from, segment.seq);
            let end = segment.data_end();
            // A FIN alone goes with what is before it.
            let alone = start == end && end == to;
            if !seq::before(start, to) && !alone {
                return;
            }
            let whole = seq::at_most(end, to);
            let (from, until) = (
                start.wrapping_sub(segment.seq),
                seq::min(end, to).wrapping_sub(segment.seq),
            );
            let packet = if whole {
                around.held.pop()
            } else {
                around.held.iter().next().and_then(|packet| packet.copy())
            };
            around.held_from = seq::min(end, to);
            let Some(packet) = packet else {
                self.case.switch.count(Counter::SendsLost);
                if whole {
                    continue;
                }
                return;
            };
            let rewrite = rewrite(&segment, from, until);
            let (source, to) = (&rewrite.source, &rewrite.destination);
            self.out.know(&to.address, || {
                around.way(&self.client, self.case.guard, self.case.net, source, to)
            });
            if !self
                .out
                .packet(self.case.switch, packet, &parsed, from, until, &rewrite)
            {
                self.case.switch.count(Counter::SendsLost);
            }
            if !whole {
                return;
            }
        }
    }

    fn discard(&mut self) {
        while self.around.held.pop().is_some() {
            self.case.switch.count(Counter::HoldsDropped);
        }
    }

    fn notes(&self) -> &[u8] {
        self.around.notes.as_ref().map_or(&[], |notes| notes)
    }

    fn notes_mut(&mut self, len: usize) -> &mut [u8] {
        let there = self.notes().len();
        if len > there && len <= NOTES_MAX && self.case.flows.held() <= HELD_ALL_MAX {
            let room = len.checked_next_power_of_two().unwrap_or(len);
            let room = room.clamp(NOTES_MIN, NOTES_MAX);
            // Where memory is short they stay as they are.
            if let Ok(mut grown) = KVec::with_capacity(room, GFP_ATOMIC) {
                for at in 0..room {
                    let byte = self.notes().get(at).copied();
                    let _ = grown.push_within_capacity(byte.unwrap_or_default());
                }
                if let Ok(grown) = KBox::new(grown, GFP_ATOMIC) {
                    self.around.notes = Some(grown);
                }
            }
        }
        self.around.notes.as_mut().map_or(&mut [], |notes| notes)
    }

    fn forget_notes(&mut self) {
        self.around.notes = None;
    }

    fn started(&mut self, leg: usize) {
        if let Some(bound) = self.around.server(leg) {
            bound.server.scheduled().start();
            bound.server.requests.fetch_add(1, Relaxed);
        }
        self.traffic(TRAFFIC_REQUESTS);
        let slot = self.around.asked.start();
        self.route(slot, ROUTE_REQUESTS);
    }

    fn finished(&mut self, leg: usize) {
        if let Some(bound) = self.around.server(leg) {
            bound.server.scheduled().finish();
        }
        self.around.asked.finish();
    }

    fn first_byte(&mut self, leg: usize, ns: u64) {
        if let Some(bound) = self.around.server(leg) {
            bound.server.scheduled().observe(ns, self.case.now);
        }
        self.case.switch.responses.observe(ns);
    }

    fn status(&mut self, _leg: usize, status: u16) {
        let class = usize::from(status / 100).clamp(1, 5).wrapping_sub(1);
        // Finds the slots in the table in force, too.
        self.traffic(TRAFFIC_RESPONSES.wrapping_add(class));
        let slot = self.around.asked.oldest();
        self.route(slot, ROUTE_RESPONSES.wrapping_add(class));
    }

    fn connected(&mut self, leg: usize, largest: u16) {
        let live = self.case.live;
        let service = self.around.service(live, &self.service);
        if let (Some(bound), Some(service)) = (self.around.server(leg), service) {
            let ipv4 = flow::is_ipv4(&bound.server.scheduled().identity().address);
            live.found_largest(service, largest, ipv4);
        }
        if let Some(bound) = self.around.server(leg) {
            bound.server.works();
        }
        self.around.tried_len = 0;
    }

    fn failed(&mut self, leg: usize, failure: Failure) {
        let live = self.case.live;
        let service = self.around.service(live, &self.service);
        let Some(bound) = self.around.servers.get(leg).and_then(Option::as_ref) else {
            return;
        };
        match failure {
            Failure::Refused | Failure::Timeout => {
                self.case.switch.count(Counter::ConnectsFailed);
                if bound.server.fails(self.case.now) {
                    self.case.switch.server_failed();
                }
            }
            Failure::Options => {
                if let Some(service) = service {
                    live.found_timeless(service);
                }
            }
            Failure::Taken => {}
        }
        let (pool, position) = (bound.pool, bound.position);
        self.around.tried_at(pool, position);
    }
}

/// [`Way::find`], by the ends of a connection.
#[inline(always)]
pub(super) fn find_way<'g>(
    way: &mut Way,
    guard: &'g rcu::Guard,
    net: &Net,
    from: &Identity,
    to: &Identity,
) -> Option<Hop<'g>> {
    let ports = (from.port, to.port);
    way.find(guard, net, &from.address, &to.address, ports)
}

impl Surroundings {
    /// The way to an address: the client's, or that of a leg's server.
    pub(super) fn way<'g>(
        &mut self,
        client: &Identity,
        guard: &'g rcu::Guard,
        net: &Net,
        from: &Identity,
        to: &Identity,
    ) -> Option<Hop<'g>> {
        if client.address == to.address {
            return find_way(&mut self.to_client, guard, net, from, to);
        }
        let mut legs = self.servers.iter().zip(&mut self.to_server);
        let (_, way) = legs.find(|(bound, _)| {
            bound
                .as_ref()
                .is_some_and(|bound| bound.server.scheduled().identity().address == to.address)
        })?;
        find_way(way, guard, net, from, to)
    }

    /// Keeps a packet whose data before `from` have gone; `all`: memory that packets of all connections take. `false` where there is too much already.
    pub(super) fn hold(&mut self, packet: Owned, segment: &Segment, from: u32, all: u64) -> bool {
        if self.held.memory().saturating_add(packet.memory()) > HELD_MAX || all > HELD_ALL_MAX {
            return false;
        }
        if self.held.is_empty() {
            self.held_from = from;
        }
        self.held_end = segment.data_end();
        self.held.push(packet);
        true
    }

    /// A run of held bytes from a sequence number on; empty where it cannot be read. `None`: what is held has none.
    #[inline(never)]
    fn held_run(&self, at: u32) -> Option<&[u8]> {
        let mut from = self.held_from;
        for packet in self.held.iter() {
            let Some(parsed) = view::parse_again(&*packet) else {
                return Some(&[]);
            };
            let end = parsed.segment.data_end();
            if seq::at_most(from, at) && seq::before(at, end) {
                let offset = at.wrapping_sub(parsed.segment.seq);
                let left = end.wrapping_sub(at) as usize;
                let run = packet.bytes(parsed.payload_at.saturating_add(offset));
                return Some(run.get(..left).unwrap_or(run));
            }
            from = end;
        }
        None
    }

    fn server(&self, leg: usize) -> Option<&Bound> {
        self.servers.get(leg)?.as_ref()
    }

    fn tried(&mut self, bound: &Bound) {
        self.tried_at(bound.pool, bound.position);
    }

    /// Leaves a server out from now on.
    fn tried_at(&mut self, pool: u32, position: u32) {
        if self.tried_pool != pool {
            self.tried_pool = pool;
            self.tried_len = 0;
        }
        let position = u16::try_from(position).unwrap_or(u16::MAX);
        if let Some(place) = self.tried.get_mut(usize::from(self.tried_len)) {
            *place = position;
            self.tried_len = self.tried_len.wrapping_add(1);
        }
    }
}

impl Switch {
    /// How services answer.
    pub(super) fn listener(&self, flows: &Flows, now: u64) -> Listener {
        Listener {
            key: flows.cookies,
            epoch: epoch(),
            now: l7switch_engine::flow::milliseconds(now),
            mss: 0,
            window_scale: 7,
            timestamps: true,
            sack: true,
            eager: false,
        }
    }
}

/// The memory of a connection whose flow is dead goes with it.
pub(super) fn is_dead(flow: &Flow) -> bool {
    flow.state() == l7switch_engine::flow::State::Dead
}
