// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Packets to virtual services: counted, and their connections followed.
#![forbid(unsafe_code)]

use kernel::sync::rcu;

use l7switch_engine::packet;
use l7switch_engine::packet::Ip;
use l7switch_engine::packet::HEADER;
use l7switch_engine::packet::IPV6_HEADER;
use l7switch_engine::sched::Identity;

use super::flows::Followed;
use super::flows::Seen;
use super::Counter;
use super::Switch;
use super::TRAFFIC_BYTES;
use super::TRAFFIC_CONNECTIONS;
use super::TRAFFIC_PACKETS;
use crate::shell::bottom_halves;
use crate::shell::clock;
use crate::shell::net::Net;
use crate::shell::netfilter::PacketHook;
use crate::shell::netfilter::Verdict;
use crate::shell::packet::Buffer;
use crate::shell::packet::Packet;
use crate::shell::ticker::Tick;

impl Switch {
    fn see(&self, packet: &Packet<'_>, ip: &Ip, tcp_at: u32) {
        let guard = rcu::read_lock();
        let Some(live) = self.live.read(&guard) else {
            return;
        };
        let Some(tcp) = packet.read::<HEADER>(tcp_at) else {
            return;
        };
        let tcp = packet::tcp(&tcp);
        let Some(service) = live.service_at(ip.destination, tcp.destination) else {
            return;
        };
        let len = packet.len();
        let seen = Seen {
            client: Identity {
                address: ip.source,
                port: tcp.source,
            },
            address: Identity {
                address: ip.destination,
                port: tcp.destination,
            },
            service,
            generation: live.generation,
            flags: tcp.flags,
            len,
            now: clock::now_ns(),
        };
        let followed = match self.flows.read(&guard) {
            Some(flows) => {
                // Local clients send in process context.
                let _softirqs = bottom_halves::Disabled::new();
                flows.follow(&seen)
            }
            None => Followed::Unknown,
        };
        if let Some(traffic) = live.traffic(service) {
            traffic.add(TRAFFIC_PACKETS, 1);
            traffic.add(TRAFFIC_BYTES, u64::from(len));
            if matches!(followed, Followed::Opened | Followed::Full) {
                traffic.add(TRAFFIC_CONNECTIONS, 1);
            }
        }
        if followed == Followed::Full {
            self.counters.add(Counter::FlowsFull.index(), 1);
        }
    }
}

impl PacketHook for Switch {
    fn ipv4(&self, packet: &mut Packet<'_>) -> Verdict {
        if let Some(ip) = packet.read::<HEADER>(0).and_then(|h| packet::ipv4(&h)) {
            if ip.protocol == packet::TCP {
                self.see(packet, &ip, ip.header_len);
            }
        }
        Verdict::Accept
    }

    fn ipv6(&self, packet: &mut Packet<'_>) -> Verdict {
        if let Some(ip) = packet.read::<IPV6_HEADER>(0).and_then(|h| packet::ipv6(&h)) {
            if let Some(tcp_at) = packet.ipv6_tcp_offset() {
                self.see(packet, &ip, tcp_at);
            }
        }
        Verdict::Accept
    }
}

impl Tick for Switch {
    const PERIOD_MS: u32 = 1000;

    fn tick(&self, _net: &Net) {
        let guard = rcu::read_lock();
        if let Some(flows) = self.flows.read(&guard) {
            // Every shard within eight seconds.
            let now = clock::now_ns();
            for _ in 0..8 {
                flows.expire(self.next_turn(), now);
            }
        }
    }
}
