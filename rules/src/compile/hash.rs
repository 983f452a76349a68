// SPDX-License-Identifier: MIT
//! The two hash tables, of hosts and of trie edges: open addressing, linear probing, a seed with which no
//! look-up takes more than a few steps.

use l7switch_engine::table::format::*;

use super::CompileError;
use super::writer::Hashing;
use super::writer::Writer;

/// Seeds tried before a table is made larger.
const SEEDS: u32 = 8;
/// A probe this short is good enough not to try another seed.
const GOOD_PROBE: u32 = 16;

/// Places indices by hash; the longest probe, or `None` where one would be too long. Behind the `home` slots in
/// which look-ups begin there are as many as the longest probe has.
fn place(slots: &mut Vec<u32>, home: u32, hashes: &[u32]) -> Option<u32> {
    slots.clear();
    slots.resize(home as usize + MAX_PROBE as usize, 0);
    let mut longest = 0;
    for (index, &hash) in (1u32..).zip(hashes) {
        let mut probe = 0;
        loop {
            let at = (slot_of(hash, home) + probe) as usize;
            probe += 1;
            if probe > MAX_PROBE {
                return None;
            }
            if let Some(slot @ 0) = slots.get_mut(at) {
                *slot = index;
                break;
            }
        }
        longest = longest.max(probe);
    }
    slots.truncate(home as usize + longest as usize);
    Some(longest)
}

/// Smallest table of at most half load in which some seed gives short probes: most requests name neither host nor path of
/// most routes, and what is not there is known by an empty slot.
fn search(
    count: usize,
    hashes: impl Fn(u32) -> Vec<u32>,
    seed: Option<u32>,
) -> Result<(Vec<u32>, u32, u32), CompileError> {
    let mut slots = Vec::new();
    let mut home = u32::try_from(count.saturating_mul(2)).map_err(|_| CompileError::TooLarge)?;
    loop {
        let seeds = seed.map_or(0..SEEDS, |seed| seed..seed + 1);
        let mut best = None;
        for seed in seeds {
            if let Some(probe) = place(&mut slots, home, &hashes(seed)) {
                if best.is_none_or(|(_, shortest)| probe < shortest) {
                    best = Some((seed, probe));
                }
                if probe <= GOOD_PROBE {
                    break;
                }
            }
        }
        if let Some((seed, _)) = best {
            let probe = place(&mut slots, home, &hashes(seed)).ok_or(CompileError::TooLarge)?;
            return Ok((slots, seed, probe));
        }
        home = home
            .checked_mul(2)
            .filter(|&h| h <= 1 << 30)
            .ok_or(CompileError::TooLarge)?;
    }
}

/// The record of a slot, empty where the slot is.
fn slot<R: Copy + Default>(records: &[R], slot: u32) -> R {
    let index = usize::try_from(slot).ok().and_then(|s| s.checked_sub(1));
    index
        .and_then(|i| records.get(i))
        .copied()
        .unwrap_or_default()
}

/// Writes both tables. `hosts`: names and their records.
pub(super) fn write(
    hosts: &[(&str, HostRecord)],
    writer: &mut Writer,
) -> Result<Hashing, CompileError> {
    let mut hashing = Hashing::default();
    let edges = std::mem::take(&mut writer.edges);
    if !edges.is_empty() {
        let hashes = |seed| {
            edges
                .iter()
                .map(|e| hash_below(seed, e.parent, writer.text_at(e.segment, e.segment_len)))
                .collect()
        };
        let (slots, seed, probe) = search(edges.len(), hashes, None)?;
        writer.extend(slots.into_iter().map(|s| slot(&edges, s)));
        (hashing.seed, hashing.edge_probe) = (seed, probe);
    }
    if !hosts.is_empty() {
        let hashes = |seed| {
            hosts
                .iter()
                .map(|(name, record)| hash_below(seed, record.service, name.as_bytes()))
                .collect()
        };
        // One seed serves both tables: this one grows where the edges' seed does not suit it.
        let seed = (!edges.is_empty()).then_some(hashing.seed);
        let (slots, seed, probe) = search(hosts.len(), hashes, seed)?;
        let records: Vec<HostRecord> = hosts.iter().map(|(_, record)| *record).collect();
        writer.extend(slots.into_iter().map(|s| slot(&records, s)));
        (hashing.seed, hashing.host_probe) = (seed, probe);
    }
    Ok(hashing)
}
