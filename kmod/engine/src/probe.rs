// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Concrete callers of the generic entry points, so that `no-panic.sh` has their code in an object.

use crate::slots;
use crate::slots::Names;
use crate::slots::Slots;
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

/// [`slots::same`] and [`Slots::fill`].
#[inline(never)]
pub fn follow(
    slots: &mut Slots<'_>,
    before: &[&[u8]],
    now: &[&[u8]],
    index: &mut [(u64, u32)],
) -> usize {
    slots::same(&names(before), &names(now), index, |was, is| {
        slots.keep(is, was);
    });
    slots.fill(1, |_| {})
}

fn names<'n>(names: &'n [&'n [u8]]) -> Names<impl Fn(u32) -> &'n [u8]> {
    Names {
        count: u32::try_from(names.len()).unwrap_or(u32::MAX),
        name: |at| names.get(at as usize).copied().unwrap_or_default(),
    }
}
