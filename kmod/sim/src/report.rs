// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What came of a run, in numbers.

use std::collections::BTreeMap;

use crate::switch::Stats;

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What was wrong; empty where nothing was.
    pub errors: Vec<String>,
    /// The trace, where it was asked for.
    pub trace: Vec<String>,
    /// Connections by outcome.
    pub outcomes: BTreeMap<String, u64>,
    /// Connections.
    pub connections: u64,
    /// Requests with whole responses.
    pub exchanges: u64,
    /// Packets that arrived somewhere.
    pub packets: u64,
    /// Events: packets that arrived, and times that had come.
    pub events: u64,
    /// Bytes that clients read.
    pub bytes: u64,
    /// The switch's counters.
    pub stats: Stats,
    /// Requests that came to two servers since the first one's acknowledgement and reset were lost.
    pub twice: u64,
    /// Requests of connections that had ended, begun again by late segments.
    pub late: u64,
    /// Runs that ended early, since a cookie was met by chance.
    pub chance: u64,
    /// How long it was, ns of its own time.
    pub time: u64,
}

impl Report {
    /// Adds another run's numbers.
    pub fn add(&mut self, other: &Self) {
        for (name, count) in &other.outcomes {
            *self.outcomes.entry(name.clone()).or_default() += count;
        }
        self.connections += other.connections;
        self.exchanges += other.exchanges;
        self.packets += other.packets;
        self.events += other.events;
        self.bytes += other.bytes;
        self.twice += other.twice;
        self.late += other.late;
        self.chance += other.chance;
        self.time += other.time;
        self.stats.add(&other.stats);
    }
}
