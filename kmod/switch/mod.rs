// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the module keeps in one network namespace: the table in force, its real servers, a load under way, counters.
#![forbid(unsafe_code)]

mod connection;
mod counters;
mod errors;
mod flows;
mod histogram;
mod hooks;
mod index;
mod live;
mod load;
mod path;
mod platform;
mod pool;
mod real_server;
mod routes;
mod scratch;
mod sending;
mod turn;
mod view;

use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use kernel::new_mutex;
use kernel::prelude::*;
use kernel::sync::rcu;
use kernel::sync::Arc;
use kernel::sync::ArcBorrow;
use kernel::sync::Mutex;

use l7switch_engine::flow::milliseconds;
use l7switch_engine::netlink::FlowState;

use crate::shell::clock;
use crate::shell::net::Net;
use crate::shell::per_cpu::Counters;
use crate::shell::pernet::Namespace;
use crate::shell::pernet::Slot;
use crate::shell::port_watch::Watch;
use crate::shell::random;
use crate::shell::rcu_box::RcuBox;
use crate::shell::work::Work;

pub(crate) use connection::Connection;
pub(crate) use counters::Counter;
pub(crate) use histogram::Histogram;
pub(crate) use histogram::CLASSES;
pub(crate) use live::address;
pub(crate) use live::Live;
pub(crate) use live::LISTENS_MAX;
pub(crate) use live::SERVICES_MAX;
pub(crate) use load::ChunkError;
pub(crate) use load::Load;
pub(crate) use pool::Pool;
pub(crate) use real_server::Member;
pub(crate) use routes::ROUTE_REQUESTS;
pub(crate) use routes::ROUTE_RESPONSES;

use flows::Flows;

/// Counter of a service: connections that clients opened.
pub(crate) const TRAFFIC_CONNECTIONS: usize = 0;
/// Counter of a service: packets from clients.
pub(crate) const TRAFFIC_PACKETS: usize = 1;
/// Counter of a service: bytes in them.
pub(crate) const TRAFFIC_BYTES: usize = 2;
/// Counter of a service: requests that were passed on.
pub(crate) const TRAFFIC_REQUESTS: usize = 3;
/// Counter of a service: bytes of packets to clients.
pub(crate) const TRAFFIC_BYTES_OUT: usize = 4;
/// Counters of a service: responses by class, from 1xx on.
pub(crate) const TRAFFIC_RESPONSES: usize = 5;
/// Counters of a service.
pub(crate) const TRAFFIC_COUNTERS: usize = 10;

static SLOT: Slot<Switch> = Slot::new();

/// The module's part of a namespace.
#[pin_data]
pub(crate) struct Switch {
    /// Everything that commands change.
    #[pin]
    pub(crate) control: Mutex<Control>,
    /// The table in force, for packets.
    live: RcuBox<Arc<Live>>,
    /// Connections followed. There since the first table: a namespace that switches nothing has no memory for them.
    flows: RcuBox<Flows>,
    /// Servers that are left out because they failed.
    failing: AtomicU32,
    /// Whether it was told that there is no room for connections.
    full: AtomicBool,
    /// Time from a request to its response's first byte.
    pub(crate) responses: Histogram,
    /// Everything counted.
    pub(crate) counters: Counters<{ Counter::COUNT }>,
    work: Arc<Work<Switch>>,
}

/// What commands change, one at a time.
pub(crate) struct Control {
    /// The table in force, for commands.
    pub(crate) live: Option<Arc<Live>>,
    /// A load under way.
    pub(crate) load: Option<Load>,
    /// Counts the tables put in force or taken away.
    pub(crate) generation: u64,
    /// Number of the last load.
    pub(crate) transaction: u32,
}

impl Switch {
    /// The table in force, for a command.
    pub(crate) fn table(&self) -> Option<Arc<Live>> {
        self.control.lock().live.clone()
    }

    /// The same with the generation, which tells that there is none, too.
    pub(crate) fn table_of_generation(&self) -> (Option<Arc<Live>>, u64) {
        let control = self.control.lock();
        (control.live.clone(), control.generation)
    }

    /// Puts a table in force. Sleeps until no packet sees the one before.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `ESHUTDOWN`: the one before stays.
    pub(crate) fn publish(
        switch: ArcBorrow<'_, Self>,
        control: &mut Control,
        live: KBox<Arc<Live>>,
    ) -> Result {
        if control.live.is_none() && !switch.follows() {
            let flows = Flows::new(
                crate::max_flows(),
                random::key(),
                milliseconds(clock::now_ns()),
            )?;
            let flows = KBox::new(flows, GFP_KERNEL_ACCOUNT)?;
            switch.flows.replace(Some(flows));
        }
        switch.work.begin(switch.into())?;
        let shared = (*live).clone();
        switch.live.replace(Some(live));
        control.generation = shared.generation;
        control.live = Some(shared);
        Ok(())
    }

    /// Takes the table in force away. Sleeps until no packet sees it.
    pub(crate) fn unpublish(&self, control: &mut Control) {
        self.work.end();
        self.live.replace(None);
        self.flows.replace(None);
        control.live = None;
        control.generation = control.generation.wrapping_add(1);
    }

    fn follows(&self) -> bool {
        self.flows.read(&rcu::read_lock()).is_some()
    }

    /// Connections followed now.
    pub(crate) fn flow_count(&self) -> u32 {
        let guard = rcu::read_lock();
        self.flows.read(&guard).map_or(0, Flows::count)
    }

    /// Connections followed now by state: by the number of [`FlowState`]. In process context.
    pub(crate) fn flow_states(&self) -> [u32; FlowState::ALL.len()] {
        let mut counts = [0; FlowState::ALL.len()];
        for shard in Flows::shards() {
            // One at a time: there may be a million of them.
            let guard = rcu::read_lock();
            if let Some(flows) = self.flows.read(&guard) {
                flows.count_states(shard, &mut counts);
            }
        }
        counts
    }

    /// Calls `with` with the connection at a position or the next one, and gives where to go on.
    pub(crate) fn next_flow<R>(
        &self,
        position: u64,
        with: impl FnOnce(&Connection) -> R,
    ) -> Option<(u64, R)> {
        let guard = rcu::read_lock();
        self.flows.read(&guard)?.next(position, with)
    }

    /// A server is left out from now on.
    fn server_failed(&self) {
        self.failing.fetch_add(1, Relaxed);
        self.count(Counter::ServersFailed);
    }

    /// Counts.
    pub(super) fn count(&self, counter: Counter) {
        self.counters.add(counter.index(), 1);
    }

    /// A connection had no room; with no lock held.
    fn had_no_room(&self, flows: &Flows, net: &Net) {
        self.count(Counter::FlowsFull);
        if !self.full.load(Relaxed) && !self.full.swap(true, Relaxed) {
            crate::control::flows_full(net, flows.count());
        }
    }

    /// Whether a server is left out.
    fn failing(&self) -> bool {
        self.failing.load(Relaxed) != 0
    }

    /// Puts servers back whose time has come, and tells what has changed.
    fn recover(&self, live: &Live, net: &Net, now: u64) {
        self.failing.store(live.recover(now), Relaxed);
        for (pool, member, failing) in live.changed() {
            crate::control::server_failing(net, live, pool, member, failing);
        }
    }

    /// Sets every counter to 0.
    pub(crate) fn reset_counters(&self) {
        self.counters.reset();
        self.responses.reset();
        if let Some(live) = self.table() {
            live.reset_counters();
        }
    }
}

impl Namespace for Switch {
    fn slot() -> &'static Slot<Self> {
        &SLOT
    }

    fn new(work: Arc<Work<Self>>) -> Result<Arc<Self>> {
        let counters = Counters::new()?;
        let responses = Histogram::new()?;
        Arc::pin_init(
            pin_init!(Self {
                control <- new_mutex!(Control {
                    live: None,
                    load: None,
                    generation: 0,
                    transaction: 0,
                }),
                live: RcuBox::none(),
                flows: RcuBox::none(),
                failing: AtomicU32::new(0),
                full: AtomicBool::new(false),
                responses,
                counters,
                work,
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }
}

impl Watch for Switch {
    fn port_closed(&self, port: u32) {
        let mut control = self.control.lock();
        if control.load.as_ref().is_some_and(|load| load.port == port) {
            control.load = None;
            self.counters.add(Counter::LoadsAbandoned.index(), 1);
        }
    }
}
