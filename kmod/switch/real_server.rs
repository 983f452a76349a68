// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A real server while the switch runs: what outlives the tables that name it.
#![forbid(unsafe_code)]

use core::borrow::Borrow;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use kernel::prelude::*;
use kernel::sync::Arc;

use l7switch_engine::netlink::ServerState;
use l7switch_engine::sched;
use l7switch_engine::sched::Identity;

/// A real server of a pool, whatever table names it.
pub(crate) struct RealServer {
    scheduled: sched::Server,
    state: AtomicU32,
    /// Whether an administrator set the weight: then a table does not.
    weight_set: AtomicBool,
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
    pub(crate) fn new(identity: Identity, table_weight: u32) -> Result<Self> {
        let server = RealServer {
            scheduled: sched::Server::new(identity, table_weight),
            state: AtomicU32::new(ServerState::Up.number()),
            weight_set: AtomicBool::new(false),
        };
        Ok(Self {
            server: Arc::new(server, GFP_KERNEL_ACCOUNT)?,
            table_weight,
        })
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
