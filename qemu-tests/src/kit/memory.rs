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

/// Bytes of memory that are not available any more after something was done: pages, whatever they are for, less those that
/// would be given back at need. [`count_free_pages`] before makes it exact to some hundred KiB, more or less.
pub fn taken<T>(doing: impl FnOnce() -> T) -> (i64, T) {
    let available = || kib("MemAvailable").cast_signed() * 1024;
    let before = available();
    let done = doing();
    (before - available(), done)
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

/// Has the slab allocator give back what no object is in, so that "SUnreclaim" says what is in use. With KASAN that also
/// empties its quarantine, where freed objects lie for a while: 19 MiB of them, a MiB more or less from one moment to the
/// next (`kasan_cache_shrink` in mm/kasan/quarantine.c). Takes some seconds there.
///
/// # Panics
///
/// Where the kernel does not show its caches.
pub fn shrink_slabs() {
    for entry in fs::read_dir("/sys/kernel/slab").expect("the kernel shows its caches") {
        let entry = entry.expect("the list can be read");
        // A link is another name of a cache that is in the list, too.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            fs::write(entry.path().join("shrink"), "1").expect("a cache can be shrunk");
        }
    }
}

/// Has the processors keep few free pages at hand, from now on: "MemAvailable" leaves those out, and they are MiBs, more or
/// less from one moment to the next, where the kernel finds their number by itself (`nr_pcp_high` in mm/page_alloc.c).
///
/// # Panics
///
/// Where there is no such setting.
pub fn count_free_pages() {
    fs::write("/proc/sys/vm/percpu_pagelist_high_fraction", "100000")
        .expect("the number of pages can be set");
}

/// What kmemleak reports, in lines; empty too where the kernel does not look for leaks. Takes 6 seconds where it does.
/// The harness does this itself once, after the last test.
#[must_use]
pub fn leaks() -> Vec<String> {
    guest::leaks_now()
}
