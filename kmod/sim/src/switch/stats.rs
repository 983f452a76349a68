// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the switch counts.

use std::collections::BTreeMap;

/// Counters.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Of the engine.
    pub events: BTreeMap<String, u64>,
    /// Requests begun and ended, for every server.
    pub started: u64,
    /// See [`Stats::started`].
    pub finished: u64,
    /// Legs' addresses taken and given back.
    pub reserved: u64,
    /// See [`Stats::reserved`].
    pub freed: u64,
    /// Flows made.
    pub flows: u64,
    /// The most that were there at once.
    pub most: usize,
    /// Connections to servers that were taken.
    pub connected: u64,
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
        self.started += other.started;
        self.finished += other.finished;
        self.reserved += other.reserved;
        self.freed += other.freed;
        self.flows += other.flows;
        self.most = self.most.max(other.most);
        self.connected += other.connected;
    }
}
