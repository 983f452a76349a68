// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A real server while the switch runs: what outlives the tables that name it.
#![forbid(unsafe_code)]

use core::borrow::Borrow;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use kernel::prelude::*;
use kernel::sync::Arc;

use l7switch_engine::endpoint::Endpoint;
use l7switch_engine::environment;
use l7switch_engine::netlink::ServerState;
use l7switch_engine::sched;
use l7switch_engine::sched::Failures;

/// A real server of a pool, whatever table names it.
struct RealServer {
    /// Hash of its pool's name, address and port.
    name: u64,
    scheduled: sched::Server,
    state: AtomicU32,
    /// Whether an administrator set the weight: then a table does not.
    weight_set: AtomicBool,
    failures: Failures,
    /// Whether it was told last that the server is left out because of them.
    told: AtomicBool,
    /// Requests passed to it.
    requests: AtomicU64,
    /// Connections that failed.
    all_failures: AtomicU64,
}

impl RealServer {
    /// It did not take a connection. Whether it is left out from now on.
    fn fails(&self, now: u64) -> bool {
        self.all_failures.fetch_add(1, Relaxed);
        let left_out = self.failures.fails(now);
        if left_out {
            self.scheduled.set_available(false);
        }
        left_out
    }

    /// Puts it back if its time has come.
    fn recover(&self, now: u64) -> bool {
        let recovers = self.failures.recovers(now);
        if recovers {
            let up = self.state.load(Relaxed) == ServerState::Up.number();
            self.scheduled.set_available(up);
        }
        recovers
    }
}

/// A real server that connections share with tables.
#[derive(Clone)]
pub(crate) struct Handle(Arc<RealServer>);

impl Handle {
    /// Address and port.
    pub(crate) fn endpoint(&self) -> Endpoint {
        self.0.scheduled.endpoint()
    }

    /// Hash of its pool's name, address and port.
    pub(crate) fn name(&self) -> u64 {
        self.0.name
    }

    /// Whether it is the server that a table names.
    pub(crate) fn is(&self, member: &Member) -> bool {
        Arc::ptr_eq(&self.0, &member.server)
    }
}

impl Borrow<sched::Server> for Handle {
    fn borrow(&self) -> &sched::Server {
        &self.0.scheduled
    }
}

impl environment::RealServer for Handle {
    fn requested(&self) {
        self.0.requests.fetch_add(1, Relaxed);
    }

    fn works(&self) {
        self.0.failures.works();
    }

    fn fails(&self, now: u64) -> bool {
        self.0.fails(now)
    }
}

/// A server's weight before it was set.
#[derive(Clone, Copy)]
pub(crate) struct WeightBefore {
    weight: u32,
    is_set: bool,
}

/// A real server as one table names it.
pub(crate) struct Member {
    server: Arc<RealServer>,
    /// Weight in the table.
    pub(crate) table_weight: u32,
    /// Bound in the table.
    table_bound: u32,
}

impl Member {
    /// A server that was not there before: it is up.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(
        name: u64,
        endpoint: Endpoint,
        table_weight: u32,
        table_bound: u32,
    ) -> Result<Self> {
        let server = RealServer {
            name,
            scheduled: sched::Server::new(endpoint, table_weight),
            state: AtomicU32::new(ServerState::Up.number()),
            weight_set: AtomicBool::new(false),
            failures: Failures::new(),
            told: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            all_failures: AtomicU64::new(0),
        };
        Ok(Self {
            server: Arc::new(server, GFP_KERNEL_ACCOUNT)?,
            table_weight,
            table_bound,
        })
    }

    /// The server itself.
    pub(crate) fn handle(&self) -> Handle {
        Handle(self.server.clone())
    }

    /// Puts it back if it was left out and its time has come.
    pub(crate) fn recover(&self, now: u64) -> bool {
        self.server.recover(now)
    }

    /// Whether it is left out, if that is another thing than when this was asked last.
    pub(crate) fn changed(&self) -> Option<bool> {
        let failing = self.failing();
        (self.server.told.swap(failing, Relaxed) != failing).then_some(failing)
    }

    /// Requests that were passed to it.
    pub(crate) fn requests(&self) -> u64 {
        self.server.requests.load(Relaxed)
    }

    /// Connections that failed.
    pub(crate) fn failures(&self) -> u64 {
        self.server.all_failures.load(Relaxed)
    }

    /// Whether it is left out because of failures.
    pub(crate) fn failing(&self) -> bool {
        self.server.failures.failing()
    }

    /// The same server in a new table. Its weight and bound follow when the table is put in force: [`Member::follow_table`].
    pub(crate) fn kept(&self, table_weight: u32, table_bound: u32) -> Self {
        Self {
            server: self.server.clone(),
            table_weight,
            table_bound,
        }
    }

    /// Takes the table's bound, and its weight, unless an administrator set another.
    pub(crate) fn follow_table(&self) {
        self.server.scheduled.set_bound(self.table_bound);
        if !self.server.weight_set.load(Relaxed) {
            self.server.scheduled.set_weight(self.table_weight);
        }
    }

    /// Address and port.
    pub(crate) fn endpoint(&self) -> Endpoint {
        self.server.scheduled.endpoint()
    }

    /// Weight in force.
    pub(crate) fn weight(&self) -> u32 {
        self.server.scheduled.weight()
    }

    /// Outstanding requests or connections.
    pub(crate) fn active(&self) -> u32 {
        self.server.scheduled.active()
    }

    /// What it may get.
    pub(crate) fn state(&self) -> ServerState {
        ServerState::from_number(self.server.state.load(Relaxed)).unwrap_or(ServerState::Down)
    }

    /// Sets what it may get.
    pub(crate) fn set_state(&self, state: ServerState) {
        self.server.state.store(state.number(), Relaxed);
        // Who sets it knows better than the failures that were counted.
        self.server.failures.forget();
        self.server
            .scheduled
            .set_available(matches!(state, ServerState::Up));
    }

    /// Sets the weight against the table's; `None`: the table's again. Gives what was before.
    pub(crate) fn set_weight(&self, weight: Option<u32>) -> WeightBefore {
        let before = WeightBefore {
            weight: self.weight(),
            is_set: self.server.weight_set.swap(weight.is_some(), Relaxed),
        };
        self.server
            .scheduled
            .set_weight(weight.unwrap_or(self.table_weight));
        before
    }

    /// Undoes [`Member::set_weight`].
    pub(crate) fn restore_weight(&self, before: WeightBefore) {
        self.server.weight_set.store(before.is_set, Relaxed);
        self.server.scheduled.set_weight(before.weight);
    }
}

impl Borrow<sched::Server> for Member {
    fn borrow(&self) -> &sched::Server {
        &self.server.scheduled
    }
}
