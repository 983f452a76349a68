// SPDX-License-Identifier: MIT
//! The engine's schedulers over a pool's servers.

use std::borrow::Borrow;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use l7switch_engine::sched;
use l7switch_engine::sched::Kind;
use l7switch_engine::sched::LayoutError;
use l7switch_engine::sched::Lookup;
use l7switch_engine::sched::Memory;

use super::server::RealServer;

/// A server in the list that a scheduler picks from.
#[derive(Clone, Debug)]
pub(super) struct Member(pub(super) Arc<RealServer>);

impl Borrow<sched::Server> for Member {
    fn borrow(&self) -> &sched::Server {
        self.0.sched()
    }
}

/// The process's memory, of which there is enough.
#[derive(Debug)]
pub(super) struct Heap;

impl Memory for Heap {
    type List<T> = Vec<T>;
    type Error = Infallible;

    fn filled<T: Copy>(value: T, len: usize) -> Result<Vec<T>, Infallible> {
        Ok(vec![value; len])
    }
}

/// What a hashing scheduler looks keys up in.
pub(super) struct LookupTable(sched::LookupTable<Heap>);

impl fmt::Debug for LookupTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LookupTable").finish_non_exhaustive()
    }
}

impl LookupTable {
    /// One in which nothing is found.
    pub(super) const fn empty() -> Self {
        Self(sched::LookupTable::None)
    }

    /// The table for these servers with the weights that they have now.
    pub(super) fn build(scheduler: Kind, servers: &[Member]) -> Self {
        match sched::LookupTable::lay_out(scheduler, servers) {
            Ok(table) => Self(table),
            Err(LayoutError::Servers) => {
                tracing::error!("a pool has more servers than a table has numbers for");
                Self::empty()
            }
            Err(LayoutError::Memory(never)) => match never {},
        }
    }

    pub(super) fn as_lookup(&self) -> Lookup<'_> {
        self.0.as_lookup()
    }
}

/// What the scheduler is told of a request whose key has this hash.
pub(super) fn ask(hash: u64) -> sched::Ask {
    sched::Ask {
        hash,
        random: fastrand::u64(..),
        now_ns: crate::net::clock::now_ns(),
    }
}
