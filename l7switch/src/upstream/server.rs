// SPDX-License-Identifier: MIT
//! A real server as a member of one pool: its state over all generations of the rules.
//!
//! Two hands are on a server's weight (rule file, administrator) and three on its availability
//! (active checks, passive checks, administrator). Each writes what it knows;
//! `change` draws the conclusion for the scheduler, and tells whoever watches.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::time::Instant;

use l7switch_admin_api::Health;
use l7switch_engine::sched;
use l7switch_rules::model;
use l7switch_rules::model::Lookup;
use l7switch_rules::model::ServerAddress;
use tokio::sync::Notify;

use self::control::Control;
use self::control::SlowStart;
use self::place::endpoint;
use self::place::host;
use self::times::ResponseTimes;
use super::connect::ConnectError;
use super::connect::Told;
use super::http2;
use super::http2::Offer;
use super::idle::Idle;
use super::idle::Link;
use super::idle::Own;
use super::idle::UNTIDY;
use super::queue::Queue;
use super::reach::Reach;
use super::response::NoHead;
use super::stream::ServerStream;
use super::tls::Manner;
use crate::net::clock::nanos;
use crate::net::clock::now_ns;
use crate::net::clock::unix_now;
use crate::observe::events::Events;
use crate::observe::histogram::Kind;
use crate::observe::log_limit::Logged;
use crate::observe::stats::Classes;

mod account;
pub(super) mod control;
mod found;
mod memory;
mod place;
mod times;

pub use self::control::Standing;
pub use self::found::Checked;
pub use self::memory::Memory;

/// When it was said last that this host has no room for connections.
static NO_ROOM: Logged = Logged::new();

/// A real server in one pool.
#[derive(Debug)]
pub struct RealServer {
    me: Weak<Self>,
    pool: Arc<str>,
    address: ServerAddress,
    sched: sched::Server,
    reach: Reach,
    idle: Mutex<Idle<ServerStream>>,
    /// When it last sent bytes behind an answer, as [`now_ns`]; 0: never.
    untidy_ns: AtomicU64,
    control: Mutex<Control>,
    total: AtomicU64,
    failures: AtomicU64,
    /// Connections on which bytes came behind an answer.
    surplus: AtomicU64,
    responses: Classes,
    /// Failures of requests in a row.
    failed_in_row: AtomicU32,
    /// How long its responses take.
    pub times: ResponseTimes,
    /// Told when [`Standing`] changes.
    watcher: OnceLock<Arc<Notify>>,
    /// Those who may wait for it; absent: it never had a bound.
    queue: OnceLock<Arc<Queue>>,
    /// Told what happens to it.
    events: OnceLock<Arc<Events>>,
}

impl RealServer {
    /// A server that is up.
    pub fn new(pool: Arc<str>, address: ServerAddress, weight: u32, of: &Arc<Kind>) -> Arc<Self> {
        let endpoint = endpoint(&address);
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            pool,
            address,
            sched: sched::Server::new(endpoint, weight),
            reach: Reach::default(),
            idle: Mutex::default(),
            untidy_ns: AtomicU64::new(0),
            control: Mutex::new(Control::new(weight)),
            total: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            surplus: AtomicU64::new(0),
            responses: Classes::default(),
            failed_in_row: AtomicU32::new(0),
            times: ResponseTimes::new(of),
            watcher: OnceLock::new(),
            queue: OnceLock::new(),
            events: OnceLock::new(),
        })
    }

    /// Requests may wait for it from now on.
    pub(super) fn set_queue(&self, queue: &Arc<Queue>) {
        self.queue.get_or_init(|| Arc::clone(queue));
    }

    /// Those who may wait for it.
    pub(super) fn queue(&self) -> Option<&Queue> {
        self.queue.get().map(AsRef::as_ref)
    }

    /// Whether requests can be sent to it.
    pub(super) fn takes_requests(&self) -> bool {
        self.sched.available() && self.sched.weight() > 0
    }

    /// The pool.
    pub fn pool(&self) -> &str {
        &self.pool
    }

    /// The address.
    pub const fn address(&self) -> &ServerAddress {
        &self.address
    }

    /// The Host field of a request that names no host.
    pub(super) fn host(&self) -> String {
        host(&self.address)
    }

    /// How the rules call it: its name, or its address, with the port.
    pub(super) fn authority(&self) -> String {
        let control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        match (&control.name, &self.address) {
            (Some(name), ServerAddress::Inet(address)) => {
                format!("{}:{}", name.certificate_name(), address.port())
            }
            _ => self.host(),
        }
    }

    /// The server as the schedulers see it.
    pub const fn sched(&self) -> &sched::Server {
        &self.sched
    }

    /// Changes what the hands say, then draws the conclusion. Gives whether the weight changed.
    fn change(&self, change: impl FnOnce(&mut Control)) -> bool {
        let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        let stood = control.standing();
        change(&mut control);
        if control.state() != stood.state {
            control.account.since = unix_now();
        }
        if let Some(climb) = control.climbs(stood.state) {
            climb.begin(Weak::clone(&self.me));
        }
        let before = self.sched.weight();
        let weight = control.weight_in_force();
        self.sched.set_weight(weight);
        self.sched.set_available(
            control.health != Some(Health::Down) && !control.ejected && !control.held_down,
        );
        if let Some(watcher) = self.watcher.get()
            && (control.standing() != stood || weight != before)
        {
            watcher.notify_one();
        }
        drop(control);
        if let Some(queue) = self.queue() {
            queue.release(|| ());
        }
        weight != before
    }

    /// How slowly it starts from now on; it is at its beginning if it came with a reload.
    pub(super) fn set_slow_start(&self, slow_start: Option<SlowStart>) {
        self.change(|control| {
            control.slow_start = slow_start;
            control.is_new &= slow_start.is_some();
        });
    }

    /// It has come with a reload, beside others that serve already.
    pub(super) fn is_new(&self) {
        self.change(|control| control.is_new = true);
    }

    /// Has changes of the standing told to `watcher`, for ever; a second watcher is not taken.
    pub fn watch(&self, watcher: &Arc<Notify>) {
        self.watcher.get_or_init(|| Arc::clone(watcher));
    }

    /// What comes of all that was said.
    pub fn standing(&self) -> Standing {
        let control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        control.standing()
    }

    /// A connection to it within `patience`.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub async fn connect(
        &self,
        told: Option<Told>,
        patience: Duration,
    ) -> Result<ServerStream, ConnectError> {
        match self.offer(told, patience).await? {
            Offer::Own(stream) => Ok(stream),
            Offer::Shared(ticket) => Ok(http2::pipe(ticket)),
        }
    }

    /// A connection of its own for HTTP/1.1 within `patience`, whatever HTTP its pool speaks.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub async fn connect_http1(
        &self,
        told: Option<Told>,
        patience: Duration,
    ) -> Result<ServerStream, ConnectError> {
        self.reach
            .connect_http1(&self.address, told, patience)
            .await
    }

    /// A connection of its own within `patience`, on which HTTP is nobody's affair here.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub async fn connect_apart(
        &self,
        told: Option<Told>,
        patience: Duration,
    ) -> Result<ServerStream, ConnectError> {
        self.reach.connect(&self.address, told, patience).await
    }

    /// Logs why there is no connection: without checks nobody else says it.
    pub(crate) fn log_connect(&self, why: &ConnectError) {
        if why.is_of_this_host() {
            if NO_ROOM.is_due() {
                tracing::error!(%why, "no connections to servers");
            }
        } else if self.reach.logged.is_due() {
            tracing::warn!(pool = %self.pool, server = %self.address, %why, "no connection");
        }
    }

    /// Logs why what came is no response, with what can be guessed from its first bytes.
    pub(super) fn log_response(&self, why: &NoHead, came: &[u8]) {
        if self.reach.logged.is_due() {
            let hint = hint(came);
            tracing::warn!(pool = %self.pool, server = %self.address, %why, hint, "no response");
        }
    }

    /// Logs that it has not answered in time.
    pub(super) fn log_silence(&self, why: &str) {
        if self.reach.logged.is_due() {
            tracing::warn!(pool = %self.pool, server = %self.address, why, "no response");
        }
    }

    /// A connection that takes a request within `patience`.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub(super) async fn offer(
        &self,
        told: Option<Told>,
        patience: Duration,
    ) -> Result<Offer, ConnectError> {
        self.reach.offer(&self.address, told, patience).await
    }

    /// How it is spoken to from now on. Connections that were made otherwise are closed as soon as they are free.
    pub(super) fn speak(&self, manner: Manner) {
        if self.reach.speak(Arc::new(manner)) {
            self.idle().clear();
        }
    }

    /// What the rule file says of it.
    pub fn configure(&self, rules: &model::RealServer) {
        self.sched.set_bound(rules.max_connections.unwrap_or(0));
        self.change(|control| {
            control.name.clone_from(&rules.name);
            control.configured = rules.weight;
            control.backup = rules.backup;
            control.configure_drain(rules.drain);
        });
    }

    /// An administrator's weight, `None` to go back to the rule file's.
    pub fn set_admin_weight(&self, weight: Option<u32>) {
        self.change(|control| control.admin_weight = weight.map(|w| w.min(sched::MAX_WEIGHT)));
    }

    /// One more request or connection; see [`super::Outstanding`] for its end.
    pub(super) fn start(&self) {
        self.total.fetch_add(1, Relaxed);
        self.sched.start();
    }

    /// The head of a response came so long after the request.
    pub(super) fn observe(&self, status: u16, first_byte: Duration, now_ns: u64) {
        self.responses.count(status);
        self.sched.observe(nanos(first_byte), now_ns);
        self.times.began(first_byte);
    }

    /// Whether it has sent bytes behind an answer not long ago.
    fn is_untidy(&self) -> bool {
        let since = self.untidy_ns.load(Relaxed);
        since != 0 && Duration::from_nanos(now_ns().saturating_sub(since)) < UNTIDY
    }

    /// It has sent bytes behind an answer: its connections are given to other clients with more care from now on.
    pub(super) fn sent_surplus(&self) {
        if !self.is_untidy() {
            tracing::warn!(
                pool = %self.pool, server = %self.address,
                "sent bytes after a response: its connections go to other clients only after a silence"
            );
        }
        self.surplus.fetch_add(1, Relaxed);
        self.untidy_ns.store(now_ns().max(1), Relaxed);
    }

    /// A free connection for the client with this memory, of which the server was told the same.
    pub(super) fn take_idle(
        &self,
        own: &Own,
        told: Option<&Told>,
        now: Instant,
    ) -> Option<Link<ServerStream>> {
        let untidy = self.is_untidy();
        self.idle()
            .take(own, told, untidy, now, || self.sent_surplus())
    }

    /// Keeps a connection for reuse, of at most so many.
    pub(super) fn keep_idle(&self, link: Link<ServerStream>, own: &Own, most: usize, now: Instant) {
        self.idle().keep(link, own, most, now);
    }

    pub(super) fn idle(&self) -> MutexGuard<'_, Idle<ServerStream>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes idle connections that are older than `patience`, and forgets those that are closed. Of connections of HTTP/2,
    /// `most` stay that nobody uses.
    pub fn prune_idle(&self, patience: Duration, most: usize) {
        self.idle().prune(patience, || self.sent_surplus());
        self.reach.shared.prune(patience, most);
    }
}

/// What a server speaks whose response cannot be read, if its first bytes say it.
fn hint(came: &[u8]) -> &'static str {
    match came {
        // An alert or a handshake record (RFC 8446, 5.1).
        [0x15 | 0x16, 3, ..] => "it speaks TLS: the pool needs `tls`",
        // The frame SETTINGS or GOAWAY on stream 0 (RFC 9113, 4.1), which a server begins with.
        [0, _, _, 4 | 7, _, 0, 0, 0, 0, ..] => {
            "it speaks HTTP/2: the pool needs protocol = \"http2\""
        }
        [b'H', b'T', b'T', b'P', ..] => "it speaks HTTP, but not as RFC 9112 has it",
        _ => "it does not speak HTTP/1.1",
    }
}

#[cfg(test)]
mod tests;
