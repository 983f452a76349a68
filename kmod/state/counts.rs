// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What is counted in a namespace.
#![forbid(unsafe_code)]

use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use kernel::prelude::*;

use super::counters::Counter;
use super::events;
use super::histogram::Histogram;
use super::ruleset::Ruleset;
use crate::shell::net::netfilter::Filter;
use crate::shell::net::route::Sent;
use crate::shell::net::Net;
use crate::shell::sync::per_cpu::Counters;

/// How long segments are looked at closer behind one that was not the switch's, ms.
const OTHERS_MS: u32 = 2000;

/// Everything counted.
pub(crate) struct Counts {
    /// By [`Counter`].
    pub(crate) counters: Counters<{ Counter::COUNT }>,
    /// Time from a request to its response's first byte.
    pub(crate) responses: Histogram,
    /// Servers that are left out because they failed.
    failing: AtomicU32,
    /// Whether it was told that there is no room for connections.
    full: AtomicBool,
    /// When a segment to a service came last that was not the switch's, ms.
    another: AtomicU32,
}

impl Counts {
    /// Nothing is counted yet.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            counters: Counters::new()?,
            responses: Histogram::new()?,
            failing: AtomicU32::new(0),
            full: AtomicBool::new(false),
            another: AtomicU32::new(0),
        })
    }

    /// Counts.
    pub(crate) fn count(&self, counter: Counter) {
        self.counters.add(counter.index(), 1);
    }

    /// Rules of netfilter dropped a packet of a connection behind the module.
    pub(crate) fn filtered(&self, at: Filter) {
        self.count(Counter::FilteredBehind);
        if let Some(counter) = Counter::of_filter(at) {
            self.count(counter);
        }
    }

    /// What has become of a packet that was sent.
    pub(crate) fn sent(&self, sent: Sent) {
        match sent {
            Sent::Gone => {}
            Sent::Filtered(at) => self.filtered(at),
            Sent::Lost => self.count(Counter::TxDropped),
        }
    }

    /// A segment to a service has come that is not the switch's, at a time in ms.
    pub(crate) fn another_came(&self, now: u32) {
        self.count(Counter::UntrackedSegments);
        // It is written seldom, since every packet that opens a connection reads it.
        if now.wrapping_sub(self.another.load(Relaxed)) > OTHERS_MS / 4 {
            self.another.store(now, Relaxed);
        }
    }

    /// Whether such segments have come lately.
    #[inline]
    pub(crate) fn others_came(&self, now: u32) -> bool {
        // Another CPU may have written a time that is later than this one's.
        let ahead = now.wrapping_add(OTHERS_MS / 4);
        ahead.wrapping_sub(self.another.load(Relaxed)) < OTHERS_MS + OTHERS_MS / 4
    }

    /// A connection had no room; with no lock held.
    pub(crate) fn had_no_room(&self, net: &Net, flows: u32) {
        self.count(Counter::FlowsFull);
        if !self.full.load(Relaxed) && !self.full.swap(true, Relaxed) {
            events::flows_full(net, flows);
        }
    }

    /// There is room again: it is told the next time that there is none.
    pub(crate) fn has_room(&self) {
        if self.full.load(Relaxed) {
            self.full.store(false, Relaxed);
        }
    }

    /// A server is left out from now on.
    pub(crate) fn server_failed(&self) {
        self.failing.fetch_add(1, Relaxed);
    }

    /// Puts servers back whose time has come, and tells what has changed.
    pub(crate) fn recover(&self, ruleset: &Ruleset, net: &Net, now: u64) {
        if self.failing.load(Relaxed) == 0 {
            return;
        }
        self.failing.store(ruleset.recover(now), Relaxed);
        for (pool, member, failing) in ruleset.changed() {
            events::server_failing(net, ruleset, pool, member, failing);
        }
    }

    /// Sets every counter to 0.
    pub(crate) fn reset(&self) {
        self.counters.reset();
        self.responses.reset();
    }
}
