// SPDX-License-Identifier: MIT
//! The kernel module beside the front: loaded with the front's rules, and kept in step with its servers.
//!
//! [`keeper`] decides and does; its calls block, so that each step is a task of its own for blocking work. What is
//! here says when: after a reload, when the standing of a server changes, when the module tells something, and every
//! few seconds, since nobody is told when the module goes or comes.

mod concerns;
mod connection;
pub mod keeper;
pub mod metrics;
pub mod module;
mod numbers;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::Weak;
use std::time::Duration;

use clap::ValueEnum;
use l7switch_admin_api::KernelState;
use l7switch_admin_api::KernelStatus;
use l7switch_rules::RuleSet;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

pub use numbers::Numbers;
pub use numbers::numbers;

use crate::observe::events::Events;
use crate::observe::events::Kind;
use crate::ruleset::generation::Core;
use crate::ruleset::generation::Generation;

use keeper::Keeper;
use module::Connect;
use module::Module as _;

/// How often it is looked whether the module is there and has its table: one short request.
const LOOK: Duration = Duration::from_secs(3);

/// Whether the module is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// While it is there and allowed.
    #[default]
    Auto,
    /// Never.
    Off,
    /// The switch does not start without it.
    Require,
}

/// The front's hand on the module. Dropped, it lets go; the module keeps its table.
#[derive(Debug)]
pub struct Kernel {
    shared: Arc<dyn Steps>,
    told: Arc<Notify>,
    status: Arc<Mutex<KernelStatus>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A keeper of any kind, shared by the tasks that let it step.
trait Steps: Debug + Send + Sync {
    fn stage(&self, table: &[u8]);
    fn forget(&self);
    /// Gives how many connections there have been.
    fn step(&self, generation: &Generation, look: bool) -> u64;
    fn readiness(&self) -> Option<OwnedFd>;
    fn let_go(&self, lets_go: bool);
    fn status(&self) -> KernelStatus;
}

#[derive(Debug)]
struct Shared<C: Connect> {
    keeper: Mutex<Keeper<C>>,
    status: Arc<Mutex<KernelStatus>>,
}

impl<C: Connect> Steps for Shared<C> {
    fn stage(&self, table: &[u8]) {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        keeper.stage(table);
    }

    fn forget(&self) {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        keeper.forget();
    }

    fn step(&self, generation: &Generation, look: bool) -> u64 {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        keeper.step(generation, look);
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.clone_from(keeper.status());
        keeper.connections()
    }

    fn readiness(&self) -> Option<OwnedFd> {
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        keeper.module()?.readiness()
    }

    fn let_go(&self, lets_go: bool) {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        keeper.let_go(lets_go);
    }

    fn status(&self) -> KernelStatus {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.clone()
    }
}

impl Kernel {
    /// Looks for the module, and has given it the rules in force when it returns.
    pub async fn start(core: &Arc<Core>, connect: impl Connect) -> Self {
        let told = Arc::new(Notify::new());
        let status = Arc::default();
        let shared: Arc<dyn Steps> = Arc::new(Shared {
            keeper: Mutex::new(Keeper::new(connect, Arc::clone(&told))),
            status: Arc::clone(&status),
        });
        step(&shared, core, true).await;
        let task = tokio::spawn(keep(
            Arc::clone(&shared),
            Arc::downgrade(core),
            Arc::clone(&told),
        ));
        Self {
            shared,
            told,
            status,
            task,
        }
    }

    /// What is known of the module.
    pub fn status(&self) -> KernelStatus {
        self.status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Sends the table of rules that are about to come into force in the front. The kernel puts it in force after
    /// the front, in [`Kernel::follow`]; between the two there is no more than that to do.
    pub async fn stage(&self, rules: RuleSet) -> Option<RuleSet> {
        let shared = Arc::clone(&self.shared);
        let staged = tokio::task::spawn_blocking(move || {
            shared.stage(rules.for_kernel().as_bytes());
            rules
        });
        // It fails where the runtime ends.
        staged.await.ok()
    }

    /// Ends a reload: gives the module the rules in force, and forgets those that were sent and are not. Has done so
    /// when it returns.
    pub async fn follow(&self, core: &Arc<Core>) {
        step(&self.shared, core, false).await;
        let shared = Arc::clone(&self.shared);
        // It fails where the runtime ends.
        let _ = tokio::task::spawn_blocking(move || shared.forget()).await;
    }

    /// Lets go of the module, which keeps its table: when it returns, nothing is under way, and nothing more is done.
    pub async fn let_go(&self) {
        let shared = Arc::clone(&self.shared);
        // It fails where the runtime ends.
        let _ = tokio::task::spawn_blocking(move || shared.let_go(true)).await;
    }

    /// Takes the module again: the rules in force are loaded soon.
    pub async fn take_again(&self) {
        let shared = Arc::clone(&self.shared);
        // It fails where the runtime ends.
        let _ = tokio::task::spawn_blocking(move || shared.let_go(false)).await;
        self.wake();
    }

    /// Has the module looked after soon.
    pub fn wake(&self) {
        self.told.notify_one();
    }

    /// Why the module does not have the rules, for [`Mode::Require`].
    ///
    /// # Errors
    ///
    /// It does not.
    pub fn required(&self) -> Result<(), String> {
        let status = self.status();
        match status.state {
            KernelState::Loaded => Ok(()),
            KernelState::Absent => Err(l7switch_netlink::Error::NotLoaded.to_string()),
            state => Err(status.why.unwrap_or_else(|| state.as_str().to_owned())),
        }
    }
}

/// Gives how many connections there have been.
async fn step(shared: &Arc<dyn Steps>, core: &Arc<Core>, look: bool) -> u64 {
    let shared = Arc::clone(shared);
    let core = Arc::clone(core);
    let done = tokio::task::spawn_blocking(move || {
        let generation = core.active.load_full();
        let before = shared.status();
        let connections = shared.step(&generation, look);
        report(&core.events, &before, &shared.status());
        connections
    });
    // It fails where the runtime ends.
    done.await.unwrap_or(0)
}

/// Tells what has become of the module, unless it is what was known.
fn report(events: &Events, before: &KernelStatus, now: &KernelStatus) {
    let said = |status: &KernelStatus| {
        let counts = (status.loads, status.refusals);
        (status.state, status.why.clone(), counts)
    };
    if said(before) == said(now) {
        return;
    }
    let why = now.why.clone().unwrap_or_default();
    match now.state {
        // That there is no module is no event where there never was one.
        KernelState::Off | KernelState::NotPermitted => (),
        KernelState::Absent if before.loads == 0 => (),
        KernelState::Absent => events.add(Kind::KernelLost, "the module is not loaded any more"),
        KernelState::Loaded => events.add(Kind::KernelLoaded, "the rules are in force"),
        KernelState::Refused => events.add(Kind::KernelRefused, why),
        KernelState::Replaced | KernelState::Unloaded | KernelState::Failed => {
            events.add(Kind::KernelLost, format!("{}: {why}", now.state.as_str()));
        }
    }
}

/// Steps whenever there may be something to do, for as long as the switch lives.
async fn keep(shared: Arc<dyn Steps>, core: Weak<Core>, told: Arc<Notify>) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut listened = 0;
    let mut events = None;
    loop {
        let look = tokio::select! {
            () = told.notified() => false,
            () = ready(events.as_ref()) => false,
            _ = ticks.tick() => true,
        };
        let Some(core) = core.upgrade() else { return };
        let connections = step(&shared, &core, look).await;
        drop(core);
        // Another connection has another socket. What waits there already makes it ready at once.
        if connections != listened {
            listened = connections;
            events = listen(&shared).await;
        }
    }
}

/// The events' socket, for waiting.
async fn listen(shared: &Arc<dyn Steps>) -> Option<AsyncFd<OwnedFd>> {
    let shared = Arc::clone(shared);
    let descriptor = tokio::task::spawn_blocking(move || shared.readiness());
    let descriptor = descriptor.await.ok().flatten()?;
    // SAFETY: an `OwnedFd` is an open descriptor, and nobody else may close it or put another file in its place; the
    // `AsyncFd` has it until it is dropped.
    unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }.ok()
}

/// Waits for an event; for ever without a socket.
async fn ready(events: Option<&AsyncFd<OwnedFd>>) {
    match events {
        // The step that follows reads all that is there.
        Some(events) => match events.readable().await {
            Ok(mut guard) => guard.clear_ready(),
            Err(_) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}
