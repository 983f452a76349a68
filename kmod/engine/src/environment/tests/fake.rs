// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A platform that writes down what the environment tells it, with rules of one pool.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::vec::Vec;

use super::super::held::tests::List;
use super::super::*;
use crate::policy::PoolView;
use crate::table::Table;

pub(super) const CLIENT: Endpoint = endpoint(1, 40_000);
pub(super) const SERVICE: Endpoint = endpoint(2, 80);
pub(super) const SWITCH: u8 = 3;
pub(super) const NOW: u64 = 10_000_000_000;

pub(super) const fn endpoint(host: u8, port: u16) -> Endpoint {
    let mut address = [0; 16];
    (address[10], address[11], address[15]) = (0xff, 0xff, host);
    Endpoint { address, port }
}

/// A server, and what it was told.
pub(super) struct Real {
    pub(super) scheduled: sched::Server,
    requested: Cell<u32>,
    worked: Cell<u32>,
    failed: Cell<u32>,
}

#[derive(Clone)]
pub(super) struct Handle(pub(super) Rc<Real>);

impl Handle {
    pub(super) fn new(host: u8) -> Self {
        Self(Rc::new(Real {
            scheduled: sched::Server::new(endpoint(host, 80), 1),
            requested: Cell::new(0),
            worked: Cell::new(0),
            failed: Cell::new(0),
        }))
    }

    /// Requests, connections, failures.
    pub(super) fn told(&self) -> (u32, u32, u32) {
        let Real {
            requested,
            worked,
            failed,
            ..
        } = &*self.0;
        (requested.get(), worked.get(), failed.get())
    }
}

impl core::borrow::Borrow<sched::Server> for Handle {
    fn borrow(&self) -> &sched::Server {
        &self.0.scheduled
    }
}

impl RealServer for Handle {
    fn requested(&self) {
        self.0.requested.set(self.0.requested.get() + 1);
    }

    fn works(&self) {
        self.0.worked.set(self.0.worked.get() + 1);
    }

    fn fails(&self, now: u64) -> bool {
        assert_eq!(now, NOW);
        self.0.failed.set(self.0.failed.get() + 1);
        self.0.failed.get() == 3
    }
}

#[derive(Default)]
pub(super) struct Memory(Vec<u8>);

impl UnackedBytes for Memory {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    fn grow(&mut self, len: usize) {
        self.0.resize(len, 0);
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

pub(super) enum Tested {}

impl Kept for Tested {
    type Queue = List;
    type Unacked = Memory;
    type Server = Handle;
    type Routes = ();
}

/// Rules of one pool and one service, of which only the places matter.
pub(super) struct Rules {
    pub(super) generation: u64,
    pub(super) service: u32,
    pub(super) members: Vec<Handle>,
}

impl RulesetView for Rules {
    type Bytes = Vec<u8>;
    type Server = Handle;
    type Member = Handle;

    fn table(&self) -> &Table<Vec<u8>> {
        unreachable!("nothing is decided")
    }

    fn generation(&self) -> u64 {
        self.generation
    }

    fn service_at(&self, address: &Endpoint) -> Option<u32> {
        (*address == SERVICE).then_some(self.service)
    }

    fn pool(&self, _: u32) -> Option<PoolView<'_, Handle>> {
        None
    }

    fn pick(&self, _: u32, _: &sched::Ask, _: impl Fn(usize) -> bool) -> Option<usize> {
        None
    }

    fn server(&self, member: &Handle) -> Handle {
        member.clone()
    }

    fn place_of(&self, server: &Handle) -> Option<(u32, u32)> {
        let mut members = self.members.iter();
        let position = members.position(|member| Rc::ptr_eq(&member.0, &server.0))?;
        Some((self.service, position as u32))
    }

    fn route_slot(&self, route: u32) -> Option<u32> {
        Some(route)
    }

    fn is_slot_since(&self, slot: u32, generation: u64) -> bool {
        assert!(generation < self.generation);
        slot != 5
    }
}

/// What carries the environment, and what it was told.
pub(super) struct Fake {
    pub(super) rules: Rules,
    ports: Range<u16>,
    pub(super) memory: u64,
    random: Cell<u64>,
    taken: RefCell<BTreeSet<(Endpoint, Endpoint)>>,
    pub(super) tallies: RefCell<Vec<Tally>>,
    pub(super) of_service: RefCell<Vec<(Option<u32>, Exchange)>>,
    pub(super) of_route: RefCell<Vec<(u32, Exchange)>>,
    pub(super) lacks: Cell<u32>,
}

impl Fake {
    pub(super) fn new() -> Self {
        Self {
            rules: Rules {
                generation: 1,
                service: 6,
                members: [10, 11].map(Handle::new).into(),
            },
            ports: 2000..2010,
            memory: 0,
            random: Cell::new(7),
            taken: RefCell::default(),
            tallies: RefCell::default(),
            of_service: RefCell::default(),
            of_route: RefCell::default(),
            lacks: Cell::new(0),
        }
    }
}

impl Host for Fake {
    fn random(&self) -> u64 {
        self.random
            .set(self.random.get().wrapping_mul(0x9e37_79b9_7f4a_7c15));
        self.random.get()
    }

    fn is_here(&self, _: &[u8; 16]) -> bool {
        false
    }
}

pub(in crate::environment) struct NoData;

impl Payload for NoData {
    fn run(&self, _: u32) -> &[u8] {
        &[]
    }
}

impl Platform for Fake {
    type Kept = Tested;
    type Packet = NoData;
    type Rules = Rules;

    fn now(&self) -> u64 {
        NOW
    }

    fn rules(&self) -> &Rules {
        &self.rules
    }

    fn fingerprint_key(&self) -> fingerprint::Key {
        fingerprint::Key::new(1)
    }

    fn listener(&self) -> Listener {
        unreachable!("nothing begins")
    }

    fn memory(&self) -> u64 {
        self.memory
    }

    fn with_buffers<T>(&self, _: impl FnOnce(Buffers<'_>) -> T) -> Option<T> {
        None
    }

    fn forwards(&self, _: bool) -> bool {
        true
    }

    fn own_address(&self, _: &[u8; 16]) -> Option<[u8; 16]> {
        Some(endpoint(SWITCH, 0).address)
    }

    fn own_ports(&self) -> Range<u16> {
        self.ports.clone()
    }

    fn insert(&self, _: LegNumber, peer: &Endpoint, local: &Endpoint) -> bool {
        self.taken.borrow_mut().insert((*peer, *local))
    }

    fn remove(&self, _: LegNumber, peer: &Endpoint, local: &Endpoint, _: &mut ()) {
        assert!(self.taken.borrow_mut().remove(&(*peer, *local)));
    }

    fn send_built(&mut self, _: &Endpoint, _: &mut ConnState<Tested>, _: Build) -> bool {
        true
    }

    fn send_header(
        &mut self,
        _: &Endpoint,
        _: &mut ConnState<Tested>,
        _: Build,
        _: &Written,
    ) -> bool {
        true
    }

    fn send_held(
        &mut self,
        _: &Endpoint,
        _: &mut ConnState<Tested>,
        _: (Segment, u32),
        _: &Parsed,
        _: (u32, u32),
        _: &Rewrite,
    ) -> bool {
        true
    }

    fn takes_token(&self, _: u32, _: &[u8; 16]) -> bool {
        unreachable!("nothing is decided")
    }

    fn count(&self, _: Event) {}

    fn tally(&self, what: Tally) {
        self.tallies.borrow_mut().push(what);
    }

    fn count_service(&self, service: Option<u32>, what: Exchange) {
        self.of_service.borrow_mut().push((service, what));
    }

    fn count_route(&self, slot: u32, what: Exchange) {
        self.of_route.borrow_mut().push((slot, what));
    }

    fn first_byte(&self, _: u64) {}

    fn server_takes(&self, _: u32, _: &Endpoint, _: u16) {}

    fn server_lacks_timestamps(&self, service: u32) {
        self.lacks.set(service);
    }
}
