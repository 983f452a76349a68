// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The path of packets: to their flows, and on.
#![forbid(unsafe_code)]

use kernel::sync::rcu;

use l7switch_engine::endpoint::is_ipv4;
use l7switch_engine::flow;
use l7switch_engine::flow::milliseconds;
use l7switch_engine::flow::segment::Parsed;
use l7switch_engine::flow::segment::SYN;
use l7switch_engine::flow::Build;
use l7switch_engine::flow::Fresh;
use l7switch_engine::flow::Listener;
use l7switch_engine::flow::Rewrite;
use l7switch_engine::flow::Verdict;
use l7switch_engine::netlink::Datapath;
use l7switch_engine::netlink::Protocol;
use l7switch_engine::table::format::ServiceRecord;

use super::platform::find_way;
use super::platform::check;
use super::platform::is_dead;
use super::platform::ConnState;
use super::connection::Connection;
use super::flows::Flows;
use super::flows::Location;
use super::flows::Shard;
use super::flows::Side;
use super::sending;
use super::sending::Out;
use super::view::View;
use super::Counter;
use super::Live;
use super::Switch;
use super::TRAFFIC_BYTES;
use super::TRAFFIC_BYTES_OUT;
use super::TRAFFIC_CONNECTIONS;
use super::TRAFFIC_PACKETS;
use crate::shell::net::Net;
use crate::shell::netfilter;
use crate::shell::packet::Buffer;
use crate::shell::packet::Owned;
use crate::shell::packet::Packet;
use crate::shell::packet::Point;
use crate::shell::route::Hop;
use crate::shell::route::Sent;

/// What is done with a packet when its flow is unlocked.
pub(super) enum Fate<'a> {
    /// It goes on through the stack, as it is, or rewritten.
    Accept,
    /// It goes no further.
    Drop,
    /// It goes on, rewritten, without the stack.
    Go(Hop<'a>),
    /// It is held, or waits to be sent.
    Taken,
    /// Its connection has been ended, and it may begin another.
    Fresh,
}

/// What everything about one packet needs.
pub(super) struct Case<'a> {
    pub(super) guard: &'a rcu::Guard,
    pub(super) switch: &'a Switch,
    /// The table in force.
    pub(super) live: &'a Live,
    pub(super) flows: &'a Flows,
    pub(super) net: &'a Net,
    /// Now, ns of the monotonic clock.
    pub(super) now: u64,
}

impl<'g> Case<'g> {
    /// Gives a packet to its flow, whose shard is locked.
    pub(super) fn give(
        &self,
        shard: &mut Shard,
        location: Location,
        side: Side,
        packet: &mut Packet<'_>,
        parsed: &Parsed,
        out: &mut Out<'g>,
    ) -> Fate<'g> {
        let Some(connection) = shard.get(location.slot()) else {
            self.switch.count(Counter::Late);
            return Fate::Drop;
        };
        let Connection { flow, state, .. } = connection;
        let before = state.memory();
        // Each side for itself: the verdict is copied less, and what is done with it is made for that side.
        let fate = match side {
            Side::Client => {
                let mut view = View::new(packet, parsed);
                if view.is_scattered(parsed) {
                    let (held, noted) = (!state.held.is_empty(), state.has_notes());
                    let reads = flow.reads_of_client(&parsed.segment, held, noted);
                    if reads && !self.make_own(packet) {
                        return Fate::Drop;
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
                    if reads && !self.make_own(packet) {
                        return Fate::Drop;
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
            .service(self.live, &connection.flow.service);
        let traffic = service.and_then(|service| self.live.traffic(service));
        match (side, &fate) {
            // It is counted with those of its next connection.
            (Side::Client, Fate::Fresh) => {}
            (Side::Client, _) => {
                connection.packets = connection.packets.wrapping_add(1);
                connection.bytes = connection.bytes.wrapping_add(len);
                if let Some(traffic) = traffic {
                    traffic.add_both((TRAFFIC_PACKETS, 1), (TRAFFIC_BYTES, len));
                }
            }
            (Side::Server(_), Fate::Go(_) | Fate::Accept) => {
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
        fate
    }

    /// Sees that what is read of a packet is what is sent, whoever has its pages. `false`: it cannot be.
    #[cold]
    #[inline(never)]
    fn make_own(&self, packet: &mut Packet<'_>) -> bool {
        let own = !packet.is_foreign() || packet.make_own();
        if !own {
            self.switch.count(Counter::Unreadable);
        }
        own
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
    ) -> Fate<'g> {
        match verdict {
            Verdict::Drop => Fate::Drop,
            Verdict::Forward(rewrite) => {
                let way = self.way(flow, state, side, packet, parsed, rewrite);
                self.rewrite(packet, parsed, rewrite, way)
            }
            Verdict::Reopen => {
                let mut env = self.env(location, flow, state, out);
                flow.end(&mut env);
                Fate::Fresh
            }
            kept => self.keep(kept, state, packet, parsed, out),
        }
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
    ) -> Fate<'g> {
        let Some(kept) = packet.steal() else {
            self.switch.count(Counter::HoldsRefused);
            return Fate::Drop;
        };
        let sent = match verdict {
            Verdict::Part(bytes, rewrite) => {
                out.packet(self.switch, kept, parsed, 0, *bytes, rewrite)
            }
            Verdict::PartHold(bytes, rewrite) => {
                let sent = kept
                    .copy()
                    .is_some_and(|part| out.packet(self.switch, part, parsed, 0, *bytes, rewrite));
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
            self.switch.count(Counter::TxDropped);
        }
        Fate::Taken
    }

    fn hold(&self, state: &mut ConnState, packet: Owned, parsed: &Parsed, from: u32) {
        if !state.held.hold(packet, &parsed.segment, from, self.flows.held()) {
            self.switch.count(Counter::HoldsRefused);
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
    ) -> Option<Hop<'g>> {
        let (from, to) = (&rewrite.source, &rewrite.destination);
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
                state.routes.to_server.get_mut(active)?
            }
        };
        let way = find_way(way, self.guard, self.net, from, to)?;
        packet.fits(way, parsed.tcp_at).then_some(way)
    }

    /// Rewrites a packet that goes on.
    #[inline(always)]
    fn rewrite(
        &self,
        packet: &mut Packet<'_>,
        parsed: &Parsed,
        rewrite: &Rewrite,
        way: Option<Hop<'g>>,
    ) -> Fate<'g> {
        let fate = match way {
            Some(way) if self.written(packet, parsed, rewrite) => Fate::Go(way),
            Some(_) => Fate::Drop,
            None => self.through_stack(packet, parsed, rewrite),
        };
        if matches!(fate, Fate::Drop) {
            self.switch.count(Counter::TxDropped);
        }
        fate
    }

    /// Whether a packet's headers could be rewritten, and it be cut where it is longer than who it goes to takes.
    #[inline(always)]
    fn written(&self, packet: &mut Packet<'_>, parsed: &Parsed, rewrite: &Rewrite) -> bool {
        sending::rewrite(packet, parsed, rewrite)
            && (!sending::may_be_long(&parsed.segment, rewrite)
                || sending::limit(self.switch, packet, parsed, rewrite))
    }

    #[inline(never)]
    fn through_stack(
        &self,
        packet: &mut Packet<'_>,
        parsed: &Parsed,
        rewrite: &Rewrite,
    ) -> Fate<'g> {
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
            true => Fate::Accept,
            false => Fate::Drop,
        }
    }

    /// Does with a packet what was decided. With no lock held.
    #[inline(always)]
    pub(super) fn finish(&self, packet: &mut Packet<'_>, fate: &Fate<'g>) -> netfilter::Verdict {
        match fate {
            Fate::Accept => return netfilter::Verdict::Finish,
            Fate::Go(way) => {
                if !packet.go(*way) {
                    self.switch.count(Counter::TxDropped);
                }
            }
            Fate::Drop | Fate::Taken | Fate::Fresh => {}
        }
        netfilter::Verdict::Drop
    }

    pub(super) fn send(&self, out: &mut Out<'_>) {
        let Some(losses) = out.send(self.net) else {
            return;
        };
        for (counter, count) in [
            (Counter::TxDropped, losses.lost),
            (Counter::FilteredBehind, losses.filtered),
        ] {
            if count > 0 {
                self.switch.counters.add(counter.index(), count);
            }
        }
    }

    /// A packet to a service that belongs to no flow.
    pub(super) fn fresh(
        &self,
        service: u32,
        packet: &mut Packet<'_>,
        parsed: &Parsed,
        hash: u64,
    ) -> netfilter::Verdict {
        let record: ServiceRecord = self.live.table.get(service).unwrap_or_default();
        let protocol = Protocol::from_number(record.protocol);
        let served = record.datapath != Datapath::Front.number()
            && matches!(
                protocol,
                Some(Protocol::Http | Protocol::Tls | Protocol::Tcp)
            );
        if !served {
            self.came(service, parsed);
            return netfilter::Verdict::Accept;
        }
        let eager = matches!(protocol, Some(Protocol::Tcp));
        let listener = Listener {
            mss: self
                .live
                .largest(service, is_ipv4(&parsed.segment.source.address)),
            timestamps: self.live.timestamps(service),
            eager,
            ..self.switch.listener(self.flows, self.now)
        };
        let fresh = flow::fresh(&listener, &parsed.segment);
        if !matches!(fresh, Fresh::Open(_)) {
            self.came(service, parsed);
        }
        match fresh {
            Fresh::Pass => {
                // A SYN that no cookie can answer is the front's.
                let begins = parsed.segment.is(SYN);
                self.switch.count(match begins {
                    true => Counter::ToFront,
                    false => Counter::UntrackedSegments,
                });
                netfilter::Verdict::Accept
            }
            Fresh::Drop => {
                // What overtook a connection's first data.
                if parsed.segment.payload > 0 {
                    self.switch.count(Counter::OutOfOrder);
                }
                netfilter::Verdict::Drop
            }
            Fresh::Answer(build) => {
                if build.flags & SYN != 0 {
                    self.switch.count(Counter::SynsAnswered);
                }
                self.answer(&build);
                netfilter::Verdict::Drop
            }
            Fresh::Open(flow) => self.open(service, flow, packet, parsed, hash),
        }
    }

    /// Counts a packet to a service that is none of a connection.
    fn came(&self, service: u32, parsed: &Parsed) {
        if let Some(traffic) = self.live.traffic(service) {
            traffic.add_both((TRAFFIC_PACKETS, 1), (TRAFFIC_BYTES, parsed.packet_len()));
        }
    }

    fn answer(&self, build: &Build) {
        match sending::send(self.net, build, None) {
            Sent::Gone => {}
            Sent::Filtered => self.switch.count(Counter::FilteredBehind),
            Sent::Lost => self.switch.count(Counter::TxDropped),
        }
    }

    /// Makes a flow and gives it its first packet.
    fn open(
        &self,
        service: u32,
        flow: flow::Flow,
        packet: &mut Packet<'_>,
        parsed: &Parsed,
        hash: u64,
    ) -> netfilter::Verdict {
        let number = Flows::shard_of(hash);
        let mut out = Out::new();
        let fate = {
            let Some(mut shard) = self.flows.lock(number) else {
                self.switch.count(Counter::Late);
                return netfilter::Verdict::Drop;
            };
            let now = milliseconds(self.now);
            let connection = Connection::new(flow, now);
            let Some(location) =
                self.flows
                    .insert(number, &mut shard, hash, connection, now.wrapping_add(1000))
            else {
                drop(shard);
                self.switch.had_no_room(self.flows, self.net);
                return netfilter::Verdict::Drop;
            };
            self.give(&mut shard, location, Side::Client, packet, parsed, &mut out)
        };
        if let Some(traffic) = self.live.traffic(service) {
            traffic.add(TRAFFIC_CONNECTIONS, 1);
        }
        let verdict = self.finish(packet, &fate);
        self.send(&mut out);
        verdict
    }
}
