// SPDX-License-Identifier: GPL-2.0 OR MIT
//! wrr, smooth weighted round robin: each server in proportion to its weight, as evenly spread in
//! time as can be.
//!
//! Defined by nginx (ngx_http_upstream_round_robin.c): every candidate's current weight grows by
//! its weight; the candidate with the greatest is picked, and its current weight falls by the sum
//! of all that was added. IPVS's ip_vs_wrr.c has the same proportions, but sends a heavy server
//! its requests in a row.
//!
//! # Without a lock
//!
//! Each current weight is an atomic of its own; a pick adds to each and takes from one what it has
//! added to all. After P picks among the same servers of total weight W, server i therefore has
//! current weight `P·w(i) − W·picks(i)`, exactly, whatever the interleaving: nothing is lost or
//! counted twice, and the sum is 0 whenever no pick is under way.
//!
//! What a race can do: two picks under way at the same time may see the same server in front and
//! both choose it. It then has fallen twice, and the others come first until they have caught up.
//! What a race cannot do: shift proportions for good. A server that is picked has at least the
//! mean, so its current weight stays above −W; one that races have pushed lower is not picked
//! before it has risen again. Once all are above −W, then after any multiple of W picks each
//! current weight is a multiple of W above −W, so at least 0, and their sum is 0: all are 0, and
//! every server has had exactly its share.
//!
//! # When the pool changes
//!
//! A server that is not a candidate for a while keeps its current weight, and the others go on
//! among themselves. When the sum of all weights changes, current weights start again from 0: what
//! a server owed under weights of 60,000 would keep it idle for 60,000 picks under weights of 1.

use core::borrow::Borrow;
use core::sync::atomic::Ordering::Relaxed;

use super::candidates::Candidates;
use super::server::Cursor;
use super::server::Server;

pub(super) fn pick<S: Borrow<Server>, F: Fn(usize) -> bool>(
    candidates: &Candidates<'_, S, F>,
    cursor: &Cursor,
) -> Option<usize> {
    start_again_if_changed(candidates.servers, cursor);
    let mut total = 0_i64;
    let mut best: Option<(i64, usize, &Server)> = None;
    for candidate in candidates.iter() {
        let weight = i64::try_from(candidate.weight).unwrap_or(0);
        total = total.wrapping_add(weight);
        let current = candidate
            .server
            .current
            .fetch_add(weight, Relaxed)
            .wrapping_add(weight);
        if best.is_none_or(|(greatest, ..)| current > greatest) {
            best = Some((current, candidate.index, candidate.server));
        }
    }
    let (_, index, server) = best?;
    server.current.fetch_sub(total, Relaxed);
    Some(index)
}

fn start_again_if_changed<S: Borrow<Server>>(servers: &[S], cursor: &Cursor) {
    let total = servers.iter().fold(0_u64, |sum, server| {
        u64::from(server.borrow().weight()).wrapping_add(sum)
    });
    let known = cursor.total.load(Relaxed);
    if known == total {
        return;
    }
    // One CPU clears; picks under way then may add or take once more, which heals like any race.
    if cursor
        .total
        .compare_exchange(known, total, Relaxed, Relaxed)
        .is_ok()
    {
        for server in servers {
            server.borrow().current.store(0, Relaxed);
        }
    }
}
