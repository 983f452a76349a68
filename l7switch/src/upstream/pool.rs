// SPDX-License-Identifier: MIT
//! A pool of real servers in one generation of the rules.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use l7switch_admin_api::PoolStatus;
use l7switch_engine::sched;
use l7switch_engine::sched::Cursor;
use l7switch_engine::sched::Lookup;
use l7switch_rules::model;
use l7switch_rules::model::ServerAddress;

use super::balance;
use super::balance::LookupTable;
use super::balance::Member;
use super::lease::Outstanding;
use super::queue::Picked;
use super::queue::Queue;
use super::queue::Turn;
use super::repeat::Repeating;
use super::repeat::Repeats;
use super::server::RealServer;
use super::server::control::SlowStart;
use super::tls::Manner;
use crate::net::tls::TlsError;
use crate::observe::events::Events;
use crate::observe::histogram::Kind;
use crate::observe::histogram::Times;
use crate::observe::reason::Reason;

/// What a server has done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not take connections.
    Connect,
    /// It does not answer, or not as it should.
    Answer,
}

/// A pool. Its servers are shared with the generations before and after.
#[derive(Debug)]
pub struct Pool {
    config: model::Pool,
    /// Whether another pool takes the requests while no server of this one can.
    has_substitute: bool,
    /// How its servers are spoken to.
    manner: Arc<Manner>,
    members: Vec<Member>,
    cursor: Arc<Cursor>,
    lookup: ArcSwap<LookupTable>,
    /// Whether a server has a bound.
    is_bounded: bool,
    /// Those who wait for servers with a bound.
    queue: Arc<Queue>,
    repeats: Arc<Repeats>,
    /// Times of its servers.
    times: Arc<Kind>,
}

impl Pool {
    /// The pool as the rules say, with the servers of `before` that it has in common with it.
    ///
    /// # Errors
    ///
    /// A file of its TLS cannot be used.
    pub fn new(
        config: model::Pool,
        has_substitute: bool,
        before: Option<&Self>,
    ) -> Result<Self, TlsError> {
        let manner = Arc::new(Manner::new(&config)?);
        Ok(Self::with(config, has_substitute, manner, before))
    }

    /// The same pool with other servers. Files are not read.
    #[must_use]
    pub fn renewed(config: model::Pool, has_substitute: bool, before: &Self) -> Self {
        let manner = Arc::clone(&before.manner);
        Self::with(config, has_substitute, manner, Some(before))
    }

    fn with(
        config: model::Pool,
        has_substitute: bool,
        manner: Arc<Manner>,
        before: Option<&Self>,
    ) -> Self {
        let known: HashMap<&ServerAddress, &Arc<RealServer>> = before
            .iter()
            .flat_map(|pool| &pool.members)
            .map(|member| (member.0.address(), &member.0))
            .collect();
        let times = before.map_or_else(Arc::default, |pool| Arc::clone(&pool.times));
        let name: Arc<str> = config.name.as_str().into();
        let members = config
            .servers
            .iter()
            .map(|server| {
                Member(match known.get(&server.address) {
                    Some(known) => Arc::clone(known),
                    None => {
                        let address = server.address.clone();
                        let new =
                            RealServer::new(Arc::clone(&name), address, server.weight, &times);
                        if before.is_some() {
                            new.is_new();
                        }
                        new
                    }
                })
            })
            .collect();
        Self {
            has_substitute,
            manner,
            members,
            cursor: before.map_or_else(Arc::default, |pool| Arc::clone(&pool.cursor)),
            lookup: ArcSwap::from_pointee(LookupTable::empty()),
            is_bounded: config.is_bounded(),
            queue: before.map_or_else(Arc::default, |pool| Arc::clone(&pool.queue)),
            repeats: before.map_or_else(Arc::default, |pool| Arc::clone(&pool.repeats)),
            times,
            config,
        }
    }

    /// Puts the rules' weights in force: for the generation that becomes the one in force.
    pub fn activate(&self, events: &Arc<Events>) {
        let slow_start = self.config.slow_start.map(|time| SlowStart {
            time,
            scale: self.config.weight_scale(),
        });
        for (server, rules) in self.configured() {
            if self.is_bounded {
                server.set_queue(&self.queue);
            }
            self.configure(server, rules);
            server.report_to(events);
            server.set_checked(self.config.health.is_some());
            server.set_slow_start(slow_start);
        }
        self.rebuild_lookup();
    }

    /// Makes the lookup table anew, after weights have changed.
    pub fn rebuild_lookup(&self) {
        let table = LookupTable::build(self.config.scheduler.kind, self.groups().0);
        self.lookup.store(Arc::new(table));
    }

    /// What the rules say.
    pub const fn config(&self) -> &model::Pool {
        &self.config
    }

    /// The servers, in the order of the rule file.
    pub fn servers(&self) -> impl Iterator<Item = &Arc<RealServer>> {
        self.members.iter().map(|member| &member.0)
    }

    /// Times of the servers that have no histograms of their own.
    pub fn other_times(&self) -> &Times {
        self.times.other()
    }

    /// The servers, with what the rules say of each.
    pub(super) fn configured(
        &self,
    ) -> impl Iterator<Item = (&Arc<RealServer>, &model::RealServer)> {
        self.servers().zip(&self.config.servers)
    }

    /// What the rules say of a server, and how it is spoken to.
    pub(super) fn configure(&self, server: &RealServer, rules: &model::RealServer) {
        server.configure(rules);
        server.speak(self.manner.towards(rules));
    }

    /// Closes the free connections to all servers: descriptors have run out.
    pub fn let_go_of_idle(&self) {
        for member in &self.members {
            member.0.idle().clear();
        }
    }

    /// A request has failed by the fault of one of the servers, for this reason.
    pub fn failed(&self, server: &Arc<RealServer>, fault: Fault, why: &str) {
        let may_eject = || self.can_do_without(server, fault);
        server.failed(&self.config.passive, why, may_eject);
    }

    /// Whether a server may be ejected. The last one to which requests may come never is, whatever it does (as with nginx),
    /// unless it takes no connections and another pool takes its requests then.
    /// A client can have the wrong answers of one path from all servers, and must not take all of them from everybody with
    /// it: for answers, at most half of the servers are ejected at a time (Envoy's `max_ejection_percent` is the same idea).
    fn can_do_without(&self, server: &Arc<RealServer>, fault: Fault) -> bool {
        let (mut present, mut ejected) = (0_usize, 0_usize);
        for member in &self.members {
            let (there, out) = member.0.turnout();
            if there {
                present = present.saturating_add(1);
                if out && !Arc::ptr_eq(&member.0, server) {
                    ejected = ejected.saturating_add(1);
                }
            }
        }
        match fault {
            Fault::Connect => self.has_substitute || ejected.saturating_add(1) < present,
            Fault::Answer => ejected < present / 2,
        }
    }

    /// A server for a request whose key has this hash, passing over those tried already; or a place in the queue for one.
    /// `is_full`: the kernel, which counts requests where none may wait, has found all servers to have as many as they may.
    pub(super) fn ask(self: &Arc<Self>, hash: u64, tried: &[usize], is_full: bool) -> Turn {
        if !self.is_bounded {
            return self.pick(hash, tried).map_or(Turn::Nobody, Turn::Now);
        }
        if is_full && !self.config.waits() {
            return Turn::Full;
        }
        let mut line = self.queue.lock();
        // Who waits has found no place that this one could find: those that become free are handed over.
        match self.pick(hash, tried) {
            Some(picked) => Turn::Now(picked),
            None if !self.has_untried(tried) => Turn::Nobody,
            None => line.join(&self.queue, self, hash, tried, self.config.queue.length),
        }
    }

    /// A server for a connection whose key has this hash, which may wait for one in the queue. `None`: no server is
    /// available, or those that are were tried. `is_full`: the kernel has found all servers to have as many as they may.
    ///
    /// # Errors
    ///
    /// As many wait as may, or it has waited for too long.
    pub async fn choose(
        self: &Arc<Self>,
        hash: u64,
        tried: &[usize],
        is_full: bool,
    ) -> Result<Option<Picked>, Reason> {
        match self.ask(hash, tried, is_full) {
            Turn::Now(picked) => Ok(Some(picked)),
            Turn::Nobody => Ok(None),
            Turn::Full => Err(Reason::QueueFull),
            Turn::Later(waiting) => {
                let waited = tokio::time::timeout(self.config.queue.timeout, waiting);
                waited.await.map_err(|_| Reason::QueueTimeout)
            }
        }
    }

    /// The same without a place in the queue.
    pub(super) fn ask_now(&self, hash: u64, tried: &[usize]) -> Option<Picked> {
        let _line = self.is_bounded.then(|| self.queue.lock());
        self.pick(hash, tried)
    }

    /// Whether a server takes requests that was not tried: it may have as many as it may.
    pub fn has_untried(&self, tried: &[usize]) -> bool {
        let mut members = self.members.iter().enumerate();
        members.any(|(index, member)| !tried.contains(&index) && member.0.takes_requests())
    }

    /// Whether a server has as many requests as it may.
    fn is_full(&self, index: usize) -> bool {
        let server = self.members.get(index).map(|member| &member.0);
        server.is_some_and(|server| server.sched().is_full())
    }

    /// Gives servers to those who wait, where one can have one: a bound that the rules did not have before.
    pub fn serve_queue(&self) {
        if self.is_bounded {
            self.queue.release(|| ());
        }
    }

    /// A request is sent to another server.
    pub fn repeated(&self) {
        self.repeats.count();
    }

    /// Whether the budget lets a request be sent to another server. `repeating` is empty before the first time, and is to be
    /// held as long as the request lasts.
    pub fn may_repeat(&self, repeating: &mut Option<Repeating>) -> bool {
        if let Some(rule) = &self.config.retries.rule
            && repeating.is_none()
        {
            let active = self
                .servers()
                .map(|server| u64::from(server.sched().active()));
            let active = active.fold(0, u64::saturating_add);
            *repeating = self.repeats.begin(active, rule.budget);
            if repeating.is_none() {
                return false;
            }
        }
        true
    }

    /// What an administrator sees.
    pub fn status(&self) -> PoolStatus {
        let (retries, retries_refused) = self.repeats.counts();
        PoolStatus {
            queued: u64::try_from(self.queue.len()).unwrap_or(u64::MAX),
            retries,
            retries_refused,
        }
    }

    /// Picks a server for a request whose key has this hash, passing over those tried already, and counts the request
    /// there. Gives the server's index too. Backups are picked where no other server can be. Where servers have bounds, the
    /// queue is locked meanwhile.
    pub(super) fn pick(&self, hash: u64, tried: &[usize]) -> Option<(usize, Outstanding)> {
        let lookup = self.lookup.load();
        let (primaries, backups) = self.groups();
        let pick = |servers, lookup, first: usize| {
            let pool = sched::Pool {
                kind: self.config.scheduler.kind,
                load_percent: self.config.scheduler.load_percent,
                servers,
                cursor: &self.cursor,
                lookup,
            };
            let is_out = |index: usize| {
                let index = first.saturating_add(index);
                tried.contains(&index)
            };
            let index = pool.pick(&balance::ask(hash), is_out)?;
            Some(first.saturating_add(index))
        };
        // A server that is full is no reason to ask a backup, as with HAProxy.
        let waits = || {
            let mut members = primaries.iter().enumerate();
            self.is_bounded
                && members.any(|(index, m)| !tried.contains(&index) && m.0.takes_requests())
        };
        let index = match pick(primaries, lookup.as_lookup(), 0) {
            Some(index) => index,
            None if waits() => return None,
            None => pick(backups, Lookup::None, primaries.len())
                .or_else(|| self.pick_ejected().filter(|_| tried.is_empty()))?,
        };
        let member = self.members.get(index)?;
        Some((index, Outstanding::new(Arc::clone(&member.0))))
    }

    /// One of the servers that were ejected: better than nobody, and it may work again (Envoy's panic threshold is the same idea).
    /// Whoever has another pool to ask has done so.
    fn pick_ejected(&self) -> Option<usize> {
        let may = |index: &usize| {
            let member = self.members.get(*index);
            member.is_some_and(|member| member.0.turnout() == (true, true)) && !self.is_full(*index)
        };
        let ejected: Vec<usize> = (0..self.members.len()).filter(may).collect();
        fastrand::choice(ejected)
    }

    /// Whether a server takes requests of clients that stay at it: it is not down, whatever its weight.
    pub fn is_available(&self, index: usize) -> bool {
        let server = self.members.get(index);
        server.is_some_and(|member| member.0.sched().available())
    }

    /// A server for a client that stays at it, and counts the request there; `None` where it is down or full.
    pub(super) fn take(&self, index: usize) -> Option<Picked> {
        let _line = self.is_bounded.then(|| self.queue.lock());
        let is_free = self.is_available(index) && !self.is_full(index);
        let member = self.members.get(index).filter(|_| is_free)?;
        Some((index, Outstanding::new(Arc::clone(&member.0))))
    }

    /// Whether there is a server that could be picked.
    pub fn has_server(&self) -> bool {
        self.members.iter().any(|member| member.0.takes_requests())
    }

    /// The servers, and the backups.
    fn groups(&self) -> (&[Member], &[Member]) {
        self.members
            .split_at_checked(self.config.primaries())
            .unwrap_or((&self.members, &[]))
    }
}

#[cfg(test)]
pub(super) mod tests;
