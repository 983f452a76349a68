// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The path of packets: from the hooks to the flows, and on.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;

use kernel::sync::rcu;

use l7switch_engine::flow;
use l7switch_engine::flow::milliseconds;
use l7switch_engine::flow::segment::ACK;
use l7switch_engine::flow::segment::RST;
use l7switch_engine::flow::segment::SYN;
use l7switch_engine::flow::Build;
use l7switch_engine::flow::Fresh;
use l7switch_engine::flow::Listener;
use l7switch_engine::flow::Rewrite;
use l7switch_engine::flow::Verdict;
use l7switch_engine::netlink::Datapath;
use l7switch_engine::netlink::Protocol;
use l7switch_engine::table::format::ServiceRecord;

use super::around::find_way;
use super::around::is_dead;
use super::around::Around;
use super::connection::Connection;
use super::connection::Surroundings;
use super::flows::Flows;
use super::flows::Location;
use super::flows::Shard;
use super::flows::Side;
use super::sending;
use super::sending::Out;
use super::view;
use super::view::Parsed;
use super::view::View;
use super::Counter;
use super::Live;
use super::Switch;
use super::TRAFFIC_BYTES;
use super::TRAFFIC_BYTES_OUT;
use super::TRAFFIC_CONNECTIONS;
use super::TRAFFIC_PACKETS;
use crate::shell::bottom_halves;
use crate::shell::clock;
use crate::shell::net::Net;
use crate::shell::netfilter;
use crate::shell::netfilter::PacketHook;
use crate::shell::packet::Buffer;
use crate::shell::packet::Owned;
use crate::shell::packet::Packet;
use crate::shell::packet::Point;
use crate::shell::route::Hop;
use crate::shell::ticker::Tick;

/// Largest segment that is offered where the path takes more: a jumbo frame's.
const MSS_MAX: u16 = 8940;

/// IPPROTO_ICMP, IPPROTO_ICMPV6.
const ICMP: u8 = 1;
/// See there.
const ICMPV6: u8 = 58;

/// What is done with a packet when its flow is unlocked.
enum Fate<'a> {
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
    fn around<'e>(
        &'e self,
        location: Location,
        flow: &flow::Flow,
        around: &'e mut Surroundings,
        out: &'e mut Out<'g>,
    ) -> Around<'e, 'g> {
        Around {
            case: self,
            location,
            client: flow.client,
            service: flow.service,
            around,
            out,
        }
    }

    /// Gives a packet to its flow, whose shard is locked.
    fn give(
        &self,
        shard: &mut Shard,
        location: Location,
        side: Side,
        packet: &mut Packet<'_>,
        parsed: &Parsed,
        out: &mut Out<'g>,
    ) -> Fate<'g> {
        let Some(connection) = shard.get(location.slot()) else {
            return Fate::Drop;
        };
        let Connection { flow, around, .. } = connection;
        let before = around.memory();
        let mut env = self.around(location, flow, around, out);
        let view = View::new(packet, parsed);
        let verdict = match side {
            Side::Client => flow.client(&parsed.segment, &view, &mut env),
            Side::Server(leg) => flow.server(leg, &parsed.segment, &view, &mut env),
        };
        // The rewrite is used where it was made, and not copied.
        let fate = match &verdict {
            Verdict::Drop => Fate::Drop,
            Verdict::Forward(rewrite) => {
                let way = self.way(flow, around, side, packet, parsed, rewrite);
                self.rewrite(packet, parsed, rewrite, way)
            }
            Verdict::Reopen => {
                flow.end(&mut env);
                Fate::Fresh
            }
            kept => self.keep(kept, around, packet, parsed, out),
        };
        let dead = is_dead(flow);
        let due = flow.due(!around.held.is_empty());
        self.flows.held_changed(before, around.memory());
        connection.seen = milliseconds(self.now);
        let len = parsed.len();
        let service = connection
            .around
            .service(self.live, &connection.flow.service);
        let traffic = service.and_then(|service| self.live.traffic(service));
        match (side, &fate) {
            // It is counted with those of its next connection.
            (Side::Client, Fate::Fresh) => {}
            (Side::Client, _) => {
                connection.packets = connection.packets.wrapping_add(1);
                connection.bytes = connection.bytes.wrapping_add(len);
                if let Some(traffic) = traffic {
                    traffic.add(TRAFFIC_PACKETS, 1);
                    traffic.add(TRAFFIC_BYTES, len);
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

    /// Takes a packet out of the hook, of which a part goes on, or that is held.
    #[cold]
    #[inline(never)]
    fn keep(
        &self,
        verdict: &Verdict,
        around: &mut Surroundings,
        packet: &mut Packet<'_>,
        parsed: &Parsed,
        out: &mut Out<'g>,
    ) -> Fate<'g> {
        let Some(kept) = packet.steal() else {
            return Fate::Drop;
        };
        let sent = match verdict {
            Verdict::Part(bytes, rewrite) => out.packet(kept, parsed, 0, *bytes, rewrite),
            Verdict::PartHold(bytes, rewrite) => {
                let sent = kept
                    .copy()
                    .is_some_and(|part| out.packet(part, parsed, 0, *bytes, rewrite));
                let from = parsed.segment.seq.wrapping_add(*bytes);
                self.hold(around, kept, parsed, from);
                sent
            }
            Verdict::Hold(from) => {
                self.hold(around, kept, parsed, *from);
                true
            }
            Verdict::Drop | Verdict::Forward(_) | Verdict::Reopen => true,
        };
        if !sent {
            self.switch.count(Counter::SendsLost);
        }
        Fate::Taken
    }

    fn hold(&self, around: &mut Surroundings, packet: Owned, parsed: &Parsed, from: u32) {
        if !around.hold(packet, &parsed.segment, from, self.flows.held()) {
            self.switch.count(Counter::HoldsRefused);
        }
    }

    /// The way of a packet that goes on, if it need not pass the stack.
    fn way(
        &self,
        flow: &flow::Flow,
        around: &mut Surroundings,
        side: Side,
        packet: &Packet<'_>,
        parsed: &Parsed,
        rewrite: &Rewrite,
    ) -> Option<Hop<'g>> {
        let (from, to) = (&rewrite.source, &rewrite.destination);
        let way = match side {
            // To the front.
            Side::Client if *to == parsed.segment.destination => return None,
            Side::Server(_) => &mut around.to_client,
            Side::Client => {
                // The request that the packet proves the way for may have another server than the packet.
                let active = flow.active()?;
                if flow.leg(active)?.peer != *to {
                    return None;
                }
                around.to_server.get_mut(active)?
            }
        };
        find_way(way, self.guard, self.net, from, to).filter(|&way| packet.fits(way, parsed.tcp_at))
    }

    /// Rewrites a packet that goes on.
    fn rewrite(
        &self,
        packet: &mut Packet<'_>,
        parsed: &Parsed,
        rewrite: &Rewrite,
        way: Option<Hop<'g>>,
    ) -> Fate<'g> {
        let fate = match way {
            Some(way) if sending::rewrite(packet, parsed, rewrite) => Fate::Go(way),
            Some(_) => Fate::Drop,
            None => self.through_stack(packet, parsed, rewrite),
        };
        if matches!(fate, Fate::Drop) {
            self.switch.count(Counter::SendsLost);
        }
        fate
    }

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
            && sending::rewrite(packet, parsed, rewrite)
            && (same || packet.point() != Point::LocalOut || packet.reroute());
        match done {
            true => Fate::Accept,
            false => Fate::Drop,
        }
    }

    /// Does with a packet what was decided. With no lock held.
    #[inline(always)]
    fn finish(&self, packet: &mut Packet<'_>, fate: &Fate<'g>) -> netfilter::Verdict {
        match fate {
            Fate::Accept => return netfilter::Verdict::Finish,
            Fate::Go(way) => {
                if !packet.go(*way) {
                    self.switch.count(Counter::SendsLost);
                }
            }
            Fate::Drop | Fate::Taken | Fate::Fresh => {}
        }
        netfilter::Verdict::Drop
    }

    fn send(&self, out: &mut Out<'_>) {
        let lost = out.send(self.net);
        if lost > 0 {
            self.switch.counters.add(Counter::SendsLost.index(), lost);
        }
    }

    /// A packet to a service that belongs to no flow.
    fn fresh(
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
            mss: MSS_MAX,
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
                self.switch.count(Counter::Strays);
                netfilter::Verdict::Accept
            }
            Fresh::Drop => netfilter::Verdict::Drop,
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
            traffic.add(TRAFFIC_PACKETS, 1);
            traffic.add(TRAFFIC_BYTES, parsed.len());
        }
    }

    fn answer(&self, build: &Build) {
        if !sending::send(self.net, build, None) {
            self.switch.count(Counter::SendsLost);
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

impl Switch {
    /// Counts.
    pub(super) fn count(&self, counter: Counter) {
        self.counters.add(counter.index(), 1);
    }

    fn see(&self, packet: &mut Packet<'_>) -> netfilter::Verdict {
        let guard = packet.guard();
        let (Some(live), Some(flows)) = (self.live.read(guard), self.flows.read(guard)) else {
            return netfilter::Verdict::Accept;
        };
        // Local clients send in process context.
        let local = packet.point() == Point::LocalOut;
        let _softirqs = local.then(bottom_halves::Disabled::new);
        let mut case = Case {
            guard,
            switch: self,
            live,
            flows,
            net: packet.net(),
            // Read for what is the module's only.
            now: 0,
        };
        let mut again = true;
        loop {
            let (start, len) = packet.start();
            let Some(outer) = view::outer(packet, start) else {
                return netfilter::Verdict::Accept;
            };
            let Some(tcp_at) = outer.tcp_at else {
                return match outer.ip.protocol {
                    ICMP | ICMPV6 => self.icmp(flows, packet),
                    _ => netfilter::Verdict::Accept,
                };
            };
            // Used where it is made, and not copied.
            if let Some(parsed) = &view::parse(start, len, &outer.ip, tcp_at) {
                return case.segment(packet, parsed);
            }
            // Headers in pieces: in one, if there are any.
            let len = len.min(tcp_at.saturating_add(60));
            if !again || packet.headers_mut(len).is_none() {
                return netfilter::Verdict::Accept;
            }
            again = false;
        }
    }

    /// A TCP segment at a device's ingress: it is taken there where its connection is in the table.
    #[inline(never)]
    fn arrive(&self, packet: &mut Packet<'_>) -> netfilter::Verdict {
        let guard = packet.guard();
        let (Some(live), Some(flows)) = (self.live.read(guard), self.flows.read(guard)) else {
            return netfilter::Verdict::Accept;
        };
        let mut case = Case {
            guard,
            switch: self,
            live,
            flows,
            net: packet.net(),
            now: 0,
        };
        let (start, len) = packet.start();
        let Some((ip, tcp)) = view::plain(start) else {
            return netfilter::Verdict::Accept;
        };
        // It may begin another connection.
        if tcp.flags & (SYN | ACK | RST) == SYN {
            return netfilter::Verdict::Accept;
        }
        // Of others' packets no more is read.
        let hash = flows.hash(&tcp.source(&ip), &tcp.destination(&ip));
        if !flows.may_have(hash) {
            return netfilter::Verdict::Accept;
        }
        match &view::parse(start, len, &ip, ip.header_len) {
            Some(parsed) => case.arrived(packet, parsed, hash),
            None => netfilter::Verdict::Accept,
        }
    }
}

impl<'g> Case<'g> {
    #[inline(always)]
    fn arrived(
        &mut self,
        packet: &mut Packet<'_>,
        parsed: &Parsed,
        hash: u64,
    ) -> netfilter::Verdict {
        let (source, destination) = (&parsed.segment.source, &parsed.segment.destination);
        let mut out = Out::new();
        let fate = self
            .flows
            .find(hash, source, destination, |shard, location, side| {
                if !packet.take() {
                    // The stack will drop it.
                    return Fate::Fresh;
                }
                self.now = clock::now_ns();
                if !self.right(packet, parsed) {
                    return Fate::Drop;
                }
                self.give(shard, location, side, packet, parsed, &mut out)
            });
        let verdict = match &fate {
            Some(Fate::Fresh) | None => netfilter::Verdict::Accept,
            Some(fate) => self.finish(packet, fate),
        };
        self.send(&mut out);
        verdict
    }

    fn segment(&mut self, packet: &mut Packet<'_>, parsed: &Parsed) -> netfilter::Verdict {
        let segment = &parsed.segment;
        let (source, destination) = (&segment.source, &segment.destination);
        // The front answers from the service's own address.
        if packet.point() == Point::LocalOut
            && self.live.service_at(source.address, source.port).is_some()
        {
            return self.sent_by_front(packet, parsed);
        }
        let hash = self.flows.hash(source, destination);
        if segment.flags & (SYN | ACK | RST) == SYN && self.service(parsed).is_some() {
            return self.stranger(packet, parsed, hash);
        }
        let mut out = Out::new();
        let fate = self
            .flows
            .find(hash, source, destination, |shard, location, side| {
                self.now = clock::now_ns();
                if packet.point() == Point::PreRouting {
                    self.switch.count(Counter::PastIngress);
                }
                if !self.right(packet, parsed) {
                    return Fate::Drop;
                }
                self.give(shard, location, side, packet, parsed, &mut out)
            });
        let verdict = match &fate {
            Some(Fate::Fresh) | None => self.stranger(packet, parsed, hash),
            Some(fate) => self.finish(packet, fate),
        };
        self.send(&mut out);
        verdict
    }

    /// A packet of the local front's to a client.
    #[cold]
    #[inline(never)]
    fn sent_by_front(&mut self, packet: &mut Packet<'_>, parsed: &Parsed) -> netfilter::Verdict {
        self.now = clock::now_ns();
        let (front, client) = (&parsed.segment.source, &parsed.segment.destination);
        let hash = self.flows.hash(client, front);
        let mut out = Out::new();
        let fate = self
            .flows
            .find(hash, client, front, |shard, location, side| {
                let leg = shard.get(location.slot()).and_then(|c| front_leg(&c.flow));
                match (leg, side) {
                    (Some(leg), Side::Client) => {
                        self.give(shard, location, Side::Server(leg), packet, parsed, &mut out)
                    }
                    // The front's own connection, from before the flow.
                    _ => Fate::Accept,
                }
            });
        let verdict = fate.map_or(netfilter::Verdict::Accept, |fate| {
            self.finish(packet, &fate)
        });
        self.send(&mut out);
        verdict
    }

    /// The service that a packet is to.
    fn service(&self, parsed: &Parsed) -> Option<u32> {
        let to = &parsed.segment.destination;
        self.live.service_at(to.address, to.port)
    }

    /// A packet that is no connection's: of its service, if it is to one.
    fn stranger(
        &mut self,
        packet: &mut Packet<'_>,
        parsed: &Parsed,
        hash: u64,
    ) -> netfilter::Verdict {
        let Some(service) = self.service(parsed) else {
            return netfilter::Verdict::Accept;
        };
        if !self.right(packet, parsed) {
            return netfilter::Verdict::Drop;
        }
        self.now = clock::now_ns();
        self.fresh(service, packet, parsed, hash)
    }

    /// Whether a segment's checksum is right: what it acknowledges and its clock change the connection, too.
    fn right(&self, packet: &mut Packet<'_>, parsed: &Parsed) -> bool {
        let right = packet.checksum_valid(parsed.tcp_at);
        if !right {
            self.switch.count(Counter::BadChecksums);
        }
        right
    }
}

/// The leg of a flow that leads to the front.
fn front_leg(flow: &flow::Flow) -> Option<usize> {
    (0..flow::LEGS).find(|&leg| {
        flow.leg(leg)
            .is_some_and(|leg| leg.method == flow::Method::Front)
    })
}

impl PacketHook for Switch {
    fn ipv4(&self, packet: &mut Packet<'_>) -> netfilter::Verdict {
        self.see(packet)
    }

    fn ipv6(&self, packet: &mut Packet<'_>) -> netfilter::Verdict {
        self.see(packet)
    }

    fn awaits(&self, guard: &rcu::Guard) -> bool {
        let flows = self.flows.read(guard);
        flows.is_some_and(Flows::any)
    }

    fn ingress(&self, packet: &mut Packet<'_>) -> netfilter::Verdict {
        self.arrive(packet)
    }

    fn farewell(&self, net: &Net) {
        let guard = rcu::read_lock();
        if let (Some(live), Some(flows)) = (self.live.read(&guard), self.flows.read(&guard)) {
            abort(self, live, flows, net);
        }
    }
}

impl Tick for Switch {
    const PERIOD_MS: u32 = l7switch_engine::wheel::NEAR_MS;

    fn tick(&self, net: &Net) {
        let guard = rcu::read_lock();
        let (Some(live), Some(flows)) = (self.live.read(&guard), self.flows.read(&guard)) else {
            return;
        };
        let now = clock::now_ns();
        if self.failing() {
            self.recover(live, net, now);
        }
        if self.full.load(Relaxed) && flows.has_room() {
            self.full.store(false, Relaxed);
        }
        flows.look_for_any();
        let case = Case {
            guard: &guard,
            switch: self,
            live,
            flows,
            net,
            now,
        };
        for number in Flows::shards() {
            case.turn(number);
        }
    }
}

impl<'g> Case<'g> {
    /// Looks at the connections of a shard whose time has come.
    fn turn(&self, number: usize) {
        let now = milliseconds(self.now);
        loop {
            let mut out = Out::new();
            {
                let Some(mut shard) = self.flows.lock(number) else {
                    return;
                };
                let Some(slot) = shard.turn(now) else {
                    return;
                };
                let location = Location::of(number, slot);
                let Some(connection) = shard.get(slot) else {
                    continue;
                };
                let Connection { flow, around, .. } = connection;
                let before = around.memory();
                let mut env = self.around(location, flow, around, &mut out);
                flow.tick(&mut env);
                let due = flow.due(!around.held.is_empty());
                self.flows.held_changed(before, around.memory());
                if is_dead(flow) {
                    self.flows.remove(&mut shard, location, false);
                } else {
                    shard.wait(slot, due);
                }
            }
            self.send(&mut out);
        }
    }
}

/// Ends every connection, since the switch goes away: both sides are told.
fn abort(switch: &Switch, live: &Live, flows: &Flows, net: &Net) {
    for number in Flows::shards() {
        let mut slot = 0u32;
        loop {
            let guard = rcu::read_lock();
            let case = Case {
                guard: &guard,
                switch,
                live,
                flows,
                net,
                now: clock::now_ns(),
            };
            let mut out = Out::new();
            let _softirqs = bottom_halves::Disabled::new();
            {
                let Some(mut shard) = flows.lock(number) else {
                    break;
                };
                let Some(found) = shard.next_used(slot) else {
                    break;
                };
                slot = found;
                let location = Location::of(number, slot);
                if let Some(connection) = shard.get(slot) {
                    let Connection { flow, around, .. } = connection;
                    let mut env = case.around(location, flow, around, &mut out);
                    flow.abort(&mut env);
                }
                flows.remove(&mut shard, location, true);
            }
            out.send(net);
        }
    }
}
