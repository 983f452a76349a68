// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The table in force, with what belongs to it while the switch runs.
#![forbid(unsafe_code)]

use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use kernel::prelude::*;
use kernel::sync::Arc;

use l7switch_engine::endpoint::Endpoint;
use l7switch_engine::ends_filter::EndsFilter;
use l7switch_engine::ends_filter::Role;
use l7switch_engine::policy::PoolView;
use l7switch_engine::policy::RulesetView;
use l7switch_engine::sched;
use l7switch_engine::sched::hash_key;
use l7switch_engine::sched::sort::lower_bound;
use l7switch_engine::sched::sort::sort;
use l7switch_engine::slots::NONE;
use l7switch_engine::table::format::ListenRecord;
use l7switch_engine::table::format::PoolRecord;
use l7switch_engine::table::format::ServerRecord;
use l7switch_engine::table::format::ServiceRecord;
use l7switch_engine::table::Table;

use super::limits::Limits;
use super::real_server::Handle;
use super::route_counters::Routes;
use super::traffic::Traffic;
use crate::state::pool::Pool;
use crate::state::real_server::Member;

/// Most bytes that the schedulers of a table look keys up in: a small table must not ask for all memory.
const LOOKUPS_MAX: usize = 256 << 20;

/// Largest segment that is offered where the path and the servers take more: a jumbo frame's.
const MSS_MAX: u16 = 8940;

/// Bytes of the headers of IP and TCP without options.
const fn headers(ipv4: bool) -> u32 {
    if ipv4 {
        40
    } else {
        60
    }
}

/// Most services of a table: each has counters for every CPU.
pub(crate) const SERVICES_MAX: u32 = 4096;
/// Most addresses of all services.
pub(crate) const LISTENS_MAX: u32 = 65_536;

/// A table in force.
pub(crate) struct Ruleset {
    /// The table, verified.
    pub(crate) table: Table<KVVec<u8>>,
    /// Its number.
    pub(crate) generation: u64,
    /// Real servers, in the order of the table.
    members: KVVec<Member>,
    /// Pools, in the order of the table.
    pools: KVVec<Pool>,
    /// Counters of the services, in the order of the table: those of a name go on from table to table.
    traffic: KVVec<Arc<Traffic>>,
    /// Counters of the routes: those of a name, in a service of a name, go on.
    routes: Routes,
    /// Their rate limits.
    limits: Limits,
    /// Services of which a server has turned out to know no TCP timestamps.
    timeless: KVVec<AtomicBool>,
    /// Longest packets that all servers of a service have said to take so far, bytes; [`u32::MAX`]: any.
    longest: KVVec<AtomicU32>,
    /// Addresses and ports of the services, as numbers, sorted, each with its service.
    listens: KVVec<(u128, u16, u32)>,
    /// Hashes of the servers' names with their indices, sorted.
    by_name: KVVec<(u64, u32)>,
}

/// Address of a record: its words are the number's, most significant first.
pub(crate) const fn address(words: [u32; 4]) -> [u8; 16] {
    let [a, b, c, d] = words;
    let number = ((a as u128) << 96) | ((b as u128) << 64) | ((c as u128) << 32) | d as u128;
    number.to_be_bytes()
}

/// The address of an address's family that stands for every one. IPv4 is IPv4-mapped, and so is its.
fn any_like(address: [u8; 16]) -> [u8; 16] {
    let mut any = [0u8; 16];
    if let [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ..] = address {
        let [.., a, b, _, _, _, _] = &mut any;
        (*a, *b) = (0xff, 0xff);
    }
    any
}

fn endpoint(record: &ServerRecord) -> Result<Endpoint> {
    Ok(Endpoint {
        address: address([record.a0, record.a1, record.a2, record.a3]),
        port: u16::try_from(record.port).map_err(|_| EINVAL)?,
    })
}

impl Ruleset {
    /// Takes a verified table. Servers that were in a pool of that name before are the same ones.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `E2BIG` for more than [`SERVICES_MAX`] services or [`LISTENS_MAX`] addresses.
    pub(crate) fn new(
        table: Table<KVVec<u8>>,
        generation: u64,
        before: Option<&Self>,
    ) -> Result<Self> {
        const FLAGS: kernel::alloc::Flags = GFP_KERNEL_ACCOUNT;
        let servers = table.count::<ServerRecord>();
        let pools = table.count::<PoolRecord>();
        let services = table.count::<ServiceRecord>();
        let listens = table.count::<ListenRecord>();
        if services > SERVICES_MAX || listens > LISTENS_MAX {
            return Err(E2BIG);
        }
        let mut ruleset = Self {
            generation,
            members: KVVec::with_capacity(servers as usize, FLAGS)?,
            pools: KVVec::with_capacity(pools as usize, FLAGS)?,
            traffic: KVVec::with_capacity(services as usize, FLAGS)?,
            routes: Routes::none(),
            limits: Limits::none(),
            timeless: KVVec::with_capacity(services as usize, FLAGS)?,
            longest: KVVec::with_capacity(services as usize, FLAGS)?,
            listens: KVVec::with_capacity(listens as usize, FLAGS)?,
            by_name: KVVec::with_capacity(servers as usize, FLAGS)?,
            table,
        };
        for number in 0..pools {
            let record: PoolRecord = ruleset.table.get(number).ok_or(EINVAL)?;
            let name = ruleset.table.text(record.name, record.name_len);
            for index in record.servers..record.servers.saturating_add(record.servers_len) {
                let server: ServerRecord = ruleset.table.get(index).ok_or(EINVAL)?;
                let who = endpoint(&server)?;
                let hash = hash_name(name, who);
                let member = match before.and_then(|ruleset| ruleset.find(hash, name, who)) {
                    Some(member) => member.kept(server.weight, server.bound),
                    None => Member::new(hash, who, server.weight, server.bound)?,
                };
                put(&mut ruleset.members, member)?;
                put(&mut ruleset.by_name, (hash, index))?;
            }
        }
        let were = ruleset.take_services(before)?;
        let limits = before.map(|ruleset| &ruleset.limits);
        let before = before.map(|ruleset| (ruleset, were.as_slice()));
        ruleset.routes = Routes::new(&ruleset.table, generation, before)?;
        let slot = |route| ruleset.routes.slot(route);
        ruleset.limits = Limits::new(&ruleset.table, slot, limits)?;
        sort(&mut ruleset.by_name, |a, b| a.0 < b.0);
        Ok(ruleset)
    }

    /// Finds the services by name in the table before, and lists their addresses. Gives the position there of each, or
    /// [`NONE`].
    fn take_services(&mut self, before: Option<&Self>) -> Result<KVVec<u32>> {
        const FLAGS: kernel::alloc::Flags = GFP_KERNEL_ACCOUNT;
        let count = self.table.count::<ServiceRecord>();
        let mut were = KVVec::with_capacity(count as usize, FLAGS)?;
        for index in 0..count {
            let service: ServiceRecord = self.table.get(index).ok_or(EINVAL)?;
            let name = self.table.text(service.name, service.name_len);
            let was = before.and_then(|ruleset| Some((ruleset, ruleset.service_named(name)?)));
            let traffic = match was.and_then(|(ruleset, was)| ruleset.traffic.get(was as usize)) {
                Some(traffic) => traffic.clone(),
                None => Arc::new(Traffic::new()?, FLAGS)?,
            };
            put(&mut self.traffic, traffic)?;
            put(&mut were, was.map_or(NONE, |(_, was)| was))?;
            put(&mut self.timeless, AtomicBool::new(false))?;
            put(&mut self.longest, AtomicU32::new(u32::MAX))?;
            for listen in service.listens..service.listens.saturating_add(service.listens_len) {
                let listen: ListenRecord = self.table.get(listen).ok_or(EINVAL)?;
                let address = address([listen.a0, listen.a1, listen.a2, listen.a3]);
                let port = u16::try_from(listen.port).map_err(|_| EINVAL)?;
                put(
                    &mut self.listens,
                    (u128::from_be_bytes(address), port, index),
                )?;
            }
        }
        sort(&mut self.listens, |a, b| {
            a.0 < b.0 || (a.0 == b.0 && a.1 < b.1)
        });
        Ok(were)
    }

    /// The service of a name.
    pub(crate) fn service_named(&self, name: &[u8]) -> Option<u32> {
        (0..self.table.count::<ServiceRecord>()).find(|&index| {
            self.table
                .get::<ServiceRecord>(index)
                .is_some_and(|s| self.table.text(s.name, s.name_len) == name)
        })
    }

    /// The service that a packet to this address is for: one that listens on it, or on every address of its family.
    pub(crate) fn service_at(&self, address: [u8; 16], port: u16) -> Option<u32> {
        self.service_with_address(address, port)
            .or_else(|| self.service_with_address(any_like(address), port))
    }

    /// The service that listens on this very address.
    pub(crate) fn service_with_address(&self, address: [u8; 16], port: u16) -> Option<u32> {
        let address = u128::from_be_bytes(address);
        let first = lower_bound(&self.listens, |listen| {
            listen.0 < address || (listen.0 == address && listen.1 < port)
        });
        let (found, at, service) = *self.listens.get(first)?;
        (found == address && at == port).then_some(service)
    }

    /// Adds the ends of its connections: services and real servers.
    pub(crate) fn add_ends(&self, ends: &EndsFilter<KVec<AtomicU64>>) {
        for &(address, port, _) in &self.listens {
            let end = Endpoint {
                address: address.to_be_bytes(),
                port,
            };
            let any = any_like(end.address) == end.address;
            ends.add(if any { Role::AnyAddress } else { Role::Service }, &end);
        }
        for member in &self.members {
            ends.add(Role::Server, &member.endpoint());
        }
    }

    /// What follows only when the table is certain to be put in force: weights and bounds, and what schedulers make of them.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `ENOSPC` where the schedulers would look up in more than [`LOOKUPS_MAX`] bytes.
    pub(crate) fn settle(&mut self) -> Result {
        self.follow_table();
        let mut left = LOOKUPS_MAX;
        for number in 0..self.table.count::<PoolRecord>() {
            let record: PoolRecord = self.table.get(number).ok_or(EINVAL)?;
            let pool = Pool::new(record, self.members_of(&record))?;
            left = left.checked_sub(pool.lookup_len()).ok_or(ENOSPC)?;
            put(&mut self.pools, pool)?;
        }
        Ok(())
    }

    /// Gives every server this table's bound, and its weight, but where an administrator set another.
    pub(crate) fn follow_table(&self) {
        self.members.iter().for_each(Member::follow_table);
    }

    /// The pools.
    pub(crate) fn pools(&self) -> &[Pool] {
        &self.pools
    }

    /// A pool's servers.
    pub(crate) fn members_of(&self, pool: &PoolRecord) -> &[Member] {
        let start = pool.servers as usize;
        self.members
            .get(start..start.saturating_add(pool.servers_len as usize))
            .unwrap_or_default()
    }

    /// A service's counters.
    pub(crate) fn traffic(&self, service: u32) -> Option<&Traffic> {
        self.traffic.get(service as usize).map(|traffic| &**traffic)
    }

    /// The counters of the routes.
    #[inline]
    pub(crate) const fn routes(&self) -> &Routes {
        &self.routes
    }

    /// The rate limits.
    #[inline]
    pub(crate) const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether clients of a service may be offered timestamps: every server must know them.
    pub(crate) fn timestamps(&self, service: u32) -> bool {
        let timeless = self.timeless.get(service as usize);
        timeless.is_some_and(|timeless| !timeless.load(Relaxed))
    }

    /// A server of a service has turned out to know none.
    pub(crate) fn found_timeless(&self, service: u32) {
        if let Some(timeless) = self.timeless.get(service as usize) {
            timeless.store(true, Relaxed);
        }
    }

    /// The largest segment that clients of a service are offered where their path takes it, bytes.
    pub(crate) fn largest(&self, service: u32, ipv4: bool) -> u16 {
        let longest = self.longest.get(service as usize);
        let longest = longest.map_or(u32::MAX, |longest| longest.load(Relaxed));
        let largest = longest.saturating_sub(headers(ipv4));
        u16::try_from(largest).unwrap_or(u16::MAX).min(MSS_MAX)
    }

    /// A server of a service has said what the largest segment is that it takes.
    pub(crate) fn found_largest(&self, service: u32, largest: u16, ipv4: bool) {
        if let Some(longest) = self.longest.get(service as usize) {
            let found = u32::from(largest).saturating_add(headers(ipv4));
            // It is written once, mostly.
            if found < longest.load(Relaxed) {
                longest.fetch_min(found, Relaxed);
            }
        }
    }

    /// Puts servers back that were left out, where their time has come; gives how many still are.
    pub(crate) fn recover(&self, now: u64) -> u32 {
        let mut failing = 0u32;
        for member in &self.members {
            if !member.recover(now) && member.failing() {
                failing = failing.saturating_add(1);
            }
        }
        failing
    }

    /// Where a server of a table before is in this one: pool, and position in it.
    fn place_of(&self, server: &Handle) -> Option<(u32, u32)> {
        let first = lower_bound(&self.by_name, |entry| entry.0 < server.name());
        let index = self
            .by_name
            .get(first..)?
            .iter()
            .take_while(|entry| entry.0 == server.name())
            .map(|entry| entry.1)
            .find(|&index| {
                let member = self.members.get(index as usize);
                member.is_some_and(|member| server.is(member))
            })?;
        let pool = self.pool_with(index);
        let start = self.pools.get(pool)?.record.servers;
        Some((pool as u32, index.wrapping_sub(start)))
    }

    /// Servers that were left out or put back since this was asked last.
    pub(crate) fn changed(&self) -> impl Iterator<Item = (&Pool, &Member, bool)> {
        self.pools
            .iter()
            .flat_map(|pool| {
                let members = self.members_of(&pool.record).iter();
                members.map(move |member| (pool, member))
            })
            .filter_map(|(pool, member)| Some((pool, member, member.changed()?)))
    }

    /// Sets the counters of services and routes to 0.
    pub(crate) fn reset_counters(&self) {
        self.traffic.iter().for_each(|traffic| traffic.reset());
        self.routes.reset();
    }

    /// The servers of an address, in one pool or in all, with their pool.
    pub(crate) fn named<'a>(
        &'a self,
        pool: Option<&'a [u8]>,
        who: Endpoint,
    ) -> impl Iterator<Item = (&'a Pool, &'a Member)> {
        self.pools
            .iter()
            .filter(move |p| pool.is_none_or(|name| name == self.name_of(&p.record)))
            .flat_map(move |p| {
                let members = self.members_of(&p.record).iter();
                members.map(move |member| (p, member))
            })
            .filter(move |(_, member)| member.endpoint() == who)
    }

    /// Name of a pool.
    pub(crate) fn name_of(&self, pool: &PoolRecord) -> &[u8] {
        self.table.text(pool.name, pool.name_len)
    }

    /// Finds a server by pool, address and port: two servers of one pool are never the same.
    fn find(&self, hash: u64, name: &[u8], who: Endpoint) -> Option<&Member> {
        let first = lower_bound(&self.by_name, |entry| entry.0 < hash);
        let candidates = self.by_name.get(first..)?.iter();
        candidates
            .take_while(|entry| entry.0 == hash)
            .filter(|(_, index)| self.pool_of(*index).is_some_and(|pool| pool == name))
            .filter_map(|(_, index)| self.members.get(*index as usize))
            .find(|member| member.endpoint() == who)
    }

    /// The pool that a server is in: pools follow each other in the order of their servers.
    fn pool_with(&self, server: u32) -> usize {
        lower_bound(&self.pools, |pool| {
            let end = pool.record.servers.saturating_add(pool.record.servers_len);
            end <= server
        })
    }

    /// The name of that pool.
    fn pool_of(&self, server: u32) -> Option<&[u8]> {
        let pool = self.pools.get(self.pool_with(server))?;
        Some(self.name_of(&pool.record))
    }
}

impl RulesetView for Ruleset {
    type Bytes = KVVec<u8>;
    type Server = Handle;
    type Member = Member;

    #[inline]
    fn table(&self) -> &Table<KVVec<u8>> {
        &self.table
    }

    #[inline]
    fn generation(&self) -> u64 {
        self.generation
    }

    fn service_at(&self, address: &Endpoint) -> Option<u32> {
        Ruleset::service_at(self, address.address, address.port)
    }

    fn pool(&self, number: u32) -> Option<PoolView<'_, Member>> {
        let pool = self.pools.get(number as usize)?;
        Some(PoolView {
            record: &pool.record,
            kind: pool.kind,
            members: self.members_of(&pool.record),
        })
    }

    fn pick(&self, pool: u32, ask: &sched::Ask, skip: impl Fn(usize) -> bool) -> Option<usize> {
        let pool = self.pools.get(pool as usize)?;
        pool.pick(self.members_of(&pool.record), &pool.cursor, ask, skip)
    }

    fn server(&self, member: &Member) -> Handle {
        member.handle()
    }

    fn place_of(&self, server: &Handle) -> Option<(u32, u32)> {
        Ruleset::place_of(self, server)
    }

    fn route_slot(&self, route: u32) -> Option<u32> {
        self.routes.slot(route)
    }

    fn is_slot_since(&self, slot: u32, generation: u64) -> bool {
        self.routes.is_since(slot, generation)
    }
}

/// Puts an item where there is room for it. (To make room is what refers to a panic in the kernel crate's vector.)
pub(crate) fn put<T>(items: &mut KVVec<T>, item: T) -> Result {
    items.push_within_capacity(item).map_err(|_| ENOMEM)
}

/// Hash of a server's name: pool, address and port. It finds candidates only, so no key has to keep it secret.
fn hash_name(pool: &[u8], who: Endpoint) -> u64 {
    let pool = hash_key(pool);
    let mut name = [0u8; 26];
    let parts = Iterator::chain(pool.to_le_bytes().into_iter(), who.address);
    for (place, byte) in name
        .iter_mut()
        .zip(Iterator::chain(parts, who.port.to_le_bytes()))
    {
        *place = byte;
    }
    hash_key(&name)
}
