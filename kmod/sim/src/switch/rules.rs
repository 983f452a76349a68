// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The rules of the simulation, with the state of their servers: made of a rule file, as the module's are.

mod text;

use std::borrow::Borrow;
use std::cell::Cell;
use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::rc::Rc;

use l7switch_engine::endpoint::Endpoint;
use l7switch_engine::environment::RealServer;
use l7switch_engine::limit::Rate;
use l7switch_engine::limit::source_key;
use l7switch_engine::policy::PoolView;
use l7switch_engine::policy::RulesetView;
use l7switch_engine::sched;
use l7switch_engine::sched::Cursor;
use l7switch_engine::sched::Failures;
use l7switch_engine::sched::Kind;
use l7switch_engine::sched::LookupTable;
use l7switch_engine::sched::Memory;
use l7switch_engine::table::Table;
use l7switch_engine::table::codes::RateKey;
use l7switch_engine::table::format::PoolRecord;
use l7switch_engine::table::format::RateRecord;
use l7switch_engine::table::format::RouteRecord;
use l7switch_engine::table::format::ServerRecord;
use l7switch_engine::table::format::ServiceRecord;
use l7switch_engine::table::format::ShareRecord;

use crate::plan::ALSO;
use crate::plan::EAGER;
use crate::plan::HTTP;
use crate::plan::Plan;
use crate::plan::TLS;

/// A real server's port, whatever rules name it.
#[derive(Debug)]
struct Server {
    pool: String,
    /// Its host, by number.
    host: u8,
    scheduled: sched::Server,
    failures: Failures,
    /// Requests that were passed to it.
    requests: Cell<u64>,
}

/// A real server that flows share with the rules.
#[derive(Clone, Debug)]
pub(super) struct Handle(Rc<Server>);

impl Borrow<sched::Server> for Handle {
    fn borrow(&self) -> &sched::Server {
        &self.0.scheduled
    }
}

/// What schedulers see of a server.
pub(super) fn scheduled(server: &Handle) -> &sched::Server {
    &server.0.scheduled
}

impl RealServer for Handle {
    fn requested(&self) {
        self.0.requests.set(self.0.requests.get() + 1);
    }

    fn works(&self) {
        self.0.failures.works();
    }

    fn fails(&self, now: u64) -> bool {
        let left_out = self.0.failures.fails(now);
        if left_out {
            self.0.scheduled.set_available(false);
        }
        left_out
    }
}

/// Memory of the standard library's, which is never short.
enum Plenty {}

impl Memory for Plenty {
    type List<T> = Vec<T>;
    type Error = Infallible;

    fn filled<T: Copy>(value: T, len: usize) -> Result<Vec<T>, Infallible> {
        Ok(vec![value; len])
    }
}

struct Pool {
    record: PoolRecord,
    kind: Kind,
    members: Vec<Handle>,
    cursor: Cursor,
    lookup: LookupTable<Plenty>,
}

/// What is left of a rate limit.
struct Limit {
    record: RateRecord,
    /// When buckets will be full, by key.
    full_at: HashMap<u64, u64>,
}

/// Rules in force.
pub(super) struct SimRules {
    table: Table<Vec<u8>>,
    generation: u64,
    pools: Vec<Pool>,
    /// Service addresses, by service.
    listens: Vec<(u16, u32)>,
    /// Rate limits in the order of the table, each with its service's port.
    limits: Vec<(u16, Rc<RefCell<Limit>>)>,
    service: [u8; 16],
}

impl SimRules {
    /// The rules of a plan, in a generation; servers of the same name as before are the same.
    pub(super) fn new(
        plan: &Plan,
        service: [u8; 16],
        servers: &[[u8; 16]],
        generation: u64,
        before: Option<&Self>,
    ) -> Self {
        let text = text::text(plan, service, servers, generation);
        Self::of(&text, service, servers, generation, before)
    }

    /// The rules of a file.
    fn of(
        text: &str,
        service: [u8; 16],
        servers: &[[u8; 16]],
        generation: u64,
        before: Option<&Self>,
    ) -> Self {
        let table = match l7switch_rules::load_text("sim", text) {
            Ok(rules) => rules.table,
            Err(report) => panic!("the simulation's rules: {report:?}\n{text}"),
        };
        let mut rules = Self {
            generation,
            pools: Vec::new(),
            listens: Vec::new(),
            limits: Vec::new(),
            service,
            table,
        };
        for number in 0..rules.table.count::<ServiceRecord>() {
            let record: ServiceRecord = rules.record(number);
            let name = rules.table.text(record.name, record.name_len);
            let ports = match name {
                b"b-http" | b"z-http" => Some(HTTP),
                b"c-also" => Some(ALSO),
                b"d-tls" => Some(TLS),
                b"e-eager" => Some(EAGER),
                _ => None,
            };
            rules.listens.extend(ports.map(|port| (port, number)));
            for route in record.routes..record.routes + record.routes_len {
                let route: RouteRecord = rules.record(route);
                if let (Some(port), Some(rate)) = (ports, route.rate.checked_sub(1)) {
                    let limit = rules.limit(port, rate, before);
                    rules.limits.push((port, limit));
                }
            }
        }
        for number in 0..rules.table.count::<PoolRecord>() {
            let record: PoolRecord = rules.record(number);
            let name = rules.table.text(record.name, record.name_len);
            let name = String::from_utf8_lossy(name).into_owned();
            let members: Vec<Handle> = (record.servers..record.servers + record.servers_len)
                .map(|index| rules.member(&name, index, servers, before))
                .collect();
            let Some(kind) = Kind::from_number(record.scheduler) else {
                panic!("a verified table has an unknown scheduler")
            };
            let Ok(lookup) = LookupTable::lay_out(kind, &members) else {
                panic!("a verified table has too many servers")
            };
            rules.pools.push(Pool {
                lookup,
                record,
                kind,
                members,
                cursor: Cursor::new(),
            });
        }
        rules
    }

    fn record<R: l7switch_engine::table::format::Record>(&self, index: u32) -> R {
        match self.table.get(index) {
            Some(record) => record,
            None => panic!("no record {index}"),
        }
    }

    fn member(&self, pool: &str, index: u32, hosts: &[[u8; 16]], before: Option<&Self>) -> Handle {
        let record: ServerRecord = self.record(index);
        let words = [record.a0, record.a1, record.a2, record.a3];
        let address = words.iter().fold(0, |n, &w| n << 32 | u128::from(w));
        let endpoint = Endpoint {
            address: address.to_be_bytes(),
            port: record.port as u16,
        };
        let known = before.into_iter().flat_map(|rules| &rules.pools);
        let known = known
            .flat_map(|pool| &pool.members)
            .find(|known| known.0.pool == pool && known.0.scheduled.endpoint() == endpoint);
        if let Some(known) = known {
            known.0.scheduled.set_weight(record.weight);
            known.0.scheduled.set_bound(record.bound);
            return known.clone();
        }
        let host = hosts.iter().position(|&host| host == endpoint.address);
        let scheduled = sched::Server::new(endpoint, record.weight);
        scheduled.set_bound(record.bound);
        Handle(Rc::new(Server {
            pool: pool.to_owned(),
            host: host.map_or(u8::MAX, |host| host as u8),
            scheduled,
            failures: Failures::new(),
            requests: Cell::new(0),
        }))
    }

    /// The rate limit of a service, which has one: that of the rules before, if it says the same.
    fn limit(&self, port: u16, rate: u32, before: Option<&Self>) -> Rc<RefCell<Limit>> {
        assert_eq!(rate as usize, self.limits.len(), "limits follow each other");
        let record: RateRecord = self.record(rate);
        let mut known = before.into_iter().flat_map(|rules| &rules.limits);
        let same = known.find(|(of, limit)| *of == port && RefCell::borrow(limit).record == record);
        same.map_or_else(
            || {
                let full_at = HashMap::new();
                Rc::new(RefCell::new(Limit { record, full_at }))
            },
            |(_, limit)| Rc::clone(limit),
        )
    }

    /// Takes a token of a rate limit.
    pub(super) fn takes_token(&self, rate: u32, client: &[u8; 16], now: u64) -> bool {
        let mut limit = self.limits[rate as usize].1.borrow_mut();
        let record = limit.record;
        let key = match RateKey::from_number(record.key) {
            Some(RateKey::Source) => source_key([1, 2], 0, &record, client),
            _ => 0,
        };
        let full_at = limit.full_at.entry(key).or_default();
        let taken = Rate::of(&record).take(*full_at, now);
        taken.map(|then| *full_at = then).is_ok()
    }

    /// Puts servers back that were left out, where their time has come.
    pub(super) fn recover(&self, now: u64) {
        for server in self.pools.iter().flat_map(|pool| &pool.members) {
            if server.0.failures.recovers(now) {
                server.0.scheduled.set_available(true);
            }
        }
    }

    /// Whether a route, by its number in the table, leads to a server's host.
    pub(super) fn leads(&self, route: u32, host: u8) -> bool {
        let route: RouteRecord = self.record(route);
        (route.shares..route.shares + route.shares_len).any(|share| {
            let share: ShareRecord = self.record(share);
            let members = &self.pools[share.pool as usize].members;
            members.iter().any(|member| member.0.host == host)
        })
    }

    /// Requests that were passed to a host.
    pub(super) fn requests(&self, host: u8) -> u64 {
        let servers = self.pools.iter().flat_map(|pool| &pool.members);
        let servers = servers.filter(|server| server.0.host == host);
        servers.map(|server| server.0.requests.get()).sum()
    }

    /// A server that has more outstanding than it may: how many, and how many it may.
    pub(super) fn over_bound(&self) -> Option<(u32, u32)> {
        let servers = self.pools.iter().flat_map(|pool| &pool.members);
        let mut counts = servers.map(|server| {
            let server = &server.0.scheduled;
            (server.active(), server.bound())
        });
        counts.find(|&(active, bound)| bound > 0 && active > bound)
    }

    /// Requests that servers count as outstanding.
    pub(super) fn active(&self) -> u32 {
        let servers = self.pools.iter().flat_map(|pool| &pool.members);
        servers.map(|server| server.0.scheduled.active()).sum()
    }
}

impl RulesetView for SimRules {
    type Bytes = Vec<u8>;
    type Server = Handle;
    type Member = Handle;

    fn table(&self) -> &Table<Vec<u8>> {
        &self.table
    }

    fn generation(&self) -> u64 {
        self.generation
    }

    fn service_at(&self, address: &Endpoint) -> Option<u32> {
        let mut listens = self.listens.iter();
        let found = listens.find(|(port, _)| *port == address.port);
        found
            .filter(|_| address.address == self.service)
            .map(|(_, service)| *service)
    }

    fn pool(&self, number: u32) -> Option<PoolView<'_, Handle>> {
        let pool = self.pools.get(number as usize)?;
        Some(PoolView {
            record: &pool.record,
            kind: pool.kind,
            members: &pool.members,
        })
    }

    fn pick(&self, pool: u32, ask: &sched::Ask, skip: impl Fn(usize) -> bool) -> Option<usize> {
        let pool = self.pools.get(pool as usize)?;
        let view = sched::Pool {
            kind: pool.kind,
            load_percent: pool.record.load_percent,
            servers: &pool.members,
            cursor: &pool.cursor,
            lookup: pool.lookup.as_lookup(),
        };
        view.pick(ask, skip)
    }

    fn server(&self, member: &Handle) -> Handle {
        member.clone()
    }

    fn place_of(&self, server: &Handle) -> Option<(u32, u32)> {
        (0..).zip(&self.pools).find_map(|(number, pool)| {
            let mut members = pool.members.iter();
            let position = members.position(|member| Rc::ptr_eq(&member.0, &server.0))?;
            Some((number, position as u32))
        })
    }

    fn route_slot(&self, route: u32) -> Option<u32> {
        Some(route)
    }

    fn is_slot_since(&self, _: u32, _: u64) -> bool {
        // Numbers of routes are others in the next rules.
        false
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
pub(super) mod tests;
