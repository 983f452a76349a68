// SPDX-License-Identifier: MIT
//! The far end of what sends traces: a thread of its own that gathers spans and sends them in batches.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use opentelemetry::InstrumentationScope;
use opentelemetry::KeyValue;
use opentelemetry_http::HttpClient;
use opentelemetry_otlp::Protocol;
use opentelemetry_otlp::RetryPolicy;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_otlp::WithHttpConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;
use opentelemetry_sdk::trace::SpanExporter as _;
use opentelemetry_semantic_conventions::attribute;
use tokio::time::Instant;
use tokio::time::sleep_until;

use super::Config;
use super::Counts;
use super::Endpoint;
use super::FarEnd;
use super::collector::Collector;
use super::data;
use super::trace::Finished;

/// Spans that go together.
const BATCH: usize = 512;

/// How long a span waits for others.
const GATHER: Duration = Duration::from_secs(1);

/// How long the collector may take where nobody has said (the specification of OTLP).
const TIMEOUT: Duration = Duration::from_secs(10);

/// How often a batch is sent again that the collector has not had: some six seconds, in which it may be started anew.
const RETRIES: usize = 6;

/// Starts the thread. It ends with the near end.
pub(super) fn start(config: &Config, far: FarEnd) -> Result<(), String> {
    let timeout = config.timeout.unwrap_or_else(timeout);
    let collector = Arc::new(Collector::new(timeout));
    let mut builder = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(timeout)
        .with_shared_http_client(Arc::clone(&collector) as Arc<dyn HttpClient>)
        .with_retry_policy(RetryPolicy::recommended().with_max_retries(RETRIES));
    if let Endpoint::At(uri) = &config.endpoint {
        builder = builder.with_endpoint(uri.to_string());
    }
    let mut exporter = builder.build().map_err(|error| error.to_string())?;
    exporter.set_resource(&resource());
    let writer = Writer {
        exporter,
        collector,
        scope: InstrumentationScope::builder("l7switch")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build(),
        counts: Arc::clone(&far.counts),
        batch: Vec::with_capacity(BATCH),
        due: None,
        is_failing: false,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    std::thread::Builder::new()
        .name("spans".to_owned())
        .spawn(move || runtime.block_on(writer.run(far)))
        .map_err(|error| error.to_string())?;
    Ok(())
}

/// How long the collector may take, as the environment says, ms.
fn timeout() -> Duration {
    let said = |name| std::env::var(name).ok()?.trim().parse().ok();
    said("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT")
        .or_else(|| said("OTEL_EXPORTER_OTLP_TIMEOUT"))
        .map_or(TIMEOUT, Duration::from_millis)
}

/// Whose spans they are: what `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` say, and what this program knows of itself.
fn resource() -> Resource {
    let said = Resource::builder().build();
    let is_said = |key: &'static str| said.get(&key.into()).is_some();
    let mut own = Resource::builder();
    let name = said.get(&attribute::SERVICE_NAME.into());
    // The library's word for one that nobody has named.
    if name.is_none_or(|name| name.as_str().starts_with("unknown_service")) {
        own = own.with_service_name("l7switch");
    }
    if !is_said(attribute::SERVICE_VERSION) {
        let version = KeyValue::new(attribute::SERVICE_VERSION, env!("CARGO_PKG_VERSION"));
        own = own.with_attribute(version);
    }
    let instance = attribute::SERVICE_INSTANCE_ID;
    if !is_said(instance) {
        let host = rustix::system::uname();
        let host = host.nodename().to_string_lossy();
        let id = format!("{host}:{}", std::process::id());
        own = own.with_attribute(KeyValue::new(instance, id));
    }
    own.build()
}

struct Writer {
    exporter: SpanExporter,
    collector: Arc<Collector>,
    scope: InstrumentationScope,
    counts: Arc<Counts>,
    batch: Vec<SpanData>,
    /// When the batch is sent, full or not.
    due: Option<Instant>,
    is_failing: bool,
}

impl Writer {
    async fn run(mut self, mut far: FarEnd) {
        loop {
            let due = self.due;
            let gathered = async {
                match due {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(done) = far.flush.recv() => {
                    while let Ok(finished) = far.queue.try_recv() {
                        self.take(&finished).await;
                    }
                    self.send().await;
                    let _ = done.send(());
                }
                () = gathered => self.send().await,
                finished = far.queue.recv() => match finished {
                    Some(finished) => self.take(&finished).await,
                    None => return self.send().await,
                },
            }
        }
    }

    async fn take(&mut self, finished: &Finished) {
        self.batch.extend(data::spans(finished, &self.scope));
        self.due.get_or_insert_with(|| Instant::now() + GATHER);
        if self.batch.len() >= BATCH {
            self.send().await;
        }
    }

    async fn send(&mut self) {
        self.due = None;
        if self.batch.is_empty() {
            return;
        }
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        let spans = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let sent = self.exporter.export(batch).await;
        let why = self.collector.why();
        let (lost, error) = match sent {
            Ok(()) => match self.collector.take_rejected().min(spans) {
                0 => (0, None),
                rejected => (rejected, Some("the collector rejects spans".to_owned())),
            },
            Err(error) if why.is_empty() => (spans, Some(error.to_string())),
            Err(_) => (spans, Some(why)),
        };
        self.counts.dropped.fetch_add(lost, Relaxed);
        let exported = spans.saturating_sub(lost);
        self.counts.exported.fetch_add(exported, Relaxed);
        let was_failing = std::mem::replace(&mut self.is_failing, error.is_some());
        match error {
            Some(error) if !was_failing => tracing::error!(
                error,
                "traces do not reach the collector: spans are lost and counted"
            ),
            None if was_failing => tracing::info!("traces reach the collector again"),
            _ => (),
        }
    }
}
