// SPDX-License-Identifier: MIT
//! The place of a running front, given to its successor over the admin socket; docs/upgrade.md is its reference.
//!
//! The successor asks by `POST /v1/take-over`, and the connection goes on with frames ([`wire`]) of JSON ([`message`]):
//!
//! | From | Message | Meaning |
//! |---|---|---|
//! | successor | `begin` | nothing is sent before it: who reads HTTP would lose descriptors |
//! | front | `sockets`, `secrets`, `state`, `tickets`, `limit` | what it has |
//! | front | `end` | that was all |
//! | successor | `kernel` | it wants to load its rules into the module |
//! | front | `kernel` | it has let go of the module |
//! | successor | `ready` | it accepts |
//! | front | `state`, `yours` | servers and services as they stand now |
//! | successor | `thanks` | it has them |
//! | front | `done` | it accepts no more |
//! | successor | `failed` | it does not start, and says why |
//! | front | `refused` | it keeps its place, and says why |
//!
//! Both accept from the same sockets between `ready` and `done`. Until `thanks`, whatever goes wrong leaves the front in its place.

pub mod give;
pub mod message;
mod process;
pub mod sockets;
pub mod spawn;
pub mod state;
pub mod take;
pub mod wire;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use l7switch_admin_api::TakeOvers;
use tokio::net::TcpListener;
use tokio::sync::Mutex as AsyncMutex;
use tokio::sync::Notify;
use tokio::sync::RwLock;
use tokio::sync::watch;

use self::message::Socket;
use crate::observe::events::Events;
use crate::observe::events::Kind;

/// What both sides speak, as a protocol that HTTP is upgraded to (RFC 9110, 7.8). Sides of other versions refuse each other.
pub const PROTOCOL: &str = "l7switch-takeover/1";

/// Where the successor asks.
pub const PATH: &str = "/v1/take-over";

/// How long a successor may take until it is ready, and each side may be silent.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Processes that are remembered of those that did not get the place.
const NOTED: usize = 16;

/// The front's place, and who has asked for it.
#[derive(Debug)]
pub struct Place {
    /// One successor at a time.
    asked: Arc<AsyncMutex<()>>,
    /// Held by whoever changes what a successor gets; for writing, while that is given.
    pub changes: RwLock<()>,
    /// The successor's process, once it has the place.
    pub(crate) given: watch::Sender<Option<u32>>,
    /// Told when there is nothing more to say to it.
    over: Notify,
    /// The listening sockets of TCP that are no service's.
    kept: Mutex<Vec<(Socket, Arc<TcpListener>)>>,
    taken: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
    /// Processes of successors that have failed or were not let in, the last one first.
    noted: Mutex<VecDeque<u32>>,
    /// Told of successors that have failed.
    events: Arc<Events>,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            asked: Arc::default(),
            changes: RwLock::default(),
            given: watch::Sender::new(None),
            over: Notify::new(),
            kept: Mutex::default(),
            taken: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            noted: Mutex::default(),
            events: Arc::default(),
        }
    }
}

impl Place {
    /// The place of a front that has taken it over, with the counts of those before.
    pub fn after(counts: &TakeOvers, events: Arc<Events>) -> Self {
        Self {
            events,
            taken: AtomicU64::new(counts.taken),
            failed: AtomicU64::new(counts.failed),
            refused: AtomicU64::new(counts.refused),
            ..Self::default()
        }
    }

    /// How often the place was taken over and was not, over all processes that had it.
    pub fn counts(&self) -> TakeOvers {
        TakeOvers {
            taken: self.taken.load(Relaxed),
            failed: self.failed.load(Relaxed),
            refused: self.refused.load(Relaxed),
        }
    }

    /// The process that has the place now, if it is another one.
    pub fn given_to(&self) -> Option<u32> {
        *self.given.borrow()
    }

    /// Waits until another process has the place; gives which.
    pub fn given(&self) -> impl Future<Output = u32> + Send + use<> {
        let mut watch = self.given.subscribe();
        async move {
            let given = watch.wait_for(Option::is_some).await.map(|pid| *pid);
            match given {
                Ok(pid) => pid.unwrap_or_default(),
                // The switch is gone altogether.
                Err(_) => std::future::pending().await,
            }
        }
    }

    /// Waits until another process has the place and knows so; gives which. For one who waits.
    pub async fn over(&self) -> u32 {
        self.over.notified().await;
        self.given_to().unwrap_or_default()
    }

    /// A listening socket that is no service's is a part of the place.
    pub fn keep(&self, what: Socket, socket: &Arc<TcpListener>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push((what, Arc::clone(socket)));
    }

    fn kept(&self) -> Vec<(Socket, Arc<TcpListener>)> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clone()
    }

    /// Takes note of a successor that was not let in.
    fn refuse(&self, pid: u32, why: &str) {
        self.refused.fetch_add(1, Relaxed);
        self.note(pid);
        let text = format!("it was not let in: {why}");
        self.events.add(Kind::TakeOverFailed, text);
    }

    /// Takes note of a successor that has failed, and says so.
    fn fail(&self, pid: u32, why: &str) {
        self.failed.fetch_add(1, Relaxed);
        self.note(pid);
        self.events.add(Kind::TakeOverFailed, why);
        tracing::warn!(
            successor = pid,
            "the successor has failed, this front goes on: {why}"
        );
    }

    fn noted(&self) -> MutexGuard<'_, VecDeque<u32>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, pid: u32) {
        let mut noted = self.noted();
        noted.truncate(NOTED.saturating_sub(1));
        noted.push_front(pid);
    }

    /// Whether somebody is taking the place just now.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.try_lock().is_err()
    }

    /// The same of a process that has ended, unless it was said of it already, or is about to be: what it has said counts more.
    async fn ended(&self, pid: u32, why: &str) {
        let _none_asks = self.asked.lock().await;
        let is_noted = self.noted().contains(&pid);
        if !is_noted && self.given_to() != Some(pid) {
            self.fail(pid, why);
        }
    }
}
