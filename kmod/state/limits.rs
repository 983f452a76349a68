// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Rate limits of a table's routes, and what has come: all limits share one table of buckets, whose size is fixed.
#![forbid(unsafe_code)]

use core::pin::Pin;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use kernel::alloc::Flags;
use kernel::new_spinlock;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::sync::SpinLock;

use l7switch_engine::limit::part;
use l7switch_engine::limit::source_key;
use l7switch_engine::limit::Rate;
use l7switch_engine::limit::Set;
use l7switch_engine::limit::WAYS;
use l7switch_engine::sched::sort::lower_bound;
use l7switch_engine::sched::sort::sort;
use l7switch_engine::siphash;
use l7switch_engine::table::codes::RateKey;
use l7switch_engine::table::format::RateRecord;
use l7switch_engine::table::format::RouteRecord;
use l7switch_engine::table::Table;

use super::ruleset::put;
use crate::shell::random;

/// Buckets of all limits by clients: 4 MiB.
const BUCKETS: usize = 262_144;
/// Parts of them, each under its own lock.
const SHARDS: usize = 256;
/// Sets of a shard.
const SETS: usize = BUCKETS / SHARDS / WAYS;

const FLAGS: Flags = GFP_KERNEL_ACCOUNT;

/// The number of the next limit: none ever has that of another, whose buckets it would find.
static NUMBERS: AtomicU64 = AtomicU64::new(0);

/// Buckets of clients, of all limits.
struct Buckets {
    /// What keys are made by: nobody can choose whose bucket or place a key has.
    secret: siphash::Key,
    shards: KVec<Pin<KBox<SpinLock<KVVec<Set>>>>>,
}

impl Buckets {
    fn new() -> Result<Self> {
        let mut shards = KVec::with_capacity(SHARDS, FLAGS)?;
        for _ in 0..SHARDS {
            let sets = KVVec::from_elem(Set::default(), SETS, FLAGS)?;
            let shard = KBox::pin_init(new_spinlock!(sets), FLAGS)?;
            shards.push_within_capacity(shard).map_err(|_| ENOMEM)?;
        }
        Ok(Self {
            secret: [random::number(), random::number()],
            shards,
        })
    }

    fn take(&self, key: u64, rate: Rate, now: u64) -> bool {
        let Some(shard) = self.shards.get(part(key >> 32, SHARDS as u32) as usize) else {
            return true;
        };
        let mut sets = shard.lock();
        let set = sets.get_mut(part(key, SETS as u32) as usize);
        set.is_none_or(|set| set.take(key, rate, now).is_ok())
    }
}

/// One limit. It goes on from table to table where its route does and it says the same.
struct Limit {
    number: u64,
    record: RateRecord,
    rate: Rate,
    /// Of a route's own bucket: when it will be full.
    full_at: AtomicU64,
}

/// The limits of a table.
pub(crate) struct Limits {
    /// In the order of the table, each with the slot of its route.
    limits: KVVec<(u32, Arc<Limit>)>,
    /// Absent where no table had a limit.
    buckets: Option<Arc<Buckets>>,
}

impl Limits {
    /// Those of no table.
    pub(crate) const fn none() -> Self {
        Self {
            limits: KVVec::new(),
            buckets: None,
        }
    }

    /// Those of a table, whose routes have slots. `before`: those of the table in force.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EINVAL` where a limit is of several routes, or of none.
    pub(crate) fn new(
        table: &Table<KVVec<u8>>,
        slot: impl Fn(u32) -> Option<u32>,
        before: Option<&Self>,
    ) -> Result<Self> {
        let none = Self::none();
        let before = before.unwrap_or(&none);
        let count = table.count::<RateRecord>();
        let mut all = Self {
            limits: KVVec::with_capacity(count as usize, FLAGS)?,
            buckets: before.buckets.clone(),
        };
        if count == 0 {
            return Ok(all);
        }
        if all.buckets.is_none() {
            all.buckets = Some(Arc::new(Buckets::new()?, FLAGS)?);
        }
        let mut by_slot = KVVec::with_capacity(before.limits.len(), FLAGS)?;
        for (slot, limit) in &before.limits {
            put(&mut by_slot, (*slot, limit))?;
        }
        sort(&mut by_slot, |a, b| a.0 < b.0);
        for route in 0..table.count::<RouteRecord>() {
            let record: RouteRecord = table.get(route).ok_or(EINVAL)?;
            let Some(number) = record.rate.checked_sub(1) else {
                continue;
            };
            if number as usize != all.limits.len() {
                return Err(EINVAL);
            }
            let record: RateRecord = table.get(number).ok_or(EINVAL)?;
            let slot = slot(route).ok_or(EINVAL)?;
            let was = by_slot
                .get(lower_bound(&by_slot, |known| known.0 < slot))
                .filter(|known| known.0 == slot && known.1.record == record);
            let limit = match was {
                Some((_, limit)) => (*limit).clone(),
                None => Arc::new(Limit::new(record), FLAGS)?,
            };
            put(&mut all.limits, (slot, limit))?;
        }
        if all.limits.len() == count as usize {
            Ok(all)
        } else {
            Err(EINVAL)
        }
    }

    /// Takes a token of a limit for a client; `false`: there is none. What there is no limit for passes.
    pub(crate) fn take(&self, number: u32, client: &[u8; 16], now: u64) -> bool {
        let limit = self.limits.get(number as usize);
        let (Some((_, limit)), Some(buckets)) = (limit, &self.buckets) else {
            return true;
        };
        if limit.record.key == RateKey::Route.number() {
            return limit.take(now);
        }
        let key = source_key(buckets.secret, limit.number, &limit.record, client);
        buckets.take(key, limit.rate, now)
    }
}

impl Limit {
    fn new(record: RateRecord) -> Self {
        Self {
            number: NUMBERS.fetch_add(1, Relaxed),
            rate: Rate::of(&record),
            record,
            full_at: AtomicU64::new(0),
        }
    }

    /// Takes a token of its only bucket.
    fn take(&self, now: u64) -> bool {
        let mut was = self.full_at.load(Relaxed);
        while let Ok(then) = self.rate.take(was, now) {
            match self
                .full_at
                .compare_exchange_weak(was, then, Relaxed, Relaxed)
            {
                Ok(_) => return true,
                Err(is) => was = is,
            }
        }
        false
    }
}
