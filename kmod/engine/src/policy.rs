// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Where a request goes that a route forwards: the pool of a weighted split, the key of a hashing scheduler, whether the
//! request stays where the one before went, and the servers that it may still be tried at.
//!
//! The kernel module, its simulator and the front decide by these functions and by no others.

use core::borrow::Borrow;
use core::cell::Cell;
use core::ops::Deref;
use core::ptr;

use crate::endpoint::is_ipv4;
use crate::endpoint::is_loopback;
use crate::endpoint::Endpoint;
use crate::sched;
use crate::sched::below;
use crate::sched::hash_key;
use crate::sched::Kind;
use crate::siphash::Siphash13;
use crate::table::codes::Forwarding;
use crate::table::codes::HashKey;
use crate::table::cookie;
use crate::table::format::PoolRecord;
use crate::table::format::RouteRecord;
use crate::table::format::ShareRecord;
use crate::table::format::SourcesRecord;
use crate::table::Fields;
use crate::table::Request;
use crate::table::Table;

/// Most servers of a pool that the kernel tries a request at, whatever the pool's `retries`: then the front goes on.
pub const TRIED_MAX: usize = 4;

/// What a hashing scheduler places a request by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    /// The client's address.
    Source,
    /// The path in comparison form.
    Path,
    /// The host in comparison form.
    Host,
    /// The values of a field, joined by comma (RFC 9110, 5.3).
    Field(&'a [u8]),
    /// The value of a cookie.
    Cookie(&'a [u8]),
}

impl<'a> Key<'a> {
    /// The key of a pool in a table; `None` where the record has a number that no key has.
    pub fn of<B: Deref<Target = [u8]>>(table: &'a Table<B>, pool: &PoolRecord) -> Option<Self> {
        let name = table.text(pool.key_name, pool.key_name_len);
        Some(match HashKey::from_number(pool.key)? {
            HashKey::Source => Self::Source,
            HashKey::Path => Self::Path,
            HashKey::Host => Self::Host,
            HashKey::Field => Self::Field(name),
            HashKey::Cookie => Self::Cookie(name),
        })
    }

    /// [`hash_key`] of what a request has of it; of the source where the request has none.
    pub fn hash<F: Fields + ?Sized>(self, request: &Request<'_, F>) -> u64 {
        let of_request = match self {
            Self::Source => None,
            Self::Path => known(request.path).map(hash_key),
            Self::Host => known(request.host).map(hash_key),
            Self::Field(name) => hash_joined(request.fields, name),
            Self::Cookie(name) => cookie(request.fields, name).map(hash_key),
        };
        of_request.unwrap_or_else(|| hash_key(&request.source))
    }
}

fn known(text: &[u8]) -> Option<&[u8]> {
    (!text.is_empty()).then_some(text)
}

/// [`hash_key`] of a field's values, joined by comma and space; `None` where there is no such field.
fn hash_joined<F: Fields + ?Sized>(fields: &F, name: &[u8]) -> Option<u64> {
    let mut values = fields
        .iter()
        .filter(|(other, _)| other.eq_ignore_ascii_case(name))
        .map(|(_, value)| value);
    let first = values.next()?;
    let Some(second) = values.next() else {
        return Some(hash_key(first));
    };
    let mut hash = Siphash13::new(sched::HASH_KEY);
    hash.write(first);
    for value in core::iter::once(second).chain(values) {
        hash.write(b", ");
        hash.write(value);
    }
    Some(hash.finish())
}

/// The pool of a weighted split: of pools and weights, by a random number that is asked for where it matters. `None` where
/// no weight is over 0.
pub fn split<P>(
    mut shares: impl Iterator<Item = (P, u32)> + Clone,
    random: impl FnOnce() -> u64,
) -> Option<P> {
    let mut one = shares.clone();
    if let (Some((pool, weight)), None) = (one.next(), one.next()) {
        return (weight > 0).then_some(pool);
    }
    let total = shares
        .clone()
        .fold(0u64, |sum, (_, weight)| sum.saturating_add(weight.into()));
    let mut left = below(random(), total);
    shares.find_map(|(pool, weight)| match left.checked_sub(weight.into()) {
        Some(rest) => {
            left = rest;
            None
        }
        None => Some(pool),
    })
}

/// The servers of one pool, by position, that a request has been tried at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    pool: u32,
    len: u8,
    positions: [u16; TRIED_MAX],
}

impl Tried {
    /// None.
    pub const fn new() -> Self {
        Self {
            pool: 0,
            len: 0,
            positions: [0; TRIED_MAX],
        }
    }

    /// Adds a server. Those of another pool are forgotten.
    pub fn add(&mut self, pool: u32, position: u32) {
        if self.pool != pool {
            *self = Self {
                pool,
                ..Self::new()
            };
        }
        let position = u16::try_from(position).unwrap_or(u16::MAX);
        if let Some(place) = self.positions.get_mut(usize::from(self.len)) {
            *place = position;
            self.len = self.len.wrapping_add(1);
        }
    }

    /// Forgets all: the request has a server.
    #[inline]
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Positions of the servers of a pool.
    fn of(&self, pool: u32) -> &[u16] {
        let tried = self.positions.get(..usize::from(self.len));
        tried.filter(|_| self.pool == pool).unwrap_or_default()
    }

    /// Whether a request may not be tried at a server.
    pub fn has(&self, pool: u32, position: usize) -> bool {
        let mut tried = self.of(pool).iter();
        tried.any(|&tried| usize::from(tried) == position)
    }

    /// Whether a request may be tried at another server of a pool, which allows so many more than the first.
    pub fn may_go_on(&self, pool: u32, retries: u32) -> bool {
        let tried = self.of(pool).len();
        tried < TRIED_MAX && may_retry(tried, retries)
    }
}

/// Whether a request that so many servers failed may be tried at another one, of a pool that allows so many retries.
pub fn may_retry(failed: usize, retries: u32) -> bool {
    u32::try_from(failed).is_ok_and(|failed| failed <= retries)
}

/// Whether IP packets of a client can be led to a server by rewriting their addresses: a client of the other family can
/// reach it through the front only, and so can another host's client a server at a loopback address, where its packets are
/// martians. `is_here`: whether the client is on this host.
pub fn can_reach(client: &[u8; 16], server: &[u8; 16], is_here: impl FnOnce() -> bool) -> bool {
    is_ipv4(client) == is_ipv4(server) && (!is_loopback(server) || is_here())
}

/// A pool as a decision sees it.
#[derive(Clone, Copy, Debug)]
pub struct PoolView<'a, M> {
    /// What the table says.
    pub record: &'a PoolRecord,
    /// The scheduler.
    pub kind: Kind,
    /// The servers, in the order of the table.
    pub members: &'a [M],
}

impl<M> PoolView<'_, M> {
    /// Whether its scheduler places requests by what they ask for.
    fn is_by_request(&self) -> bool {
        self.kind.hashes() && self.record.key != HashKey::Source.number()
    }
}

/// The rules in force, with the state of their servers.
pub trait RulesetView {
    /// The table's memory.
    type Bytes: Deref<Target = [u8]>;
    /// A real server, which outlives the rules that name it.
    type Server: Borrow<sched::Server> + Clone;
    /// A real server as these rules name it.
    type Member: Borrow<sched::Server>;

    /// The table.
    fn table(&self) -> &Table<Self::Bytes>;
    /// Its number: a later one is greater.
    fn generation(&self) -> u64;
    /// The service at an address.
    fn service_at(&self, address: &Endpoint) -> Option<u32>;
    /// A pool of the table.
    fn pool(&self, number: u32) -> Option<PoolView<'_, Self::Member>>;
    /// Position of the server in a pool that its scheduler picks, leaving those out for which `skip` holds.
    fn pick(&self, pool: u32, ask: &sched::Ask, skip: impl Fn(usize) -> bool) -> Option<usize>;
    /// What outlives the rules of a server.
    fn server(&self, member: &Self::Member) -> Self::Server;
    /// Where a server is: pool, and position in it.
    fn place_of(&self, server: &Self::Server) -> Option<(u32, u32)>;
    /// The number by which a route's requests are counted.
    fn route_slot(&self, route: u32) -> Option<u32>;
    /// Whether a number of a route meant the same in the rules of a generation before.
    fn is_slot_since(&self, slot: u32, generation: u64) -> bool;
}

/// The server of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Bound<S> {
    /// The server.
    pub server: S,
    /// The pool that it is in, by its number in the rules; [`NOWHERE`] where it is in none, or where that is not known.
    pub pool: u32,
    /// Its position in the pool, or [`NOWHERE`].
    pub position: u32,
}

/// In place of a pool or position: none.
pub const NOWHERE: u32 = u32::MAX;

/// A choice. Where the server has a bound, the request is outstanding there from now on, as `has_place` says: whoever has asked
/// calls [`sched::Server::finish`] where the request does not go there, and no [`sched::Server::start`] where it does.
#[derive(Debug)]
pub enum Forward<S> {
    /// The request stays at the server in use.
    Stay {
        /// It counts there already.
        has_place: bool,
    },
    /// It goes to another one.
    Go {
        /// The server.
        bound: Bound<S>,
        /// How it is reached.
        forwarding: Forwarding,
        /// It counts there already.
        has_place: bool,
    },
    /// Servers could have it, and all have as many as they may.
    Full,
}

/// What a choice depends on besides rules and request.
pub struct Situation<'a, S> {
    /// Where the client's packets come from, whatever a PROXY header says: servers are reached from there.
    pub client: &'a [u8; 16],
    /// The server in use, if the request may stay there.
    pub active: Option<&'a Bound<S>>,
    /// Whether places of servers in [`Bound`] are those of these rules.
    pub places_hold: bool,
    /// Servers that the request was tried at.
    pub tried: &'a Tried,
    /// Monotonic time, ns.
    pub now: u64,
}

/// What a decision asks of the host.
pub trait Host {
    /// A random number.
    fn random(&self) -> u64;
    /// Whether an address is one of this host's.
    fn is_here(&self, address: &[u8; 16]) -> bool;
}

/// The server of a request that a route of the table forwards; `None` where there is none: the front answers.
#[inline]
pub fn forward<R: RulesetView, F: Fields + ?Sized>(
    rules: &R,
    route: &RouteRecord,
    request: &Request<'_, F>,
    situation: &Situation<'_, R::Server>,
    host: &impl Host,
) -> Option<Forward<R::Server>> {
    match stays(rules, route, situation) {
        Some(has_place) => Some(Forward::Stay { has_place }),
        None => elsewhere(rules, route, request, situation, host),
    }
}

/// The same where it does not stay. Apart: most requests stay, and what surrounds this is inlined as long as it is small.
#[inline(never)]
fn elsewhere<R: RulesetView, F: Fields + ?Sized>(
    rules: &R,
    route: &RouteRecord,
    request: &Request<'_, F>,
    situation: &Situation<'_, R::Server>,
    host: &impl Host,
) -> Option<Forward<R::Server>> {
    let shares = shares(rules.table(), route);
    let number = split(shares.map(|share| (share.pool, share.weight)), || {
        host.random()
    })?;
    let pool = rules.pool(number)?;
    if !situation.tried.may_go_on(number, pool.record.retries) {
        return None;
    }
    let ask = sched::Ask {
        hash: if pool.kind.hashes() {
            Key::of(rules.table(), pool.record)?.hash(request)
        } else {
            0
        },
        random: host.random(),
        now_ns: situation.now,
    };
    let here = Cell::new(None);
    let skip = |position: usize| {
        situation.tried.has(number, position)
            || pool.members.get(position).is_some_and(|member| {
                let server: &sched::Server = member.borrow();
                !can_reach(situation.client, &server.endpoint().address, || {
                    here.get().unwrap_or_else(|| {
                        let is_here = host.is_here(situation.client);
                        here.set(Some(is_here));
                        is_here
                    })
                })
            })
    };
    let forwarding = Forwarding::from_number(pool.record.forward)?;
    let (position, server, has_place) = loop {
        let Some(position) = rules.pick(number, &ask, skip) else {
            return has_full(pool.members, skip).then_some(Forward::Full);
        };
        let server = rules.server(pool.members.get(position)?);
        // Where another CPU took the last place meanwhile, the server is passed over: each turn somebody gets on.
        if let Some(has_place) = take_place(server.borrow()) {
            break (position, server, has_place);
        }
    };
    // Another request may have found it already, and its connection be there.
    if situation
        .active
        .is_some_and(|active| ptr::eq(active.server.borrow(), server.borrow()))
    {
        return Some(Forward::Stay { has_place });
    }
    let (pool, position) = match situation.places_hold {
        true => (number, u32::try_from(position).unwrap_or(NOWHERE)),
        false => (NOWHERE, NOWHERE),
    };
    let bound = Bound {
        server,
        pool,
        position,
    };
    Some(Forward::Go {
        bound,
        forwarding,
        has_place,
    })
}

/// Takes a request's place at a server. Whether there is one: only where it has a bound. `None`: it is full.
#[inline]
fn take_place(server: &sched::Server) -> Option<bool> {
    match server.bound() {
        0 => Some(false),
        _ => server.try_start().then_some(true),
    }
}

/// Whether a server could have a request, and has as many as it may.
#[cold]
#[inline(never)]
fn has_full<M: Borrow<sched::Server>>(members: &[M], skip: impl Fn(usize) -> bool) -> bool {
    (0..members.len()).any(|position| {
        members.get(position).is_some_and(|member| {
            let server: &sched::Server = member.borrow();
            server.is_full() && server.available() && server.weight() > 0 && !skip(position)
        })
    })
}

/// A route's parts of a weighted split.
fn shares<'t, B: Deref<Target = [u8]>>(
    table: &'t Table<B>,
    route: &RouteRecord,
) -> impl Iterator<Item = ShareRecord> + Clone + 't {
    (route.shares..route.shares.saturating_add(route.shares_len))
        .filter_map(|share| table.get::<ShareRecord>(share))
}

/// Whether all requests that have the very head of one that a route took are that route's, and their heads say nothing else of
/// where they go: no condition is about the client's address, and no scheduler places them by what they ask for.
pub fn is_by_head_alone<R: RulesetView>(rules: &R, route: u32) -> bool {
    let table = rules.table();
    let route = table.get::<RouteRecord>(route);
    table.count::<SourcesRecord>() == 0
        && route.is_some_and(|route| {
            shares(table, &route).all(|share| {
                let pool = rules.pool(share.pool);
                pool.is_some_and(|pool| !pool.is_by_request())
            })
        })
}

/// Whether a request has a place that stays where the one before went: at a server of one of the route's pools that may still get
/// requests, unless the pool's scheduler places them by what they ask for.
#[inline(always)]
fn stays<R: RulesetView>(
    rules: &R,
    route: &RouteRecord,
    situation: &Situation<'_, R::Server>,
) -> Option<bool> {
    let active = situation.active.filter(|_| situation.places_hold)?;
    let among =
        shares(rules.table(), route).any(|share| share.pool == active.pool && share.weight > 0);
    let server: &sched::Server = active.server.borrow();
    let stays = among
        && rules
            .pool(active.pool)
            .is_some_and(|pool| !pool.is_by_request())
        && server.available()
        && server.weight() > 0;
    if stays {
        take_place(server)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::vec::Vec;

    const FIELDS: &[(&[u8], &[u8])] = &[
        (b"X-Key", b"1"),
        (b"Cookie", b"a=1; session=s1"),
        (b"x-key", b"2"),
        (b"one", b"1, 2"),
    ];

    fn request<'a>(host: &'a [u8], path: &'a [u8]) -> Request<'a, [(&'a [u8], &'a [u8])]> {
        Request {
            host,
            method: b"GET",
            path,
            query: b"",
            source: [9; 16],
            fields: FIELDS,
        }
    }

    #[test]
    fn a_key_is_what_its_pool_says_and_the_source_where_there_is_none() {
        let full = request(b"a.example", b"/x");
        for (key, text) in [
            (Key::Source, &[9; 16][..]),
            (Key::Path, b"/x"),
            (Key::Host, b"a.example"),
            (Key::Field(b"one"), b"1, 2"),
            (Key::Field(b"ONE"), b"1, 2"),
            (Key::Field(b"x-key"), b"1, 2"),
            (Key::Field(b"none"), &[9; 16]),
            (Key::Cookie(b"session"), b"s1"),
            (Key::Cookie(b"none"), &[9; 16]),
        ] {
            assert_eq!(key.hash(&full), hash_key(text), "{key:?}");
        }
        let empty = request(b"", b"");
        assert_eq!(Key::Path.hash(&empty), hash_key(&[9; 16]));
        assert_eq!(Key::Host.hash(&empty), hash_key(&[9; 16]));
    }

    #[test]
    fn a_split_follows_its_weights() {
        let split = |shares: &[(u8, u32)], random: u64| split(shares.iter().copied(), || random);
        let shares = [(4, 9), (5, 0), (6, 1)];
        let picked: Vec<_> = (0..10u64)
            .map(|tenth| split(&shares, tenth * (u64::MAX / 10) + 1000))
            .collect();
        let mut wanted = std::vec![Some(4); 9];
        wanted.push(Some(6));
        assert_eq!(picked, wanted);
        assert_eq!(split(&shares, 0), Some(4));
        assert_eq!(split(&shares, u64::MAX), Some(6));
        let thirds = [(1, 1), (2, 1), (3, 1)];
        for (random, pool) in [(0, 1), (1 << 63, 2), (u64::MAX, 3)] {
            assert_eq!(split(&thirds, random), Some(pool));
        }
        assert_eq!(split(&[(7, 1)], 3), Some(7));
        assert_eq!(split(&[(7, 0)], 3), None, "nothing goes to weight 0");
        assert_eq!(split(&[(7, 0), (8, 0)], 3), None);
        assert_eq!(split(&[], 3), None);
    }

    #[test]
    fn servers_are_tried_once_and_as_often_as_the_pool_says() {
        let mut tried = Tried::new();
        assert!(tried.may_go_on(0, 0) && !tried.has(0, 0));
        tried.add(2, 5);
        assert!(tried.has(2, 5) && !tried.has(2, 4) && !tried.has(0, 5));
        assert!(!tried.may_go_on(2, 0) && tried.may_go_on(2, 1));
        assert!(tried.may_go_on(1, 0), "another pool's servers do not count");
        tried.add(2, 6);
        assert!(tried.has(2, 5) && tried.has(2, 6));
        assert!(!tried.may_go_on(2, 1) && tried.may_go_on(2, 2));
        for position in 7..12 {
            tried.add(2, position);
        }
        assert!(!tried.may_go_on(2, 100), "no more can be remembered");
        tried.add(3, 1);
        assert!(tried.has(3, 1) && !tried.has(2, 5) && tried.may_go_on(3, 1));
        tried.clear();
        assert!(!tried.has(3, 1) && tried.may_go_on(3, 0));
        tried.add(3, u32::MAX);
        assert!(!tried.may_go_on(3, 0), "a server without a place counts");
    }

    #[test]
    fn retries_are_those_after_the_first() {
        assert!(may_retry(0, 0) && !may_retry(1, 0));
        assert!(may_retry(2, 2) && !may_retry(3, 2));
        assert!(!may_retry(usize::MAX, u32::MAX));
    }

    #[test]
    fn families_and_loopback_addresses_keep_clients_from_servers() {
        let v4 = |a| [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, 0, 0, 1];
        let v6 = |number: u128| number.to_be_bytes();
        let (ten, loopback) = (v4(10), v4(127));
        for (client, server, here, reaches) in [
            (ten, v4(11), false, true),
            (ten, v6(0x20_0000), false, false),
            (v6(0x20_0000), v6(0x30_0000), false, true),
            (v6(0x20_0000), ten, true, false),
            (ten, loopback, false, false),
            (ten, loopback, true, true),
            (v6(0x20_0000), v6(1), false, false),
            (v6(0x20_0000), v6(1), true, true),
        ] {
            assert_eq!(
                can_reach(&client, &server, || here),
                reaches,
                "{client:?} {server:?}"
            );
        }
    }
}
