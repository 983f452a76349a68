// SPDX-License-Identifier: MIT
//! The metrics listener: what everybody may read who reaches it. It changes nothing: that is the admin socket's.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderValue;
use http::Method;
use http::Request;
use http::StatusCode;
use http::header;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::accept::listen;
use crate::admin;
use crate::admin::Answer;
use crate::observe::exposition::Format;
use crate::switch::Switch;

/// Most connections at a time; more wait to be accepted.
const CONNECTIONS: usize = 64;

/// How long a request's head may take, and a connection be silent.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// What there is to be read.
const PATHS: &str = "there are /metrics, /live and /ready\n";

/// The listener. Dropped, it is closed.
#[derive(Debug)]
pub struct Exposed {
    bound: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Exposed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Exposed {
    /// Opens the listener.
    ///
    /// # Errors
    ///
    /// The address cannot be bound.
    pub fn start(switch: Arc<Switch>, address: SocketAddr) -> io::Result<Self> {
        let socket = listen::bind(address)?;
        let bound = socket.local_addr()?;
        let task = tokio::spawn(accept(switch, socket));
        Ok(Self { bound, task })
    }

    /// Where it listens.
    pub const fn bound(&self) -> SocketAddr {
        self.bound
    }
}

async fn accept(switch: Arc<Switch>, socket: TcpListener) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        match socket.accept().await {
            Ok((stream, _)) => {
                let switch = Arc::clone(&switch);
                tokio::spawn(async move {
                    let handler = service_fn(|request| serve(&switch, request));
                    let result = http1::Builder::new()
                        .timer(TokioTimer::new())
                        .header_read_timeout(HEAD_TIME)
                        .serve_connection(TokioIo::new(stream), handler)
                        .await;
                    if let Err(error) = result {
                        tracing::debug!(%error, "metrics connection");
                    }
                    drop(place);
                });
            }
            Err(error) => listen::rest(&error).await,
        }
    }
}

async fn serve(switch: &Switch, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let path = request.uri().path();
    if !matches!(path, "/metrics" | "/live" | "/ready") {
        return Ok(say(StatusCode::NOT_FOUND, PATHS));
    }
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut answer = say(StatusCode::METHOD_NOT_ALLOWED, "this is read only\n");
        let allowed = HeaderValue::from_static("GET, HEAD");
        answer.headers_mut().insert(header::ALLOW, allowed);
        return Ok(answer);
    }
    Ok(match path {
        "/metrics" => {
            let format = wanted(request.headers());
            let text = admin::metrics(switch, format).await;
            content(StatusCode::OK, format.content_type(), text)
        }
        "/ready" if switch.core().shutdown.is_draining() => {
            say(StatusCode::SERVICE_UNAVAILABLE, "draining\n")
        }
        "/ready" => say(StatusCode::OK, "ready\n"),
        _ => say(StatusCode::OK, "live\n"),
    })
}

/// The format that a scraper prefers: OpenMetrics where it is named, as Prometheus does, which takes the other with less weight.
fn wanted(headers: &HeaderMap) -> Format {
    let accepted = headers.get_all(header::ACCEPT).iter();
    let mut accepted = accepted
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|range| range.split(';').next().unwrap_or_default().trim());
    match accepted.any(|range| range.eq_ignore_ascii_case("application/openmetrics-text")) {
        true => Format::OpenMetrics,
        false => Format::Prometheus,
    }
}

fn say(status: StatusCode, text: &'static str) -> Answer {
    content(status, "text/plain; charset=utf-8", text)
}

fn content(status: StatusCode, kind: &'static str, content: impl Into<Bytes>) -> Answer {
    let mut answer = admin::answer(status, kind, content);
    // A state of now: no cache may say it later.
    let stays_nowhere = HeaderValue::from_static("no-store");
    answer
        .headers_mut()
        .insert(header::CACHE_CONTROL, stays_nowhere);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_those_who_name_it() {
        for (accept, format) in [
            (None, Format::Prometheus),
            (Some("*/*"), Format::Prometheus),
            (Some("text/plain;version=0.0.4"), Format::Prometheus),
            (
                Some("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.4,*/*;q=0.1"),
                Format::OpenMetrics,
            ),
            (
                Some("text/html, Application/OpenMetrics-Text"),
                Format::OpenMetrics,
            ),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            }
            assert_eq!(wanted(&headers), format, "{accept:?}");
        }
    }
}
