// SPDX-License-Identifier: MIT
//! How long a server's responses take, whoever asked.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::net::clock::nanos;
use crate::observe::histogram::Kind;
use crate::observe::histogram::Place;
use crate::observe::histogram::Times;

/// Times of one server's responses.
#[derive(Debug)]
pub struct ResponseTimes {
    ewma_ns: AtomicU64,
    place: Place,
}

impl ResponseTimes {
    /// None yet.
    pub(super) fn new(kind: &Arc<Kind>) -> Self {
        Self {
            ewma_ns: AtomicU64::new(0),
            place: Place::new(Arc::clone(kind)),
        }
    }

    /// The response's head came so long after the request.
    pub(super) fn began(&self, first_byte: Duration) {
        self.place.times().first_byte.observe(first_byte);
        // For people: a plain EWMA with weight 1/8, as of a smoothed round-trip time.
        let ns = nanos(first_byte);
        let before = self.ewma_ns.load(Relaxed);
        let smoothed = if before == 0 {
            ns
        } else {
            before.saturating_sub(before / 8).saturating_add(ns / 8)
        };
        self.ewma_ns.store(smoothed, Relaxed);
    }

    /// The response's end came so long after the request.
    pub fn ended(&self, duration: Duration) {
        self.place.times().duration.observe(duration);
    }

    /// Smoothed time to the response's head.
    pub(super) fn smoothed(&self) -> Duration {
        Duration::from_nanos(self.ewma_ns.load(Relaxed))
    }

    /// The server's own histograms, if it was used and has some.
    pub fn own(&self) -> Option<&Times> {
        self.place.own()
    }
}
