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
use super::server::Identity;
use super::server::Server;
use super::sort::sort;
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
                *point = Point::new(place(server.identity(), replica), index);
            }
        }
    }
    let identity = |point: &Point| servers.get(point.server()).map(|of| of.borrow().identity());
    sort(points, |a, b| {
        // Two points of one place are ordered by their servers' names, not by their numbers.
        a.place() < b.place() || a.place() == b.place() && identity(a) < identity(b)
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
fn place(identity: Identity, replica: usize) -> u64 {
    let mut name = [0_u8; 26];
    let replica = u64::try_from(replica).unwrap_or(u64::MAX).to_be_bytes();
    let parts = identity
        .address
        .into_iter()
        .chain(identity.port.to_be_bytes())
        .chain(replica);
    for (to, from) in name.iter_mut().zip(parts) {
        *to = from;
    }
    siphash13([0x7269_6e67_2070_6f69, 0x6e74_206f_6620_6368], &name)
}

/// Number of points that lie before `place`: where the first at or behind it is.
fn search(points: &[Point], place: u64) -> usize {
    let (mut low, mut high) = (0, points.len());
    while low < high {
        let middle = low.wrapping_add(high.wrapping_sub(low) / 2);
        if points
            .get(middle)
            .is_some_and(|point| point.place() < place)
        {
            low = middle.wrapping_add(1);
        } else {
            high = middle;
        }
    }
    low
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
