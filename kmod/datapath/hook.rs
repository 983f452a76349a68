// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Packets as the hooks see them: whose they are.
#![forbid(unsafe_code)]

use l7switch_engine::flow::segment::Parsed;
use l7switch_engine::flow::segment::ACK;
use l7switch_engine::flow::segment::RST;
use l7switch_engine::flow::segment::SYN;

use super::dispatch::Action;
use super::dispatch::PacketContext;
use super::flows::Side;
use super::transmit::Out;
use super::Datapath;
use crate::shell::clock;
use crate::shell::net::netfilter;
use crate::shell::packet::Buffer;
use crate::shell::packet::Packet;
use crate::shell::packet::Point;
use crate::shell::sync::bottom_halves;
use crate::state::counters::Counter;

/// IPPROTO_ICMP.
const ICMP: u8 = 1;
/// IPPROTO_ICMPV6.
const ICMPV6: u8 = 58;

impl Datapath {
    /// What a packet needs; `None` without a table. Its time is read where it is found to be the module's.
    #[inline(always)]
    fn context<'a>(&'a self, packet: &Packet<'a>) -> Option<PacketContext<'a>> {
        let guard = packet.guard();
        Some(PacketContext {
            guard,
            counts: &self.counts,
            ruleset: self.ruleset.read(guard)?,
            flows: self.flows.read(guard)?,
            net: packet.net(),
            now: 0,
        })
    }

    pub(crate) fn see(&self, packet: &mut Packet<'_>) -> netfilter::Verdict {
        let Some(mut context) = self.context(packet) else {
            return netfilter::Verdict::Accept;
        };
        // Local clients send in process context.
        let local = packet.point() == Point::LocalOut;
        let _softirqs = local.then(bottom_halves::Disabled::new);
        let mut again = true;
        loop {
            let (start, len) = packet.start();
            let Some(outer) = super::segment::outer(packet, start) else {
                return netfilter::Verdict::Accept;
            };
            let Some(tcp_at) = outer.tcp_at else {
                return match outer.ip.protocol {
                    ICMP | ICMPV6 => self.icmp(context.flows, packet),
                    _ => netfilter::Verdict::Accept,
                };
            };
            // Used where it is made, and not copied.
            if let Some(parsed) = &Parsed::read(start, len, &outer.ip, tcp_at) {
                return context.segment(packet, parsed);
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
    pub(crate) fn arrive(&self, packet: &mut Packet<'_>) -> netfilter::Verdict {
        let Some(mut context) = self.context(packet) else {
            return netfilter::Verdict::Accept;
        };
        let (start, len) = packet.start();
        let Some((ip, tcp)) = super::segment::plain(start) else {
            return netfilter::Verdict::Accept;
        };
        // It may begin another connection.
        if tcp.flags & (SYN | ACK | RST) == SYN {
            return netfilter::Verdict::Accept;
        }
        let flows = context.flows;
        // Of others' packets no more is read.
        let hash = flows.hash(&tcp.source(&ip), &tcp.destination(&ip));
        let Some(first) = flows.candidate(hash) else {
            return netfilter::Verdict::Accept;
        };
        // Used where it is made, and not copied.
        let Some(parsed) = &Parsed::read(start, len, &ip, ip.header_len) else {
            return netfilter::Verdict::Accept;
        };
        let (source, destination) = (&parsed.segment.source, &parsed.segment.destination);
        let mut out = Out::new();
        let action = flows.find_from(first, hash, source, destination, |shard, location, side| {
            match packet.take() {
                Some(true) => {
                    context.now = clock::now_ns();
                    context.give(shard, location, side, packet, parsed, &mut out)
                }
                Some(false) => context.wrong(),
                // The stack will drop it, or it is taken at `PRE_ROUTING`.
                None => Action::Fresh,
            }
        });
        let verdict = match &action {
            Some(Action::Fresh) | None => netfilter::Verdict::Accept,
            Some(action) => context.finish(packet, action),
        };
        context.send(&mut out);
        verdict
    }
}

impl<'g> PacketContext<'g> {
    fn segment(&mut self, packet: &mut Packet<'_>, parsed: &Parsed) -> netfilter::Verdict {
        let segment = &parsed.segment;
        let (source, destination) = (&segment.source, &segment.destination);
        // The front answers from the service's own address.
        if packet.point() == Point::LocalOut
            && self
                .ruleset
                .service_at(source.address, source.port)
                .is_some()
        {
            return self.sent_by_front(packet, parsed);
        }
        let hash = self.flows.hash(source, destination);
        let opens = segment.flags & (SYN | ACK | RST) == SYN;
        if opens {
            if let Some(service) = self.service(packet, parsed, opens) {
                return self.stranger(service, packet, parsed, hash);
            }
        }
        let mut out = Out::new();
        let action = self
            .flows
            .find(hash, source, destination, |shard, location, side| {
                if packet.point() == Point::PreRouting {
                    self.counts.count(Counter::IngressMissed);
                }
                if !self.is_let_in(packet, parsed) {
                    return Action::Refused;
                }
                match packet.checksum_valid(parsed.tcp_at) {
                    true => {
                        self.now = clock::now_ns();
                        self.give(shard, location, side, packet, parsed, &mut out)
                    }
                    false => self.wrong(),
                }
            });
        let verdict = match &action {
            // It has been asked above.
            Some(Action::Fresh) | None if opens => netfilter::Verdict::Accept,
            Some(Action::Fresh) | None => match self.service(packet, parsed, opens) {
                Some(service) => self.stranger(service, packet, parsed, hash),
                None => netfilter::Verdict::Accept,
            },
            Some(action) => self.finish(packet, action),
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
        let action = self
            .flows
            .find(hash, client, front, |shard, location, side| {
                let leg = shard.get(location.slot()).and_then(|c| c.flow.front_leg());
                match (leg, side) {
                    (Some(leg), Side::Client) => {
                        self.give(shard, location, Side::Server(leg), packet, parsed, &mut out)
                    }
                    // The front's own connection, from before the flow.
                    _ => Action::Accept,
                }
            });
        let verdict = action.map_or(netfilter::Verdict::Accept, |action| {
            self.finish(packet, &action)
        });
        self.send(&mut out);
        verdict
    }

    /// The service that a packet is to. An address is a service's as long as it is this host's, as with a socket that is bound to
    /// it: what is only routed here, or goes from here to another host, is none of the module's business.
    ///
    /// With an address of its own, that is asked where a connection opens: the cookie of what follows says that it was this host's.
    /// On all addresses, others' packets are many, and one of 2²⁴ has an acknowledgement that looks like a cookie.
    #[inline(never)]
    fn service(&self, packet: &Packet<'_>, parsed: &Parsed, opens: bool) -> Option<u32> {
        let to = &parsed.segment.destination;
        if !opens {
            if let Some(service) = self.ruleset.service_with_address(to.address, to.port) {
                return Some(service);
            }
        }
        let service = self.ruleset.service_at(to.address, to.port)?;
        if !packet.is_to_this_host(&to.address) {
            self.counts.count(Counter::Elsewhere);
            return None;
        }
        Some(service)
    }

    /// A packet to a service that is no connection's.
    fn stranger(
        &mut self,
        service: u32,
        packet: &mut Packet<'_>,
        parsed: &Parsed,
        hash: u64,
    ) -> netfilter::Verdict {
        if !self.is_let_in(packet, parsed) {
            return netfilter::Verdict::Accept;
        }
        if !packet.checksum_valid(parsed.tcp_at) {
            self.wrong();
            return netfilter::Verdict::Drop;
        }
        self.now = clock::now_ns();
        self.fresh(service, packet, parsed, hash)
    }

    /// Whether IPsec's policies let a packet in that is a connection's or to a service.
    #[inline]
    fn is_let_in(&self, packet: &Packet<'_>, parsed: &Parsed) -> bool {
        let is_let_in = packet.is_let_in(&parsed.segment.destination.address);
        if !is_let_in {
            self.counts.count(Counter::IpsecRefused);
        }
        is_let_in
    }

    /// A segment whose checksum is wrong: what it acknowledges and its clock would change the connection, too.
    #[cold]
    fn wrong(&self) -> Action<'g> {
        self.counts.count(Counter::BadChecksums);
        Action::Drop
    }
}
