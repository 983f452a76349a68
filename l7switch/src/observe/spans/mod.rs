// SPDX-License-Identifier: MIT
//! Traces, sent to a collector of OpenTelemetry by OTLP: each request has a span of its own (SERVER), and one for each attempt at a
//! real server (CLIENT).
//!
//! Without the feature `otlp`, what sends them is absent: nothing is traced.

#[cfg(feature = "otlp")]
mod collector;
mod context;
mod counts;
#[cfg(feature = "otlp")]
mod data;
#[cfg(feature = "otlp")]
mod export;
mod trace;

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::SyncSender;
use std::sync::mpsc::sync_channel;
use std::time::Duration;
use std::time::Instant;

use http::Uri;
use tokio::sync::mpsc;
use tokio::sync::mpsc::Receiver;

pub use self::context::Context;
pub use self::counts::Counts;
pub use self::trace::Finished;
pub use self::trace::Told;
pub use self::trace::Trace;
use crate::observe::access_log::Line;
use crate::observe::access_log::Sample;
use crate::observe::log_limit::Logged;

/// Requests whose spans may wait for the collector.
const QUEUE: usize = 4096;

/// How long is waited at the end for what waits.
const LAST: Duration = Duration::from_secs(2);

/// Where traces are sent by OTLP/HTTP, below a URL.
const PATH: &str = "/v1/traces";

/// Where traces go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Nowhere.
    Off,
    /// To this URL.
    At(Uri),
    /// Where the environment says (`OTEL_EXPORTER_OTLP_ENDPOINT`).
    OfEnvironment,
}

/// When it was said last that the collector is too slow.
static FULL: Logged = Logged::new();

/// `off`, or the URL of a collector, such as `http://collector:4318`.
impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let wanted = || "a URL such as http://collector:4318 is wanted, or off".to_owned();
        let url = text.strip_suffix(PATH).unwrap_or(text);
        let url = url.trim_end_matches('/');
        let uri: Uri = format!("{url}{PATH}").parse().map_err(|_| wanted())?;
        let is_whole = !text.contains(['#', '@'])
            && uri
                .authority()
                .is_some_and(|all| all.port().is_none() || all.port_u16().is_some());
        let is_right = is_whole
            && matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri.query().is_none();
        is_right.then_some(Self::At(uri)).ok_or_else(wanted)
    }
}

impl Endpoint {
    /// Where they go if nothing is said: the variables by which programs with OpenTelemetry are told turn it on.
    pub fn usual() -> Self {
        let value = |name: &str| std::env::var(name).unwrap_or_default();
        let is_there = [
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        ]
        .iter()
        .any(|name| !value(name).is_empty());
        let is_off = value("OTEL_SDK_DISABLED").eq_ignore_ascii_case("true")
            || value("OTEL_TRACES_EXPORTER") == "none";
        match cfg!(feature = "otlp") && is_there && !is_off {
            true => Self::OfEnvironment,
            false => Self::Off,
        }
    }
}

/// What is traced, and where it goes.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it goes.
    pub endpoint: Endpoint,
    /// Part of the requests whose traces are recorded, where nobody who is trusted has decided.
    pub sample: Sample,
    /// How long the collector may take for what it is sent; absent: `OTEL_EXPORTER_OTLP_TIMEOUT`, or ten seconds.
    pub timeout: Option<Duration>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            endpoint: Endpoint::Off,
            sample: Sample::default(),
            timeout: None,
        }
    }
}

/// The near end of what sends traces. Cheap to use from any thread.
#[derive(Debug)]
pub struct Spans {
    queue: mpsc::Sender<Finished>,
    flush: mpsc::UnboundedSender<SyncSender<()>>,
    sample: Sample,
    counts: Arc<Counts>,
}

/// Its far end.
#[cfg_attr(
    not(feature = "otlp"),
    expect(dead_code, reason = "nothing reads it without the feature")
)]
struct FarEnd {
    queue: Receiver<Finished>,
    /// Whoever waits until what has come is sent.
    flush: mpsc::UnboundedReceiver<SyncSender<()>>,
    counts: Arc<Counts>,
}

impl Spans {
    /// Starts what sends traces, on a thread of its own; `None`: they go nowhere.
    ///
    /// # Errors
    ///
    /// This build has nothing that sends them, the environment says something that cannot be, or the thread cannot be started.
    pub fn start(config: &Config) -> Result<Option<Self>, String> {
        if config.endpoint == Endpoint::Off {
            return Ok(None);
        }
        let (queue, finished) = mpsc::channel(QUEUE);
        let (flush, flushes) = mpsc::unbounded_channel();
        let counts = Arc::<Counts>::default();
        let far = FarEnd {
            queue: finished,
            flush: flushes,
            counts: Arc::clone(&counts),
        };
        start(config, far)?;
        Ok(Some(Self {
            queue,
            flush,
            sample: config.sample,
            counts,
        }))
    }

    /// The trace of a request that has come. Those who are not trusted can keep a request from being recorded, and cannot have more
    /// recorded than would be without them.
    pub fn begin(&self, told: Option<Told<'_>>) -> Box<Trace> {
        Box::new(match told {
            None => Trace::new(self.sample.draws()),
            Some(told) => {
                let is_wanted = told.context.is_sampled();
                Trace::of(&told, is_wanted && (told.is_trusted || self.sample.draws()))
            }
        })
    }

    /// Hands over what is known of a request that is over, or drops and counts it where too many wait.
    pub(crate) fn finish(&self, mut trace: Box<Trace>, line: Box<Line>, began: Instant) {
        trace.close((line.end != "ok").then_some(line.end));
        let mut finished = Finished { trace, line, began };
        let spans = finished.spans();
        finished.cut();
        if self.queue.try_send(finished).is_err() {
            self.counts.dropped.fetch_add(spans, Relaxed);
            if FULL.is_due() {
                tracing::warn!(
                    "the collector is too slow for all traces: spans are lost and counted"
                );
            }
        }
    }

    /// What has become of spans.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Waits, blocking, until all that has come is sent, but not longer than two seconds.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.flush.send(done).is_ok() && wait.recv_timeout(LAST).is_err() {
            tracing::warn!("the last traces have not reached the collector");
        }
    }
}

#[cfg(feature = "otlp")]
use self::export::start;

#[cfg(not(feature = "otlp"))]
fn start(_: &Config, _: FarEnd) -> Result<(), String> {
    Err("this l7switch is built without OpenTelemetry: `cargo build --features otlp` (docs/tracing.md)".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collectors_are_named_by_url() {
        for (text, expected) in [
            ("http://collector:4318", "http://collector:4318/v1/traces"),
            ("http://collector:4318/", "http://collector:4318/v1/traces"),
            ("https://c/v1/traces", "https://c/v1/traces"),
            ("https://c/otlp", "https://c/otlp/v1/traces"),
            ("http://[::1]:4318", "http://[::1]:4318/v1/traces"),
        ] {
            assert_eq!(
                text.parse(),
                Ok(Endpoint::At(expected.parse().unwrap())),
                "{text}"
            );
        }
        assert_eq!("off".parse(), Ok(Endpoint::Off));
        for text in [
            "",
            "collector:4318",
            "/v1/traces",
            "grpc://collector:4317",
            "http://",
            "http://a b",
            "http://c?x=1",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }

    #[cfg(not(feature = "otlp"))]
    #[test]
    fn a_build_without_them_says_so() {
        let config = Config {
            endpoint: "http://collector:4318".parse().unwrap(),
            ..Config::default()
        };
        let error = Spans::start(&config).unwrap_err();
        assert!(error.contains("--features otlp"), "{error}");
        assert!(Spans::start(&Config::default()).unwrap().is_none());
    }
}
