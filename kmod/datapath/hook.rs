// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Packets as the hooks see them: whose they are.
#![forbid(unsafe_code)]

use kernel::sync::rcu;

use l7switch_engine::endpoint::Endpoint;
use l7switch_engine::flow::segment::Parsed;
use l7switch_engine::flow::segment::SYN;

use super::dispatch::Action;
use super::dispatch::PacketContext;
use super::flows::Flows;
use super::flows::Location;
use super::flows::Shard;
use super::flows::Side;
use super::segment::Headers;
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

/// Whether headers may be of a packet of the switch's.
#[inline(always)]
fn may_concern(flows: &Flows, headers: &Headers) -> bool {
    flows
        .ends
        .may_concern(&headers.source(), &headers.destination())
}

/// Whether a packet that begins with some bytes is a TCP segment that is surely not the switch's.
#[inline(always)]
fn is_others(flows: &Flows, start: &[u8]) -> bool {
    super::segment::plain(start).is_some_and(|headers| !may_concern(flows, &headers))
}

/// Whether a SYN that belongs to a connection begins another: the client's is over.
#[cold]
#[inline(never)]
fn begins_another(shard: &mut Shard, location: Location, side: Side) -> bool {
    let connection = shard.get(location.slot());
    matches!(side, Side::Client) && connection.is_none_or(|connection| !connection.flow.is_live())
}

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
        // Of others' packets no more is read.
        if !local && is_others(context.flows, packet.start().0) {
            return netfilter::Verdict::Accept;
        }
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

    /// The headers of a TCP segment that may be the switch's, with which a packet begins.
    #[inline(always)]
    pub(crate) fn concerns(&self, guard: &rcu::Guard, start: &[u8]) -> Option<Headers> {
        let flows = self.flows.read(guard)?;
        super::segment::plain(start).filter(|headers| may_concern(flows, headers))
    }

    /// A TCP segment at a device's ingress: it is taken there where its connection is in the table, or begins there.
    #[inline(always)]
    pub(crate) fn arrive(&self, packet: &mut Packet<'_>, headers: &Headers) -> netfilter::Verdict {
        let Some(mut context) = self.context(packet) else {
            return netfilter::Verdict::Accept;
        };
        let (ip, flows) = (&headers.ip, context.flows);
        let hash = flows.hash(&headers.source(), &headers.destination());
        let opens = headers.flags.control() == SYN;
        let Some(first) = flows.candidate(hash) else {
            return context.begins(packet, headers, hash, opens);
        };
        // Used where it is made, and not copied.
        let (start, len) = packet.start();
        let Some(parsed) = &Parsed::read(start, len, ip, ip.header_len) else {
            return netfilter::Verdict::Accept;
        };
        let (source, destination) = (&parsed.segment.source, &parsed.segment.destination);
        let mut out = Out::new();
        let found = flows.find_from(first, hash, source, destination);
        let Some((mut shard, location, side)) = found else {
            return match opens {
                true => context.begins(packet, headers, hash, opens),
                false => netfilter::Verdict::Accept,
            };
        };
        if opens && begins_another(&mut shard, location, side) {
            drop(shard);
            return context.begins(packet, headers, hash, opens);
        }
        let action = match packet.take() {
            Some(true) => {
                context.now = clock::now_ns();
                context.give(&mut shard, location, side, packet, parsed, &mut out)
            }
            Some(false) => context.wrong(),
            // The stack will drop it, or it is taken at `PRE_ROUTING`.
            None => Action::Fresh,
        };
        drop(shard);
        let verdict = match &action {
            Action::Fresh => netfilter::Verdict::Accept,
            action => context.finish(packet, action),
        };
        context.send(&mut out);
        verdict
    }
}

impl<'g> PacketContext<'g> {
    /// A segment at ingress of no connection that there is.
    // By itself: the packets of those that there are need no room for it.
    #[inline(never)]
    fn begins(
        &mut self,
        packet: &mut Packet<'_>,
        headers: &Headers,
        hash: u64,
        opens: bool,
    ) -> netfilter::Verdict {
        let Some(service) = self.service(packet, &headers.destination(), opens) else {
            return netfilter::Verdict::Accept;
        };
        let (start, len) = packet.start();
        let Some(parsed) = &Parsed::read(start, len, &headers.ip, headers.ip.header_len) else {
            return netfilter::Verdict::Accept;
        };
        self.now = clock::now_ns();
        self.fresh(service, packet, parsed, hash)
    }

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
        let opens = segment.flags.control() == SYN;
        let mut out = Out::new();
        let found = self.flows.find(hash, source, destination);
        let action = found.map(|(mut shard, location, side)| {
            if opens && begins_another(&mut shard, location, side) {
                return Action::Fresh;
            }
            if packet.point() == Point::PreRouting {
                self.counts.count(Counter::IngressMissed);
            }
            if !self.is_let_in(packet, parsed) {
                return Action::Refused;
            }
            match packet.checksum_valid(parsed.tcp_at) {
                true => {
                    self.now = clock::now_ns();
                    self.give(&mut shard, location, side, packet, parsed, &mut out)
                }
                false => self.wrong(),
            }
        });
        let verdict = match &action {
            Some(Action::Fresh) | None => match self.service(packet, destination, opens) {
                Some(service) => {
                    self.now = clock::now_ns();
                    self.fresh(service, packet, parsed, hash)
                }
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
            .find(hash, client, front)
            .map(|(mut shard, location, side)| {
                let leg = shard.get(location.slot()).and_then(|c| c.flow.front_leg());
                match (leg, side) {
                    (Some(leg), Side::Client) => self.give(
                        &mut shard,
                        location,
                        Side::Server(leg),
                        packet,
                        parsed,
                        &mut out,
                    ),
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
    fn service(&self, packet: &Packet<'_>, to: &Endpoint, opens: bool) -> Option<u32> {
        if !opens {
            if let Some(service) = self.ruleset.service_with_address(to.address, to.port) {
                return Some(service);
            }
        }
        let service = self.ruleset.service_at(to.address, to.port)?;
        if !packet.is_to_this_host(&to.address) {
            // At ingress it will be seen again.
            if packet.point() != Point::Ingress {
                self.counts.count(Counter::Elsewhere);
            }
            return None;
        }
        Some(service)
    }

    /// Whether IPsec's policies let a packet in that is a connection's or to a service.
    #[inline]
    pub(super) fn is_let_in(&self, packet: &Packet<'_>, parsed: &Parsed) -> bool {
        let is_let_in = packet.is_let_in(&parsed.segment.destination.address);
        if !is_let_in {
            self.counts.count(Counter::IpsecRefused);
        }
        is_let_in
    }

    /// A segment whose checksum is wrong: what it acknowledges and its clock would change the connection, too.
    #[cold]
    pub(super) fn wrong(&self) -> Action<'g> {
        self.counts.count(Counter::BadChecksums);
        Action::Drop
    }
}
