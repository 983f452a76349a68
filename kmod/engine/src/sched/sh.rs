// SPDX-License-Identifier: GPL-2.0 OR MIT
//! sh, source hashing: a key always meets the same server, as long as the list stays as it is.
//!
//! Defined by net/netfilter/ipvs/ip_vs_sh.c with the flag sh-fallback. IPVS fills a table of 256
//! buckets with the servers in the order of the list, each as often in a row as its latest weight
//! that was not 0 (at least once), and begins again behind the last. Bucket b therefore belongs
//! to the server in whose range of the summed weights W the number b mod W lies, and no table is
//! needed. If the bucket's server may not be picked, the key is hashed again with an offset, as
//! often as needed, so that its other keys spread over all servers and each stays with its
//! substitute.
//!
//! Differences: the key's hash is [`super::Ask::hash`], not the multiplicative one of an IPv4
//! address. Where W is more than 256, IPVS gives the servers behind bucket 256 nothing; here W
//! buckets are reckoned with then. And after [`TRIES`] offsets (IPVS: 256) the key is shared by
//! weight among the candidates, so that one is found whenever there is one.

use core::borrow::Borrow;

use super::candidates::below;
use super::candidates::mix;
use super::candidates::Candidates;
use super::server::Server;

/// Buckets of IPVS's table (`CONFIG_IP_VS_SH_TAB_BITS`).
const BUCKETS: u64 = 256;

/// Offsets tried before the candidates are asked directly.
const TRIES: u64 = 32;

pub(super) fn pick<S: Borrow<Server>, F: Fn(usize) -> bool>(
    candidates: &Candidates<'_, S, F>,
    hash: u64,
) -> Option<usize> {
    let cycle = candidates.servers.iter().fold(0_u64, |sum, server| {
        share(server.borrow()).wrapping_add(sum)
    });
    let buckets = cycle.max(BUCKETS);
    (0..TRIES).find_map(|offset| {
        let bucket = below(mix(hash.wrapping_add(offset)), buckets);
        let index = owner(candidates.servers, bucket.checked_rem(cycle)?)?;
        candidates.get(index).map(|candidate| candidate.index)
    })
}

/// How many buckets in a row a server has.
fn share(server: &Server) -> u64 {
    u64::from(server.last_weight().max(1))
}

/// The server in whose range `position` of the cycle lies.
fn owner<S: Borrow<Server>>(servers: &[S], mut position: u64) -> Option<usize> {
    for (index, server) in (0..servers.len()).zip(servers) {
        match position.checked_sub(share(server.borrow())) {
            Some(behind) => position = behind,
            None => return Some(index),
        }
    }
    None
}
