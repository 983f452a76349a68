// SPDX-License-Identifier: MIT
//! The text formats of Prometheus and OpenMetrics.

use std::fmt::Display;
use std::fmt::Write as _;

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' own, of version 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0: a counter's family has the name without `_total`, and the text says where it ends.
    OpenMetrics,
}

impl Format {
    /// Its content type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// What stands behind the last family.
    pub const fn end(self) -> &'static str {
        match self {
            Self::Prometheus => "",
            Self::OpenMetrics => "# EOF\n",
        }
    }
}

/// Metrics that are being written.
#[derive(Debug)]
pub(crate) struct Text {
    text: String,
    /// What every name begins with.
    prefix: &'static str,
    format: Format,
}

impl Text {
    /// None yet; they are the switch's.
    pub(crate) const fn new(format: Format) -> Self {
        Self::with_prefix("l7switch_", format)
    }

    /// None yet; every name is to begin so.
    pub(crate) const fn with_prefix(prefix: &'static str, format: Format) -> Self {
        Self {
            text: String::new(),
            prefix,
            format,
        }
    }

    /// The text.
    pub(crate) fn into_string(self) -> String {
        self.text
    }

    /// Begins a family of samples.
    pub(crate) fn family(&mut self, name: &str, kind: &str, help: &str) {
        // OpenMetrics names a family without what tells its type; Prometheus' own format does not know `info`.
        let (name, kind) = match (self.format, kind) {
            (Format::OpenMetrics, "counter") => (name.strip_suffix("_total").or(Some(name)), kind),
            (Format::OpenMetrics, "info") => (name.strip_suffix("_info"), kind),
            (Format::Prometheus, "info") => (Some(name), "gauge"),
            _ => (Some(name), kind),
        };
        let (prefix, name) = (self.prefix, name.unwrap_or_default());
        let _ = writeln!(
            self.text,
            "# HELP {prefix}{name} {help}\n# TYPE {prefix}{name} {kind}"
        );
    }

    /// Adds a histogram's samples: `classes` have the time, ns, that their times are below, and how many there are; `sum_ns` is the
    /// sum of all times.
    pub(crate) fn histogram(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        classes: impl IntoIterator<Item = (Option<u64>, u64)>,
        sum_ns: u64,
    ) {
        let bucket = format!("{name}_bucket");
        let mut count = 0_u64;
        for (below, more) in classes {
            count = count.saturating_add(more);
            let below = below.map_or_else(|| "+Inf".to_owned(), seconds);
            let with_bound: Vec<_> = labels.iter().copied().chain([("le", &*below)]).collect();
            self.sample(&bucket, &with_bound, count);
        }
        self.sample(&format!("{name}_sum"), labels, seconds(sum_ns));
        self.sample(&format!("{name}_count"), labels, count);
    }

    /// Adds a sample.
    pub(crate) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.text, "{}{name}", self.prefix);
        for (index, (label, text)) in labels.iter().enumerate() {
            let _ = write!(
                self.text,
                "{}{label}=\"",
                if index == 0 { '{' } else { ',' }
            );
            for character in text.chars() {
                match character {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    other => self.text.push(other),
                }
            }
            self.text.push('"');
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{end} {value}");
    }
}

/// Nanoseconds as seconds.
fn seconds(ns: u64) -> String {
    format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000)
}
