// SPDX-License-Identifier: MIT
//! The admin socket: HTTP/1 with JSON over a Unix socket; docs/admin-api.md is its reference.

use std::convert::Infallible;
use std::fs::Permissions;
use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use http::HeaderValue;
use http::Method;
use http::Request;
use http::Response;
use http::StatusCode;
use http::header;
use http_body_util::BodyExt;
use http_body_util::Full;
use http_body_util::Limited;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use ipnet::IpNet;
use l7switch_admin_api::Failure;
use l7switch_admin_api::Maintenance;
use l7switch_admin_api::Reloaded;
use l7switch_admin_api::ServerChange;
use l7switch_admin_api::ServerStatus;
use l7switch_admin_api::Servers;
use l7switch_admin_api::ServiceChange;
use l7switch_admin_api::ServiceStatus;
use l7switch_admin_api::Status;
use l7switch_admin_api::WantedState;
use l7switch_rules::model;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixListener;
use tokio::net::UnixStream;

use crate::accept::listen;
use crate::kernel::metrics as kernel_metrics;
use crate::kernel::numbers;
use crate::net::shown::Shown;
use crate::observe::exposition::Format;
use crate::observe::metrics;
use crate::observe::process::Process;
use crate::ruleset::times;
use crate::switch::SetError;
use crate::switch::Switch;

/// Longest content of a request.
const CONTENT_MAX: usize = 64 * 1024;

/// The admin socket. Dropped, it is removed.
#[derive(Debug)]
pub struct Admin {
    path: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
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
        let task = tokio::spawn(accept(switch, socket));
        Ok(Self {
            path: path.to_owned(),
            task,
        })
    }

    /// Where the socket is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

async fn accept(switch: Arc<Switch>, socket: UnixListener) {
    loop {
        match socket.accept().await {
            Ok((stream, _)) => {
                let switch = Arc::clone(&switch);
                tokio::spawn(async move {
                    let handler = service_fn(move |request| serve(Arc::clone(&switch), request));
                    let result = http1::Builder::new()
                        .timer(TokioTimer::new())
                        .serve_connection(TokioIo::new(stream), handler)
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

async fn serve(switch: Arc<Switch>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    Ok(match dispatch(&switch, request).await {
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

async fn dispatch(switch: &Arc<Switch>, request: Request<Incoming>) -> Result<Answer, Problem> {
    let path = request.uri().path().to_owned();
    let segments: Vec<String> = path.split('/').skip(1).map(percent_decoded).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (allowed, known) = match segments.as_slice() {
        ["v1", "status" | "servers"] | ["metrics"] => (Method::GET, true),
        ["v1", "reload"] => (Method::POST, true),
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
        ["metrics"] => {
            let format = Format::Prometheus;
            let text = metrics(switch, format).await;
            Ok(answer(StatusCode::OK, format.content_type(), text))
        }
        ["v1", "reload"] => reload(switch).await,
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
        "POST /v1/reload",
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
                maintenance: maintenance(&model.maintenance),
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
    }
}

/// Whether a service is closed for maintenance; `None`: it is not.
fn maintenance(rules: &model::Maintenance) -> Option<Maintenance> {
    match rules {
        model::Maintenance::Off => None,
        model::Maintenance::Except(who) if who.is_empty() => Some(Maintenance::Closed(true)),
        model::Maintenance::Except(who) => Some(Maintenance::Except {
            except: who.iter().map(ToString::to_string).collect(),
        }),
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

/// Reads a request's content.
async fn body<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Problem> {
    let bad = |error: String| Problem::new(StatusCode::BAD_REQUEST, error);
    let content = Limited::new(request.into_body(), CONTENT_MAX)
        .collect()
        .await
        .map_err(|error| bad(error.to_string()))?
        .to_bytes();
    serde_json::from_slice(&content).map_err(|error| {
        let text = error.to_string();
        match text.contains("untagged enum Maintenance") {
            true => bad("maintenance is true, false, null or {\"except\": [PREFIX, …]}".to_owned()),
            false => bad(text),
        }
    })
}

async fn change_service(
    switch: &Arc<Switch>,
    name: &str,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let change: ServiceChange = body(request).await?;
    let generation = switch.generation();
    // Of one that a reload has taken away, what was told can be taken back.
    if generation.service(name).is_none()
        && change.maintenance == Some(None)
        && switch.told().has_told(name)
    {
        let taken_back = switch.maintain(name, None).await;
        taken_back
            .map_err(|error| Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
        return Ok(json(StatusCode::OK, &ServiceStatus::default()));
    }
    let Some((_, service, _)) = generation.service(name) else {
        let services = generation.rules.model.services.iter();
        let known = services.map(|service| service.name.clone()).collect();
        let error = format!("there is no service `{name}`");
        return Err(Problem::unknown(error, known));
    };
    let bad = |error: String| Problem::new(StatusCode::BAD_REQUEST, error);
    if let Some(wanted) = change.maintenance {
        if !service.protocol.is_http() {
            let protocol = service.protocol.as_str();
            return Err(bad(format!(
                "service `{name}` has protocol {protocol}: maintenance is for http and https"
            )));
        }
        let wanted = match wanted {
            None => None,
            Some(Maintenance::Closed(false)) => Some(model::Maintenance::Off),
            Some(Maintenance::Closed(true)) => Some(model::Maintenance::Except(Vec::new())),
            Some(Maintenance::Except { except }) => {
                let read = |text: &String| {
                    let prefix = text.parse::<IpNet>();
                    let prefix = prefix.or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
                    prefix.map_err(|_| bad(format!("`{text}` is not an address or prefix")))
                };
                let except = except.iter().map(read).collect::<Result<_, _>>()?;
                Some(model::Maintenance::Except(except))
            }
        };
        let changed = switch.maintain(name, wanted).await;
        changed.map_err(|error| {
            let status = match error {
                SetError::Draining => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::UNPROCESSABLE_ENTITY,
            };
            Problem::new(status, error.to_string())
        })?;
    }
    let mut services = status(switch).services;
    let changed = services.remove(name).unwrap_or_default();
    Ok(json(StatusCode::OK, &changed))
}

async fn change(
    switch: &Arc<Switch>,
    pool: Option<&str>,
    address: &str,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let change: ServerChange = body(request).await?;
    if let Some(Some(weight)) = change.weight
        && weight > l7switch_engine::sched::MAX_WEIGHT
    {
        let why = format!(
            "weight {weight} is over {}",
            l7switch_engine::sched::MAX_WEIGHT
        );
        return Err(Problem::new(StatusCode::BAD_REQUEST, why));
    }
    let generation = switch.generation();
    if let Some(name) = pool
        && generation.pool(name).is_none()
    {
        let known = generation
            .pools
            .iter()
            .map(|pool| pool.config().name.clone())
            .collect();
        return Err(Problem::unknown(
            format!("there is no pool `{name}`"),
            known,
        ));
    }
    // Another spelling of an address is the same address.
    let wanted = match address.parse::<SocketAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => address.to_owned(),
    };
    let pools: Vec<_> = generation
        .pools
        .iter()
        .filter(|candidate| pool.is_none_or(|name| candidate.config().name == name))
        .collect();
    let mut changed = Vec::new();
    for pool in &pools {
        let found = pool
            .servers()
            .find(|server| server.address().to_string() == wanted);
        let Some(server) = found else { continue };
        if let Some(weight) = change.weight {
            server.set_admin_weight(weight);
        }
        if let Some(state) = change.state {
            server.set_draining(state == WantedState::Drain);
        }
        pool.rebuild_lookup();
        let after = server.status();
        tracing::info!(
            pool = after.pool,
            server = %after.address,
            weight = after.effective_weight,
            state = after.state.as_str(),
            "changed by an administrator"
        );
        changed.push(after);
    }
    if changed.is_empty() {
        let mut known: Vec<_> = pools
            .iter()
            .flat_map(|pool| pool.servers())
            .map(|server| server.address().to_string())
            .collect();
        known.sort();
        known.dedup();
        let place = pool.map_or_else(String::new, |name| format!(" in pool `{name}`"));
        return Err(Problem::unknown(
            format!("there is no server `{address}`{place}"),
            known,
        ));
    }
    Ok(json(StatusCode::OK, &Servers { servers: changed }))
}

/// A path segment as it was before it was put into a URL (RFC 3986, 2.1); bad escapes stay.
fn percent_decoded(segment: &str) -> String {
    let mut out = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escape = (first == b'%')
            .then(|| tail.first_chunk::<2>())
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escape {
            Some(byte) => {
                out.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                out.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_decoded() {
        assert_eq!(percent_decoded("%5B::1%5d:80"), "[::1]:80");
        assert_eq!(percent_decoded("a%2"), "a%2");
        assert_eq!(percent_decoded("%+1"), "%+1");
    }
}
