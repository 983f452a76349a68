// SPDX-License-Identifier: MIT
//! A switch that goes on with what another process had, and gives its place to the next.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::PoisonError;

use tokio::sync::MutexGuard;
use tokio::sync::Notify;

use super::Switch;
use crate::accept::listen::Listener;
use crate::admin::ADMINISTRATOR;
use crate::handover::Place;
use crate::handover::state;
use crate::handover::state::State;
use crate::ruleset::generation::Generation;
use crate::ruleset::told::Told;
use crate::state_file::StateFileStatus;
use crate::systemd::Manager;
use crate::upstream::health::Checks;

impl Switch {
    /// Its place among the processes of this host.
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// What becomes of the state file.
    pub const fn state_file(&self) -> &StateFileStatus {
        &self.state_file
    }

    /// Something has changed that the state file has.
    pub fn has_changed(&self) {
        self.changed.notify_one();
    }

    /// Told when something has changed that the state file has; what changes by itself, as health does, is not told.
    pub const fn changed(&self) -> &Notify {
        &self.changed
    }

    /// The service manager is told of sockets and reloads from now on.
    pub fn tell(&self, manager: Manager) -> &Manager {
        let manager = self.manager.get_or_init(|| manager);
        manager.store(&self.sockets());
        manager
    }

    /// The service manager, where there is one.
    pub fn manager(&self) -> Option<&Manager> {
        self.manager.get()
    }

    /// Servers and services as they stand.
    pub fn state(&self) -> State {
        let mut servers = State::servers(&self.generation());
        let rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        servers.extend(rest.iter().cloned());
        drop(rest);
        let told = self.told();
        let maintenance: BTreeMap<_, _> = told
            .all()
            .map(|(service, told)| (service.to_owned(), state::told_of(told)))
            .collect();
        State {
            servers,
            maintenance,
        }
    }

    /// Goes on with what the process before has known last. What it has told of services since is put in force, too.
    pub async fn remember(&self, last: State) {
        let mut told = Told::default();
        told.remember(last.maintenance);
        let before = self.told();
        let known = before.all().chain(told.all()).map(|(name, _)| name);
        let services: BTreeSet<&str> = known.collect();
        for service in services {
            let wanted = told.get(service);
            if wanted == before.get(service) {
                continue;
            }
            if let Err(error) = self.maintain(service, wanted.cloned(), ADMINISTRATOR).await {
                tracing::warn!(service, %error, "what was told of it is not in force");
            }
        }
        let rest = state::remember(&self.generation(), last.servers);
        *self.rest.lock().unwrap_or_else(PoisonError::into_inner) = rest;
    }

    /// Enters what is known of servers that a generation has and the one before had not.
    pub(super) fn remember_rest(&self, next: &Generation) {
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        if !rest.is_empty() {
            *rest = state::remember(next, std::mem::take(&mut *rest));
        }
    }

    /// Keeps reloads away for as long as what it gives lives.
    pub async fn one_reload(&self) -> MutexGuard<'_, ()> {
        self.reloading.lock().await
    }

    /// Lets go of the kernel module, which keeps its table. Nothing is changed in it when this returns.
    pub async fn let_go_of_kernel(&self) {
        if let Some(kernel) = self.kernel.get() {
            kernel.let_go().await;
        }
    }

    /// Loads the rules into the kernel module again, if it was let go.
    pub async fn use_kernel_again(&self) {
        if let Some(kernel) = self.kernel.get() {
            kernel.take_again().await;
        }
    }

    /// Leaves the place to another process: accepts nothing more, and closes its sockets, which the other one has too.
    pub async fn leave(&self, pid: u32) {
        self.place.given.send_replace(Some(pid));
        self.core.shutdown.leave();
        for listener in self.take_listeners() {
            listener.leave().await;
        }
        *self.checks.lock().unwrap_or_else(PoisonError::into_inner) = Checks::default();
        if let Some(manager) = self.manager.get() {
            manager.main_process(pid);
        }
    }

    pub(super) fn take_listeners(&self) -> Vec<Listener> {
        let mut listeners = self
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *listeners)
    }
}
