// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What every scheduler promises, for all of them; and what their own tests share.

use crate::endpoint::Endpoint;
use std::sync::Arc;
use std::sync::Barrier;
use std::thread;
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

pub(super) const KINDS: [Kind; 11] = [
    Kind::Rr,
    Kind::Wrr,
    Kind::Lc,
    Kind::Wlc,
    Kind::Sed,
    Kind::Nq,
    Kind::P2c,
    Kind::Sh,
    Kind::Mh,
    Kind::Ch,
    Kind::Fastest,
];

/// 10.0.0.`number`:80.
pub(super) fn endpoint(number: usize) -> Endpoint {
    let [low, high, ..] = number.to_le_bytes();
    Endpoint {
        address: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, high, low],
        port: 80,
    }
}

/// Servers 10.0.0.1, 10.0.0.2 … of these weights.
pub(super) fn servers(weights: &[u32]) -> Vec<Server> {
    weights
        .iter()
        .zip(1..)
        .map(|(&weight, number)| Server::new(endpoint(number), weight))
        .collect()
}

pub(super) fn ask(random: u64) -> Ask {
    Ask {
        hash: hash_key(&random.to_le_bytes()),
        random,
        now_ns: 0,
    }
}

/// A pool with whatever table its scheduler wants.
pub(super) struct Bench {
    pub(super) kind: Kind,
    pub(super) load_percent: u32,
    pub(super) servers: Vec<Server>,
    pub(super) cursor: Cursor,
    table: Vec<u16>,
    points: Vec<ring::Point>,
}

impl Bench {
    pub(super) fn new(kind: Kind, weights: &[u32]) -> Self {
        Self::of(kind, servers(weights))
    }

    pub(super) fn of(kind: Kind, servers: Vec<Server>) -> Self {
        let mut table = vec![];
        let mut points = vec![];
        if kind == Kind::Mh {
            table = vec![0; maglev::size_for(servers.len())];
            let mut scratch = vec![maglev::Turn::default(); servers.len()];
            maglev::fill(&mut table, &mut scratch, &servers).unwrap();
        }
        if kind == Kind::Ch {
            points = vec![ring::Point::default(); ring::points_needed(&servers)];
            ring::fill(&mut points, &servers).unwrap();
        }
        Self {
            kind,
            load_percent: 0,
            servers,
            cursor: Cursor::new(),
            table,
            points,
        }
    }

    pub(super) fn pool(&self) -> Pool<'_, Server> {
        Pool {
            kind: self.kind,
            load_percent: self.load_percent,
            servers: &self.servers,
            cursor: &self.cursor,
            lookup: match self.kind {
                Kind::Mh => Lookup::Maglev(&self.table),
                Kind::Ch => Lookup::Ring(&self.points),
                _ => Lookup::None,
            },
        }
    }

    /// One pick, with nothing skipped.
    pub(super) fn pick(&self, random: u64) -> Option<usize> {
        self.pool().pick(&ask(random), |_| false)
    }

    /// This many picks' servers.
    pub(super) fn picks(&self, count: usize) -> Vec<usize> {
        (0..count)
            .map(|random| self.pick(random as u64).unwrap())
            .collect()
    }

    /// How often each server was picked.
    pub(super) fn count(&self, picks: &[usize]) -> Vec<usize> {
        (0..self.servers.len())
            .map(|of| picks.iter().filter(|&&pick| pick == of).count())
            .collect()
    }

    /// Picks in `threads` threads at the same time, as many in each.
    pub(super) fn picks_in_threads(&self, threads: usize, count: usize) -> Vec<usize> {
        let barrier = Barrier::new(threads);
        thread::scope(|scope| {
            let threads: Vec<_> = (0..threads)
                .map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        self.picks(count)
                    })
                })
                .collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        })
    }
}

/// What becomes of a server after the tables are made: weight, availability, skipped, outstanding.
type Fate = (u32, bool, bool, u8);

fn fates() -> impl Strategy<Value = Vec<(u32, Fate)>> {
    let weight = || prop_oneof![Just(0_u32), 1..4_u32, 1..=MAX_WEIGHT];
    prop::collection::vec(
        (weight(), (weight(), any::<bool>(), any::<bool>(), 0..4_u8)),
        0..12,
    )
}

fn check(kind: Kind, fates: &[(u32, Fate)], load_percent: u32, randoms: &[u64]) {
    let weights: Vec<u32> = fates.iter().map(|&(weight, _)| weight).collect();
    let mut bench = Bench::new(kind, &weights);
    bench.load_percent = load_percent;
    for (server, &(_, (weight, available, _, active))) in bench.servers.iter().zip(fates) {
        server.set_weight(weight);
        server.set_available(available);
        for _ in 0..active {
            server.start();
        }
        // A third has no bound, and of those that have one, some are full.
        server.set_bound(u32::from(active) * (weight % 3) / 2);
    }
    let skipped = |index: usize| fates[index].1 .2;
    let eligible = |index: usize| {
        let server = &bench.servers[index];
        server.weight() > 0 && server.available() && !server.is_full() && !skipped(index)
    };
    let any = (0..fates.len()).any(eligible);
    let tried: Vec<u16> = (0..fates.len())
        .filter(|&i| skipped(i))
        .map(|i| i as u16)
        .collect();
    for &random in randoms {
        let now_ns = random % 100_000_000_000;
        let ask = Ask {
            hash: random,
            random,
            now_ns,
        };
        for lookup in [bench.pool().lookup, Lookup::None] {
            let pool = Pool {
                lookup,
                ..bench.pool()
            };
            for picked in [pool.pick(&ask, skipped), pool.pick_except(&ask, &tried)] {
                assert_eq!(picked.is_some(), any, "{kind:?}");
                assert!(picked.is_none_or(eligible), "{kind:?} picked {picked:?}");
                if let Some(server) = picked.and_then(|index| bench.servers.get(index)) {
                    server.observe(random, now_ns);
                }
            }
        }
    }
}

proptest! {
    // Each case fills eleven pools' tables.
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn picks_an_eligible_server_whenever_there_is_one(
        fates in fates(),
        load_percent in prop_oneof![Just(0), 101..200_u32, any::<u32>()],
        randoms in prop::collection::vec(any::<u64>(), 1..16),
    ) {
        for kind in KINDS {
            check(kind, &fates, load_percent, &randoms);
        }
    }

    /// A table may be older than the list of servers.
    #[test]
    fn a_foreign_table_harms_nothing(
        table in prop::collection::vec(any::<u16>(), 0..300),
        size in 0..5_usize,
        random in any::<u64>(),
    ) {
        let other = Bench::new(Kind::Ch, &[1; 9]);
        let mine = Bench::new(Kind::Mh, &vec![1; size]);
        for (kind, lookup) in [
            (Kind::Mh, Lookup::Maglev(&table)),
            (Kind::Mh, other.pool().lookup),
            (Kind::Ch, Lookup::Maglev(&table)),
            (Kind::Ch, other.pool().lookup),
        ] {
            let picked = Pool { kind, lookup, ..mine.pool() }.pick(&ask(random), |_| false);
            prop_assert_eq!(picked.is_some(), size > 0);
            prop_assert!(picked.is_none_or(|index| index < size));
        }
    }
}

#[test]
fn takes_servers_behind_a_pointer() {
    let servers: Vec<Arc<Server>> = servers(&[1, 1]).into_iter().map(Arc::new).collect();
    let cursor = Cursor::new();
    let pool = Pool {
        kind: Kind::Rr,
        load_percent: 0,
        servers: &servers,
        cursor: &cursor,
        lookup: Lookup::None,
    };
    assert_eq!(pool.pick(&ask(0), |_| false), Some(0));
}

#[test]
fn a_server_has_no_more_than_its_bound() {
    let bench = Bench::new(Kind::Rr, &[1, 1]);
    let [one, other] = [&bench.servers[0], &bench.servers[1]];
    one.set_bound(2);
    assert!(one.try_start() && one.try_start() && !one.try_start());
    assert_eq!((one.active(), one.is_full()), (2, true));
    assert_eq!(bench.picks(3), [1, 1, 1]);
    other.set_bound(1);
    assert!(other.try_start());
    assert_eq!(bench.pick(0), None);
    one.finish();
    assert_eq!(bench.pick(0), Some(0));
    // A lower bound ends nothing; a higher one and none at all count at once.
    one.set_bound(1);
    assert!(one.is_full() && !one.try_start());
    one.set_bound(0);
    assert!(!one.is_full() && one.try_start());
    // Without a bound the count goes on to its end, and no further.
    one.active
        .store(u32::MAX, std::sync::atomic::Ordering::Relaxed);
    assert!(!one.try_start());
}

/// Of many at the same time, exactly as many start as may.
#[test]
fn a_bound_holds_with_threads() {
    let server = Server::new(endpoint(1), 1);
    server.set_bound(7);
    let barrier = Barrier::new(4);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                barrier.wait();
                for _ in 0..10_000 {
                    if server.try_start() {
                        assert!(server.active() <= 7);
                        server.finish();
                    }
                }
            });
        }
    });
    assert_eq!(server.active(), 0);
}

/// Threads pick, start and finish while another takes servers away and gives them back; one
/// server is always there.
#[test]
fn picks_go_on_while_servers_change() {
    for kind in KINDS {
        let mut bench = Bench::new(kind, &[3, 2, 5, 1, 4]);
        bench.load_percent = 125;
        thread::scope(|scope| {
            for thread in 0..3_u64 {
                let bench = &bench;
                scope.spawn(move || {
                    for round in 0..3000_u64 {
                        let random = thread.wrapping_mul(1 << 32).wrapping_add(round);
                        let server = &bench.servers[bench.pick(random).unwrap()];
                        server.start();
                        server.observe(random % 1_000_000, round.wrapping_mul(100_000));
                        server.finish();
                    }
                });
            }
            for round in 0..3000_usize {
                let server = &bench.servers[round % 4];
                server.set_available(round % 3 == 0);
                server.set_weight((round % 7) as u32);
            }
        });
        assert!(
            bench.servers.iter().all(|server| server.active() == 0),
            "{kind:?}"
        );
    }
}

#[test]
fn finish_stays_at_zero() {
    let server = Server::new(endpoint(1), 1);
    server.finish();
    assert_eq!(server.active(), 0);
    server.start();
    server.start();
    server.finish();
    assert_eq!(server.active(), 1);
}

#[test]
fn a_weight_has_sixteen_bits_and_its_last_value_is_kept() {
    let server = Server::new(endpoint(1), 70_000);
    assert_eq!(server.weight(), 65535);
    server.set_weight(8);
    server.set_weight(0);
    assert_eq!((server.weight(), server.last_weight()), (0, 8));
}
