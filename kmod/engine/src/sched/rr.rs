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

#[cfg(test)]
mod tests {
    use std::vec;

    use crate::sched::tests::ask;
    use crate::sched::tests::Bench;
    use crate::sched::Kind;

    #[test]
    fn goes_around_whatever_the_weights() {
        let bench = Bench::new(Kind::Rr, &[1, 50, 3]);
        assert_eq!(bench.picks(7), [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn passes_over_who_may_not_and_takes_him_in_again() {
        let bench = Bench::new(Kind::Rr, &[1, 1, 0, 1]);
        bench.servers[3].set_available(false);
        assert_eq!(bench.picks(4), [0, 1, 0, 1]);
        bench.servers[2].set_weight(1);
        bench.servers[3].set_available(true);
        assert_eq!(bench.picks(4), [2, 3, 0, 1]);
    }

    #[test]
    fn a_second_try_goes_to_the_next() {
        let bench = Bench::new(Kind::Rr, &[1, 1, 1]);
        assert_eq!(bench.pick(0), Some(0));
        assert_eq!(bench.pool().pick(&ask(0), |tried| tried == 1), Some(2));
        assert_eq!(bench.pick(0), Some(0));
    }

    #[test]
    fn is_exact_with_threads() {
        let bench = Bench::new(Kind::Rr, &[1; 5]);
        let picks = bench.picks_in_threads(4, 5000);
        assert_eq!(bench.count(&picks), vec![4000; 5]);
    }
}
