// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The connections of clients to virtual services, followed by their packets.
//!
//! A set-associative table of fixed size in shards, each under its own lock. A connection that finds its set full takes
//! the place of one that has ended, or is not followed, and counted.
#![forbid(unsafe_code)]

use core::pin::Pin;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use kernel::new_spinlock;
use kernel::prelude::*;
use kernel::sync::SpinLock;

use l7switch_engine::netlink::FlowState;
use l7switch_engine::packet::ACK;
use l7switch_engine::packet::FIN;
use l7switch_engine::packet::RST;
use l7switch_engine::packet::SYN;
use l7switch_engine::sched::Identity;
use l7switch_engine::siphash::siphash13;

use crate::shell::bottom_halves;

/// Flows of one set.
const WAYS: usize = 8;
/// Locks; a power of two.
const SHARDS: usize = 64;
/// How long a connection in a state is kept without a packet, ns: seconds for what opens and closes (RFC 9293, 3.4.2: a
/// connection that is closed is heard of for two segment lives at most), as IPVS does; a quarter of an hour for the rest.
const OPENING_NS: u64 = 60_000_000_000;
const OPEN_NS: u64 = 900_000_000_000;
const CLOSING_NS: u64 = 10_000_000_000;

/// A connection.
#[derive(Clone, Copy)]
pub(crate) struct Flow {
    /// The client.
    pub(crate) client: Identity,
    /// The address of the service.
    pub(crate) address: Identity,
    /// The service, by its position in the table of `generation`.
    pub(crate) service: u32,
    /// The table by which the service was found.
    generation: u64,
    /// How far it has come.
    pub(crate) state: FlowState,
    /// When its first packet came, ns of the monotonic clock.
    pub(crate) begun_ns: u64,
    /// When its last packet came.
    pub(crate) seen_ns: u64,
    /// Packets from the client.
    pub(crate) packets: u64,
    /// Bytes in them.
    pub(crate) bytes: u64,
}

impl Flow {
    fn expired(&self, now: u64) -> bool {
        let kept = match self.state {
            FlowState::Opening => OPENING_NS,
            FlowState::Open => OPEN_NS,
            FlowState::Closing => CLOSING_NS,
        };
        now.saturating_sub(self.seen_ns) > kept
    }

    fn advance(&mut self, flags: u8) {
        self.state = match self.state {
            _ if flags & (FIN | RST) != 0 => FlowState::Closing,
            FlowState::Opening if flags & ACK != 0 => FlowState::Open,
            state => state,
        };
    }
}

/// A packet of a client, as far as it matters here.
pub(crate) struct Seen {
    /// The client.
    pub(crate) client: Identity,
    /// The address of the service.
    pub(crate) address: Identity,
    /// The service.
    pub(crate) service: u32,
    /// The table by which it was found.
    pub(crate) generation: u64,
    /// TCP flags.
    pub(crate) flags: u8,
    /// Length with the IP header.
    pub(crate) len: u32,
    /// Now, ns of the monotonic clock.
    pub(crate) now: u64,
}

/// What came of a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Followed {
    /// It opened a connection.
    Opened,
    /// It belongs to one that is followed.
    Known,
    /// It belongs to none that is followed: a connection that was there before the table.
    Unknown,
    /// There is no room to follow it.
    Full,
}

type Shard = KVVec<Option<Flow>>;

/// The table of flows.
pub(crate) struct Flows {
    shards: KVec<Pin<KBox<SpinLock<Shard>>>>,
    /// Sets of a shard.
    sets: usize,
    key: [u64; 2],
    count: AtomicU32,
}

impl Flows {
    /// Room for about `limit` flows, rounded up to whole sets.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(limit: u32, key: [u64; 2]) -> Result<Self> {
        let per_shard = (limit as usize).div_ceil(SHARDS * WAYS).max(1);
        let mut shards = KVec::with_capacity(SHARDS, GFP_KERNEL_ACCOUNT)?;
        for _ in 0..SHARDS {
            let len = per_shard.checked_mul(WAYS).ok_or(ENOMEM)?;
            let slots = KVVec::from_elem(None, len, GFP_KERNEL_ACCOUNT)?;
            let shard = KBox::pin_init(new_spinlock!(slots), GFP_KERNEL_ACCOUNT)?;
            shards.push_within_capacity(shard).map_err(|_| ENOMEM)?;
        }
        Ok(Self {
            shards,
            sets: per_shard,
            key,
            count: AtomicU32::new(0),
        })
    }

    /// Flows followed now.
    pub(crate) fn count(&self) -> u32 {
        self.count.load(Relaxed)
    }

    fn hash(&self, client: &Identity, address: &Identity) -> u64 {
        let mut bytes = [0u8; 36];
        let ports = [client.port.to_be_bytes(), address.port.to_be_bytes()];
        let addresses = Iterator::chain(client.address.iter(), &address.address);
        let all = Iterator::chain(addresses, ports.as_flattened());
        for (place, byte) in bytes.iter_mut().zip(all) {
            *place = *byte;
        }
        siphash13(self.key, &bytes)
    }

    /// Follows a packet of a client. In softirq context, or with softirqs off.
    pub(crate) fn follow(&self, seen: &Seen) -> Followed {
        let hash = self.hash(&seen.client, &seen.address);
        let Some(shard) = self.shards.get((hash as usize) & (SHARDS - 1)) else {
            return Followed::Full;
        };
        // The upper half as a fraction of the sets.
        let set = ((hash >> 32).wrapping_mul(self.sets as u64) >> 32) as usize;
        let start = set.wrapping_mul(WAYS);
        let mut shard = shard.lock();
        let Some(ways) = shard.get_mut(start..start.wrapping_add(WAYS)) else {
            return Followed::Full;
        };
        let opens = seen.flags & (SYN | ACK) == SYN;
        for way in ways.iter_mut().flatten() {
            if way.client == seen.client && way.address == seen.address {
                // A client that uses its port again begins anew.
                let again = opens && matches!(way.state, FlowState::Closing);
                if again {
                    *way = fresh(seen);
                } else {
                    way.advance(seen.flags);
                    way.seen_ns = seen.now;
                    way.packets = way.packets.wrapping_add(1);
                    way.bytes = way.bytes.wrapping_add(u64::from(seen.len));
                }
                return if again {
                    Followed::Opened
                } else {
                    Followed::Known
                };
            }
        }
        if !opens {
            return Followed::Unknown;
        }
        let ended = |way: &Option<Flow>| way.as_ref().is_none_or(|flow| flow.expired(seen.now));
        let Some(place) = ways.iter_mut().find(|way| ended(way)) else {
            return Followed::Full;
        };
        if place.replace(fresh(seen)).is_none() {
            self.count.fetch_add(1, Relaxed);
        }
        Followed::Opened
    }

    /// The flow at a position or the next one, and where to go on. In process context.
    pub(crate) fn next(&self, position: u64) -> Option<(u64, Flow)> {
        let per_shard = (self.sets.wrapping_mul(WAYS)) as u64;
        let mut at = position;
        loop {
            let (shard, slot) = (at.checked_div(per_shard)?, at.checked_rem(per_shard)?);
            let shard = self.shards.get(usize::try_from(shard).ok()?)?;
            let _softirqs = bottom_halves::Disabled::new();
            let shard = shard.lock();
            let rest = shard.get(usize::try_from(slot).ok()?..)?;
            for way in rest {
                at = at.wrapping_add(1);
                if let Some(flow) = way {
                    return Some((at, *flow));
                }
            }
        }
    }

    /// Forgets what has ended, in one shard of those that `turn` counts through. In softirq context.
    pub(crate) fn expire(&self, turn: usize, now: u64) {
        if let Some(shard) = self.shards.get(turn & (SHARDS - 1)) {
            self.keep(&mut shard.lock(), |flow| !flow.expired(now));
        }
    }

    /// Gives the flows of a table the services of the next: `renumber` tells the place of each in the new one, or `None`
    /// where it is gone. In process context.
    pub(crate) fn renumber(&self, generation: u64, renumber: impl Fn(u32) -> Option<u32>) {
        for shard in &self.shards {
            let _softirqs = bottom_halves::Disabled::new();
            self.keep(&mut shard.lock(), |flow| {
                if flow.generation == generation {
                    return true;
                }
                let service = renumber(flow.service);
                flow.service = service.unwrap_or(0);
                flow.generation = generation;
                service.is_some()
            });
        }
    }

    fn keep(&self, shard: &mut Shard, mut good: impl FnMut(&mut Flow) -> bool) {
        for way in shard.iter_mut() {
            if way.as_mut().is_some_and(|flow| !good(flow)) {
                *way = None;
                self.count.fetch_sub(1, Relaxed);
            }
        }
    }
}

fn fresh(seen: &Seen) -> Flow {
    Flow {
        client: seen.client,
        address: seen.address,
        service: seen.service,
        generation: seen.generation,
        state: FlowState::Opening,
        begun_ns: seen.now,
        seen_ns: seen.now,
        packets: 1,
        bytes: u64::from(seen.len),
    }
}
