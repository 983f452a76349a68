// SPDX-License-Identifier: GPL-2.0 OR MIT
//! rr, round robin: the next candidate behind the server picked last.
//!
//! Defined by net/netfilter/ipvs/ip_vs_rr.c. As there, a weight only says whether a server takes
//! part. IPVS moves its position under a spin lock; here the position is claimed by compare and
//! exchange, so that picks at the same time get different servers and the order holds exactly
//! with any number of CPUs.

use core::borrow::Borrow;
use core::sync::atomic::Ordering::Relaxed;

use super::candidates::Candidates;
use super::server::Cursor;
use super::server::Server;

pub(super) fn pick<S: Borrow<Server>, F: Fn(usize) -> bool>(
    candidates: &Candidates<'_, S, F>,
    cursor: &Cursor,
) -> Option<usize> {
    let mut start = cursor.next.load(Relaxed);
    loop {
        let picked = candidates.iter_from(start).next()?.index;
        let behind = picked.wrapping_add(1);
        // A failure means that another CPU's pick succeeded: someone always gets on.
        match cursor
            .next
            .compare_exchange_weak(start, behind, Relaxed, Relaxed)
        {
            Ok(_) => return Some(picked),
            Err(moved) => start = moved,
        }
    }
}
