// SPDX-License-Identifier: GPL-2.0 OR MIT
//! lc, wlc, sed and nq: the candidate with the least outstanding, each by its own measure.
//!
//! Defined by net/netfilter/ipvs/ip_vs_lc.c, ip_vs_wlc.c, ip_vs_sed.c and ip_vs_nq.c. Quotients
//! are compared by cross-multiplication, as there; a count below 2^32 times a weight below 2^16
//! fits 64 bits.
//!
//! Two differences from IPVS. First, it adds closing connections (`inactconns`) to lc's and wlc's
//! overhead at 1/256 each; a switch of requests has no such thing, and only outstanding ones
//! count. Second, IPVS scans from the head of the list, so that among equals the first wins: an
//! idle pool would send request after request to one server. Here the scan begins behind the
//! server picked last. The choice is still among the minima only, but equals take turns.

use core::borrow::Borrow;
use core::sync::atomic::Ordering::Relaxed;

use super::candidates::Candidate;
use super::candidates::Candidates;
use super::server::Cursor;
use super::server::Server;

/// What is to be least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cost {
    /// lc: outstanding.
    Connections,
    /// wlc: outstanding / weight.
    PerWeight,
    /// sed: (outstanding + 1) / weight, what it would be with this request.
    ExpectedDelay,
    /// nq: an idle server, whatever its weight; if there is none, as sed.
    NeverQueue,
}

impl Cost {
    /// Numerator and denominator.
    fn of(self, candidate: &Candidate<'_>) -> (u64, u64) {
        let active = u64::from(candidate.server.active());
        match self {
            Self::Connections => (active, 1),
            Self::PerWeight => (active, candidate.weight),
            // An idle server costs nothing, which nothing undercuts.
            Self::NeverQueue if active == 0 => (0, 1),
            Self::ExpectedDelay | Self::NeverQueue => (active.wrapping_add(1), candidate.weight),
        }
    }
}

pub(super) fn pick<S: Borrow<Server>, F: Fn(usize) -> bool>(
    candidates: &Candidates<'_, S, F>,
    cursor: &Cursor,
    cost: Cost,
) -> Option<usize> {
    let mut best: Option<(u64, u64, usize)> = None;
    for candidate in candidates.iter_from(cursor.next.load(Relaxed)) {
        let (over, under) = cost.of(&candidate);
        let less = best.is_none_or(|(best_over, best_under, _)| {
            over.wrapping_mul(best_under) < best_over.wrapping_mul(under)
        });
        if less {
            best = Some((over, under, candidate.index));
        }
    }
    let (.., picked) = best?;
    cursor.next.store(picked.wrapping_add(1), Relaxed);
    Some(picked)
}
