// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Concrete callers of the generic entry points, so that `no-panic.sh` has their code in an object.

use super::maglev;
use super::ring;
use super::Ask;
use super::Pool;
use super::Server;

/// [`Pool::pick`] for servers behind pointers.
#[inline(never)]
pub fn pick(pool: &Pool<'_, &Server>, ask: &Ask, tried: &[bool]) -> Option<usize> {
    pool.pick(ask, |index| tried.get(index).is_some_and(|&tried| tried))
}

/// [`maglev::fill`] for servers in a slice.
#[inline(never)]
pub fn fill_maglev(
    table: &mut [u16],
    scratch: &mut [maglev::Turn],
    servers: &[Server],
) -> Result<(), maglev::FillError> {
    maglev::fill(table, scratch, servers)
}

/// [`ring::points_needed`] for servers in a slice.
#[inline(never)]
pub fn points_needed(servers: &[Server]) -> usize {
    ring::points_needed(servers)
}

/// [`ring::fill`] for servers in a slice.
#[inline(never)]
pub fn fill_ring(points: &mut [ring::Point], servers: &[Server]) -> Result<(), ring::FillError> {
    ring::fill(points, servers)
}
