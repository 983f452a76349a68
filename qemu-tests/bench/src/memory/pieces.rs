// SPDX-License-Identifier: MIT
//! The kernel's virtual memory, by /proc/vmallocinfo: what was allocated between two looks at it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

/// Pieces of one length, by one caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pieces {
    /// How many.
    pub count: u64,
    /// Bytes of each, in whole pages.
    pub bytes: u64,
    /// The function that asked for them.
    pub caller: String,
}

const PAGE: u64 = 4096;

/// What is there now and was not before, the most memory first.
#[must_use]
pub(super) fn new(before: &str, now: &str) -> Vec<Pieces> {
    let mut counts: BTreeMap<(u64, String), i64> = BTreeMap::new();
    for (text, change) in [(before, -1), (now, 1)] {
        for piece in text.lines().filter_map(piece) {
            *counts.entry(piece).or_default() += change;
        }
    }
    let mut all: Vec<Pieces> = counts
        .into_iter()
        .filter_map(|((bytes, caller), count)| {
            let count = u64::try_from(count).ok().filter(|&count| count > 0)?;
            Some(Pieces {
                count,
                bytes,
                caller,
            })
        })
        .collect();
    all.sort_by_key(|pieces| std::cmp::Reverse(pieces.count * pieces.bytes));
    all
}

/// Reads `0xffffc90000000000-0xffffc90000005000   20480 caller+0x1a/0x30 pages=4 vmalloc N0=4`: bytes in pages, and caller.
fn piece(line: &str) -> Option<(u64, String)> {
    let mut words = line.split_whitespace();
    let caller = words.nth(2)?;
    let pages: u64 = words
        .find_map(|word| word.strip_prefix("pages="))?
        .parse()
        .ok()?;
    let name = caller.split_once('+').map_or(caller, |(name, _)| name);
    let name = format!("{:#}", rustc_demangle::demangle(name));
    Some((pages * PAGE, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_is_summed_by_length_and_caller() {
        let before = "0xffffc90000000000-0xffffc90000005000   20480 load+0x1a/0x30 pages=4 vmalloc N0=4\n\
                      0xffffc90000005000-0xffffc90000006000    4096 map+0x1a/0x30 phys=0x00000000fed00000 ioremap\n";
        let now = format!(
            "{before}0xffffc90000010000-0xffffc90000015000   20480 load+0x1a/0x30 pages=4 vmalloc N0=4\n\
             0xffffc90000020000-0xffffc90000025000   20480 load+0x1a/0x30 [m] pages=4 vmalloc N0=4\n\
             0xffffc90000030000-0xffffc90000043000   77824 _RNvNtCs1_8l7switch6switch4grow+0x1/0x2 [l7switch] pages=18 vmalloc vpages N0=18\n"
        );
        let pieces = |count, pages: u64, caller: &str| Pieces {
            count,
            bytes: pages * 4096,
            caller: caller.to_owned(),
        };
        assert_eq!(
            new(before, &now),
            [
                pieces(1, 18, "l7switch::switch::grow"),
                pieces(2, 4, "load"),
            ]
        );
        assert_eq!(new(&now, before), []);
    }
}
