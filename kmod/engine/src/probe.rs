// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Concrete callers of the generic entry points, so that `no-panic.sh` has their code in an object.

use crate::table::OverBudget;
use crate::table::Request;
use crate::table::Table;
use crate::table::TableError;

/// [`Table::verify`] over a slice.
#[inline(never)]
pub fn verify(bytes: &[u8]) -> Result<Table<&[u8]>, TableError> {
    Table::verify(bytes)
}

/// [`Table::route_within`] for fields in a slice.
#[inline(never)]
pub fn route(
    table: &Table<&[u8]>,
    service: u32,
    request: &Request<'_, [(&[u8], &[u8])]>,
    budget: u32,
) -> Result<Option<u32>, OverBudget> {
    table.route_within(service, request, budget)
}
