// SPDX-License-Identifier: MIT
//! Why a server is in its state, since when, and what its last check has found: for administrators.

use l7switch_admin_api::LastCheck;
use l7switch_admin_api::ServerState;
use l7switch_admin_api::ServerStatus;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;

use super::Lookup;
use super::RealServer;
use super::control::Control;
use crate::net::clock::unix_now;
use crate::observe::stats::by_class;

/// Longest reason that is kept, bytes: some are what a server has sent.
pub(super) const MOST_REASON: usize = 200;

/// Why a server is in its state, and since when.
#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    /// When its state was changed last, Unix time in seconds.
    pub(super) since: u64,
    /// Who has drained it, or holds it to be dead.
    pub(super) hand: Option<String>,
    /// What the last check that failed has found.
    pub(super) failure: Option<String>,
    /// How it came to its present ejection.
    pub(super) ejection: Option<String>,
    /// When its present ejection ends, Unix time in seconds.
    pub(super) back: u64,
    /// Its last check.
    pub(super) last_check: Option<LastCheck>,
}

impl Account {
    /// Of a server that is known from now on.
    pub(super) fn new() -> Self {
        Self {
            since: unix_now(),
            ..Self::default()
        }
    }
}

impl Control {
    /// Why it is in its state; `None`: it is up.
    pub(super) fn why(&self) -> Option<&str> {
        let account = &self.account;
        match self.state() {
            ServerState::Up => None,
            ServerState::Draining if self.admin_drain.is_none() => Some("by the rules"),
            ServerState::Draining => account.hand.as_deref(),
            ServerState::Down if self.held_down => account.hand.as_deref(),
            ServerState::Down => account.failure.as_deref(),
            ServerState::Ejected => account.ejection.as_deref(),
        }
    }
}

impl RealServer {
    /// What an administrator sees.
    pub fn status(&self) -> ServerStatus {
        let control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        let state = control.state();
        let is_ejected = state == ServerState::Ejected;
        ServerStatus {
            pool: self.pool.to_string(),
            address: self.address.to_string(),
            name: control.name.as_ref().map(Lookup::to_string),
            weight: control.configured,
            effective_weight: control.effective_weight(),
            backup: control.backup,
            state,
            since: control.account.since,
            why: control.why().map(str::to_owned),
            back: is_ejected.then_some(control.account.back),
            health: control.health,
            last_check: control
                .account
                .last_check
                .clone()
                .filter(|_| control.health.is_some()),
            active: u64::from(self.sched.active()),
            total: self.total.load(Relaxed),
            failures: self.failures.load(Relaxed),
            responses: by_class(self.responses.counts()),
            surplus: self.surplus.load(Relaxed),
            idle: u64::try_from(self.idle().len().saturating_add(self.reach.shared.idle()))
                .unwrap_or(u64::MAX),
            ewma_ms: self.times.smoothed().as_secs_f64() * 1000.0,
            first_byte: self.times.own().map(|own| own.first_byte.counts().status()),
        }
    }
}
