// SPDX-License-Identifier: MIT
//! The engine's schedulers over a pool's servers.

use std::borrow::Borrow;
use std::sync::Arc;

use l7switch_engine::sched;
use l7switch_engine::sched::Kind;
use l7switch_engine::sched::Lookup;
use l7switch_engine::sched::maglev;
use l7switch_engine::sched::ring;

use super::server::RealServer;

/// A server in the list that a scheduler picks from.
#[derive(Clone, Debug)]
pub(super) struct Member(pub(super) Arc<RealServer>);

impl Borrow<sched::Server> for Member {
    fn borrow(&self) -> &sched::Server {
        self.0.sched()
    }
}

/// What a hashing scheduler looks keys up in.
#[derive(Debug)]
pub(super) enum LookupTable {
    None,
    Maglev(Vec<u16>),
    Ring(Vec<ring::Point>),
}

impl LookupTable {
    /// The table for these servers with the weights that they have now.
    pub(super) fn build(scheduler: Kind, servers: &[Member]) -> Self {
        match scheduler {
            Kind::Mh => {
                let mut table = vec![0; maglev::size_for(servers.len())];
                let mut scratch = vec![maglev::Turn::default(); servers.len()];
                match maglev::fill(&mut table, &mut scratch, servers) {
                    Ok(()) => Self::Maglev(table),
                    Err(error) => {
                        tracing::error!(?error, "the Maglev table was not filled");
                        Self::None
                    }
                }
            }
            Kind::Ch => {
                let mut points = vec![ring::Point::default(); ring::points_needed(servers)];
                match ring::fill(&mut points, servers) {
                    Ok(()) => Self::Ring(points),
                    Err(error) => {
                        tracing::error!(?error, "the ring was not filled");
                        Self::None
                    }
                }
            }
            _ => Self::None,
        }
    }

    pub(super) fn as_lookup(&self) -> Lookup<'_> {
        match self {
            Self::None => Lookup::None,
            Self::Maglev(table) => Lookup::Maglev(table),
            Self::Ring(points) => Lookup::Ring(points),
        }
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
