// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Errors of ICMP about segments that the switch sent: to the host that the segment came from, told in its words.
#![forbid(unsafe_code)]

use l7switch_engine::endpoint::Endpoint;
use l7switch_engine::flow::ErrorRewrite;
use l7switch_engine::packet;
use l7switch_engine::packet::HEADER;
use l7switch_engine::packet::IPV6_HEADER;

use super::flows::Flows;
use super::flows::Side;
use super::Datapath;
use crate::shell::net::netfilter::Verdict;
use crate::shell::packet::Buffer;
use crate::shell::packet::IcmpError;
use crate::shell::packet::Packet;
use crate::shell::packet::Point;
use crate::state::counters::Counter;

/// The ends of the segment that an error is about.
fn ends(packet: &Packet<'_>, error: &IcmpError) -> Option<(Endpoint, Endpoint)> {
    let [first] = packet.read::<1>(error.ip_at)?;
    let ip = match first >> 4 {
        4 => packet::ipv4(&packet.read::<HEADER>(error.ip_at)?)?,
        _ => packet::ipv6(&packet.read::<IPV6_HEADER>(error.ip_at)?)?,
    };
    let [s0, s1, d0, d1] = packet.read::<4>(error.tcp_at)?;
    let end = |address, port| Endpoint { address, port };
    Some((
        end(ip.source, u16::from_be_bytes([s0, s1])),
        end(ip.destination, u16::from_be_bytes([d0, d1])),
    ))
}

impl Datapath {
    /// Passes an error on, where it is about a segment of a connection of the switch's.
    #[cold]
    #[inline(never)]
    pub(super) fn icmp(&self, flows: &Flows, packet: &mut Packet<'_>) -> Verdict {
        let Some(error) = packet.icmp_error() else {
            return Verdict::Accept;
        };
        let Some((from, to)) = ends(packet, &error) else {
            return Verdict::Accept;
        };
        // The way back of the segment is the way of its connection's packets.
        let hash = flows.hash(&to, &from);
        let found = flows.find(hash, &to, &from);
        let rewrite = found.and_then(|(mut shard, location, side)| {
            let flow = &shard.get(location.slot())?.flow;
            match side {
                Side::Client => flow.error_to_server(),
                Side::Server(leg) => flow.error_to_client(leg),
            }
        });
        match rewrite {
            Some(rewrite) => self.pass_error(packet, &error, &rewrite),
            None => Verdict::Accept,
        }
    }

    fn pass_error(
        &self,
        packet: &mut Packet<'_>,
        error: &IcmpError,
        rewrite: &ErrorRewrite,
    ) -> Verdict {
        packet.untrack();
        let len = error.tcp_at.saturating_add(8);
        let same = super::segment::outer(packet, packet.start().0)
            .is_some_and(|outer| outer.ip.destination == rewrite.source.address);
        let (ip, tcp) = (error.ip_at as usize, error.tcp_at as usize);
        let done = packet
            .headers_mut(len)
            .and_then(|(bytes, _)| rewrite.apply(bytes, ip, tcp))
            .is_some()
            && packet.icmp_rewritten(error)
            && (same || packet.point() != Point::LocalOut || packet.reroute());
        if done {
            self.counts.count(Counter::ErrorsPassed);
            Verdict::Finish
        } else {
            self.counts.count(Counter::TxDropped);
            Verdict::Drop
        }
    }
}
