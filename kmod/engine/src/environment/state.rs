// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What is kept of a connection besides its flow.

use core::borrow::Borrow;
use core::cell::Cell;

use super::held::HeldPackets;
use super::held::Queue;
use super::Tally;
use crate::endpoint::Endpoint;
use crate::flow::Flow;
use crate::flow::LegNumber;
use crate::flow::OutstandingRoutes;
use crate::flow::PerLeg;
use crate::flow::State;
use crate::policy::Bound;
use crate::policy::RulesetView;
use crate::policy::Tried;
use crate::policy::NOWHERE;
use crate::proxy_header::Ends;
use crate::sched;

/// Least memory for one connection's [`UnackedBytes`], if there are some, bytes.
const UNACKED_MIN: usize = 1024;
/// Most bytes of them: the longest head that is held, and some chunks' sizes.
pub(super) const UNACKED_MAX: usize = 40 * 1024;

/// A real server, as connections to it see it.
pub trait RealServer: Borrow<sched::Server> + Clone {
    /// A request was passed to it.
    fn requested(&self);
    /// It took a connection.
    fn works(&self);
    /// It did not, at a monotonic time, ns. Whether it gets nothing new from now on.
    fn fails(&self, now: u64) -> bool;
}

/// Bytes that a client has sent, that were read, and that their server has not acknowledged.
pub trait UnackedBytes {
    /// What is kept.
    fn bytes(&self) -> &[u8];
    /// The same, to be changed.
    fn bytes_mut(&mut self) -> &mut [u8];
    /// Makes it longer; what was there stays. Where memory is short nothing changes.
    fn grow(&mut self, len: usize);
    /// Gives the memory back.
    fn clear(&mut self);
}

/// What the host of flows has to keep of each.
pub trait Kept {
    /// Packets that wait.
    type Queue: Queue;
    /// What was read and is not acknowledged.
    type Unacked: UnackedBytes;
    /// A real server.
    type Server: RealServer;
    /// Where packets go: to the client, and to each leg's server.
    type Routes;
}

/// What is kept of a connection besides its flow.
pub struct ConnState<K: Kept> {
    /// Packets that wait.
    pub held: HeldPackets<K::Queue>,
    /// What was read and is not acknowledged.
    pub unacked: K::Unacked,
    /// Where its packets go.
    pub routes: K::Routes,
    /// The servers of the legs; none: the front.
    pub servers: PerLeg<Option<Bound<K::Server>>>,
    /// The server that was chosen last, for the leg to come.
    pub(super) chosen: Option<Bound<K::Server>>,
    /// The slots of the routes by which outstanding requests came here.
    pub outstanding: OutstandingRoutes,
    /// The service, by its position in the rules of `generation`.
    service: Option<u32>,
    generation: u64,
    /// The request that was chosen for last counts at its server already, which has a bound: the one in `chosen`, or in use. So it
    /// is only while a packet is looked at.
    pub(super) has_place: bool,
    /// Why what goes to the front next does so, where that is counted.
    pub(super) to_front: Option<Tally>,
    /// Whose connection it is, as the PROXY header said that it began with.
    pub(super) ends: Option<Ends>,
    /// Servers that failed since one took a connection.
    pub(super) tried: Tried,
    /// What a rate limit said last, and of which request, by the number of its first byte: it is asked once, however often the
    /// request is looked at.
    pub(super) limited: Cell<Option<(u32, bool)>>,
}

impl<K: Kept> ConnState<K> {
    /// Of a new connection.
    pub const fn new(queue: K::Queue, unacked: K::Unacked, routes: K::Routes) -> Self {
        Self {
            held: HeldPackets::new(queue),
            unacked,
            routes,
            servers: PerLeg::new(None, None),
            chosen: None,
            outstanding: OutstandingRoutes::new(),
            service: None,
            generation: 0,
            has_place: false,
            to_front: None,
            ends: None,
            tried: Tried::new(),
            limited: Cell::new(None),
        }
    }

    /// The service that the connection is of in some rules: those in force, or those before them.
    #[inline]
    pub fn service<R: RulesetView<Server = K::Server>>(
        &mut self,
        rules: &R,
        address: &Endpoint,
    ) -> Option<u32> {
        if self.generation != rules.generation() {
            return self.service_in_other(rules, address);
        }
        self.service
    }

    /// The same in other rules than those of the last packet.
    #[cold]
    fn service_in_other<R: RulesetView<Server = K::Server>>(
        &mut self,
        rules: &R,
        address: &Endpoint,
    ) -> Option<u32> {
        let service = rules.service_at(address);
        // A packet that has come before may see the rules before.
        if self.generation < rules.generation() {
            self.outstanding
                .retain(|slot| rules.is_slot_since(slot, self.generation));
            for bound in self.servers.iter_mut().chain([&mut self.chosen]).flatten() {
                let place = rules.place_of(&bound.server);
                (bound.pool, bound.position) = place.unwrap_or((NOWHERE, NOWHERE));
            }
            // Their positions are those of the rules before.
            self.tried = Tried::new();
            self.generation = rules.generation();
            self.service = service;
        }
        service
    }

    /// Whether places of servers are those of a generation of the rules.
    #[inline]
    pub(super) const fn is_of(&self, generation: u64) -> bool {
        self.generation == generation
    }

    /// The server of a leg.
    #[inline]
    pub fn server(&self, leg: LegNumber) -> Option<&Bound<K::Server>> {
        self.servers.get(leg).as_ref()
    }

    /// Whether something that was read is not acknowledged, and kept.
    #[inline]
    pub fn has_unacked(&self) -> bool {
        !self.unacked.bytes().is_empty()
    }

    /// Bytes of memory that packets and unacknowledged bytes take.
    pub fn memory(&self) -> u32 {
        let unacked = u32::try_from(self.unacked.bytes().len()).unwrap_or(u32::MAX);
        self.held.memory().saturating_add(unacked)
    }

    /// Memory for so many unacknowledged bytes, or for less where memory is short. `spare`: whether there may be more than there is.
    pub(super) fn unacked_mut(&mut self, len: usize, spare: bool) -> &mut [u8] {
        if len > self.unacked.bytes().len() && len <= UNACKED_MAX && spare {
            let size = len.checked_next_power_of_two().unwrap_or(len);
            self.unacked.grow(size.clamp(UNACKED_MIN, UNACKED_MAX));
        }
        self.unacked.bytes_mut()
    }

    /// What must hold of a connection between packets: what does not, if something does not.
    pub fn broken(&self, flow: &Flow) -> Option<&'static str> {
        if let Some(broken) = flow.broken().or_else(|| self.held.broken()) {
            return Some(broken);
        }
        if LegNumber::ALL
            .into_iter()
            .any(|leg| self.server(leg).is_some() && flow.leg(leg).is_none())
        {
            return Some("a server without a leg");
        }
        if flow.state() == State::Dead {
            let gone = self.held.is_empty() && self.servers.iter().all(Option::is_none);
            return (!gone).then_some("a dead flow holds packets or servers");
        }
        if self.has_place {
            return Some("a request has a place at a server, and does not go there");
        }
        (self.outstanding.count() != flow.outstanding())
            .then_some("the routes of outstanding requests are not as many as the requests")
    }
}
