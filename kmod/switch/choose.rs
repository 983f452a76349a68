// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Where a request goes: by the table in force, and then by the pool's scheduler.
#![forbid(unsafe_code)]

use core::cell::Cell;
use core::sync::atomic::Ordering::Relaxed;

use l7switch_engine::decide;
use l7switch_engine::decide::Decision;
use l7switch_engine::decide::Space;
use l7switch_engine::decide::Verdict;
use l7switch_engine::flow;
use l7switch_engine::flow::Message;
use l7switch_engine::flow::Method;
use l7switch_engine::flow::Target;
use l7switch_engine::sched;
use l7switch_engine::sched::hash_key;
use l7switch_engine::table::format::RouteRecord;
use l7switch_engine::table::format::ServiceRecord;
use l7switch_engine::table::format::ShareRecord;

use super::connection::Bound;
use super::connection::Surroundings;
use super::real_server::Member;
use super::Live;
use super::Pool;
use crate::shell::net::Net;
use crate::shell::random;
use crate::shell::route::Route;

/// What becomes of a request.
pub(super) enum Chosen {
    /// More bytes are needed.
    Incomplete,
    /// The front answers it.
    Front(Message),
    /// It stays at the server of a leg.
    Stay(Message),
    /// It goes to this one.
    Server(Target, Bound, Message),
}

/// 127.0.0.0/8, IPv4-mapped, or ::1.
fn is_loopback(address: &[u8; 16]) -> bool {
    match address {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, ..] => true,
        address => u128::from_be_bytes(*address) == 1,
    }
}

/// A question.
pub(super) struct Question<'a> {
    /// The table.
    pub(super) live: &'a Live,
    /// The namespace.
    pub(super) net: &'a Net,
    /// The service; a service that is gone is the front's.
    pub(super) service: Option<u32>,
    /// The client.
    pub(super) source: [u8; 16],
    /// The leg in use.
    pub(super) active: Option<usize>,
    /// Monotonic time, ns.
    pub(super) now: u64,
}

/// Room that a decision needs.
pub(super) struct Room<'a> {
    /// For host and path.
    pub(super) space: Space<'a>,
    /// For a field's values.
    pub(super) joined: &'a mut [u8],
}

impl Question<'_> {
    /// Asks the rules about a request's first bytes. Gives the number of the route in the table, too, if one takes it.
    pub(super) fn ask(
        &self,
        bytes: &[u8],
        around: &Surroundings,
        room: Room<'_>,
    ) -> (Chosen, Option<u32>) {
        let Some(service) = self.service else {
            return (Chosen::Front(Message::OPAQUE), None);
        };
        let table = &self.live.table;
        let decision = decide::decide(table, service, self.source, bytes, room.space);
        let message = match &decision.head {
            Some(head) => Message::of(head),
            None => Message::OPAQUE,
        };
        let chosen = match decision.verdict {
            Verdict::Incomplete => Chosen::Incomplete,
            Verdict::NoRoute => Chosen::Front(message),
            Verdict::Refused(_) | Verdict::Front(_) => Chosen::Front(Message::OPAQUE),
            Verdict::Route(winner) => {
                let record: ServiceRecord = table.get(service).unwrap_or_default();
                let number = record.routes.saturating_add(winner.position);
                let chosen = match table.get::<RouteRecord>(number) {
                    Some(route) if route.action == 0 => self
                        .forward(&route, &decision, message, around, room.joined)
                        .unwrap_or(Chosen::Front(message)),
                    _ => Chosen::Front(message),
                };
                return (chosen, Some(number));
            }
        };
        (chosen, None)
    }

    /// The server of a route that forwards; `None` where there is none.
    fn forward(
        &self,
        route: &RouteRecord,
        decision: &Decision<'_>,
        message: Message,
        around: &Surroundings,
        joined: &mut [u8],
    ) -> Option<Chosen> {
        if self.stays(route, around) {
            return Some(Chosen::Stay(message));
        }
        let number = self.share(route)?;
        let pool = self.live.pools().get(number as usize)?;
        let key = decide::key(
            &self.live.table,
            &pool.record,
            decision,
            &self.source,
            joined,
        );
        let ask = sched::Ask {
            hash: hash_key(key),
            random: random::number(),
            now_ns: self.now,
        };
        let tried = if around.tried_pool == number {
            around.tried.get(..usize::from(around.tried_len))
        } else {
            None
        };
        let tried = tried.unwrap_or_default();
        if tried.len() > pool.record.retries as usize {
            return None;
        }
        let members = self.live.members_of(&pool.record);
        // A client of the other family than a server can reach it through the front only, and so can another host's client one at a
        // loopback address: there its packets are martians.
        let four = flow::is_ipv4(&self.source);
        let own = Cell::new(None);
        let other = |member: &Member| {
            let address = member.identity().address;
            flow::is_ipv4(&address) != four
                || (is_loopback(&address)
                    && !own.get().unwrap_or_else(|| {
                        let here = Route::is_here(self.net, self.source);
                        own.set(Some(here));
                        here
                    }))
        };
        let skip = |index: usize| {
            tried.iter().any(|&tried| usize::from(tried) == index)
                || members.get(index).is_some_and(other)
        };
        let position = pool.pick(members, &pool.cursor, &ask, skip)?;
        let member = members.get(position)?;
        let target = Target {
            peer: member.identity(),
            method: if pool.record.forward == 1 {
                Method::Fullnat
            } else {
                Method::Nat
            },
        };
        // A packet that came before may see the table before, and its places say nothing to the next one.
        let place = if around.generation == self.live.generation {
            (number, u32::try_from(position).ok()?)
        } else {
            (u32::MAX, u32::MAX)
        };
        // Another request may have found it already, and its leg be there.
        let bound = Bound {
            server: member.server().clone(),
            pool: place.0,
            position: place.1,
        };
        if let Some(active) = self.active.and_then(|leg| around.servers.get(leg)) {
            let same = |active: &Bound| kernel::sync::Arc::ptr_eq(&active.server, &bound.server);
            if active.as_ref().is_some_and(same) {
                return Some(Chosen::Stay(message));
            }
        }
        Some(Chosen::Server(target, bound, message))
    }

    /// Whether a request stays where the one before went: at a server of one of the route's pools that may still get
    /// requests, unless the pool's scheduler places them by what they ask for.
    fn stays(&self, route: &RouteRecord, around: &Surroundings) -> bool {
        let active = self
            .active
            .and_then(|leg| around.servers.get(leg)?.as_ref());
        let Some(active) = active.filter(|_| around.generation == self.live.generation) else {
            return false;
        };
        let shares = route.shares..route.shares.saturating_add(route.shares_len);
        let among = shares
            .filter_map(|share| self.live.table.get::<ShareRecord>(share))
            .any(|share| share.pool == active.pool && share.weight > 0);
        let by_request = |pool: &Pool| pool.kind.hashes() && pool.record.key != 0;
        among
            && self
                .live
                .pools()
                .get(active.pool as usize)
                .is_some_and(|pool| !by_request(pool))
            && active.server.may_get()
    }

    /// The pool of a weighted split.
    fn share(&self, route: &RouteRecord) -> Option<u32> {
        let table = &self.live.table;
        let shares = || {
            (route.shares..route.shares.saturating_add(route.shares_len))
                .filter_map(|share| table.get::<ShareRecord>(share))
        };
        if route.shares_len == 1 {
            return shares().next().map(|share| share.pool);
        }
        let total = shares().fold(0u64, |sum, share| {
            sum.saturating_add(u64::from(share.weight))
        });
        // The upper half of the product is less than the total.
        let random = random::number() >> 32;
        let mut left = random.wrapping_mul(total) >> 32;
        for share in shares() {
            match left.checked_sub(u64::from(share.weight)) {
                Some(rest) => left = rest,
                None => return Some(share.pool),
            }
        }
        None
    }
}

impl super::real_server::RealServer {
    /// Whether it may get requests of connections that have one to it.
    fn may_get(&self) -> bool {
        let server = self.scheduled();
        server.available() && server.weight() > 0 && self.failing.load(Relaxed) == 0
    }
}
