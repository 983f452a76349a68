// SPDX-License-Identifier: GPL-2.0 OR MIT
//! ch, consistent hashing on a ring of points, with bounded load.
//!
//! Defined by Karger et al., "Consistent Hashing and Random Trees" (STOC 1997): servers own points
//! on a circle, and a key belongs to the first point clockwise from its hash. When a server goes,
//! only its keys move; when one comes, keys only move to it. And by Mirrokni, Thorup and
//! Zadimoghaddam, "Consistent Hashing with Bounded Loads" (2016): a server that is full is passed
//! over. Full is who with this request would have more than
//! `ceil(load_percent / 100 × (all outstanding + 1) × weight / all weights)` outstanding, all
//! meaning all candidates. One of them always has room: if each had its bound, of at least its
//! fair share of all outstanding plus one, more would be outstanding than there are.
//!
//! Picks under way at the same time do not see each other: the bound may be passed by as many
//! requests as are picked before the first of them is counted with [`Server::start`].
//!
//! # Points
//!
//! A server has [`POINTS_PER_WEIGHT`] points for each unit of weight, as with ketama and nginx's
//! consistent hash: the number depends on the server alone, so that a change of the others moves
//! none. Where that would be more than [`MAX_POINTS`] in all, numbers are halved until they fit,
//! at least one each. A list that changes so much that they are halved once more, or once less, moves
//! keys between servers that stayed.

use core::borrow::Borrow;

use super::candidates::mix;
use super::candidates::Candidates;
use super::server::Server;
use super::sort::lower_bound;
use super::sort::sort;
use crate::endpoint::Endpoint;
use crate::siphash::siphash13;

/// Points for each unit of weight; the share of a server of weight 1 varies by about 8 %.
pub const POINTS_PER_WEIGHT: usize = 160;

/// Points of a ring unless there are more servers than that: 512 KiB.
pub const MAX_POINTS: usize = 1 << 16;

/// A point on the ring: 48 bits of place over 16 of server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point(u64);

impl Point {
    fn new(place: u64, server: u16) -> Self {
        Self((place & !0xffff) | u64::from(server))
    }

    fn server(self) -> usize {
        let [low, high, ..] = self.0.to_le_bytes();
        usize::from(u16::from_le_bytes([low, high]))
    }

    fn place(self) -> u64 {
        self.0 & !0xffff
    }
}

/// Why a ring was not filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FillError {
    /// More servers than a point can name (65535).
    Servers,
    /// The slice of points is not as long as [`points_needed`] says.
    Points,
}

/// The length of the ring of `servers`.
pub fn points_needed<S: Borrow<Server>>(servers: &[S]) -> usize {
    total(servers, halvings(servers))
}

/// Fills the ring of `servers` by their [`Server::last_weight`]; a server that never had a weight
/// gets no point. Servers in any order make the same ring.
///
/// # Errors
///
/// If the slice does not fit; it is then as it was.
pub fn fill<S: Borrow<Server>>(points: &mut [Point], servers: &[S]) -> Result<(), FillError> {
    if servers.len() > usize::from(u16::MAX) {
        return Err(FillError::Servers);
    }
    let halvings = halvings(servers);
    if points.len() != total(servers, halvings) {
        return Err(FillError::Points);
    }
    let mut free = points.iter_mut();
    for (server, index) in servers.iter().zip(0..u16::MAX) {
        let server = server.borrow();
        for replica in 0..count(server.last_weight(), halvings) {
            if let Some(point) = free.next() {
                *point = Point::new(place(server.endpoint(), replica), index);
            }
        }
    }
    let endpoint = |point: &Point| servers.get(point.server()).map(|of| of.borrow().endpoint());
    sort(points, |a, b| {
        // Two points of one place are ordered by their servers' names, not by their numbers.
        a.place() < b.place() || a.place() == b.place() && endpoint(a) < endpoint(b)
    });
    Ok(())
}

/// How often numbers of points are halved.
fn halvings<S: Borrow<Server>>(servers: &[S]) -> u32 {
    // A weight has 16 bits, its points 24: after 24 halvings each server has one.
    (0..24)
        .find(|&halvings| total(servers, halvings) <= MAX_POINTS)
        .unwrap_or(24)
}

fn total<S: Borrow<Server>>(servers: &[S], halvings: u32) -> usize {
    servers.iter().fold(0, |sum, server| {
        count(server.borrow().last_weight(), halvings).saturating_add(sum)
    })
}

/// Points of a server of this weight.
fn count(weight: u32, halvings: u32) -> usize {
    let weight = usize::try_from(weight).unwrap_or(usize::MAX);
    let points = weight.saturating_mul(POINTS_PER_WEIGHT);
    points.checked_shr(halvings).unwrap_or(0).max(weight.min(1))
}

/// Where a server's point number `replica` lies.
fn place(endpoint: Endpoint, replica: usize) -> u64 {
    let mut name = [0_u8; 26];
    let replica = u64::try_from(replica).unwrap_or(u64::MAX).to_be_bytes();
    let parts = endpoint
        .address
        .into_iter()
        .chain(endpoint.port.to_be_bytes())
        .chain(replica);
    for (to, from) in name.iter_mut().zip(parts) {
        *to = from;
    }
    siphash13([0x7269_6e67_2070_6f69, 0x6e74_206f_6620_6368], &name)
}

/// Number of points that lie before `place`: where the first at or behind it is.
fn search(points: &[Point], place: u64) -> usize {
    lower_bound(points, |point| point.place() < place)
}

/// Walks clockwise from the key to the first server that may be picked and has room.
pub(super) fn pick<S: Borrow<Server>, F: Fn(usize) -> bool>(
    candidates: &Candidates<'_, S, F>,
    points: &[Point],
    hash: u64,
    load_percent: u32,
) -> Option<usize> {
    // Not a walk around the whole ring if it cannot end well.
    candidates.iter().next()?;
    let bound = (load_percent != 0).then(|| Bound::of(candidates, load_percent));
    let start = search(points, mix(hash) & !0xffff);
    (start..points.len()).chain(0..start).find_map(|index| {
        let candidate = candidates.get(points.get(index)?.server())?;
        let room = bound
            .as_ref()
            .is_none_or(|bound| bound.has_room(candidate.server.active(), candidate.weight));
        room.then_some(candidate.index)
    })
}

/// The bound on outstanding requests, for any weight.
struct Bound {
    /// Percent × (outstanding of all + 1): below 2^32 × 2^48.
    capacity: u128,
    /// 100 × weights of all: below 2^39.
    shares: u128,
}

impl Bound {
    fn of<S: Borrow<Server>, F: Fn(usize) -> bool>(
        candidates: &Candidates<'_, S, F>,
        load_percent: u32,
    ) -> Self {
        let (active, weights) = candidates
            .iter()
            .fold((1_u64, 0_u64), |(active, weights), one| {
                let outstanding = u64::from(one.server.active());
                (
                    active.wrapping_add(outstanding),
                    weights.wrapping_add(one.weight),
                )
            });
        // Below 100 there might be room with nobody.
        let percent = u128::from(load_percent.max(100));
        Self {
            capacity: percent.wrapping_mul(u128::from(active)),
            shares: u128::from(weights).wrapping_mul(100),
        }
    }

    /// Whether one more is within the bound: active + 1 <= ceil(capacity × weight / shares), which
    /// for whole numbers is active < capacity × weight / shares, and needs no division.
    fn has_room(&self, active: u32, weight: u64) -> bool {
        u128::from(active).wrapping_mul(self.shares)
            < self.capacity.wrapping_mul(u128::from(weight))
    }
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::sched::tests::endpoint;
    use crate::sched::tests::servers;
    use crate::sched::tests::Bench;
    use crate::sched::Kind;

    fn filled(servers: &[Server]) -> Vec<Point> {
        let mut points = vec![Point::default(); points_needed(servers)];
        fill(&mut points, servers).unwrap();
        points
    }

    /// Which server each of `keys` keys gets, by its port, which numbers servers here.
    fn ports(bench: &Bench, keys: usize) -> Vec<u16> {
        bench
            .picks(keys)
            .iter()
            .map(|&index| bench.servers[index].endpoint().port)
            .collect()
    }

    fn numbered(weights: &[(u16, u32)]) -> Bench {
        let server = |&(port, weight): &(u16, u32)| {
            Server::new(
                Endpoint {
                    port,
                    ..endpoint(1)
                },
                weight,
            )
        };
        Bench::of(Kind::Ch, weights.iter().map(server).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(30))]

        /// Without one server its keys move, and no other; read backwards: one that comes only
        /// takes keys.
        #[test]
        fn only_the_keys_of_who_goes_move(
            weights in prop::collection::vec(1..8_u32, 2..10),
            gone in 0..10_usize,
        ) {
            let mut list: Vec<(u16, u32)> = (0..).zip(weights).collect();
            let all = numbered(&list);
            let (gone, _) = list.remove(gone % list.len());
            let rest = numbered(&list);
            for (before, after) in ports(&all, 500).into_iter().zip(ports(&rest, 500)) {
                prop_assert!(before == after || before == gone);
                prop_assert_ne!(after, gone);
            }
        }

        /// A server that may not be picked is as if it were gone.
        #[test]
        fn unavailable_is_as_removed(weights in prop::collection::vec(1..8_u32, 2..10)) {
            let mut list: Vec<(u16, u32)> = (0..).zip(weights).collect();
            let all = numbered(&list);
            all.servers[0].set_available(false);
            list.remove(0);
            prop_assert_eq!(ports(&all, 500), ports(&numbered(&list), 500));
        }

        #[test]
        fn the_order_of_the_list_changes_nothing(weights in prop::collection::vec(0..8_u32, 1..10)) {
            let mut list: Vec<(u16, u32)> = (0..).zip(weights).collect();
            list.push((999, 1));
            let one = ports(&numbered(&list), 200);
            list.reverse();
            prop_assert_eq!(one, ports(&numbered(&list), 200));
        }

        /// After every request, and after any that finished, the server just picked is within
        /// ceil(percent/100 × outstanding of all × weight / weights).
        #[test]
        fn the_bound_is_never_exceeded(
            weights in prop::collection::vec(1..6_u32, 1..8),
            load_percent in 100..200_u32,
            steps in prop::collection::vec((any::<u8>(), any::<bool>()), 1..300),
        ) {
            let mut bench = Bench::new(Kind::Ch, &weights);
            bench.load_percent = load_percent;
            let mut outstanding: Vec<usize> = vec![];
            let shares = 100 * u64::from(weights.iter().sum::<u32>());
            for (random, arrives) in steps {
                if !arrives && !outstanding.is_empty() {
                    let done = outstanding.swap_remove(usize::from(random) % outstanding.len());
                    bench.servers[done].finish();
                    continue;
                }
                // Few keys, so that without the bound one server would have most.
                let picked = bench.pick(u64::from(random % 3)).unwrap();
                bench.servers[picked].start();
                outstanding.push(picked);
                let all = outstanding.len() as u64;
                let bound = u64::from(load_percent) * all * u64::from(weights[picked]);
                let active = u64::from(bench.servers[picked].active());
                prop_assert!(active <= bound.div_ceil(shares), "{} of {}", active, all);
            }
        }
    }

    #[test]
    fn one_key_fills_servers_up_to_the_bound() {
        let mut bench = Bench::new(Kind::Ch, &[1; 4]);
        bench.load_percent = 125;
        let home = bench.pick(7).unwrap();
        for _ in 0..400 {
            bench.servers[bench.pick(7).unwrap()].start();
        }
        assert_eq!(bench.servers[home].active(), 125);
        assert!(bench.servers.iter().all(|server| server.active() <= 125));
        bench.load_percent = 0;
        assert_eq!(bench.pick(7), Some(home));
    }

    #[test]
    fn shares_follow_weights() {
        let bench = Bench::new(Kind::Ch, &[10, 20, 30]);
        let picks = bench.picks(60_000);
        let counts = bench.count(&picks);
        for (count, expected) in counts.iter().zip([10_000_usize, 20_000, 30_000]) {
            assert!(count.abs_diff(expected) < expected / 10, "{counts:?}");
        }
    }

    #[test]
    fn a_ring_is_bounded_and_leaves_nobody_out() {
        let servers = servers(&[1, 65535, 65535, 0, 2]);
        let points = filled(&servers);
        assert!(points.len() <= MAX_POINTS && points.len() > MAX_POINTS / 4);
        for (index, server) in servers.iter().enumerate() {
            let has = points.iter().any(|point| point.server() == index);
            assert_eq!(has, server.weight() > 0);
        }
        assert!(points
            .windows(2)
            .all(|pair| pair[0].place() <= pair[1].place()));
    }

    #[test]
    fn refuses_a_slice_of_another_length() {
        let servers = servers(&[1]);
        assert_eq!(
            fill(&mut [Point::default(); 159], &servers),
            Err(FillError::Points)
        );
        assert_eq!(fill(&mut [Point::default(); 160], &servers), Ok(()));
    }

    #[test]
    fn search_finds_the_first_at_or_behind() {
        let points = [1, 3, 3, 7].map(|place: u64| Point::new(place << 16, 0));
        for (place, index) in [(0, 0), (1, 0), (2, 1), (3, 1), (4, 3), (7, 3), (8, 4)] {
            assert_eq!(search(&points, place << 16), index);
        }
    }
}
