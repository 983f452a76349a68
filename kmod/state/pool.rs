// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A pool of the table in force: its scheduler's memory.
#![forbid(unsafe_code)]

use kernel::prelude::*;
use kernel::sync::rcu;

use l7switch_engine::sched;
use l7switch_engine::sched::Cursor;
use l7switch_engine::sched::Kind;
use l7switch_engine::sched::LayoutError;
use l7switch_engine::sched::Lookup;
use l7switch_engine::sched::LookupTable;
use l7switch_engine::sched::Memory;
use l7switch_engine::table::format::PoolRecord;

use crate::shell::sync::rcu_box::RcuBox;
use crate::state::real_server::Member;

/// The kernel's memory, charged to who asks for it.
pub(crate) enum Charged {}

impl Memory for Charged {
    type List<T> = KVVec<T>;
    type Error = Error;

    fn filled<T: Copy>(value: T, len: usize) -> Result<KVVec<T>> {
        Ok(KVVec::from_elem(value, len, GFP_KERNEL_ACCOUNT)?)
    }
}

/// A pool's scheduler.
pub(crate) struct Pool {
    /// What the table says.
    pub(crate) record: PoolRecord,
    /// The scheduler.
    pub(crate) kind: Kind,
    /// What it remembers from pick to pick.
    pub(crate) cursor: Cursor,
    lookup: RcuBox<LookupTable<Charged>>,
}

/// What a pool's scheduler looks keys up in, if it is one that does, before it does.
pub(crate) struct Layout(Option<KBox<LookupTable<Charged>>>);

impl Pool {
    /// The pool of a record, with `members` its servers.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(record: PoolRecord, members: &[Member]) -> Result<Self> {
        let pool = Self {
            record,
            kind: Kind::from_number(record.scheduler).ok_or(EINVAL)?,
            cursor: Cursor::new(),
            lookup: RcuBox::none(),
        };
        pool.look_up_in(pool.lay_out(members)?);
        Ok(pool)
    }

    /// Lays out anew what the scheduler looks keys up in, for [`Pool::look_up_in`].
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn lay_out(&self, members: &[Member]) -> Result<Layout> {
        let table = LookupTable::lay_out(self.kind, members).map_err(|error| match error {
            LayoutError::Memory(error) => error,
            LayoutError::Servers => EINVAL,
        })?;
        Ok(Layout(match table {
            LookupTable::None => None,
            table => Some(KBox::new(table, GFP_KERNEL_ACCOUNT)?),
        }))
    }

    /// Puts a layout of this pool in the place of the one before. May sleep for a grace period.
    pub(crate) fn look_up_in(&self, layout: Layout) {
        if layout.0.is_some() {
            self.lookup.replace(layout.0);
        }
    }

    /// Bytes of what the scheduler looks keys up in.
    pub(crate) fn lookup_len(&self) -> usize {
        let guard = rcu::read_lock();
        self.lookup.read(&guard).map_or(0, LookupTable::memory)
    }

    /// Index of the server that the scheduler picks, with the memory that `cursor` holds.
    pub(crate) fn pick(
        &self,
        members: &[Member],
        cursor: &Cursor,
        ask: &sched::Ask,
        skip: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let guard = rcu::read_lock();
        let lookup = self.lookup.read(&guard);
        let lookup = lookup.map_or(Lookup::None, LookupTable::as_lookup);
        let pool = sched::Pool {
            kind: self.kind,
            load_percent: self.record.load_percent,
            servers: members,
            cursor,
            lookup,
        };
        pool.pick(ask, skip)
    }
}
