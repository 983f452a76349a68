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
use std::sync::atomic::Ordering::Relaxed;

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
use l7switch_admin_api::Maintenance;
use l7switch_admin_api::Reloaded;
use l7switch_admin_api::ServerStatus;
use l7switch_admin_api::Servers;
use l7switch_admin_api::ServiceStatus;
use l7switch_admin_api::Status;
use serde::Serialize;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::net::unix::UCred;

use crate::accept::listen;
use crate::handover::give;
use crate::handover::give::NoPlace;
use crate::handover::state::told_of;
use crate::kernel::metrics as kernel_metrics;
use crate::kernel::numbers;
use crate::net::shown::Shown;
use crate::observe::exposition::Format;
use crate::observe::metrics;
use crate::observe::process::Process;
use crate::ruleset::times;
use crate::switch::SetError;
use crate::switch::Switch;

mod change;

use self::change::change;
use self::change::change_service;
use self::change::percent_decoded;

/// A service that is not closed for maintenance.
const OPEN: Maintenance = Maintenance::Closed(false);

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
struct Problem(StatusCode, Box<Failure>);

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
    Ok(match dispatch(&caller, request).await {
        Ok(answer) => answer,
        Err(Problem(status, failure)) => json(status, &*failure),
    })
}

fn json(status: StatusCode, value: &impl Serialize) -> Answer {
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
        ["v1", "status" | "servers" | "events"] | ["metrics"] => (Method::GET, true),
        ["v1", "reload" | "take-over"] => (Method::POST, true),
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
        ["v1", "status"] => Ok(json(StatusCode::OK, &status(switch))),
        ["v1", "servers"] => Ok(json(
            StatusCode::OK,
            &Servers {
                servers: servers(switch),
            },
        )),
        ["v1", "events"] => Ok(json(StatusCode::OK, &switch.core().events.status())),
        ["metrics"] => {
            let format = Format::Prometheus;
            let text = metrics(switch, format).await;
            Ok(answer(StatusCode::OK, format.content_type(), text))
        }
        ["v1", "reload"] => reload(switch).await,
        ["v1", "take-over"] => {
            let begun = give::begin(switch, &caller.socket, caller.peer, request);
            begun.map_err(|NoPlace(status, why)| Problem::new(status, why))
        }
        ["v1", "servers", address] => change(switch, None, address, request).await,
        ["v1", "services", service] => change_service(switch, service, request).await,
        ["v1", "servers", pool, address] => change(switch, Some(pool), address, request).await,
        _ => Err(Problem::new(StatusCode::NOT_FOUND, "not found")),
    }
}

fn endpoints() -> Vec<String> {
    [
        "GET /v1/status",
        "GET /v1/servers",
        "GET /v1/events",
        "POST /v1/reload",
        "POST /v1/take-over",
        "PATCH /v1/servers/{pool}/{address}",
        "PATCH /v1/servers/{address}",
        "PATCH /v1/services/{name}",
        "GET /metrics",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// All metrics.
pub async fn metrics(switch: &Switch, format: Format) -> String {
    let status = status(switch);
    let numbers = numbers(status.kernel.state).await;
    let mut text = metrics::render(&status, &servers(switch), format);
    let first_byte = numbers.as_ref().map(|numbers| &numbers.module.first_byte);
    let front = switch.core().first_byte();
    text += &times::render(&switch.generation(), &front, first_byte, format);
    text += &metrics::events(&switch.core().events, format);
    text += &metrics::refused(&switch.core().metrics_refused, format);
    if let Some(process) = Process::read().await {
        text += &process.render(format);
    }
    if let Some(numbers) = &numbers {
        text += &kernel_metrics::render(numbers, format);
    }
    text + format.end()
}

/// What `GET /v1/status` answers.
pub fn status(switch: &Switch) -> Status {
    let core = switch.core();
    let generation = switch.generation();
    let reloads = switch.reload_status();
    let mut bound = switch.bound();
    let told = switch.told();
    let services = generation
        .rules
        .model
        .services
        .iter()
        .zip(&generation.services)
        .map(|(model, service)| {
            let stats = &service.stats;
            let counts = ServiceStatus {
                protocol: model.protocol.as_str().to_owned(),
                listen: bound.remove(&model.name).unwrap_or_default(),
                active: u64::try_from(stats.active()).unwrap_or(u64::MAX),
                connections: stats.connections.load(Relaxed),
                requests: stats.requests.load(Relaxed),
                interim_dropped: stats.interim_dropped.load(Relaxed),
                bytes_in: stats.bytes_in.load(Relaxed),
                bytes_out: stats.bytes_out.load(Relaxed),
                responses: stats
                    .classes()
                    .map(|(class, n)| (class.to_owned(), n))
                    .collect(),
                refused: stats
                    .refusals()
                    .map(|(r, n)| (r.as_str().to_owned(), n))
                    .collect(),
                routes: service
                    .routes
                    .iter()
                    .map(|route| (route.label.clone(), route.stats.requests.load(Relaxed)))
                    .collect(),
                mirrored: stats
                    .mirrored
                    .outcomes()
                    .map(|(word, n)| (word.to_owned(), n))
                    .collect(),
                first_byte: stats.first_byte.counts().status(),
                maintenance: Some(told_of(&model.maintenance)).filter(|told| *told != OPEN),
                maintenance_told: told.has_told(&model.name),
                certificates: service
                    .tls
                    .iter()
                    .flat_map(|tls| tls.shown.iter().map(Shown::status))
                    .collect(),
            };
            (model.name.clone(), counts)
        });
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        uptime: core.started.elapsed().as_secs_f64(),
        generation: generation.number,
        rules: switch.rules_path().map(Path::to_owned),
        reloads: reloads.succeeded,
        reload_failures: reloads.refused,
        last_error: reloads.last_error,
        draining: core.shutdown.is_draining(),
        access_log_dropped: core.log.dropped(),
        services: services.collect(),
        pools: generation
            .pools
            .iter()
            .map(|pool| (pool.config().name.clone(), pool.status()))
            .collect(),
        names: switch.names(),
        kernel: switch.kernel_status(),
        take_overs: switch.place().counts(),
        state_file: switch.state_file().status(),
    }
}

/// Every real server of the rules in force, in the order of the rule file.
pub fn servers(switch: &Switch) -> Vec<ServerStatus> {
    let generation = switch.generation();
    generation
        .pools
        .iter()
        .flat_map(|pool| pool.servers())
        .map(|server| server.status())
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
