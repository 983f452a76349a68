// SPDX-License-Identifier: MIT
//! What the kernel's memory is used for: to see that a test leaves nothing behind.

use std::fs;

use crate::guest;

/// A line of /proc/meminfo, in KiB: "MemAvailable", "Slab", "SUnreclaim", "Percpu".
///
/// # Panics
///
/// Where there is no such line.
#[must_use]
pub fn kib(line: &str) -> u64 {
    let text = fs::read_to_string("/proc/meminfo").expect("/proc/meminfo is there");
    text.lines()
        .find_map(|found| found.strip_prefix(line)?.strip_prefix(':'))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or_else(|| panic!("/proc/meminfo has no {line}"))
}

/// A cache of the slab allocator, by /proc/slabinfo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slab {
    /// Objects in use. Objects free in a processor's own slab count as used.
    pub used: u64,
    /// Objects there are.
    pub objects: u64,
    /// Bytes of an object.
    pub size: u64,
}

/// A cache of the slab allocator; none where the kernel has none of that name or merged it into another.
///
/// # Panics
///
/// Where /proc/slabinfo is not there.
#[must_use]
pub fn slab(name: &str) -> Option<Slab> {
    let text = fs::read_to_string("/proc/slabinfo").expect("/proc/slabinfo is there");
    let line = text
        .lines()
        .find(|line| line.split_whitespace().next() == Some(name))?;
    let mut numbers = line
        .split_whitespace()
        .skip(1)
        .map_while(|word| word.parse().ok());
    Some(Slab {
        used: numbers.next()?,
        objects: numbers.next()?,
        size: numbers.next()?,
    })
}

/// What kmemleak reports, in lines; empty too where the kernel does not look for leaks. Takes 6 seconds where it does.
/// The harness does this itself once, after the last test.
#[must_use]
pub fn leaks() -> Vec<String> {
    guest::leaks_now()
}
