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
use l7switch_admin_api::Allowed;
use l7switch_admin_api::Failure;
use l7switch_admin_api::Operation;
use l7switch_admin_api::Reloaded;
use l7switch_admin_api::Role;
use l7switch_admin_api::RulesInForce;
use serde::Serialize;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::net::unix::UCred;

use crate::accept::listen;
use crate::handover;
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
    pub(crate) fn new(status: StatusCode, error: impl Into<String>) -> Self {
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
    let (status, mut text) = match serde_json::to_vec(value) {
        Ok(text) => (status, text),
        // A path that is not UTF-8.
        Err(error) => {
            let failure = serde_json::json!({ "error": error.to_string() });
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            (status, failure.to_string().into_bytes())
        }
    };
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
    let Some((operation, values)) = Operation::at(&segments) else {
        return Err(Problem::unknown(format!("there is no {path}"), endpoints()));
    };
    if !takes(operation, request.method()) {
        return Ok(not_allowed(&path, request.method(), operation.allowed()));
    }
    match (operation, values.as_slice()) {
        (Operation::Rules, _) => {
            let generation = switch.generation();
            let rules = RulesInForce {
                generation: generation.number,
                rules: switch.rules_path().map(Path::to_owned),
                model: serde_json::to_value(&generation.rules.model).unwrap_or_default(),
            };
            Ok(json(StatusCode::OK, &rules))
        }
        (Operation::Role, _) => {
            let allowed = Allowed {
                role: Role::Operate,
                operable: true,
            };
            Ok(json(StatusCode::OK, &allowed))
        }
        (Operation::Metrics, _) => {
            let format = Format::Prometheus;
            let text = metrics(switch, format).await;
            Ok(answer(StatusCode::OK, format.content_type(), text))
        }
        (Operation::Reload, _) => reload(switch).await,
        (Operation::Explain, _) => explain::explain(switch, request).await,
        (Operation::TakeOver, _) => {
            let begun = give::begin(switch, &caller.socket, caller.peer, request);
            begun.or_else(|NoPlace(status, why)| {
                let mut answer = Problem::new(status, why).into_answer();
                // Which protocol it would be (RFC 9110, 15.5.22).
                if status == StatusCode::UPGRADE_REQUIRED {
                    let protocol = HeaderValue::from_static(handover::PROTOCOL);
                    answer.headers_mut().insert(header::UPGRADE, protocol);
                    let upgrade = HeaderValue::from_static("upgrade");
                    answer.headers_mut().insert(header::CONNECTION, upgrade);
                }
                Ok(answer)
            })
        }
        (Operation::ChangeServerInAll, [address]) => {
            change(switch, None, address, request, WHO).await
        }
        (Operation::ChangeServer, [pool, address]) => {
            change(switch, Some(pool), address, request, WHO).await
        }
        (Operation::ChangeService, [service]) => change_service(switch, service, request).await,
        _ => documents::document(switch, operation, request.uri().query()).await,
    }
}

/// Whether an operation is asked for by this method.
pub(crate) fn takes(operation: Operation, method: &Method) -> bool {
    operation
        .allowed()
        .split(", ")
        .any(|one| one == method.as_str())
}

/// The answer to a method that there is not.
pub(crate) fn not_allowed(path: &str, method: &Method, allowed: &'static str) -> Answer {
    let error = match allowed {
        "" => format!("{path} takes no method here"),
        allowed => format!("{path} takes {allowed}, not {method}"),
    };
    let mut answer = Problem::new(StatusCode::METHOD_NOT_ALLOWED, error).into_answer();
    let allowed = HeaderValue::from_static(allowed);
    answer.headers_mut().insert(header::ALLOW, allowed);
    answer
}

fn endpoints() -> Vec<String> {
    let all = Operation::ALL.into_iter();
    all.map(|operation| format!("{} {}", operation.method(), operation.path()))
        .collect()
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
