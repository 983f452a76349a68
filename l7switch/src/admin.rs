// SPDX-License-Identifier: MIT
//! The admin socket: HTTP/1 with JSON over a Unix socket; docs/admin-api.md is its reference.

use std::convert::Infallible;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use http::Method;
use http::Request;
use http::Response;
use http::StatusCode;
use http::header;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use l7switch_admin_api::Failure;
use l7switch_admin_api::Reloaded;
use l7switch_admin_api::RulesInForce;
use serde::Serialize;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::net::unix::UCred;

use crate::accept::listen;
use crate::handover::give;
use crate::handover::give::NoPlace;
use crate::observe::exposition::Format;
use crate::switch::SetError;
use crate::switch::Switch;

pub(crate) mod change;
pub(crate) mod documents;
mod explain;

use self::change::change;
use self::change::change_service;
use self::change::percent_decoded;
pub use self::documents::kernel;
pub use self::documents::metrics;
pub use self::documents::routes;
pub use self::documents::servers;
pub use self::documents::status;

/// Who changes something here.
const WHO: &str = "by an administrator";

/// The admin socket. Dropped, it is removed, unless another process has it.
#[derive(Debug)]
pub struct Admin {
    path: PathBuf,
    switch: Arc<Switch>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.task.abort();
        if self.switch.place().given_to().is_none() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Admin {
    /// Opens the socket, readable and writable for its owner only. One that a dead switch has left
    /// is replaced.
    ///
    /// # Errors
    ///
    /// A living switch has it, or the file system says no.
    pub async fn start(switch: Arc<Switch>, path: &Path) -> io::Result<Self> {
        if UnixStream::connect(path).await.is_ok() {
            let why = "another switch uses it";
            return Err(io::Error::new(io::ErrorKind::AddrInUse, why));
        }
        // Bound under another name until its mode is right.
        let mut hidden = path.as_os_str().to_owned();
        hidden.push(format!(".{}", std::process::id()));
        let hidden = PathBuf::from(hidden);
        let _ = std::fs::remove_file(&hidden);
        let socket = UnixListener::bind(&hidden)?;
        let placed = std::fs::set_permissions(&hidden, Permissions::from_mode(0o600))
            .and_then(|()| std::fs::rename(&hidden, path));
        if let Err(error) = placed {
            let _ = std::fs::remove_file(&hidden);
            return Err(error);
        }
        Ok(Self::start_with(switch, path, socket))
    }

    /// Goes on with the socket of another process, which is at this path.
    pub fn start_with(switch: Arc<Switch>, path: &Path, socket: UnixListener) -> Self {
        let task = tokio::spawn(accept(Arc::clone(&switch), Arc::new(socket)));
        Self {
            path: path.to_owned(),
            switch,
            task,
        }
    }

    /// Where the socket is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

async fn accept(switch: Arc<Switch>, socket: Arc<UnixListener>) {
    let mut given = pin!(switch.place().given());
    loop {
        let accepted = tokio::select! {
            biased;
            // What waits in the kernel is the successor's.
            _ = &mut given => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let caller = Caller {
                    switch: Arc::clone(&switch),
                    socket: Arc::clone(&socket),
                    peer: stream.peer_cred().ok(),
                };
                tokio::spawn(async move {
                    let handler = service_fn(move |request| serve(caller.clone(), request));
                    let result = http1::Builder::new()
                        .timer(TokioTimer::new())
                        .serve_connection(TokioIo::new(stream), handler)
                        .with_upgrades()
                        .await;
                    if let Err(error) = result {
                        tracing::debug!(%error, "admin connection");
                    }
                });
            }
            Err(error) => listen::rest(&error).await,
        }
    }
}

/// Who asks, and of what.
#[derive(Clone)]
struct Caller {
    switch: Arc<Switch>,
    socket: Arc<UnixListener>,
    peer: Option<UCred>,
}

pub(crate) type Answer = Response<Full<Bytes>>;

/// An answer that tells what is wrong.
pub(crate) struct Problem(StatusCode, Box<Failure>);

impl Problem {
    fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self(
            status,
            Box::new(Failure {
                error: error.into(),
                ..Failure::default()
            }),
        )
    }

    /// The answer that tells it.
    pub(crate) fn into_answer(self) -> Answer {
        let Self(status, failure) = self;
        json(status, &*failure)
    }

    fn unknown(error: String, known: Vec<String>) -> Self {
        let failure = Failure {
            error,
            known,
            ..Failure::default()
        };
        Self(StatusCode::NOT_FOUND, Box::new(failure))
    }
}

async fn serve(caller: Caller, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let answered = dispatch(&caller, request).await;
    Ok(answered.unwrap_or_else(Problem::into_answer))
}

pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    let mut text = serde_json::to_vec(value).unwrap_or_default();
    text.push(b'\n');
    answer(status, "application/json", text)
}

pub(crate) fn answer(
    status: StatusCode,
    content_type: &'static str,
    content: impl Into<Bytes>,
) -> Answer {
    let mut response = Response::new(Full::new(content.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

async fn dispatch(caller: &Caller, request: Request<Incoming>) -> Result<Answer, Problem> {
    let switch = &caller.switch;
    let path = request.uri().path().to_owned();
    let segments: Vec<String> = path.split('/').skip(1).map(percent_decoded).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (allowed, known) = match segments.as_slice() {
        ["v1", name] if documents::NAMES.contains(name) => (Method::GET, true),
        ["v1", "rules"] | ["metrics"] => (Method::GET, true),
        ["v1", "reload" | "take-over" | "explain"] => (Method::POST, true),
        ["v1", "servers", _] | ["v1", "servers", _, _] | ["v1", "services", _] => {
            (Method::PATCH, true)
        }
        _ => (Method::GET, false),
    };
    if !known {
        return Err(Problem::unknown(format!("there is no {path}"), endpoints()));
    }
    if *request.method() != allowed {
        let error = format!("{path} takes {allowed}, not {}", request.method());
        let failure = Failure {
            error,
            ..Failure::default()
        };
        let mut answer = json(StatusCode::METHOD_NOT_ALLOWED, &failure);
        if let Ok(allowed) = HeaderValue::from_str(allowed.as_str()) {
            answer.headers_mut().insert(header::ALLOW, allowed);
        }
        return Ok(answer);
    }
    match segments.as_slice() {
        ["v1", name] if documents::NAMES.contains(name) => {
            Ok(documents::document(switch, name, request.uri().query()).await)
        }
        ["v1", "rules"] => {
            let generation = switch.generation();
            let rules = RulesInForce {
                generation: generation.number,
                rules: switch.rules_path().map(Path::to_owned),
                model: serde_json::to_value(&generation.rules.model).unwrap_or_default(),
            };
            Ok(json(StatusCode::OK, &rules))
        }
        ["metrics"] => {
            let format = Format::Prometheus;
            let text = metrics(switch, format).await;
            Ok(answer(StatusCode::OK, format.content_type(), text))
        }
        ["v1", "reload"] => reload(switch).await,
        ["v1", "explain"] => explain::explain(switch, request).await,
        ["v1", "take-over"] => {
            let begun = give::begin(switch, &caller.socket, caller.peer, request);
            begun.map_err(|NoPlace(status, why)| Problem::new(status, why))
        }
        ["v1", "servers", address] => change(switch, None, address, request, WHO).await,
        ["v1", "services", service] => change_service(switch, service, request).await,
        ["v1", "servers", pool, address] => change(switch, Some(pool), address, request, WHO).await,
        _ => Err(Problem::new(StatusCode::NOT_FOUND, "not found")),
    }
}

fn endpoints() -> Vec<String> {
    let documents = documents::NAMES.map(|name| format!("GET /v1/{name}"));
    let others = [
        "GET /v1/rules",
        "POST /v1/explain",
        "POST /v1/reload",
        "POST /v1/take-over",
        "PATCH /v1/servers/{pool}/{address}",
        "PATCH /v1/servers/{address}",
        "PATCH /v1/services/{name}",
        "GET /metrics",
    ];
    let others = others.into_iter().map(str::to_owned);
    documents.into_iter().chain(others).collect()
}

async fn reload(switch: &Arc<Switch>) -> Result<Answer, Problem> {
    match switch.reload().await {
        Ok(warnings) => {
            let generation = switch.generation().number;
            Ok(json(
                StatusCode::OK,
                &Reloaded {
                    generation,
                    warnings,
                },
            ))
        }
        Err(error) => {
            let status = match error {
                SetError::Draining => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::UNPROCESSABLE_ENTITY,
            };
            let diagnostics = match &error {
                SetError::Rules(report) => match report.to_json() {
                    serde_json::Value::Array(list) => list,
                    other => vec![other],
                },
                _ => Vec::new(),
            };
            let failure = Failure {
                error: error.to_string(),
                known: Vec::new(),
                diagnostics,
            };
            Err(Problem(status, Box::new(failure)))
        }
    }
}
