// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Seeds that have failed, and fresh ones for some seconds (`L7_SIM_SECONDS`, 5).

use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use l7switch_engine::endpoint::Endpoint;
use l7switch_engine::proxy_header::Ends;
use l7switch_engine::table::codes::ProxyVersion;
use l7switch_sim::generate::Size;
use l7switch_sim::generate::plan;
use l7switch_sim::header::ClientHeader;
use l7switch_sim::last_lines;
use l7switch_sim::plan::Conn;
use l7switch_sim::plan::Exchange;
use l7switch_sim::plan::FRONT;
use l7switch_sim::plan::HTTP;
use l7switch_sim::plan::LIMITED;
use l7switch_sim::plan::LimitPlan;
use l7switch_sim::plan::Plan;
use l7switch_sim::plan::SECOND;
use l7switch_sim::plan::What;
use l7switch_sim::plan::told;
use l7switch_sim::report::Report;
use l7switch_sim::run;
use l7switch_sim::world::World;

fn size(level: u8) -> Size {
    Size {
        connections: 20,
        level,
        extras: true,
    }
}

/// A seed of before there were PROXY headers and bounds.
fn plain(level: u8, seed: u64) -> Report {
    let size = Size {
        extras: false,
        ..size(level)
    };
    check_size(size, seed)
}

fn check(level: u8, seed: u64) -> Report {
    check_size(size(level), seed)
}

fn check_size(size: Size, seed: u64) -> Report {
    let report = run(seed, size, false);
    if !report.errors.is_empty() {
        let trace = run(seed, size, true).trace;
        let level = size.level;
        let plain = if size.extras { "" } else { " --plain" };
        panic!(
            "level {level}, seed {seed}: {}\n{}\nl7sim --level {level} --seed {seed}{plain} --trace shows all of it",
            report.errors.join("\n"),
            last_lines(&trace)
        );
    }
    report
}

/// Seeds of which each has failed once; and a row of others, so that everything happens that can.
#[test]
fn seeds_that_were_run_before() {
    let mut total = Report::default();
    for level in 0..3 {
        for seed in 1..=60 {
            total.add(&plain(level, seed));
        }
    }
    for seed in [
        1309, 1912, 116, 156, 243, 265, 393, 455, 558, 700660, 704368, 704737, 712692, 20019897,
    ] {
        total.add(&plain(1, seed));
    }
    for seed in [
        84,
        128,
        139,
        188,
        202,
        231,
        312,
        349,
        560,
        627,
        691,
        788,
        894,
        10285,
        10318,
        10346,
        10660,
        10671,
        10676,
        10692,
        10960,
        11185,
        11444,
        11636,
        11773,
        20482,
        20617,
        20683,
        20710,
        21009,
        21085,
        21391,
        1001670,
        500000284,
        500000984,
        700001069,
        700001565,
        700005643,
        700006526,
        700006948,
        700008245,
        700010497,
        800012100,
        800014240,
        1753594219664019,
        1753594222950344,
        5000010663,
        5000011706,
        5000017055,
        5000018065,
        5000022323,
        5000030644,
        6300016736,
        900693,
    ] {
        total.add(&plain(2, seed));
    }
    assert_eq!(total.chance, 0);
    // A simulation in which nothing happens finds nothing.
    assert!(total.exchanges > 1_000, "{} exchanges", total.exchanges);
    for what in [
        "Rebind",
        "Replay",
        "Unsolicited",
        "OutOfOrder",
        "OutOfWindow",
        "NoFront",
        "OldTimestamp",
        "Idle",
        "ToFront",
        "TupleInUse",
        "PortsExhausted",
        "ConnectFailed",
        "ServerFailing",
    ] {
        assert!(total.stats.events.contains_key(what), "no {what}");
    }
    for verdict in [
        "open",
        "hold",
        "part-hold",
        "reopen",
        "pass",
        "server-part",
        "unacked",
        "reload",
    ] {
        assert!(total.stats.verdicts.contains_key(verdict), "no {verdict}");
    }
}

/// The same with PROXY headers.
#[test]
fn seeds_with_proxy_headers_that_were_run_before() {
    for (level, wanted, failed) in [
        (0, &["ProxyRead", "ProxySent"][..], &[][..]),
        (
            1,
            &["ProxyRead", "ProxySent", "ProxyResent"],
            &[126, 646, 2266, 2525, 2832],
        ),
        (
            2,
            &["ProxyRead", "ProxySent", "ProxyResent"],
            &[97, 1047, 1063, 1369],
        ),
    ] {
        let mut total = Report::default();
        for seed in (1..=60).chain(failed.iter().copied()) {
            total.add(&check(level, seed));
        }
        assert_eq!(total.chance, 0);
        for what in wanted {
            let events = &total.stats.events;
            assert!(events.contains_key(*what), "level {level}: no {what}");
        }
    }
}

/// What comes of it shows nothing, so the run ends.
#[test]
fn a_run_ends_where_a_cookie_is_met_by_chance() {
    let report = plain(2, 5000002606);
    assert_eq!(report.chance, 1);
    assert!(report.exchanges > 5);
}

#[test]
fn fresh_seeds() {
    let seconds = std::env::var("L7_SIM_SECONDS")
        .ok()
        .and_then(|seconds| seconds.parse().ok())
        .unwrap_or(5);
    let base = SystemTime::UNIX_EPOCH
        .elapsed()
        .map_or(1, |time| time.as_nanos() as u64 >> 10);
    println!("base seed {base}");
    let start = Instant::now();
    let mut total = Report::default();
    let mut seed = base;
    while start.elapsed() < Duration::from_secs(seconds) {
        for level in [0, 1, 2, 2, 2] {
            total.add(&check(level, seed));
            seed += 1;
        }
    }
    assert!(total.chance <= 1, "{} cookies met", total.chance);
    println!(
        "{} seeds, {} connections, {} exchanges",
        seed - base,
        total.connections,
        total.exchanges
    );
}

/// A plan of one clean connection.
fn clean() -> Plan {
    let mut plan = plan(
        1,
        Size {
            extras: false,
            ..size(0)
        },
    );
    plan.conns.truncate(1);
    plan.mss = 1460;
    plan
}

/// One clean connection, with the exchanges that `change` makes of its first.
fn exchanges(change: impl FnOnce(&Exchange) -> Vec<Exchange>) -> Report {
    let mut plan = clean();
    let What::Http(list, _) = &plan.conns[0].what else {
        panic!("{:?}", plan.conns[0].what)
    };
    plan.conns[0].what = What::Http(change(&list[0]).into(), 1);
    let report = World::new(plan, false).run();
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    report
}

/// Longer than what is looked at first.
#[test]
fn a_head_of_several_segments_is_read_whole() {
    let report = exchanges(|first| {
        vec![Exchange {
            padding: 5_000,
            ..first.clone()
        }]
    });
    assert_eq!((report.exchanges, report.stats.requests), (1, 1));
    assert_eq!(report.stats.events.get("ToFront"), None);
}

#[test]
fn a_connection_that_the_front_has_goes_on_to_a_server() {
    let report = exchanges(|first| {
        let of = |(pool, index)| Exchange {
            pool,
            index,
            ..first.clone()
        };
        [(FRONT, 0), (0, 1), (FRONT, 2)].map(of).to_vec()
    });
    assert_eq!((report.exchanges, report.stats.requests), (3, 3));
    assert_eq!(report.stats.events.get("ToFront"), Some(&2));
    assert_eq!(report.stats.events.get("Rebind"), Some(&2));
}

/// Every request takes one token, and what is over the limit goes to the front, as often as that is.
#[test]
fn what_is_over_a_rate_limit_goes_to_the_front() {
    // Behind each other, too: a request that waits for the one before is looked at again and again.
    for (by_source, at_once) in [(false, 1), (true, 1), (false, 2), (true, 6)] {
        let mut plan = clean();
        plan.rules.limit = Some(LimitPlan {
            burst: 2,
            by_source,
        });
        let What::Http(list, _) = &plan.conns[0].what else {
            panic!("{:?}", plan.conns[0].what)
        };
        let of = |(index, pool)| Exchange {
            pool,
            index,
            ..list[0].clone()
        };
        // Of other routes there is no limit.
        let pools = (0..).zip([LIMITED, LIMITED, 0, LIMITED, LIMITED, 0]);
        let list: Vec<_> = pools.map(of).collect();
        plan.conns[0].what = What::Http(list.into(), at_once);
        let report = World::new(plan, false).run();
        assert!(report.errors.is_empty(), "{:?}", report.errors);
        assert_eq!(report.exchanges, 6);
        let events = &report.stats.events;
        assert_eq!(events.get("RateLimited"), Some(&2));
        assert_eq!(events.get("ToFront"), Some(&2), "each is counted once");
    }
}

/// Each has its own bucket, though all come from one address.
#[test]
fn clients_behind_a_proxy_have_rate_limits_of_their_own() {
    let mut plan = clean();
    plan.rules.limit = Some(LimitPlan {
        burst: 1,
        by_source: true,
    });
    plan.proxies.services = vec![HTTP];
    plan.proxies.all = true;
    let first = plan.conns[0].clone();
    let What::Http(list, _) = &first.what else {
        panic!("{:?}", first.what)
    };
    let of = |(id, client): (u32, u8)| {
        let end = |port| Endpoint {
            address: told(false, false, client),
            port,
        };
        let ends = Ends {
            source: end(20_000 + id as u16),
            destination: end(80),
        };
        let exchange = Exchange {
            conn: id,
            pool: LIMITED,
            ..list[0].clone()
        };
        Conn {
            id,
            port: 40_000 + id as u16,
            header: Some(ClientHeader {
                version: ProxyVersion::V2,
                ends: Some(ends),
                padding: None,
                checked: false,
                apart: false,
            }),
            what: What::Http([exchange].into(), 1),
            ..first.clone()
        }
    };
    plan.conns = (0..).zip([0, 1, 0, 2]).map(of).collect();
    let report = World::new(plan, false).run();
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    let events = &report.stats.events;
    assert_eq!(events.get("ProxyRead"), Some(&4));
    assert_eq!(events.get("RateLimited"), Some(&1), "the second of one");
}

/// As many requests at the same time as servers may have go to servers; the front refuses what is over that, and what comes later
/// goes to servers again. A request never stands in the way of the next on its connection: of two that a client sends at once, both
/// go to a server, or neither.
#[test]
fn the_front_refuses_what_servers_may_not_have() {
    for (bound, at_once, refused) in [(1, 1, 2), (2, 1, 0), (1, 2, 4), (3, 2, 0)] {
        let mut plan = clean();
        let servers = plan
            .servers
            .iter()
            .filter(|server| server.pool == 0)
            .count() as u32;
        plan.rules.bound = Some(bound);
        let of = |id: u32| {
            let mut conn = plan.conns[0].clone();
            let What::Http(list, _) = &plan.conns[0].what else {
                panic!("{:?}", plan.conns[0].what)
            };
            let exchange = |index| Exchange {
                conn: id,
                index,
                pool: 0,
                think: if at_once == 1 {
                    SECOND * u64::from(id + 1)
                } else {
                    0
                },
                ..list[0].clone()
            };
            conn.what = What::Http([exchange(0), exchange(1)].into(), at_once);
            (conn.id, conn.port) = (id, conn.port + id as u16);
            conn
        };
        // In the first round all come at once; a second later, alone.
        let mut conns: Vec<_> = (0..servers + 2).map(of).collect();
        for (conn, number) in conns.iter_mut().zip(0u32..) {
            conn.start += u64::from(number);
        }
        plan.conns = conns;
        let report = World::new(plan, false).run();
        assert!(report.errors.is_empty(), "{:?}", report.errors);
        assert_eq!(report.exchanges, u64::from(servers + 2) * 2);
        let events = &report.stats.events;
        let to_front = events.get("ServersFull").copied().unwrap_or_default();
        assert_eq!(to_front, refused, "{bound} {at_once} {servers} {events:?}");
        assert_eq!(events.get("ToFront").copied().unwrap_or_default(), refused);
    }
}

/// What the front is to refuse never shares a connection with what it is to serve.
#[test]
fn the_front_has_connections_for_what_it_refuses() {
    let mut plan = clean();
    plan.rules.limit = Some(LimitPlan {
        burst: 1,
        by_source: true,
    });
    let What::Http(list, _) = &plan.conns[0].what else {
        panic!("{:?}", plan.conns[0].what)
    };
    let of = |(index, pool)| Exchange {
        pool,
        index,
        ..list[0].clone()
    };
    let pools = [LIMITED, LIMITED, LIMITED, FRONT, FRONT, LIMITED];
    let list: Vec<_> = (0..).zip(pools).map(of).collect();
    plan.conns[0].what = What::Http(list.into(), 1);
    let report = World::new(plan, false).run();
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    let events = &report.stats.events;
    assert_eq!(events.get("RateLimited"), Some(&3));
    assert_eq!(events.get("ToFront"), Some(&5));
    assert_eq!(
        events.get("Connect"),
        Some(&4),
        "a server, and thrice the front"
    );
}

#[test]
fn where_the_host_forwards_no_packets_the_front_has_all_requests() {
    for (v6, forwards) in [
        (false, [true, false]),
        (false, [false, true]),
        (true, [false, true]),
        (true, [true, false]),
    ] {
        let plan = Plan {
            v6,
            forwards,
            ..clean()
        };
        let report = World::new(plan, false).run();
        assert!(report.errors.is_empty(), "{:?}", report.errors);
        let to_front = (!forwards[usize::from(v6)]).then_some(&1);
        for event in ["ForwardingOff", "ToFront"] {
            assert_eq!(report.stats.events.get(event), to_front, "{event}");
        }
    }
}

#[test]
fn a_seed_is_the_same_every_time() {
    let once = run(7, size(2), true);
    let again = run(7, size(2), true);
    assert_eq!(once.trace, again.trace);
    assert!(once.trace.len() > 100);
}
