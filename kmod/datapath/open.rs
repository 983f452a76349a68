// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Packets to a service that belong to no connection: they open one, or are answered.
#![forbid(unsafe_code)]

use l7switch_engine::endpoint::is_ipv4;
use l7switch_engine::flow;
use l7switch_engine::flow::milliseconds;
use l7switch_engine::flow::segment::Parsed;
use l7switch_engine::flow::segment::SYN;
use l7switch_engine::flow::Build;
use l7switch_engine::flow::Fresh;
use l7switch_engine::flow::Listener;
use l7switch_engine::netlink::Datapath;
use l7switch_engine::netlink::Protocol;
use l7switch_engine::table::format::ServiceRecord;

use super::answered::Ends;
use super::connection::Connection;
use super::dispatch::PacketContext;
use super::env::find_way;
use super::env::listener;
use super::flows::Flows;
use super::flows::Side;
use super::transmit;
use super::transmit::Out;
use crate::shell::net::fast_path::CachedRoute;
use crate::shell::net::netfilter;
use crate::shell::net::route::NextHop;
use crate::shell::net::route::Vrf;
use crate::shell::packet::Buffer;
use crate::shell::packet::Packet;
use crate::shell::packet::Point;
use crate::state::counters::Counter;
use crate::state::traffic::TRAFFIC_BYTES;
use crate::state::traffic::TRAFFIC_CONNECTIONS;
use crate::state::traffic::TRAFFIC_PACKETS;

impl<'g> PacketContext<'g> {
    /// A packet to a service that belongs to no flow. At ingress what is not the switch's is not touched: it is seen again.
    pub(super) fn fresh(
        &self,
        service: u32,
        packet: &mut Packet<'_>,
        parsed: &Parsed,
        hash: u64,
    ) -> netfilter::Verdict {
        let early = packet.point() == Point::Ingress;
        let record: ServiceRecord = self.ruleset.table.get(service).unwrap_or_default();
        let protocol = Protocol::from_number(record.protocol);
        let served = record.datapath != Datapath::Front.number()
            && matches!(
                protocol,
                Some(Protocol::Http | Protocol::Tls | Protocol::Tcp)
            );
        if !served {
            if !early {
                self.came(service, parsed);
            }
            return netfilter::Verdict::Accept;
        }
        let eager = matches!(protocol, Some(Protocol::Tcp));
        let listener = Listener {
            mss: self
                .ruleset
                .largest(service, is_ipv4(&parsed.segment.source.address)),
            timestamps: self.ruleset.timestamps(service),
            eager,
            ..listener(self.flows, self.now)
        };
        let mut fresh = flow::fresh(&listener, &parsed.segment);
        let is_doubtful = match &fresh {
            Fresh::Overtook => true,
            // One of 2²¹ that are others' has a cookie by chance.
            _ => self.counts.others_came(milliseconds(self.now)),
        };
        if is_doubtful && !parsed.segment.is(SYN) && self.is_others(packet, parsed) {
            fresh = Fresh::Pass;
        }
        if !matches!(fresh, Fresh::Pass) {
            match self.takes(packet, parsed) {
                Some(true) => {}
                Some(false) => {
                    self.wrong();
                    return netfilter::Verdict::Drop;
                }
                None => return netfilter::Verdict::Accept,
            }
        } else if early {
            return netfilter::Verdict::Accept;
        }
        if !matches!(fresh, Fresh::Open(_)) {
            self.came(service, parsed);
        }
        match fresh {
            Fresh::Pass => {
                // A SYN that no cookie can answer is the front's.
                if parsed.segment.is(SYN) {
                    self.counts.count(Counter::ToFront);
                } else {
                    self.counts.another_came(milliseconds(self.now));
                }
                netfilter::Verdict::Accept
            }
            Fresh::Drop => netfilter::Verdict::Drop,
            Fresh::Overtook => {
                self.counts.count(Counter::OutOfOrder);
                netfilter::Verdict::Drop
            }
            Fresh::Answer(build) => {
                if build.flags.intersects(SYN) {
                    self.counts.count(Counter::SynsAnswered);
                }
                self.answer(&build, packet, hash);
                netfilter::Verdict::Drop
            }
            Fresh::Open(flow) => self.open(service, flow, packet, parsed, hash),
        }
    }

    /// Takes a packet that is the switch's: whether its checksum is right. `None`: the stack sees to it.
    #[inline]
    fn takes(&self, packet: &mut Packet<'_>, parsed: &Parsed) -> Option<bool> {
        if packet.point() == Point::Ingress {
            return packet.take();
        }
        self.is_let_in(packet, parsed)
            .then(|| packet.checksum_valid(parsed.tcp_at))
    }

    /// Whether a packet to a service is of a connection that is not the switch's: of one that was opened while the address was
    /// not a service's, that a SYN began which no cookie can answer, or that another host has, where the address is now.
    #[cold]
    #[inline(never)]
    fn is_others(&self, packet: &Packet<'_>, parsed: &Parsed) -> bool {
        packet.has_socket(parsed.tcp_at)
            || !packet.is_to_this_host(&parsed.segment.destination.address)
    }

    /// Counts a packet to a service that is none of a connection.
    fn came(&self, service: u32, parsed: &Parsed) {
        if let Some(traffic) = self.ruleset.traffic(service) {
            traffic.add_both((TRAFFIC_PACKETS, 1), (TRAFFIC_BYTES, parsed.packet_len()));
        }
    }

    /// Sends an answer to a packet, which is not needed any more.
    fn answer(&self, build: &Build, packet: &mut Packet<'_>, hash: u64) {
        let vrf = packet.vrf();
        let way = self.way_back(build, packet.point(), vrf, hash);
        let sent = transmit::send(self.net, vrf, build, way, Some(packet));
        self.counts.sent(sent);
    }

    /// The way to a client from elsewhere whose SYN is answered.
    fn way_back(&self, build: &Build, point: Point, vrf: Vrf, hash: u64) -> Option<NextHop<'g>> {
        if point != Point::Ingress || !build.flags.intersects(SYN) {
            return None;
        }
        let (client, service) = (build.destination, build.source);
        let ends = Ends {
            client,
            service,
            vrf,
        };
        let mut scratch = self.flows.scratches.take()?;
        let route = scratch.answered.remember(hash, &ends)?;
        find_way(route, self.guard, self.net, vrf, &service, &client)
    }

    /// That way, for the client's connection.
    fn known_way(&self, flow: &flow::Flow, vrf: Vrf, hash: u64) -> Option<CachedRoute> {
        let ends = Ends {
            client: flow.client,
            service: flow.service,
            vrf,
        };
        self.flows.scratches.take()?.answered.take(hash, &ends)
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
        let action = {
            let Some(mut shard) = self.flows.lock(number) else {
                self.counts.count(Counter::Late);
                return netfilter::Verdict::Drop;
            };
            let now = milliseconds(self.now);
            let vrf = packet.vrf();
            let way = self.known_way(&flow, vrf, hash);
            let way = way.unwrap_or(CachedRoute::unknown());
            let connection = Connection::new(flow, now, vrf, way);
            let Some(location) =
                self.flows
                    .insert(number, &mut shard, hash, connection, now.wrapping_add(1000))
            else {
                drop(shard);
                self.counts.had_no_room(self.net, self.flows.count());
                return netfilter::Verdict::Drop;
            };
            self.give(&mut shard, location, Side::Client, packet, parsed, &mut out)
        };
        if let Some(traffic) = self.ruleset.traffic(service) {
            traffic.add(TRAFFIC_CONNECTIONS, 1);
        }
        let verdict = self.finish(packet, &action);
        self.send(&mut out);
        verdict
    }
}
