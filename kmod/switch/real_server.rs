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

use l7switch_engine::netlink::ServerState;
use l7switch_engine::sched;
use l7switch_engine::sched::Identity;

/// A real server of a pool, whatever table names it.
pub(crate) struct RealServer {
    /// Hash of its pool's name, address and port.
    pub(super) name: u64,
    scheduled: sched::Server,
    state: AtomicU32,
    /// Whether an administrator set the weight: then a table does not.
    weight_set: AtomicBool,
    /// Connections that failed one after the other.
    failures: AtomicU32,
    /// 1: it is left out because of them.
    pub(super) failing: AtomicU32,
    /// Until when, ns of the monotonic clock.
    failing_until: AtomicU64,
    /// What was told of `failing` last.
    told: AtomicU32,
    /// Requests passed to it.
    pub(super) requests: AtomicU64,
    /// Connections that failed.
    all_failures: AtomicU64,
}

/// Failures one after the other after which a server is left out, and for how long, ns.
const FAILURES: u32 = 3;
const LEFT_OUT_NS: u64 = 10_000_000_000;

impl RealServer {
    /// What schedulers see of it.
    pub(super) fn scheduled(&self) -> &sched::Server {
        &self.scheduled
    }

    /// It took a connection.
    pub(super) fn works(&self) {
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
    }

    /// It did not. Whether it is left out from now on.
    pub(super) fn fails(&self, now: u64) -> bool {
        self.all_failures.fetch_add(1, Relaxed);
        let failures = self.failures.fetch_add(1, Relaxed).wrapping_add(1);
        if failures < FAILURES || self.failing.swap(1, Relaxed) == 1 {
            return false;
        }
        self.failing_until
            .store(now.saturating_add(LEFT_OUT_NS), Relaxed);
        self.scheduled.set_available(false);
        true
    }

    /// Puts it back if its time has come: one more failure then leaves it out again.
    fn recover(&self, now: u64) -> bool {
        if self.failing.load(Relaxed) == 0 || now < self.failing_until.load(Relaxed) {
            return false;
        }
        self.failures.store(FAILURES.wrapping_sub(1), Relaxed);
        self.failing.store(0, Relaxed);
        self.scheduled
            .set_available(self.state.load(Relaxed) == ServerState::Up.number());
        true
    }
}

/// A real server as one table names it.
pub(crate) struct Member {
    server: Arc<RealServer>,
    /// Weight in the table.
    pub(crate) table_weight: u32,
}

impl Member {
    /// A server that was not there before: it is up.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(name: u64, identity: Identity, table_weight: u32) -> Result<Self> {
        let server = RealServer {
            name,
            scheduled: sched::Server::new(identity, table_weight),
            state: AtomicU32::new(ServerState::Up.number()),
            weight_set: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            failing: AtomicU32::new(0),
            failing_until: AtomicU64::new(0),
            told: AtomicU32::new(0),
            requests: AtomicU64::new(0),
            all_failures: AtomicU64::new(0),
        };
        Ok(Self {
            server: Arc::new(server, GFP_KERNEL_ACCOUNT)?,
            table_weight,
        })
    }

    /// The server itself.
    pub(super) fn server(&self) -> &Arc<RealServer> {
        &self.server
    }

    /// Puts it back if it was left out and its time has come.
    pub(super) fn recover(&self, now: u64) -> bool {
        self.server.recover(now)
    }

    /// Whether it is left out, if that is another thing than when this was asked last.
    pub(super) fn changed(&self) -> Option<bool> {
        let failing = self.server.failing.load(Relaxed);
        (self.server.told.swap(failing, Relaxed) != failing).then_some(failing != 0)
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
        self.server.failing.load(Relaxed) != 0
    }

    /// The same server in a new table. Its weight follows when the table is put in force: [`Member::follow_table`].
    pub(crate) fn kept(&self, table_weight: u32) -> Self {
        Self {
            server: self.server.clone(),
            table_weight,
        }
    }

    /// Takes the table's weight, unless an administrator set another.
    pub(crate) fn follow_table(&self) {
        if !self.server.weight_set.load(Relaxed) {
            self.server.scheduled.set_weight(self.table_weight);
        }
    }

    /// Address and port.
    pub(crate) fn identity(&self) -> Identity {
        self.server.scheduled.identity()
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
        self.server.failing.store(0, Relaxed);
        self.server.failures.store(0, Relaxed);
        self.server
            .scheduled
            .set_available(matches!(state, ServerState::Up));
    }

    /// Sets the weight against the table's; `None`: the table's again.
    pub(crate) fn set_weight(&self, weight: Option<u32>) {
        self.server.weight_set.store(weight.is_some(), Relaxed);
        self.server
            .scheduled
            .set_weight(weight.unwrap_or(self.table_weight));
    }
}

impl Borrow<sched::Server> for Member {
    fn borrow(&self) -> &sched::Server {
        &self.server.scheduled
    }
}
