// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a flow's environment has of the kernel, while its shard is locked.
#![forbid(unsafe_code)]

use core::ops::Range;

use kernel::prelude::*;
use kernel::sync::rcu;

use l7switch_engine::decisions::Decisions;
use l7switch_engine::endpoint::is_ipv4;
use l7switch_engine::endpoint::Endpoint;
use l7switch_engine::environment;
use l7switch_engine::environment::Buffers;
use l7switch_engine::environment::Exchange;
use l7switch_engine::environment::FlowEnv;
use l7switch_engine::environment::Kept;
use l7switch_engine::environment::Peek;
use l7switch_engine::environment::Queue;
use l7switch_engine::environment::Tally;
use l7switch_engine::environment::UnackedBytes;
use l7switch_engine::fingerprint;
use l7switch_engine::flow::cookie;
use l7switch_engine::flow::segment::Parsed;
use l7switch_engine::flow::Build;
use l7switch_engine::flow::Event;
use l7switch_engine::flow::Flow;
use l7switch_engine::flow::LegNumber;
use l7switch_engine::flow::Listener;
use l7switch_engine::flow::PerLeg;
use l7switch_engine::flow::Rewrite;
use l7switch_engine::policy::Host;
use l7switch_engine::proxy_header::Written;

use super::dispatch::PacketContext;
use super::flows::Flows;
use super::flows::Location;
use super::scratch::Scratch;
use super::segment::View;
use super::transmit::Out;
use crate::shell::clock;
use crate::shell::net::fast_path::CachedRoute;
use crate::shell::net::route::NextHop;
use crate::shell::net::route::Route;
use crate::shell::net::route::Vrf;
use crate::shell::net::Net;
use crate::shell::packet::Buffer;
use crate::shell::packet::Held;
use crate::shell::packet::HeldPacket;
use crate::shell::packet::Owned;
use crate::shell::random;
use crate::state::counters::Counter;
use crate::state::real_server::Handle;
use crate::state::route_counters::ROUTE_REQUESTS;
use crate::state::route_counters::ROUTE_RESPONSES;
use crate::state::ruleset::Ruleset;
use crate::state::traffic::TRAFFIC_REQUESTS;
use crate::state::traffic::TRAFFIC_RESPONSES;

/// Ports that the switch takes on its own addresses: below those that local clients get (net.ipv4.ip_local_port_range).
const PORTS: Range<u16> = 10_000..32_768;

/// What the module keeps of a connection.
pub(crate) enum Module {}

impl Kept for Module {
    type Queue = Held;
    type Unacked = UnackedMemory;
    type Server = Handle;
    type Routes = CachedRoutes;
}

/// What is kept of a connection besides its flow.
pub(crate) type ConnState = environment::ConnState<Module>;

/// Where a connection's packets go: to the client, and to each leg's server.
pub(crate) struct CachedRoutes {
    /// The routing domain in which the client's connection was opened.
    pub(super) vrf: Vrf,
    pub(super) to_client: CachedRoute,
    pub(super) to_server: PerLeg<CachedRoute>,
}

/// Unacknowledged bytes of a flow, which few have: a pointer is smaller.
pub(crate) struct UnackedMemory(Option<KBox<KVec<u8>>>);

impl UnackedBytes for UnackedMemory {
    fn bytes(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |bytes| bytes)
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.as_mut().map_or(&mut [], |bytes| bytes)
    }

    fn grow(&mut self, len: usize) {
        let Ok(mut grown) = KVec::with_capacity(len, GFP_ATOMIC) else {
            return;
        };
        for at in 0..len {
            let byte = self.bytes().get(at).copied();
            let _ = grown.push_within_capacity(byte.unwrap_or_default());
        }
        if let Ok(grown) = KBox::new(grown, GFP_ATOMIC) {
            self.0 = Some(grown);
        }
    }

    fn clear(&mut self) {
        self.0 = None;
    }
}

impl<'a> Peek<'a> for HeldPacket<'a> {
    fn parsed(&self) -> Option<Parsed> {
        super::segment::parse_again(&**self)
    }

    fn bytes(&self, offset: u32) -> &'a [u8] {
        HeldPacket::bytes(self, offset)
    }
}

impl Queue for Held {
    type Packet = Owned;
    type Peek<'a> = HeldPacket<'a>;

    #[inline]
    fn is_empty(&self) -> bool {
        Held::is_empty(self)
    }

    fn count(&self) -> u32 {
        Held::count(self)
    }

    #[inline]
    fn memory(&self) -> u32 {
        Held::memory(self)
    }

    fn memory_of(packet: &Owned) -> u32 {
        packet.memory()
    }

    fn iter(&self) -> impl Iterator<Item = HeldPacket<'_>> {
        Held::iter(self)
    }

    fn push(&mut self, packet: Owned) {
        Held::push(self, packet);
    }

    fn pop(&mut self) -> Option<Owned> {
        Held::pop(self)
    }

    fn copy_first(&self) -> Option<Owned> {
        Held::iter(self).next()?.copy()
    }
}

/// Of a new connection.
pub(super) const fn new_state(vrf: Vrf, to_client: CachedRoute) -> ConnState {
    let ways = CachedRoutes {
        vrf,
        to_client,
        to_server: PerLeg::new(CachedRoute::unknown(), CachedRoute::unknown()),
    };
    ConnState::new(Held::new(), UnackedMemory(None), ways)
}

/// Carries a flow's environment.
pub(super) struct KernelPlatform<'e, 'g> {
    context: &'e PacketContext<'g>,
    location: Location,
    vrf: Vrf,
    out: &'e mut Out<'g>,
}

/// A flow's environment.
pub(super) type Env<'e, 'g> = FlowEnv<'e, KernelPlatform<'e, 'g>>;

impl<'g> PacketContext<'g> {
    /// The environment of a flow whose shard is locked.
    #[inline(always)]
    pub(super) fn env<'e>(
        &'e self,
        location: Location,
        flow: &Flow,
        state: &'e mut ConnState,
        out: &'e mut Out<'g>,
    ) -> Env<'e, 'g> {
        let platform = KernelPlatform {
            context: self,
            location,
            vrf: state.routes.vrf,
            out,
        };
        FlowEnv::new(platform, flow.client, flow.service, state)
    }
}

impl KernelPlatform<'_, '_> {
    /// Notes the way of what is sent between two ends.
    fn know(&mut self, client: &Endpoint, ways: &mut ConnState, from: &Endpoint, to: &Endpoint) {
        let context = self.context;
        self.out.vrf(ways.routes.vrf);
        self.out
            .know(&to.address, || way(ways, context, client, from, to));
    }
}

impl Host for KernelPlatform<'_, '_> {
    fn random(&self) -> u64 {
        random::number()
    }

    fn is_here(&self, address: &[u8; 16]) -> bool {
        Route::is_here(self.context.net, self.vrf, *address)
    }
}

impl<'e, 'g> environment::Platform for KernelPlatform<'e, 'g> {
    type Kept = Module;
    type Packet = View<'e>;
    type Rules = Ruleset;

    #[inline]
    fn now(&self) -> u64 {
        self.context.now
    }

    #[inline]
    fn rules(&self) -> &Ruleset {
        self.context.ruleset
    }

    #[inline]
    fn fingerprint_key(&self) -> fingerprint::Key {
        self.context.flows.heads
    }

    fn listener(&self) -> Listener {
        listener(self.context.flows, self.context.now)
    }

    fn memory(&self) -> u64 {
        self.context.flows.held()
    }

    #[inline]
    fn with_buffers<T>(&self, with: impl FnOnce(Buffers<'_>) -> T) -> Option<T> {
        let mut scratch = self.context.flows.scratches.take()?;
        let Scratch {
            bytes,
            path,
            host,
            decisions,
            ..
        } = &mut *scratch;
        Some(with(Buffers {
            bytes,
            host,
            path,
            decisions: Decisions(decisions),
        }))
    }

    fn forwards(&self, ipv4: bool) -> bool {
        self.context.net.forwards(self.context.guard, ipv4)
    }

    fn own_address(&self, peer: &[u8; 16]) -> Option<[u8; 16]> {
        Route::source(self.context.net, self.vrf, *peer)
    }

    fn own_ports(&self) -> Range<u16> {
        PORTS
    }

    fn insert(&self, leg: LegNumber, peer: &Endpoint, local: &Endpoint) -> bool {
        self.context.flows.reserve(self.location, leg, peer, local)
    }

    fn remove(&self, leg: LegNumber, peer: &Endpoint, local: &Endpoint, ways: &mut CachedRoutes) {
        self.context.flows.free(self.location, leg, peer, local);
        ways.to_server.get_mut(leg).forget();
    }

    fn send_built(&mut self, client: &Endpoint, state: &mut ConnState, build: Build) -> bool {
        self.know(client, state, &build.source, &build.destination);
        self.out.build(build)
    }

    fn send_header(
        &mut self,
        client: &Endpoint,
        state: &mut ConnState,
        build: Build,
        header: &Written,
    ) -> bool {
        self.know(client, state, &build.source, &build.destination);
        self.out.header(build, header)
    }

    fn send_held(
        &mut self,
        client: &Endpoint,
        state: &mut ConnState,
        packet: Owned,
        parsed: &Parsed,
        (from, to): (u32, u32),
        rewrite: &Rewrite,
    ) -> bool {
        self.know(client, state, &rewrite.source, &rewrite.destination);
        self.out
            .packet(self.context.counts, packet, parsed, from, to, rewrite)
    }

    fn takes_token(&self, rate: u32, client: &[u8; 16]) -> bool {
        let context = self.context;
        context.ruleset.limits().take(rate, client, context.now)
    }

    #[inline]
    fn count(&self, event: Event) {
        self.context.counts.count(Counter::of(event));
    }

    fn tally(&self, what: Tally) {
        if matches!(what, Tally::ServerFailing) {
            self.context.counts.server_failed();
        }
        self.context.counts.count(Counter::of_tally(what));
    }

    #[inline]
    fn count_service(&self, service: Option<u32>, what: Exchange) {
        if let Some(traffic) = service.and_then(|service| self.context.ruleset.traffic(service)) {
            let counter = match what {
                Exchange::Request => TRAFFIC_REQUESTS,
                Exchange::Response(class) => responses(TRAFFIC_RESPONSES, class),
            };
            traffic.add(counter, 1);
        }
    }

    #[inline]
    fn count_route(&self, slot: u32, what: Exchange) {
        let counter = match what {
            Exchange::Request => ROUTE_REQUESTS,
            Exchange::Response(class) => responses(ROUTE_RESPONSES, class),
        };
        self.context.ruleset.routes().add(slot, counter);
    }

    fn first_byte(&self, ns: u64) {
        self.context.counts.responses.observe(ns);
    }

    fn server_takes(&self, service: u32, server: &Endpoint, mss: u16) {
        let ipv4 = is_ipv4(&server.address);
        self.context.ruleset.found_largest(service, mss, ipv4);
    }

    fn server_lacks_timestamps(&self, service: u32) {
        self.context.ruleset.found_timeless(service);
    }
}

/// The counter of a class of status codes, 1 to 5, where that of the first is known.
const fn responses(first: usize, class: u8) -> usize {
    first.wrapping_add((class as usize).wrapping_sub(1))
}

/// [`CachedRoute::find`], by the ends of a connection.
#[inline(always)]
pub(super) fn find_way<'g>(
    way: &mut CachedRoute,
    guard: &'g rcu::Guard,
    net: &Net,
    vrf: Vrf,
    from: &Endpoint,
    to: &Endpoint,
) -> Option<NextHop<'g>> {
    let ports = (from.port, to.port);
    way.find(guard, net, vrf, &from.address, &to.address, ports)
}

/// The way to an address: the client's, or that of a leg's server.
fn way<'g>(
    state: &mut ConnState,
    context: &PacketContext<'g>,
    client: &Endpoint,
    from: &Endpoint,
    to: &Endpoint,
) -> Option<NextHop<'g>> {
    let ways = &mut state.routes;
    let vrf = ways.vrf;
    let way = if client.address == to.address {
        &mut ways.to_client
    } else {
        let mut legs = state.servers.iter().zip(ways.to_server.iter_mut());
        let (_, way) = legs.find(|(bound, _)| {
            bound
                .as_ref()
                .is_some_and(|bound| bound.server.endpoint().address == to.address)
        })?;
        way
    };
    find_way(way, context.guard, context.net, vrf, from, to)
}

/// The clock of cookies.
fn epoch() -> u32 {
    let seconds = u64::try_from(clock::real_seconds()).unwrap_or(0);
    (seconds / cookie::EPOCH_SECONDS) as u32
}

/// How services answer.
pub(super) fn listener(flows: &Flows, now: u64) -> Listener {
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

/// The memory of a connection whose flow is dead goes with it.
pub(super) fn is_dead(flow: &Flow) -> bool {
    flow.state() == l7switch_engine::flow::State::Dead
}

/// Sees in a debug kernel that a connection is as it must be between packets.
#[inline(always)]
pub(super) fn check(flow: &Flow, state: &ConnState) {
    if cfg!(CONFIG_PROVE_LOCKING) {
        if let Some(broken) = state.broken(flow) {
            pr_err!("{broken}\n");
            kernel::warn_on!(true);
        }
    }
}
