// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The module's part of a network namespace: what commands change, and what packets need.
#![forbid(unsafe_code)]

use kernel::new_mutex;
use kernel::prelude::*;
use kernel::sync::rcu;
use kernel::sync::Arc;
use kernel::sync::ArcBorrow;
use kernel::sync::Mutex;

use l7switch_engine::flow::milliseconds;
use l7switch_engine::netlink::FlowState;

use crate::datapath::connection::Connection;
use crate::datapath::flows::new_ends;
use crate::datapath::flows::Flows;
use crate::datapath::segment::Headers;
use crate::datapath::Datapath;
use crate::shell::clock;
use crate::shell::net::netfilter;
use crate::shell::net::netfilter::Filter;
use crate::shell::net::netfilter::PacketHook;
use crate::shell::net::pernet::Namespace;
use crate::shell::net::pernet::Slot;
use crate::shell::net::port_watch::Watch;
use crate::shell::net::ticker::Tick;
use crate::shell::net::work::Work;
use crate::shell::net::Net;
use crate::shell::packet::Packet;
use crate::shell::random;
use crate::state::counters::Counter;
use crate::state::counts::Counts;
use crate::state::load::Load;
use crate::state::ruleset::Ruleset;

static SLOT: Slot<Switch> = Slot::new();

/// The module's part of a namespace.
#[pin_data]
pub(crate) struct Switch {
    /// Everything that commands change.
    #[pin]
    pub(crate) control: Mutex<Control>,
    /// What packets need.
    pub(crate) datapath: Datapath,
    work: Arc<Work<Switch>>,
}

/// What commands change, one at a time.
pub(crate) struct Control {
    /// The table in force, for commands.
    pub(crate) ruleset: Option<Arc<Ruleset>>,
    /// A load under way.
    pub(crate) load: Option<Load>,
    /// Counts the tables put in force or taken away.
    pub(crate) generation: u64,
    /// Number of the last load.
    pub(crate) transaction: u32,
}

impl Switch {
    /// The table in force, for a command.
    pub(crate) fn table(&self) -> Option<Arc<Ruleset>> {
        self.control.lock().ruleset.clone()
    }

    /// The same with the generation, which tells that there is none, too.
    pub(crate) fn table_of_generation(&self) -> (Option<Arc<Ruleset>>, u64) {
        let control = self.control.lock();
        (control.ruleset.clone(), control.generation)
    }

    /// Puts a table in force. Sleeps until no packet sees the one before.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `ESHUTDOWN`: the one before stays.
    pub(crate) fn publish(
        switch: ArcBorrow<'_, Self>,
        control: &mut Control,
        ruleset: KBox<Arc<Ruleset>>,
    ) -> Result {
        if control.ruleset.is_none() && !switch.follows() {
            let flows = Flows::new(
                crate::max_flows(),
                random::key(),
                milliseconds(clock::now_ns()),
            )?;
            let flows = KBox::new(flows, GFP_KERNEL_ACCOUNT)?;
            switch.datapath.flows.replace(Some(flows));
        }
        switch.work.begin(switch.into())?;
        let shared = (*ruleset).clone();
        // Packets of the new rules' connections are known before there are some.
        switch.with_flows(|flows| flows.know_ends(&shared));
        switch.datapath.ruleset.replace(Some(ruleset));
        switch.forget_ends(&shared);
        control.generation = shared.generation;
        control.ruleset = Some(shared);
        Ok(())
    }

    /// Forgets the ends that are neither of the rules in force, by which alone packets are decided about now, nor of a connection
    /// that there is; not where memory is short. In process context.
    fn forget_ends(&self, ruleset: &Ruleset) {
        let Ok(ends) = new_ends() else {
            return;
        };
        ruleset.add_ends(&ends);
        let mut position = 0;
        while let Some((next, ())) =
            self.next_flow(position, |connection| connection.add_ends(&ends))
        {
            position = next;
        }
        self.with_flows(|flows| flows.ends.become_as(&ends));
    }

    /// Takes the table in force away. Sleeps until no packet sees it.
    pub(crate) fn unpublish(&self, control: &mut Control) {
        self.work.end();
        self.datapath.ruleset.replace(None);
        self.datapath.flows.replace(None);
        control.ruleset = None;
        control.generation = control.generation.wrapping_add(1);
    }

    fn follows(&self) -> bool {
        self.with_flows(|_| ()).is_some()
    }

    fn with_flows<R>(&self, with: impl FnOnce(&Flows) -> R) -> Option<R> {
        self.datapath.flows.read(&rcu::read_lock()).map(with)
    }

    /// Connections followed now.
    pub(crate) fn flow_count(&self) -> u32 {
        let guard = rcu::read_lock();
        self.datapath.flows.read(&guard).map_or(0, Flows::count)
    }

    /// Connections followed now by state: by the number of [`FlowState`]. In process context.
    pub(crate) fn flow_states(&self) -> [u32; FlowState::ALL.len()] {
        let mut counts = [0; FlowState::ALL.len()];
        for shard in Flows::shards() {
            // One at a time: there may be a million of them.
            let guard = rcu::read_lock();
            if let Some(flows) = self.datapath.flows.read(&guard) {
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
        self.datapath.flows.read(&guard)?.next(position, with)
    }

    /// Counts.
    pub(crate) fn count(&self, counter: Counter) {
        self.datapath.counts.count(counter);
    }

    /// Sets every counter to 0.
    pub(crate) fn reset_counters(&self) {
        self.datapath.counts.reset();
        if let Some(ruleset) = self.table() {
            ruleset.reset_counters();
        }
    }
}

impl Namespace for Switch {
    fn slot() -> &'static Slot<Self> {
        &SLOT
    }

    fn new(work: Arc<Work<Self>>) -> Result<Arc<Self>> {
        let datapath = Datapath::new(Counts::new()?);
        Arc::pin_init(
            pin_init!(Self {
                control <- new_mutex!(Control {
                    ruleset: None,
                    load: None,
                    generation: 0,
                    transaction: 0,
                }),
                datapath,
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
            self.count(Counter::LoadsAbandoned);
        }
    }
}

impl PacketHook for Switch {
    type Headers = Headers;

    #[inline(always)]
    fn ipv4(&self, packet: &mut Packet<'_>) -> netfilter::Verdict {
        self.datapath.see(packet)
    }

    #[inline(always)]
    fn ipv6(&self, packet: &mut Packet<'_>) -> netfilter::Verdict {
        self.datapath.see(packet)
    }

    #[inline(always)]
    fn concerns(&self, guard: &rcu::Guard, start: &[u8]) -> Option<Headers> {
        self.datapath.concerns(guard, start)
    }

    #[inline(always)]
    fn ingress(&self, packet: &mut Packet<'_>, headers: &Headers) -> netfilter::Verdict {
        self.datapath.arrive(packet, headers)
    }

    fn dropped_behind(&self, at: Filter) {
        self.datapath.counts.filtered(at);
    }

    fn farewell(&self, net: &Net) {
        self.datapath.abort(net);
    }
}

impl Tick for Switch {
    const PERIOD_MS: u32 = l7switch_engine::wheel::NEAR_MS;

    fn tick(&self, net: &Net) {
        self.datapath.tick(net);
    }
}
