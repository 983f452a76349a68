// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A pool of the table in force: its scheduler's memory.
#![forbid(unsafe_code)]

use kernel::prelude::*;
use kernel::sync::rcu;

use l7switch_engine::sched;
use l7switch_engine::sched::maglev;
use l7switch_engine::sched::ring;
use l7switch_engine::sched::Cursor;
use l7switch_engine::sched::Kind;
use l7switch_engine::sched::Lookup;
use l7switch_engine::table::format::PoolRecord;

use crate::shell::sync::rcu_box::RcuBox;
use crate::state::real_server::Member;

/// What a hashing scheduler looks keys up in.
enum LookupTable {
    Maglev(KVVec<u16>),
    Ring(KVVec<ring::Point>),
}

/// A pool's scheduler.
pub(crate) struct Pool {
    /// What the table says.
    pub(crate) record: PoolRecord,
    /// The scheduler.
    pub(crate) kind: Kind,
    /// What it remembers from pick to pick.
    pub(crate) cursor: Cursor,
    lookup: RcuBox<LookupTable>,
}

/// What a pool's scheduler looks keys up in, if it is one that does, before it does.
pub(crate) struct Layout(Option<KBox<LookupTable>>);

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
        let table = match self.kind {
            _ if members.is_empty() => return Ok(Layout(None)),
            Kind::Mh => {
                let slots = maglev::size_for(members.len());
                let mut table = KVVec::from_elem(0u16, slots, GFP_KERNEL_ACCOUNT)?;
                let mut scratch =
                    KVVec::from_elem(maglev::Turn::default(), members.len(), GFP_KERNEL_ACCOUNT)?;
                maglev::fill(&mut table, &mut scratch, members).map_err(|_| EINVAL)?;
                LookupTable::Maglev(table)
            }
            Kind::Ch => {
                let points = ring::points_needed(members);
                let mut points =
                    KVVec::from_elem(ring::Point::default(), points, GFP_KERNEL_ACCOUNT)?;
                ring::fill(&mut points, members).map_err(|_| EINVAL)?;
                LookupTable::Ring(points)
            }
            _ => return Ok(Layout(None)),
        };
        Ok(Layout(Some(KBox::new(table, GFP_KERNEL_ACCOUNT)?)))
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
        match self.lookup.read(&guard) {
            None => 0,
            Some(LookupTable::Maglev(table)) => core::mem::size_of_val(table.as_slice()),
            Some(LookupTable::Ring(points)) => core::mem::size_of_val(points.as_slice()),
        }
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
        let lookup = match self.lookup.read(&guard) {
            None => Lookup::None,
            Some(LookupTable::Maglev(table)) => Lookup::Maglev(table),
            Some(LookupTable::Ring(points)) => Lookup::Ring(points),
        };
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
