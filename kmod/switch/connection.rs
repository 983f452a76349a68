// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A connection of a client: its flow, and what the kernel keeps beside it.
#![forbid(unsafe_code)]

use kernel::prelude::*;
use kernel::sync::Arc;

use l7switch_engine::flow::Asked;
use l7switch_engine::flow::Flow;
use l7switch_engine::flow::LEGS;
use l7switch_engine::netlink::FlowState;
use l7switch_engine::sched::Identity;

use super::flows::Side;
use super::real_server::RealServer;
use super::Live;
use crate::shell::packet::Held;
use crate::shell::way::Way;

/// Most servers that a request is tried at.
pub(super) const TRIED: usize = 4;

/// The server of a leg.
pub(super) struct Bound {
    /// The server.
    pub(super) server: Arc<RealServer>,
    /// Where it is in the table of [`Surroundings::generation`]: pool and position in it; [`u32::MAX`] where it is not, or
    /// where that is not known.
    pub(super) pool: u32,
    pub(super) position: u32,
}

/// What belongs to a flow and is no plain data.
pub(super) struct Surroundings {
    /// Packets that wait.
    pub(super) held: Held,
    /// Sequence numbers of the first byte that waits and behind the last.
    pub(super) held_from: u32,
    pub(super) held_end: u32,
    /// The flow's notes, which few have: a pointer is smaller.
    pub(super) notes: Option<KBox<KVec<u8>>>,
    /// Where its packets go: to the client, and to each leg's server.
    pub(super) to_client: Way,
    pub(super) to_server: [Way; LEGS],
    /// The servers of the legs; none: the front.
    pub(super) servers: [Option<Bound>; LEGS],
    /// The server that was chosen last, for the leg to come.
    pub(super) chosen: Option<Bound>,
    /// The slots of the routes by which outstanding requests came here.
    pub(super) asked: Asked,
    /// The service, by its position in the table of `generation`.
    pub(super) service: Option<u32>,
    pub(super) generation: u64,
    /// Positions of servers that failed the present request, in a pool.
    pub(super) tried: [u16; TRIED],
    pub(super) tried_len: u8,
    pub(super) tried_pool: u32,
}

impl Surroundings {
    /// Bytes of memory that packets and notes take.
    pub(super) fn memory(&self) -> u32 {
        let notes = self.notes.as_ref().map_or(0, |notes| notes.capacity());
        let notes = u32::try_from(notes).unwrap_or(u32::MAX);
        self.held.memory().saturating_add(notes)
    }

    /// The service that the connection is of in a table.
    #[inline]
    pub(super) fn service(&mut self, live: &Live, address: &Identity) -> Option<u32> {
        if self.generation != live.generation {
            return self.service_in_other(live, address);
        }
        self.service
    }

    /// The same in another table than the one of the last packet.
    #[cold]
    fn service_in_other(&mut self, live: &Live, address: &Identity) -> Option<u32> {
        let service = live.service_at(address.address, address.port);
        // A packet that has come before may see the table before.
        if self.generation < live.generation {
            let routes = live.routes();
            self.asked
                .retain(|slot| routes.is_since(slot, self.generation));
            for bound in self.servers.iter_mut().flatten() {
                let place = live.place_of(&bound.server);
                (bound.pool, bound.position) = place.unwrap_or((u32::MAX, u32::MAX));
            }
            self.generation = live.generation;
            self.service = service;
        }
        service
    }
}

/// A connection.
pub(crate) struct Connection {
    /// Its flow.
    pub(crate) flow: Flow,
    pub(super) around: Surroundings,
    /// When its first data came, ms of the monotonic clock.
    pub(crate) begun: u32,
    /// When its last packet came.
    pub(crate) seen: u32,
    /// Packets from the client.
    pub(crate) packets: u64,
    /// Bytes in them.
    pub(crate) bytes: u64,
}

impl Connection {
    /// A flow's, at `now`, ms.
    pub(super) fn new(flow: Flow, now: u32) -> Self {
        Self {
            flow,
            around: Surroundings {
                held: Held::new(),
                held_from: 0,
                held_end: 0,
                notes: None,
                to_client: Way::unknown(),
                to_server: [Way::unknown(), Way::unknown()],
                servers: [None, None],
                chosen: None,
                asked: Asked::new(),
                service: None,
                generation: 0,
                tried: [0; TRIED],
                tried_len: 0,
                tried_pool: 0,
            },
            begun: now,
            seen: now,
            packets: 0,
            bytes: 0,
        }
    }

    /// Whether a packet with these ends is one of that side.
    #[inline(always)]
    pub(super) fn is_of(&self, side: Side, source: &Identity, destination: &Identity) -> bool {
        match side {
            Side::Client => self.flow.client == *source && self.flow.service == *destination,
            Side::Server(leg) => self
                .flow
                .leg(leg)
                .is_some_and(|leg| leg.peer == *source && leg.local == *destination),
        }
    }

    /// How far it has come, as it is shown.
    pub(crate) fn state(&self) -> FlowState {
        use l7switch_engine::flow::State;
        match self.flow.state() {
            State::Open if self.flow.active().is_none() && self.flow.binding().is_some() => {
                FlowState::Opening
            }
            State::Open if self.flow.active().is_none() => FlowState::Reading,
            State::Open => FlowState::Open,
            State::Closing | State::Dead => FlowState::Closing,
        }
    }
}
