// SPDX-License-Identifier: MIT
//! The way to a collector: one connection of HTTP/1.1, kept from batch to batch.

use std::fmt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::Response;
use http::Uri;
use http_body_util::BodyExt;
use http_body_util::Full;
use http_body_util::Limited;
use hyper::client::conn::http1::SendRequest;
use opentelemetry_http::HttpClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use rustls::ClientConfig;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;

use crate::net::outgoing;
use crate::net::outgoing::Failure;
use crate::net::tls;
use crate::net::tls::TlsError;

/// Longest content of a response, bytes.
const MOST_CONTENT: usize = 64 * 1024;

/// What reaches a collector.
pub(super) struct Collector {
    timeout: Duration,
    tls: OnceCell<TlsConnector>,
    kept: Mutex<Option<SendRequest<Full<Bytes>>>>,
    /// Why it was not reached, the last time.
    why: Mutex<String>,
    /// Spans that it has refused of what it has taken.
    rejected: AtomicU64,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}

impl Collector {
    /// One that has so long for a response.
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            tls: OnceCell::new(),
            kept: Mutex::default(),
            why: Mutex::default(),
            rejected: AtomicU64::new(0),
        }
    }

    /// Why it was not reached, the last time; empty: it has answered.
    pub(super) fn why(&self) -> String {
        self.why
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How many spans it has refused of what it has taken since this was asked last.
    pub(super) fn take_rejected(&self) -> u64 {
        self.rejected.swap(0, Relaxed)
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Failure> {
        let exchanged = tokio::time::timeout(self.timeout, self.exchange(request)).await;
        let response =
            exchanged.unwrap_or_else(|_| Err(format!("no answer in {:?}", self.timeout).into()));
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = match &response {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        response
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Failure> {
        let (mut parts, content) = request.into_parts();
        let kept = self.kept().take().filter(|kept| !kept.is_closed());
        let mut sender = match kept {
            Some(kept) => kept,
            None => self.connect(&parts.uri).await?,
        };
        outgoing::aim(&mut parts)?;
        let request = Request::from_parts(parts, Full::new(content));
        let (parts, content) = sender.send_request(request).await?.into_parts();
        let content = Limited::new(content, MOST_CONTENT).collect().await?;
        *self.kept() = Some(sender);
        let content = content.to_bytes();
        if parts.status.is_success()
            && let Ok(said) = ExportTraceServiceResponse::decode(&*content)
            && let Some(partly) = said.partial_success
        {
            let rejected = u64::try_from(partly.rejected_spans).unwrap_or_default();
            self.rejected.fetch_add(rejected, Relaxed);
        }
        Ok(Response::from_parts(parts, content))
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Option<SendRequest<Full<Bytes>>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self, uri: &Uri) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let tls = match uri.scheme_str() {
            Some("https") => Some(self.tls.get_or_try_init(async || connector()).await?),
            _ => None,
        };
        let (sender, connection) = outgoing::connect(uri, tls).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// TLS by the authorities that the environment names, or those of the system.
fn connector() -> Result<TlsConnector, TlsError> {
    let named = std::env::var_os("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE")
        .or_else(|| std::env::var_os("OTEL_EXPORTER_OTLP_CERTIFICATE"));
    let roots = match named.filter(|path| !path.is_empty()) {
        Some(path) => tls::read_roots(Path::new(&path))?,
        None => tls::system_roots()?,
    };
    let config = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

impl HttpClient for Collector {
    fn send_bytes<'collector, 'sending>(
        &'collector self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, Failure>> + Send + 'sending>>
    where
        'collector: 'sending,
        Self: 'sending,
    {
        Box::pin(self.send(request))
    }
}
