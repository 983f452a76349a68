// SPDX-License-Identifier: MIT
//! What has become of spans.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::observe::exposition::Format;
use crate::observe::exposition::Text;

/// What has become of spans.
#[derive(Debug, Default)]
pub struct Counts {
    /// The collector has them.
    pub exported: AtomicU64,
    /// They are lost.
    pub dropped: AtomicU64,
}

impl Counts {
    /// The counts as metrics.
    pub fn render(&self, format: Format) -> String {
        let mut out = Text::new(format);
        let help = "Spans of traces that the collector has.";
        out.family("spans_exported_total", "counter", help);
        out.sample("spans_exported_total", &[], self.exported.load(Relaxed));
        let help = "Lost spans of traces.";
        out.family("spans_dropped_total", "counter", help);
        out.sample("spans_dropped_total", &[], self.dropped.load(Relaxed));
        out.into_string()
    }
}
