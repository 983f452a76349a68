// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the switch counts.

use std::collections::BTreeMap;

/// Records that are kept.
pub(super) const SAMPLES: usize = 1000;

/// Counters.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Of the engine.
    pub events: BTreeMap<String, u64>,
    /// Requests passed on.
    pub requests: u64,
    /// Legs' addresses taken and given back.
    pub reserved: u64,
    /// See [`Stats::reserved`].
    pub freed: u64,
    /// Flows made.
    pub flows: u64,
    /// The most that were there at once.
    pub most: usize,
    /// Records of connections of whose clients no bytes were kept.
    pub records: u64,
    /// Their bytes.
    pub record_bytes: u64,
    /// Bytes of the longest one.
    pub longest_record: u64,
    /// Some of them.
    pub samples: Vec<Vec<u8>>,
    /// Verdicts, and what became of segments that belong to no flow.
    pub verdicts: BTreeMap<&'static str, u64>,
}

impl Stats {
    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        for (name, count) in &other.events {
            *self.events.entry(name.clone()).or_default() += count;
        }
        for (name, count) in &other.verdicts {
            *self.verdicts.entry(name).or_default() += count;
        }
        self.requests += other.requests;
        self.reserved += other.reserved;
        self.freed += other.freed;
        self.flows += other.flows;
        self.most = self.most.max(other.most);
        self.records += other.records;
        self.record_bytes += other.record_bytes;
        self.samples.extend_from_slice(&other.samples);
        self.samples.truncate(SAMPLES);
        self.longest_record = self.longest_record.max(other.longest_record);
    }
}
