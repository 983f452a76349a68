// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The path of packets: to their flows, and on.
#![forbid(unsafe_code)]

use kernel::sync::rcu;

use l7switch_engine::flow;
use l7switch_engine::flow::milliseconds;
use l7switch_engine::flow::segment::Parsed;
use l7switch_engine::flow::Rewrite;
use l7switch_engine::flow::Verdict;

use super::connection::Connection;
use super::env::check;
use super::env::find_way;
use super::env::is_dead;
use super::env::ConnState;
use super::flows::Flows;
use super::flows::Location;
use super::flows::Shard;
use super::flows::Side;
use super::segment::View;
use super::transmit;
use super::transmit::Out;
use crate::shell::net::netfilter;
use crate::shell::net::route::NextHop;
use crate::shell::net::Net;
use crate::shell::packet::Buffer;
use crate::shell::packet::Owned;
use crate::shell::packet::Packet;
use crate::shell::packet::Point;
use crate::state::counters::Counter;
use crate::state::counts::Counts;
use crate::state::ruleset::Ruleset;
use crate::state::traffic::TRAFFIC_BYTES;
use crate::state::traffic::TRAFFIC_BYTES_OUT;
use crate::state::traffic::TRAFFIC_PACKETS;

/// Bytes of a response that are copied to be read, where the packet has pages of others: what most heads have, and what long
/// ones do. More is copied as a whole.
const STARTS: [u32; 2] = [512, 4096];

/// What is done with a packet when its flow is unlocked.
pub(super) enum Action<'a> {
    /// It goes on through the stack, as it is, or rewritten.
    Accept,
    /// It goes no further.
    Drop,
    /// It goes on, rewritten, without the stack.
    Go(NextHop<'a>),
    /// It is held, or waits to be sent.
    Taken,
    /// Its connection has been ended, and it may begin another.
    Fresh,
    /// IPsec's policies refuse it: it was not touched, and the stack drops it.
    Refused,
}

/// What everything about one packet needs.
pub(super) struct PacketContext<'a> {
    pub(super) guard: &'a rcu::Guard,
    /// What is counted.
    pub(super) counts: &'a Counts,
    /// The rules in force.
    pub(super) ruleset: &'a Ruleset,
    pub(super) flows: &'a Flows,
    pub(super) net: &'a Net,
    /// Now, ns of the monotonic clock.
    pub(super) now: u64,
}

impl<'g> PacketContext<'g> {
    /// Gives a packet to its flow, whose shard is locked.
    pub(super) fn give(
        &self,
        shard: &mut Shard,
        location: Location,
        side: Side,
        packet: &mut Packet<'_>,
        parsed: &Parsed,
        out: &mut Out<'g>,
    ) -> Action<'g> {
        let Some(connection) = shard.get(location.slot()) else {
            self.counts.count(Counter::Late);
            return Action::Drop;
        };
        let Connection { flow, state, .. } = connection;
        let before = state.memory();
        // Each side for itself: the verdict is copied less, and what is done with it is made for that side.
        let action = match side {
            Side::Client => {
                let mut view = View::new(packet, parsed);
                if view.is_scattered(parsed) {
                    let (held, unacked) = (!state.held.is_empty(), state.has_unacked());
                    let reads = flow.reads_of_client(&parsed.segment, held, unacked);
                    if reads && !self.make_own(packet) {
                        return Action::Drop;
                    }
                    view = View::new(packet, parsed);
                }
                let mut env = self.env(location, flow, state, out);
                let verdict = flow.client(&parsed.segment, &view, &mut env);
                self.act(&verdict, flow, state, out, location, side, packet, parsed)
            }
            Side::Server(leg) => {
                let mut view = View::new(packet, parsed);
                if view.is_scattered(parsed) {
                    let reads = flow.reads_of_server(leg, &parsed.segment);
                    let behind =
                        |own: &[u8]| flow.reads_of_server_behind(leg, &parsed.segment, own);
                    if reads && !self.make_start_own(packet, parsed, behind) {
                        return Action::Drop;
                    }
                    view = View::new(packet, parsed);
                }
                let mut env = self.env(location, flow, state, out);
                let verdict = flow.server(leg, &parsed.segment, &view, &mut env);
                self.act(&verdict, flow, state, out, location, side, packet, parsed)
            }
        };
        check(flow, state);
        let dead = is_dead(flow);
        let due = flow.due(!state.held.is_empty());
        self.flows.held_changed(before, state.memory());
        connection.seen = milliseconds(self.now);
        let len = parsed.packet_len();
        let service = connection
            .state
            .service(self.ruleset, &connection.flow.service);
        let traffic = service.and_then(|service| self.ruleset.traffic(service));
        match (side, &action) {
            // It is counted with those of its next connection.
            (Side::Client, Action::Fresh) => {}
            (Side::Client, _) => {
                connection.packets = connection.packets.wrapping_add(1);
                connection.bytes = connection.bytes.wrapping_add(len);
                if let Some(traffic) = traffic {
                    traffic.add_both((TRAFFIC_PACKETS, 1), (TRAFFIC_BYTES, len));
                }
            }
            (Side::Server(_), Action::Go(_) | Action::Accept | Action::Taken) => {
                if let Some(traffic) = traffic {
                    traffic.add(TRAFFIC_BYTES_OUT, len);
                }
            }
            (Side::Server(_), _) => {}
        }
        if dead {
            self.flows.remove(shard, location, true);
        } else {
            shard.due(location.slot(), due);
        }
        action
    }

    /// Sees that what is read of a packet is what is sent, whoever has its pages. `false`: it cannot be.
    #[cold]
    #[inline(never)]
    fn make_own(&self, packet: &mut Packet<'_>) -> bool {
        let own = !packet.is_foreign() || packet.make_own();
        if !own {
            self.counts.count(Counter::Unreadable);
        }
        own
    }

    /// The same, where it is enough that the data's start is the packet's own: a response's head before a file's pages. `behind`
    /// says of a start whether more has to be read.
    #[cold]
    #[inline(never)]
    fn make_start_own(
        &self,
        packet: &mut Packet<'_>,
        parsed: &Parsed,
        behind: impl Fn(&[u8]) -> bool,
    ) -> bool {
        if !packet.is_foreign() {
            return true;
        }
        for start in STARTS {
            let start = parsed.segment.payload.min(start);
            let pulled = packet.pull(parsed.payload_at.saturating_add(start));
            if pulled && !behind(View::new(packet, parsed).start()) {
                return true;
            }
        }
        self.make_own(packet)
    }

    /// Does with a packet what its flow says.
    #[expect(
        clippy::too_many_arguments,
        reason = "parts of one connection, and of its packet"
    )]
    #[inline(always)]
    fn act(
        &self,
        verdict: &Verdict,
        flow: &mut flow::Flow,
        state: &mut ConnState,
        out: &mut Out<'g>,
        location: Location,
        side: Side,
        packet: &mut Packet<'_>,
        parsed: &Parsed,
    ) -> Action<'g> {
        match verdict {
            Verdict::Drop => Action::Drop,
            Verdict::Forward(rewrite) => {
                let way = self.way(flow, state, side, packet, parsed, rewrite);
                let to_front = matches!(side, Side::Client)
                    && rewrite.destination == parsed.segment.destination;
                if way.is_none() && !to_front && packet.point() == Point::PreRouting {
                    if let Some(part) = self.by_ipsec(packet, parsed, rewrite) {
                        return self.keep(&part, state, packet, parsed, out);
                    }
                }
                self.rewrite(packet, parsed, rewrite, way)
            }
            Verdict::Reopen => {
                let mut env = self.env(location, flow, state, out);
                flow.end(&mut env);
                Action::Fresh
            }
            kept => self.keep(kept, state, packet, parsed, out),
        }
    }

    /// Where IPsec has policies, a packet is sent as one of the switch's own: they were asked about the headers that it came with,
    /// and the stack would ask them about those that it goes on with.
    #[cold]
    #[inline(never)]
    fn by_ipsec(&self, packet: &Packet<'_>, parsed: &Parsed, rewrite: &Rewrite) -> Option<Verdict> {
        packet
            .has_ipsec()
            .then_some(Verdict::Part(parsed.segment.payload, *rewrite))
    }

    /// Takes a packet out of the hook, of which a part goes on, or that is held.
    #[cold]
    #[inline(never)]
    fn keep(
        &self,
        verdict: &Verdict,
        state: &mut ConnState,
        packet: &mut Packet<'_>,
        parsed: &Parsed,
        out: &mut Out<'g>,
    ) -> Action<'g> {
        if !matches!(verdict, Verdict::Hold(_)) {
            out.vrf(state.routes.vrf);
        }
        let Some(kept) = packet.steal() else {
            self.counts.count(Counter::HoldsRefused);
            return Action::Drop;
        };
        let sent = match verdict {
            Verdict::Part(bytes, rewrite) => {
                out.packet(self.counts, kept, parsed, 0, *bytes, rewrite)
            }
            Verdict::PartHold(bytes, rewrite) => {
                let sent = kept
                    .copy()
                    .is_some_and(|part| out.packet(self.counts, part, parsed, 0, *bytes, rewrite));
                let from = parsed.segment.seq.wrapping_add(*bytes);
                self.hold(state, kept, parsed, from);
                sent
            }
            Verdict::Hold(from) => {
                self.hold(state, kept, parsed, *from);
                true
            }
            Verdict::Drop | Verdict::Forward(_) | Verdict::Reopen => true,
        };
        if !sent {
            self.counts.count(Counter::TxDropped);
        }
        Action::Taken
    }

    fn hold(&self, state: &mut ConnState, packet: Owned, parsed: &Parsed, from: u32) {
        if !state
            .held
            .hold(packet, &parsed.segment, from, self.flows.held())
        {
            self.counts.count(Counter::HoldsRefused);
        }
    }

    /// The way of a packet that goes on, if it need not pass the stack.
    #[inline(always)]
    fn way(
        &self,
        flow: &flow::Flow,
        state: &mut ConnState,
        side: Side,
        packet: &Packet<'_>,
        parsed: &Parsed,
        rewrite: &Rewrite,
    ) -> Option<NextHop<'g>> {
        let (from, to) = (&rewrite.source, &rewrite.destination);
        let vrf = state.routes.vrf;
        let way = match side {
            // To the front.
            Side::Client if *to == parsed.segment.destination => return None,
            Side::Server(_) => &mut state.routes.to_client,
            Side::Client => {
                // The request that the packet proves the way for may have another server than the packet.
                let active = flow.active()?;
                if flow.leg(active)?.peer != *to {
                    return None;
                }
                state.routes.to_server.get_mut(active)
            }
        };
        let way = find_way(way, self.guard, self.net, vrf, from, to)?;
        packet.fits(way, parsed.tcp_at).then_some(way)
    }

    /// Rewrites a packet that goes on.
    #[inline(always)]
    fn rewrite(
        &self,
        packet: &mut Packet<'_>,
        parsed: &Parsed,
        rewrite: &Rewrite,
        way: Option<NextHop<'g>>,
    ) -> Action<'g> {
        let action = match way {
            Some(way) if self.written(packet, parsed, rewrite) => Action::Go(way),
            Some(_) => Action::Drop,
            None => self.through_stack(packet, parsed, rewrite),
        };
        if matches!(action, Action::Drop) {
            self.counts.count(Counter::TxDropped);
        }
        action
    }

    /// Whether a packet's headers could be rewritten, and it be cut where it is longer than who it goes to takes.
    #[inline(always)]
    fn written(&self, packet: &mut Packet<'_>, parsed: &Parsed, rewrite: &Rewrite) -> bool {
        transmit::rewrite(packet, parsed, rewrite)
            && (!transmit::may_be_long(&parsed.segment, rewrite)
                || transmit::limit(self.counts, packet, parsed, rewrite))
    }

    #[inline(never)]
    fn through_stack(
        &self,
        packet: &mut Packet<'_>,
        parsed: &Parsed,
        rewrite: &Rewrite,
    ) -> Action<'g> {
        let same = rewrite.destination == parsed.segment.destination;
        packet.untrack();
        // Another source is an address of this host's (the service's, or the switch's own), a martian on input: the route is
        // found with the one that the packet came with.
        let foreign = rewrite.source.address == parsed.segment.source.address;
        let routed = foreign
            || packet.point() == Point::LocalOut
            || packet.route_input(rewrite.destination.address);
        let done = routed
            && self.written(packet, parsed, rewrite)
            && (same || packet.point() != Point::LocalOut || packet.reroute());
        match done {
            true => Action::Accept,
            false => Action::Drop,
        }
    }

    /// Does with a packet what was decided. With no lock held.
    #[inline(always)]
    pub(super) fn finish(
        &self,
        packet: &mut Packet<'_>,
        action: &Action<'g>,
    ) -> netfilter::Verdict {
        match action {
            Action::Accept => return netfilter::Verdict::Finish,
            Action::Refused => return netfilter::Verdict::Accept,
            Action::Go(way) => {
                if !packet.go(*way) {
                    self.counts.count(Counter::TxDropped);
                }
            }
            Action::Drop | Action::Taken | Action::Fresh => {}
        }
        netfilter::Verdict::Drop
    }

    pub(super) fn send(&self, out: &mut Out<'_>) {
        out.send(self.net, self.counts);
    }
}
