// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Counters of routes: of as many as a table may have, and going on from table to table.
//!
//! A table's route has a *slot*, which a route that is in the next table again keeps ([`l7switch_engine::slots`]). Slots are in
//! chunks that the tables share, so it is no matter by which of two tables a packet counts. Memory of every CPU, as services have
//! it, would be too much for 100,000 routes: a chunk has its counters once or several times, in *stripes*, and CPUs that share
//! a stripe add to it atomically.
#![forbid(unsafe_code)]

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use kernel::alloc::Flags;
use kernel::cpu;
use kernel::prelude::*;
use kernel::sync::Arc;

use l7switch_engine::slots;
use l7switch_engine::slots::Names;
use l7switch_engine::slots::Slots;
use l7switch_engine::slots::FREE;
use l7switch_engine::slots::NONE;
use l7switch_engine::table::format::RouteRecord;
use l7switch_engine::table::format::ServiceRecord;
use l7switch_engine::table::Table;

use super::ruleset::put;
use crate::state::ruleset::Ruleset;

/// Counter of a route: requests that it took.
pub(crate) const ROUTE_REQUESTS: usize = 0;
/// Counters of a route: responses to them by class, from 1xx on.
pub(crate) const ROUTE_RESPONSES: usize = 1;
/// Counters of a route.
const COUNTERS: usize = 6;

/// Slots of a chunk, a power of two.
const CHUNK: usize = 64;
/// Most stripes of a chunk.
const STRIPES_MAX: usize = 64;
/// Bytes that all stripes may take, if one takes no more.
const STRIPES_LEN: usize = 16 << 20;

const FLAGS: Flags = GFP_KERNEL_ACCOUNT;

type Rules = Table<KVVec<u8>>;

/// Counters of some slots.
struct Chunk {
    /// [`CHUNK`] for a stripe, stripe by stripe; their number is a power of two.
    counters: KVVec<[AtomicU64; COUNTERS]>,
    /// The number of stripes less one.
    mask: u32,
}

impl Chunk {
    fn new(stripes: usize) -> Result<Self> {
        let len = stripes.saturating_mul(CHUNK);
        let mut counters = KVVec::with_capacity(len, FLAGS)?;
        for _ in 0..len {
            put(&mut counters, [const { AtomicU64::new(0) }; COUNTERS])?;
        }
        Ok(Self {
            counters,
            mask: u32::try_from(stripes.wrapping_sub(1)).unwrap_or(0),
        })
    }

    /// Adds 1 to a counter of a slot.
    #[inline]
    fn add(&self, slot: u32, counter: usize) {
        let stripe = (cpu::CpuId::current().as_u32() & self.mask) as usize;
        let at = stripe.wrapping_mul(CHUNK).wrapping_add(within(slot));
        if let Some(counter) = self.counters.get(at).and_then(|slot| slot.get(counter)) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Calls `with` with a slot's counters in every stripe.
    fn stripes(&self, slot: u32, mut with: impl FnMut(&[AtomicU64; COUNTERS])) {
        let mut at = within(slot);
        while let Some(counters) = self.counters.get(at) {
            with(counters);
            at = at.wrapping_add(CHUNK);
        }
    }

    /// Sets a slot's counters to 0.
    fn reset(&self, slot: u32) {
        self.stripes(slot, |counters| {
            counters
                .iter()
                .for_each(|counter| counter.store(0, Relaxed));
        });
    }
}

/// Where a slot is in its chunk.
const fn within(slot: u32) -> usize {
    slot as usize & (CHUNK - 1)
}

/// How many stripes a chunk of a table of so many routes has: one for each CPU, as long as that is not too much.
fn stripes(routes: u32) -> usize {
    let one = (routes as usize).saturating_mul(COUNTERS * core::mem::size_of::<AtomicU64>());
    let mut stripes = 1usize;
    while stripes < STRIPES_MAX
        && stripes < cpu::nr_cpu_ids() as usize
        && stripes.saturating_mul(2).saturating_mul(one) <= STRIPES_LEN
    {
        stripes = stripes.wrapping_mul(2);
    }
    stripes
}

/// Counters of a table's routes.
pub(crate) struct Routes {
    /// The slots of the routes, in the order of the table.
    slots: KVVec<u32>,
    /// Of each slot, the generation of the first table in which it was its route's; [`FREE`] where it is none's.
    since: KVVec<u64>,
    /// The counters of the slots.
    chunks: KVVec<Arc<Chunk>>,
}

impl Routes {
    /// Those of no table.
    pub(crate) const fn none() -> Self {
        Self {
            slots: KVVec::new(),
            since: KVVec::new(),
            chunks: KVVec::new(),
        }
    }

    /// Those of a table of a generation. `before`: the table in force, with the position there of each service of this one, or
    /// [`NONE`].
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(
        table: &Rules,
        generation: u64,
        before: Option<(&Ruleset, &[u32])>,
    ) -> Result<Self> {
        let none = Self::none();
        let was = before.map_or(&none, |(ruleset, _)| ruleset.routes());
        let count = table.count::<RouteRecord>();
        let room = was.since.len().saturating_add(count as usize);
        let mut routes = KVVec::from_elem(NONE, count as usize, FLAGS)?;
        let mut since = KVVec::from_elem(FREE, room, FLAGS)?;
        let mut slots = Slots {
            routes: &mut routes,
            since: &mut since,
            before: &was.since,
        };
        if let Some((ruleset, services)) = before {
            keep(&mut slots, table, ruleset, services)?;
        }
        let len = slots.fill(generation, |slot| {
            if let Some(chunk) = was.chunk(slot) {
                chunk.reset(slot);
            }
        });
        let chunks = len.saturating_add(CHUNK - 1) / CHUNK;
        let mut all = Self {
            slots: routes,
            since: KVVec::with_capacity(len, FLAGS)?,
            chunks: KVVec::with_capacity(chunks, FLAGS)?,
        };
        for since in since.iter().take(len) {
            put(&mut all.since, *since)?;
        }
        let stripes = stripes(count);
        for number in 0..chunks {
            let chunk = match was.chunks.get(number) {
                Some(chunk) => chunk.clone(),
                None => Arc::new(Chunk::new(stripes)?, FLAGS)?,
            };
            put(&mut all.chunks, chunk)?;
        }
        Ok(all)
    }

    #[inline]
    fn chunk(&self, slot: u32) -> Option<&Chunk> {
        self.chunks.get(slot as usize / CHUNK).map(|chunk| &**chunk)
    }

    /// The slot of a route, by its number in the table.
    #[inline]
    pub(crate) fn slot(&self, route: u32) -> Option<u32> {
        self.slots.get(route as usize).copied()
    }

    /// Whether a slot has been of one route since a generation, or longer.
    pub(crate) fn is_since(&self, slot: u32, generation: u64) -> bool {
        let since = self.since.get(slot as usize);
        since.is_some_and(|&since| since <= generation)
    }

    /// Adds 1 to a counter of a slot; one that does not exist is passed over.
    #[inline]
    pub(crate) fn add(&self, slot: u32, counter: usize) {
        if let Some(chunk) = self.chunk(slot) {
            chunk.add(slot, counter);
        }
    }

    /// The counters of a route, by its number in the table.
    pub(crate) fn counters(&self, route: u32) -> [u64; COUNTERS] {
        let mut sums = [0u64; COUNTERS];
        let slot = self.slot(route);
        if let Some((chunk, slot)) = slot.and_then(|slot| Some((self.chunk(slot)?, slot))) {
            chunk.stripes(slot, |counters| {
                for (sum, counter) in sums.iter_mut().zip(counters) {
                    *sum = sum.wrapping_add(counter.load(Relaxed));
                }
            });
        }
        sums
    }

    /// Sets every counter to 0.
    pub(crate) fn reset(&self) {
        for &slot in &self.slots {
            if let Some(chunk) = self.chunk(slot) {
                chunk.reset(slot);
            }
        }
    }
}

/// Keeps the slots of the routes that are in the table in force, too.
fn keep(slots: &mut Slots<'_>, table: &Rules, ruleset: &Ruleset, services: &[u32]) -> Result {
    for number in 0..table.count::<ServiceRecord>() {
        let was = services.get(number as usize).copied().unwrap_or(NONE);
        let Some(was) = ruleset.table.get::<ServiceRecord>(was) else {
            continue;
        };
        let is: ServiceRecord = table.get(number).ok_or(EINVAL)?;
        let mut index = KVVec::from_elem((0u64, 0u32), was.routes_len as usize, FLAGS)?;
        let (before, now) = (names(&ruleset.table, &was), names(table, &is));
        slots::same(&before, &now, &mut index, |before, now| {
            let slot = ruleset.routes().slot(was.routes.saturating_add(before));
            if let Some(slot) = slot {
                slots.keep(is.routes.saturating_add(now), slot);
            }
        });
    }
    Ok(())
}

/// The names of a service's routes.
fn names<'t>(table: &'t Rules, service: &ServiceRecord) -> Names<impl Fn(u32) -> &'t [u8]> {
    let first = service.routes;
    Names {
        count: service.routes_len,
        name: move |at| {
            let route: RouteRecord = table.get(first.saturating_add(at)).unwrap_or_default();
            table.text(route.name, route.name_len)
        },
    }
}
