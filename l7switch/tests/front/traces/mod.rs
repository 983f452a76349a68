// SPDX-License-Identifier: MIT
//! Traces, as a collector of OTLP gets them.

mod context;
mod requests;
mod sending;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use l7switch::Options;
use l7switch::Switch;
use l7switch::observe::spans::Config;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;

use crate::support::Server;
use crate::support::start_with;
use crate::support::until;

/// A collector, which reads protobuf by OpenTelemetry's own definitions.
struct Collector {
    server: Server,
    got: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
}

impl Collector {
    /// One that takes everything.
    async fn start() -> Self {
        Self::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await
    }

    async fn answering(answer: &'static str) -> Self {
        let got = Arc::<Mutex<Vec<ExportTraceServiceRequest>>>::default();
        let server = Server::start({
            let got = Arc::clone(&got);
            move |mut conn, _, seen| {
                let got = Arc::clone(&got);
                async move {
                    while let Some(head) = conn.head().await {
                        let body = conn.body(&head).await;
                        let decoded = ExportTraceServiceRequest::decode(&*body);
                        seen.lock().unwrap().push(head);
                        got.lock().unwrap().push(decoded.expect("no OTLP"));
                        conn.send(answer).await;
                    }
                }
            }
        })
        .await;
        Self { server, got }
    }

    /// What sends traces here.
    fn options(&self) -> Options {
        options(self.server.address, "100%")
    }

    /// All spans that have come.
    fn spans(&self) -> Vec<Span> {
        let got = self.got.lock().unwrap();
        got.iter()
            .flat_map(|request| &request.resource_spans)
            .flat_map(|of| &of.scope_spans)
            .flat_map(|of| of.spans.clone())
            .collect()
    }

    /// Waits until so many have come, and no more. Those of a request come together, its own first.
    async fn wait(&self, count: usize) -> Vec<Span> {
        until(|| self.spans().len() >= count).await;
        let spans = self.spans();
        assert_eq!(spans.len(), count, "{spans:#?}");
        spans
    }
}

/// What sends that part of the traces to this address.
fn options(collector: SocketAddr, sample: &str) -> Options {
    Options {
        spans: Config {
            endpoint: format!("http://{collector}").parse().unwrap(),
            sample: sample.parse().unwrap(),
            timeout: Some(Duration::from_millis(300)),
        },
        ..Options::default()
    }
}

fn traced(rules: &str, collector: &Collector) -> Arc<Switch> {
    start_with(rules, &collector.options())
}

/// A span's attributes as text.
fn attributes(span: &Span) -> BTreeMap<&str, String> {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    let pairs = span.attributes.iter().map(|pair| {
        let value = pair.value.as_ref().and_then(|value| value.value.as_ref());
        (pair.key.as_str(), text(value.unwrap()))
    });
    pairs.collect()
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    attributes(span).remove(key)
}

fn is_server(span: &Span) -> bool {
    span.kind == SpanKind::Server as i32
}

fn is_client(span: &Span) -> bool {
    span.kind == SpanKind::Client as i32
}

fn is_error(span: &Span) -> bool {
    let status = span.status.as_ref();
    status.is_some_and(|status| status.code == StatusCode::Error as i32)
}

/// The `traceparent` that names a span as the parent.
fn traceparent(span: &Span) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    format!("00-{}-{}-01", hex(&span.trace_id), hex(&span.span_id))
}
