// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The engine's policy over rules as the module has them: where a request goes, step by step.

use std::borrow::Borrow;
use std::cell::Cell;

use l7switch_engine::decide::Verdict;
use l7switch_engine::decide::decide;
use l7switch_engine::endpoint::is_loopback;
use l7switch_engine::environment::RealServer as _;
use l7switch_engine::form::Buffers;
use l7switch_engine::policy;
use l7switch_engine::policy::Bound;
use l7switch_engine::policy::Forward;
use l7switch_engine::policy::Host;
use l7switch_engine::policy::NOWHERE;
use l7switch_engine::policy::RulesetView as _;
use l7switch_engine::policy::Situation;
use l7switch_engine::policy::Tried;
use l7switch_engine::sched::Kind;
use l7switch_engine::sched::Server;
use l7switch_engine::table::Request;
use l7switch_engine::table::codes::Forwarding;
use l7switch_engine::table::format::RouteRecord;
use l7switch_engine::uri::MAX_HOST;

use super::Handle;
use super::SimRules;
use crate::generate::Size;
use crate::plan::HTTP;
use crate::plan::Plan;
use crate::plan::SchedulerPlan;
use crate::plan::ServerHost;

pub(in crate::switch) const SERVICE: [u8; 16] =
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1];

/// A host whose random numbers are counted up, in steps that take every place of a split. Its address is the service's.
struct Counting(Cell<u64>);

impl Host for Counting {
    fn random(&self) -> u64 {
        self.0.set(self.0.get().wrapping_add(0x1357_9bdf_0246_8ace));
        self.0.get()
    }

    fn is_here(&self, address: &[u8; 16]) -> bool {
        *address == SERVICE || is_loopback(address)
    }
}

/// The plan of a seed with three servers in every pool.
pub(in crate::switch) fn plan(kind: Kind, key: &'static str, split: bool) -> Plan {
    let size = Size {
        connections: 1,
        level: 0,
        extras: false,
    };
    let mut plan = crate::generate::plan(1, size);
    let server = plan.servers[0].clone();
    plan.servers = (0..9)
        .map(|number| ServerHost {
            pool: number / 3,
            fullnat: number / 3 == 1,
            ..server.clone()
        })
        .collect();
    plan.rules.schedulers = [SchedulerPlan { kind, key }; 3];
    plan.rules.split = split;
    plan.rules.retries = 1;
    plan
}

fn addresses() -> Vec<[u8; 16]> {
    let mut address = SERVICE;
    (1..=9u8)
        .map(|host| {
            (address[13], address[15]) = (2, host);
            address
        })
        .collect()
}

pub(in crate::switch) fn rules(
    plan: &Plan,
    generation: u64,
    before: Option<&SimRules>,
) -> SimRules {
    SimRules::new(plan, SERVICE, &addresses(), generation, before)
}

struct Asking<'a> {
    rules: &'a SimRules,
    host: Counting,
    client: [u8; 16],
    /// What a PROXY header says that the client's address is.
    told: Option<[u8; 16]>,
    active: Option<Bound<Handle>>,
    places_hold: bool,
    tried: Tried,
}

impl<'a> Asking<'a> {
    fn new(rules: &'a SimRules) -> Self {
        let mut client = SERVICE;
        client[13] = 1;
        Self {
            rules,
            host: Counting(Cell::new(7)),
            client,
            told: None,
            active: None,
            places_hold: true,
            tried: Tried::new(),
        }
    }

    /// Asks about a request for a pool, with this at the end of its path.
    fn ask(&self, pool: u8, end: &str) -> Option<Forward<Handle>> {
        let listens = self.rules.listens.iter();
        let service = listens
            .filter(|(port, _)| *port == HTTP)
            .map(|l| l.1)
            .next();
        let path = format!("/p{pool}/{end}");
        let no_fields: &[(&[u8], &[u8])] = &[];
        let request = Request {
            host: b"x.test",
            method: b"GET",
            path: path.as_bytes(),
            query: b"",
            source: self.told.unwrap_or(self.client),
            fields: no_fields,
        };
        let table = self.rules.table();
        let winner = table
            .winner_within(service.unwrap(), &request, 1000)
            .unwrap();
        let service: super::ServiceRecord = self.rules.record(service.unwrap());
        let route: RouteRecord = self.rules.record(service.routes + winner.unwrap().position);
        let situation = Situation {
            client: &self.client,
            active: self.active.as_ref(),
            places_hold: self.places_hold,
            tried: &self.tried,
            now: 1,
        };
        policy::forward(self.rules, &route, &request, &situation, &self.host)
    }

    /// The same where it must go to a server.
    fn go(&self, pool: u8, end: &str) -> (Bound<Handle>, Forwarding) {
        match self.ask(pool, end) {
            Some(Forward::Go {
                bound, forwarding, ..
            }) => (bound, forwarding),
            other => panic!("{other:?}"),
        }
    }
}

fn scheduled(server: &Handle) -> &Server {
    server.borrow()
}

#[test]
fn a_request_goes_to_a_server_of_its_pool_in_the_pools_way() {
    let plan = plan(Kind::Rr, "source", false);
    let rules = rules(&plan, 1, None);
    let asking = Asking::new(&rules);
    for pool in 0..3 {
        let mut hosts = Vec::new();
        for _ in 0..3 {
            let (bound, forwarding) = asking.go(pool, "");
            assert_eq!(forwarding == Forwarding::Fullnat, pool == 1);
            assert_eq!(
                rules.place_of(&bound.server),
                Some((bound.pool, bound.position))
            );
            hosts.push(bound.server.0.host);
        }
        hosts.sort_unstable();
        assert_eq!(hosts, [pool * 3, pool * 3 + 1, pool * 3 + 2]);
    }
}

#[test]
fn a_request_stays_where_its_pool_is_and_its_server_takes_requests() {
    let plan = plan(Kind::Rr, "source", false);
    let rules = rules(&plan, 1, None);
    let mut asking = Asking::new(&rules);
    let (bound, _) = asking.go(0, "");
    let server = bound.server.clone();
    asking.active = Some(bound);
    assert!(matches!(asking.ask(0, ""), Some(Forward::Stay { .. })));
    assert!(
        matches!(asking.ask(1, ""), Some(Forward::Go { .. })),
        "another pool"
    );
    scheduled(&server).set_weight(0);
    assert!(
        matches!(asking.ask(0, ""), Some(Forward::Go { .. })),
        "it is drained"
    );
    scheduled(&server).set_weight(1);
    for now in 0..3 {
        server.fails(now);
    }
    assert!(
        matches!(asking.ask(0, ""), Some(Forward::Go { .. })),
        "it takes no connections"
    );
    rules.recover(u64::MAX);
    assert!(matches!(asking.ask(0, ""), Some(Forward::Stay { .. })));
    asking.places_hold = false;
    let places: Vec<_> = (0..3)
        .filter_map(|_| match asking.ask(0, "") {
            Some(Forward::Go { bound, .. }) => Some((bound.pool, bound.position)),
            // The scheduler's turn was the server in use.
            _ => None,
        })
        .collect();
    assert_eq!(places, [(NOWHERE, NOWHERE); 2], "places are of other rules");
}

#[test]
fn a_scheduler_that_places_by_the_request_moves_it() {
    let plan = plan(Kind::Mh, "path", false);
    let rules = rules(&plan, 1, None);
    let mut asking = Asking::new(&rules);
    let first = asking.go(0, "0").0;
    let places: Vec<u32> = (0..40)
        .map(|n| asking.go(0, &n.to_string()).0.position)
        .collect();
    assert!(
        (0..3).all(|position| places.contains(&position)),
        "{places:?}"
    );
    let again: Vec<u32> = (0..40)
        .map(|n| asking.go(0, &n.to_string()).0.position)
        .collect();
    assert_eq!(places, again, "the same path, the same server");
    let home = first.position;
    asking.active = Some(first);
    for (n, &place) in places.iter().enumerate() {
        let stays = matches!(asking.ask(0, &n.to_string()), Some(Forward::Stay { .. }));
        assert_eq!(stays, place == home, "path {n}");
    }
}

#[test]
fn a_scheduler_that_places_by_source_lets_it_stay() {
    let plan = plan(Kind::Sh, "source", false);
    let rules = rules(&plan, 1, None);
    let mut asking = Asking::new(&rules);
    let home = asking.go(0, "0").0;
    // Another one than the key's: it stays all the same.
    let other = rules.pools[home.pool as usize]
        .members
        .iter()
        .position(|member| scheduled(member).endpoint() != scheduled(&home.server).endpoint());
    let position = other.unwrap();
    asking.active = Some(Bound {
        server: rules.pools[home.pool as usize].members[position].clone(),
        pool: home.pool,
        position: position as u32,
    });
    assert!(matches!(asking.ask(0, "0"), Some(Forward::Stay { .. })));
}

#[test]
fn a_split_gives_each_pool_its_part_and_either_holds_a_connection() {
    let plan = plan(Kind::Rr, "source", true);
    let rules = rules(&plan, 1, None);
    let mut asking = Asking::new(&rules);
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..1000 {
        let (bound, _) = asking.go(0, "");
        *counts.entry(bound.server.0.pool.clone()).or_insert(0) += 1;
        if asking.active.is_none() && bound.server.0.pool == "i0" {
            assert!(matches!(
                Asking {
                    active: Some(bound),
                    ..Asking::new(&rules)
                }
                .ask(0, ""),
                Some(Forward::Stay { .. })
            ));
        }
    }
    asking.active = None;
    assert!(
        (550..650).contains(&counts["h0"]) && (350..450).contains(&counts["i0"]),
        "{counts:?}"
    );
}

#[test]
fn a_request_does_not_stay_in_a_pool_that_gets_nothing_new() {
    let plan = plan(Kind::Rr, "source", true);
    let first = rules(&plan, 1, None);
    let asking = Asking::new(&first);
    let mut bounds = (0..100).map(|_| asking.go(0, "").0);
    let mut bound = bounds.find(|bound| bound.server.0.pool == "i0").unwrap();
    let third = rules(&plan, 3, Some(&first));
    (bound.pool, bound.position) = third.place_of(&bound.server).unwrap();
    let asking = Asking {
        active: Some(bound),
        ..Asking::new(&third)
    };
    for _ in 0..20 {
        assert_eq!(asking.go(0, "").0.server.0.pool, "h0");
    }
}

#[test]
fn servers_that_failed_are_left_out_and_then_the_front_answers() {
    let plan = plan(Kind::Rr, "source", false);
    let rules = rules(&plan, 1, None);
    let mut asking = Asking::new(&rules);
    let first = asking.go(0, "").0;
    asking.tried.add(first.pool, first.position);
    for _ in 0..10 {
        assert_ne!(asking.go(0, "").0.position, first.position);
    }
    let second = asking.go(0, "").0;
    asking.tried.add(second.pool, second.position);
    assert!(asking.ask(0, "").is_none(), "one retry is allowed");
    assert!(
        asking.ask(1, "").is_some(),
        "another pool's servers were not tried"
    );
    asking.tried.clear();
    for server in &rules.pools[first.pool as usize].members {
        scheduled(server).set_available(false);
    }
    assert!(asking.ask(0, "").is_none());
}

#[test]
fn servers_are_the_same_in_the_next_rules() {
    let plan = plan(Kind::Wlc, "source", false);
    let first = rules(&plan, 1, None);
    let bound = Asking::new(&first).go(0, "").0;
    scheduled(&bound.server).start();
    let second = rules(&plan, 2, Some(&first));
    let (pool, position) = second.place_of(&bound.server).unwrap();
    assert_ne!(pool, bound.pool, "numbers have moved");
    let there = &second.pools[pool as usize].members[position as usize];
    assert_eq!(scheduled(there).active(), 1);
    assert_eq!(second.active(), 1);
    let drained = &second.pools[pool as usize].members[1];
    assert_eq!(scheduled(drained).weight(), 0);
}

#[test]
fn a_server_at_a_loopback_address_is_for_this_hosts_clients() {
    let plan = plan(Kind::Rr, "source", false);
    let mut addresses = addresses();
    for address in &mut addresses {
        address[12] = 127;
    }
    let rules = SimRules::new(&plan, SERVICE, &addresses, 1, None);
    let mut asking = Asking::new(&rules);
    assert!(asking.ask(0, "").is_none(), "another host's client");
    asking.told = Some(SERVICE);
    assert!(asking.ask(0, "").is_none(), "who says to be on this host");
    asking.client = SERVICE;
    asking.told = Some([0x20; 16]);
    assert!(matches!(asking.ask(0, ""), Some(Forward::Go { .. })));
}

/// Packets of the client's come from where they come from.
#[test]
fn servers_are_reached_whatever_family_a_header_tells_of() {
    let plan = plan(Kind::Rr, "source", false);
    let rules = rules(&plan, 1, None);
    let mut asking = Asking::new(&rules);
    asking.told = Some([0x20; 16]);
    assert!(matches!(asking.ask(0, ""), Some(Forward::Go { .. })));
    (asking.client, asking.told) = ([0x20; 16], Some(SERVICE));
    assert!(asking.ask(0, "").is_none());
}

/// Rules whose only service has these routes, by three pools of one server each: two by turns, one by path.
fn small(routes: &str) -> SimRules {
    let text = format!(
        "[service.b-http]\nlisten = \"10.0.0.1:80\"\n{routes}\n\
         [pool.turns]\nservers = [\"10.2.0.1:80\"]\n\
         [pool.more]\nservers = [\"10.2.0.2:80\"]\n\
         [pool.paths]\nscheduler = {{ name = \"mh\", key = \"path\" }}\nservers = [\"10.2.0.3:80\"]\n"
    );
    SimRules::of(&text, SERVICE, &addresses(), 1, None)
}

#[test]
fn a_head_is_known_again_where_nothing_else_says_where_it_goes() {
    for (routes, known) in [
        ("route = [{ pool = \"turns\" }]", true),
        (
            "route = [{ pools = [{ name = \"turns\", weight = 1 }, { name = \"more\", weight = 1 }] }]",
            true,
        ),
        ("route = [{ pool = \"paths\" }]", false),
        (
            "route = [{ pools = [{ name = \"turns\", weight = 1 }, { name = \"paths\", weight = 1 }] }]",
            false,
        ),
        (
            "route = [{ pool = \"turns\", source = [\"10.0.0.0/8\"] }]",
            false,
        ),
    ] {
        let rules = small(routes);
        assert_eq!(policy::is_by_head_alone(&rules, 0), known, "{routes}");
    }
}

#[test]
fn all_of_a_head_decides() {
    let rules = small(
        "[[service.b-http.route]]\nhost = \"a.test\"\npool = \"turns\"\n\
         [[service.b-http.route]]\nquery = { v = \"2\" }\npool = \"more\"\n\
         [[service.b-http.route]]\nheaders = { v = \"3\" }\npool = \"more\"\n\
         [[service.b-http.route]]\nmethod = [\"DELETE\"]\npool = \"more\"\n\
         [[service.b-http.route]]\nsource = [\"10.1.0.9/32\"]\npool = \"more\"\n",
    );
    let verdict = |head: &str, client: u8| {
        let mut source = SERVICE;
        (source[13], source[15]) = (1, client);
        let buffers = Buffers {
            host: &mut [0; MAX_HOST],
            path: &mut [0; 64],
        };
        decide(rules.table(), 0, source, head.as_bytes(), buffers).verdict
    };
    let takes = |head: &str, client| matches!(verdict(head, client), Verdict::Route(_));
    assert!(takes("GET / HTTP/1.1\r\nHost: A.test\r\n\r\n", 1));
    assert!(!takes("GET / HTTP/1.1\r\nHost: b.test\r\n\r\n", 1));
    assert!(takes("GET /?v=2 HTTP/1.1\r\nHost: b.test\r\n\r\n", 1));
    assert!(takes("GET / HTTP/1.1\r\nHost: b.test\r\nV: 3\r\n\r\n", 1));
    assert!(takes("DELETE / HTTP/1.1\r\nHost: b.test\r\n\r\n", 1));
    assert!(takes("GET / HTTP/1.1\r\nHost: b.test\r\n\r\n", 9));
    for part in ["P", "PRI", "POST / HTTP/1.1\r\n"] {
        assert_eq!(verdict(part, 1), Verdict::Incomplete, "{part}");
    }
}

#[test]
fn a_place_is_kept_while_it_is_held_and_a_full_pool_is_told_apart_from_one_without_servers() {
    let mut plan = plan(Kind::Rr, "source", false);
    plan.rules.bound = Some(1);
    let rules = rules(&plan, 1, None);
    let mut asking = Asking::new(&rules);
    // Three servers have one each, whatever is asked for at the same time.
    let held: Vec<_> = (0..3).map(|_| asking.ask(0, "")).collect();
    assert!(
        held.iter()
            .all(|one| matches!(one, Some(Forward::Go { .. })))
    );
    assert!(matches!(asking.ask(0, ""), Some(Forward::Full)));
    assert!(matches!(asking.ask(1, ""), Some(Forward::Go { .. })));
    let Some(Some(Forward::Go { bound, .. })) = held.first() else {
        panic!("{held:?}")
    };
    let bound = bound.clone();
    assert_eq!(scheduled(&bound.server).active(), 1);
    // Its client's next request finds no place there, either, and no other.
    asking.active = Some(bound.clone());
    assert!(matches!(asking.ask(0, ""), Some(Forward::Full)));
    // What is not made use of gives its place back.
    for one in &held {
        let Some(Forward::Go {
            bound,
            has_place: true,
            ..
        }) = one
        else {
            panic!("{one:?}")
        };
        scheduled(&bound.server).finish();
    }
    assert_eq!(rules.active(), 1, "that of pool 1");
    assert!(matches!(
        asking.ask(0, ""),
        Some(Forward::Stay { has_place: true })
    ));
    scheduled(&bound.server).finish();
    // Those that are left out for other reasons are not full.
    let members: Vec<_> = (0..3)
        .map(|_| match Asking::new(&rules).ask(0, "") {
            Some(Forward::Go {
                bound, has_place, ..
            }) => (bound.server, has_place),
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(members.iter().all(|(_, held)| *held));
    scheduled(&members[0].0).set_available(false);
    scheduled(&members[1].0).set_weight(0);
    assert!(matches!(asking.ask(0, ""), Some(Forward::Full)));
    scheduled(&members[2].0).set_weight(0);
    assert!(asking.ask(0, "").is_none(), "nobody takes requests");
}
