// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A real server as the schedulers see it, and a pool's memory between picks.
//!
//! All accesses are relaxed: each field stands for itself, and no other memory is published
//! through one of them.

use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicI64;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

use super::fastest::PeakEwma;
use crate::endpoint::Endpoint;

/// The highest weight, as in IPVS.
pub const MAX_WEIGHT: u32 = 65535;

/// One real server. Shared by all CPUs; aligned so that two servers share no cache line.
#[derive(Debug)]
#[repr(align(64))]
pub struct Server {
    /// All switches that name a server alike place its keys alike.
    endpoint: Endpoint,
    weight: AtomicU32,
    last_weight: AtomicU32,
    available: AtomicBool,
    pub(super) active: AtomicU32,
    bound: AtomicU32,
    /// What smooth weighted round robin keeps for a server.
    pub(super) current: AtomicI64,
    pub(super) latency: PeakEwma,
}

impl Server {
    /// A server that is available and idle. A weight over [`MAX_WEIGHT`] counts as that.
    pub const fn new(endpoint: Endpoint, weight: u32) -> Self {
        let weight = bounded(weight);
        Self {
            endpoint,
            weight: AtomicU32::new(weight),
            last_weight: AtomicU32::new(weight),
            available: AtomicBool::new(true),
            active: AtomicU32::new(0),
            bound: AtomicU32::new(0),
            current: AtomicI64::new(0),
            latency: PeakEwma::new(),
        }
    }

    /// Which server it is.
    pub const fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// Weight, 0 to [`MAX_WEIGHT`]; 0: gets nothing new.
    #[inline]
    pub fn weight(&self) -> u32 {
        self.weight.load(Relaxed)
    }

    /// The latest weight that was not 0 (0 if there was none), as `last_weight` in IPVS: hash
    /// tables are laid out by it, so that draining a server moves no other server's keys.
    pub fn last_weight(&self) -> u32 {
        self.last_weight.load(Relaxed)
    }

    /// Sets the weight; over [`MAX_WEIGHT`] counts as that. A Maglev table or ring is to be made
    /// anew after a change, unless to 0 or back to what it was before.
    pub fn set_weight(&self, weight: u32) {
        let weight = bounded(weight);
        self.weight.store(weight, Relaxed);
        if weight != 0 {
            self.last_weight.store(weight, Relaxed);
        }
    }

    /// Whether checks hold the server for working.
    #[inline]
    pub fn available(&self) -> bool {
        self.available.load(Relaxed)
    }

    /// Says whether the server works.
    pub fn set_available(&self, available: bool) {
        self.available.store(available, Relaxed);
    }

    /// Outstanding requests or connections.
    pub fn active(&self) -> u32 {
        self.active.load(Relaxed)
    }

    /// Sets how many may be outstanding; 0: any number.
    pub fn set_bound(&self, bound: u32) {
        self.bound.store(bound, Relaxed);
    }

    /// How many may be outstanding; 0: any number.
    #[inline]
    pub fn bound(&self) -> u32 {
        self.bound.load(Relaxed)
    }

    /// Whether as many are outstanding as may be.
    #[inline]
    pub fn is_full(&self) -> bool {
        let bound = self.bound();
        bound != 0 && self.active() >= bound
    }

    /// One more outstanding, unless the server is full. Whether it was not: of many at the same time no more than may be.
    pub fn try_start(&self) -> bool {
        let bound = match self.bound() {
            0 => u32::MAX,
            bound => bound,
        };
        let started = self.active.fetch_update(Relaxed, Relaxed, |active| {
            active.checked_add(1).filter(|&active| active <= bound)
        });
        started.is_ok()
    }

    /// One more outstanding, full or not.
    #[inline]
    pub fn start(&self) {
        self.active.fetch_add(1, Relaxed);
    }

    /// One less outstanding; stays 0 at 0.
    #[inline]
    pub fn finish(&self) {
        // Only fails at 0, and then there is nothing to take away.
        let _ = self
            .active
            .fetch_update(Relaxed, Relaxed, |active| active.checked_sub(1));
    }

    /// Notes that a response's first byte came `first_byte_ns` after its request, at `now_ns` of a
    /// monotonic clock.
    #[inline]
    pub fn observe(&self, first_byte_ns: u64, now_ns: u64) {
        self.latency.observe(first_byte_ns, now_ns);
    }
}

const fn bounded(weight: u32) -> u32 {
    if weight > MAX_WEIGHT {
        MAX_WEIGHT
    } else {
        weight
    }
}

/// What a pool remembers from pick to pick. May outlive the list of servers that it was used with.
#[derive(Debug)]
#[repr(align(64))]
pub struct Cursor {
    /// Where the next scan begins: behind the server picked last.
    pub(super) next: AtomicUsize,
    /// The sum of weights that smooth weighted round robin has reckoned with.
    pub(super) total: AtomicU64,
}

impl Cursor {
    /// At the first server.
    pub const fn new() -> Self {
        Self {
            next: AtomicUsize::new(0),
            total: AtomicU64::new(0),
        }
    }
}

impl Default for Cursor {
    fn default() -> Self {
        Self::new()
    }
}
