// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The connections of clients to virtual services that the switch serves.
//!
//! Of a connection that is only open there is nothing: it is in its SYN cookie. The others are in shards of fixed size,
//! each under its own lock, found by [`Index`] from the client's side and from each server's, and looked at again by a
//! wheel of timers.
#![forbid(unsafe_code)]

use core::pin::Pin;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use kernel::new_spinlock;
use kernel::prelude::*;
use kernel::sync::lock::spinlock::SpinLockBackend;
use kernel::sync::lock::Guard;
use kernel::sync::SpinLock;

use l7switch_engine::endpoint::Endpoint;
use l7switch_engine::ends::Secret;
use l7switch_engine::ends_filter;
use l7switch_engine::ends_filter::EndsFilter;
use l7switch_engine::fingerprint;
use l7switch_engine::flow::seq;
use l7switch_engine::flow::LegNumber;
use l7switch_engine::netlink::FlowState;
use l7switch_engine::wheel::Link;
use l7switch_engine::wheel::Links;
use l7switch_engine::wheel::Wheel;
use l7switch_engine::wheel::NONE;

use super::connection::Connection;
use super::index::Index;
use super::index::Place;
use super::scratch::Scratches;
use crate::shell::random;
use crate::state::ruleset::Ruleset;

/// Locks; a power of two.
const SHARDS: usize = 256;
const SHARD_BITS: u32 = SHARDS.trailing_zeros();
/// Connections of a shard at most: a place has 30 bits in all.
const SLOTS_MAX: usize = 1 << 20;
/// Whose packets an entry of the index is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The client's.
    Client,
    /// A leg's server's.
    Server(LegNumber),
}

impl Side {
    const fn number(self) -> u32 {
        match self {
            Self::Client => 0,
            Self::Server(LegNumber::First) => 1,
            Self::Server(LegNumber::Second) => 2,
        }
    }

    const fn of(number: u32) -> Self {
        match number {
            0 => Self::Client,
            1 => Self::Server(LegNumber::First),
            _ => Self::Server(LegNumber::Second),
        }
    }
}

/// Where a connection is: shard and slot.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Location(u32);

impl Location {
    pub(super) fn of(shard: usize, slot: u32) -> Self {
        Self((slot << SHARD_BITS) | shard as u32)
    }

    pub(super) const fn shard(self) -> usize {
        self.0 as usize & (SHARDS - 1)
    }

    pub(super) const fn slot(self) -> u32 {
        self.0 >> SHARD_BITS
    }

    /// What the index holds: side, and location + 1 (30 bits).
    fn place(self, side: Side) -> Place {
        (side.number() << 30) | (self.0.wrapping_add(1) & 0x3fff_ffff)
    }

    fn from_place(place: Place) -> (Self, Side) {
        let location = Self((place & 0x3fff_ffff).wrapping_sub(1));
        (location, Side::of(place >> 30))
    }
}

/// A slot, in the list of free ones or on the wheel.
struct Slot {
    connection: Option<Connection>,
    link: Link,
}

/// In pages one by one: in one piece they would take the next power of two.
struct Slots(VVec<Slot>);

impl Links for Slots {
    #[inline]
    fn link(&mut self, slot: u32) -> Option<&mut Link> {
        Some(&mut self.0.get_mut(slot as usize)?.link)
    }
}

/// A connection that was found, in its locked shard.
type Found<'a> = (Guard<'a, Shard, SpinLockBackend>, Location, Side);

/// Connections under one lock.
pub(super) struct Shard {
    slots: Slots,
    free: u32,
    /// Slots that have a connection.
    used: u32,
    wheel: Wheel,
}

impl Shard {
    fn new(slots: usize, now: u32) -> Result<Self> {
        let mut all = VVec::with_capacity(slots, GFP_KERNEL_ACCOUNT)?;
        let mut next = NONE;
        for slot in (0..slots as u32).rev() {
            // The last one is put in first and leads nowhere; places are counted from the front.
            let this = (slots as u32).wrapping_sub(1).wrapping_sub(slot);
            let free = Slot {
                connection: None,
                link: Link::new(next),
            };
            all.push_within_capacity(free).map_err(|_| ENOMEM)?;
            next = this;
        }
        Ok(Self {
            slots: Slots(all),
            free: next,
            used: 0,
            wheel: Wheel::new(now),
        })
    }

    /// The connection of a slot.
    pub(super) fn get(&mut self, slot: u32) -> Option<&mut Connection> {
        self.slots.0.get_mut(slot as usize)?.connection.as_mut()
    }

    /// The first slot from one on that has a connection.
    pub(super) fn next_used(&self, slot: u32) -> Option<u32> {
        (slot..self.slots.0.len() as u32).find(|&slot| self.peek(slot).is_some())
    }

    fn peek(&self, slot: u32) -> Option<&Connection> {
        self.slots.0.get(slot as usize)?.connection.as_ref()
    }

    /// Looks at a connection at a time, if that is earlier than it would have been.
    pub(super) fn due(&mut self, slot: u32, due: u32) {
        let earlier = self
            .slots
            .link(slot)
            .is_some_and(|link| seq::before(due, link.due()));
        if earlier {
            self.wheel.take(&mut self.slots, slot);
            self.wheel.put(&mut self.slots, slot, due);
        }
    }

    /// The next connection that is to be looked at until `now`, ms; it is off the wheel until [`Shard::wait`].
    pub(super) fn turn(&mut self, now: u32) -> Option<u32> {
        self.wheel.turn(&mut self.slots, now)
    }

    /// Puts a connection back on the wheel.
    pub(super) fn wait(&mut self, slot: u32, due: u32) {
        self.wheel.put(&mut self.slots, slot, due);
    }
}

/// The ends of connections.
pub(crate) type Ends = EndsFilter<KVec<AtomicU64>>;

/// Of none.
///
/// # Errors
///
/// `ENOMEM`.
pub(crate) fn new_ends() -> Result<Ends> {
    let mut words = KVec::with_capacity(ends_filter::WORDS, GFP_KERNEL_ACCOUNT)?;
    for _ in 0..ends_filter::WORDS {
        words
            .push_within_capacity(AtomicU64::new(0))
            .map_err(|_| ENOMEM)?;
    }
    Ok(EndsFilter(words))
}

/// The table of connections.
pub(crate) struct Flows {
    shards: KVec<Pin<KBox<SpinLock<Shard>>>>,
    index: Index,
    /// Of the index.
    secret: Secret,
    /// Of SYN cookies.
    pub(super) cookies: [u64; 2],
    /// Of requests' heads.
    pub(super) heads: fingerprint::Key,
    /// Room to read requests in.
    pub(super) scratches: Scratches,
    /// Connections in the table at most.
    limit: u32,
    /// The ends of the connections that there are and may be: a packet of none of them is another's.
    pub(crate) ends: Ends,
    sums: Sums,
}

/// What every connection changes, on a cache line of its own: what is read for every packet is beside it.
#[repr(align(64))]
struct Sums {
    /// Connections in the table.
    count: AtomicU32,
    /// Bytes of memory that held packets take.
    held: AtomicU64,
}

impl Flows {
    /// Room for `limit` connections, from `now` on, ms.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(limit: u32, cookies: [u64; 2], now: u32) -> Result<Self> {
        // Shards do not fill evenly.
        let slots = (limit as usize).div_ceil(SHARDS);
        let slots = slots
            .saturating_add(slots / 8)
            .saturating_add(8)
            .min(SLOTS_MAX);
        let mut shards = KVec::with_capacity(SHARDS, GFP_KERNEL_ACCOUNT)?;
        for _ in 0..SHARDS {
            let shard = Shard::new(slots, now)?;
            let shard = KBox::pin_init(new_spinlock!(shard), GFP_KERNEL_ACCOUNT)?;
            shards.push_within_capacity(shard).map_err(|_| ENOMEM)?;
        }
        Ok(Self {
            shards,
            index: Index::new((limit as usize).saturating_mul(3))?,
            secret: Secret::new([(); 7].map(|()| random::number())),
            cookies,
            heads: fingerprint::Key::new(random::number()),
            scratches: Scratches::new()?,
            limit,
            ends: new_ends()?,
            sums: Sums {
                count: AtomicU32::new(0),
                held: AtomicU64::new(0),
            },
        })
    }

    /// Connections in the table.
    pub(crate) fn count(&self) -> u32 {
        self.sums.count.load(Relaxed)
    }

    /// Adds the ends of connections that rules may make.
    pub(crate) fn know_ends(&self, ruleset: &Ruleset) {
        ruleset.add_ends(&self.ends);
    }

    /// Whether an eighth of the table is free.
    pub(super) fn has_room(&self) -> bool {
        self.count() <= self.limit.wrapping_sub(self.limit / 8)
    }

    /// Bytes of memory that held packets take.
    pub(super) fn held(&self) -> u64 {
        self.sums.held.load(Relaxed)
    }

    /// A connection's held packets take more or less than they did.
    pub(super) fn held_changed(&self, before: u32, after: u32) {
        if before != after {
            let change = u64::from(after).wrapping_sub(u64::from(before));
            self.sums.held.fetch_add(change, Relaxed);
        }
    }

    /// Hash of a packet's ends.
    #[inline(always)]
    pub(super) fn hash(&self, source: &Endpoint, destination: &Endpoint) -> u64 {
        self.secret.hash(source, destination)
    }

    /// Locks a shard. With softirqs off.
    #[inline(always)]
    pub(super) fn lock(&self, shard: usize) -> Option<Guard<'_, Shard, SpinLockBackend>> {
        Some(self.shards.get(shard & (SHARDS - 1))?.lock())
    }

    /// A place where the connection of a packet with this hash may be; `None`: it has none.
    #[inline]
    pub(super) fn candidate(&self, hash: u64) -> Option<Place> {
        self.index.find(hash, Some)
    }

    /// The connection whose packet has these ends, in its locked shard. With softirqs off.
    pub(super) fn find(
        &self,
        hash: u64,
        source: &Endpoint,
        destination: &Endpoint,
    ) -> Option<Found<'_>> {
        let first = self.candidate(hash)?;
        self.find_from(first, hash, source, destination)
    }

    /// The same where the first [candidate](Self::candidate) is known.
    #[inline(always)]
    pub(super) fn find_from(
        &self,
        first: Place,
        hash: u64,
        source: &Endpoint,
        destination: &Endpoint,
    ) -> Option<Found<'_>> {
        match self.at(first, source, destination) {
            Some(found) => Some(found),
            None => self.other(hash, source, destination),
        }
    }

    /// What is at a place, locked, if its packets have these ends.
    #[inline(always)]
    fn at(&self, place: Place, source: &Endpoint, destination: &Endpoint) -> Option<Found<'_>> {
        let (location, side) = Location::from_place(place);
        let mut shard = self.lock(location.shard())?;
        let found = shard.get(location.slot())?.is_of(side, source, destination);
        found.then_some((shard, location, side))
    }

    /// Looks at every place where the connection may be: the first candidate is another's, or it has moved meanwhile.
    #[cold]
    #[inline(never)]
    fn other(&self, hash: u64, source: &Endpoint, destination: &Endpoint) -> Option<Found<'_>> {
        self.index
            .find(hash, |place| self.at(place, source, destination))
    }

    /// The shard in which a client's connection is, or would be.
    pub(super) fn shard_of(hash: u64) -> usize {
        (hash >> 24) as usize & (SHARDS - 1)
    }

    /// Puts a connection in, whose shard is locked. `None` where there is no room, or where it is there.
    pub(super) fn insert(
        &self,
        shard_number: usize,
        shard: &mut Shard,
        hash: u64,
        connection: Connection,
        due: u32,
    ) -> Option<Location> {
        if self.count() >= self.limit {
            return None;
        }
        let slot = shard.free;
        let place = shard.slots.0.get_mut(slot as usize)?;
        let location = Location::of(shard_number, slot);
        // The shard is by the hash, and locked.
        if !self.index.insert_alone(hash, location.place(Side::Client)) {
            return None;
        }
        let next = place.link.next;
        place.connection = Some(connection);
        shard.free = next;
        shard.used = shard.used.wrapping_add(1);
        shard.wait(slot, due);
        self.sums.count.fetch_add(1, Relaxed);
        Some(location)
    }

    /// Takes a dead connection out. It is on the wheel if `waits`.
    pub(super) fn remove(&self, shard: &mut Shard, location: Location, waits: bool) {
        let slot = location.slot();
        if waits {
            shard.wheel.take(&mut shard.slots, slot);
        }
        let free = shard.free;
        let Some(place) = shard.slots.0.get_mut(slot as usize) else {
            return;
        };
        let Some(connection) = &place.connection else {
            return;
        };
        let memory = connection.state.memory();
        let hash = self.hash(&connection.flow.client, &connection.flow.service);
        // Where it is: it is large.
        place.connection = None;
        place.link.next = free;
        shard.free = slot;
        shard.used = shard.used.wrapping_sub(1);
        self.sums.count.fetch_sub(1, Relaxed);
        self.held_changed(memory, 0);
        self.index.remove(hash, location.place(Side::Client));
    }

    /// Makes a leg's server's packets lead to its connection; `false` where they lead to another one, or there is no room.
    pub(super) fn reserve(
        &self,
        location: Location,
        leg: LegNumber,
        peer: &Endpoint,
        local: &Endpoint,
    ) -> bool {
        let hash = self.hash(peer, local);
        self.index.insert(hash, location.place(Side::Server(leg)))
    }

    /// Undoes that.
    pub(super) fn free(
        &self,
        location: Location,
        leg: LegNumber,
        peer: &Endpoint,
        local: &Endpoint,
    ) {
        let hash = self.hash(peer, local);
        self.index.remove(hash, location.place(Side::Server(leg)));
    }

    /// Calls `with` with the connection at a position or the next one, and gives where to go on. In process context.
    pub(crate) fn next<R>(
        &self,
        position: u64,
        with: impl FnOnce(&Connection) -> R,
    ) -> Option<(u64, R)> {
        let mut shard_number = usize::try_from(position >> 32).ok()?;
        let mut slot = position as u32;
        loop {
            let shard = self.shards.get(shard_number)?;
            {
                let _softirqs = crate::shell::sync::bottom_halves::Disabled::new();
                let shard = shard.lock();
                while (slot as usize) < shard.slots.0.len() {
                    let this = slot;
                    slot = slot.wrapping_add(1);
                    if let Some(connection) = shard.peek(this) {
                        let next = ((shard_number as u64) << 32) | u64::from(slot);
                        return Some((next, with(connection)));
                    }
                }
            }
            slot = 0;
            shard_number = shard_number.wrapping_add(1);
        }
    }

    /// Adds a shard's connections to their counts by state. In process context.
    pub(crate) fn count_states(&self, shard: usize, counts: &mut [u32; FlowState::ALL.len()]) {
        let _softirqs = crate::shell::sync::bottom_halves::Disabled::new();
        let Some(shard) = self.lock(shard) else {
            return;
        };
        let mut left = shard.used;
        // The last slots are taken first.
        for slot in shard.slots.0.iter().rev() {
            if left == 0 {
                return;
            }
            let Some(connection) = &slot.connection else {
                continue;
            };
            left = left.wrapping_sub(1);
            if let Some(count) = counts.get_mut(connection.shown_state().number() as usize) {
                *count = count.wrapping_add(1);
            }
        }
    }

    /// Numbers of the shards.
    pub(crate) fn shards() -> core::ops::Range<usize> {
        0..SHARDS
    }
}
