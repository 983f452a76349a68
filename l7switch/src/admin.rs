// SPDX-License-Identifier: MIT
//! The admin API: HTTP/1 with JSON, over a Unix socket, and over TCP with TLS; docs/admin-api.md is its reference.

use std::convert::Infallible;
use std::path::Path;
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
use l7switch_admin_api::Allowed;
use l7switch_admin_api::Failure;
use l7switch_admin_api::Operation;
use l7switch_admin_api::Reloaded;
use l7switch_admin_api::RulesInForce;
use serde::Serialize;

use crate::control;
use crate::handover;
use crate::handover::give;
use crate::handover::give::NoPlace;
use crate::observe::exposition::Format;
use crate::switch::SetError;
use crate::switch::Switch;

mod caller;
pub(crate) mod change;
pub(crate) mod documents;
mod explain;
pub mod remote;
mod socket;

use self::caller::Caller;
use self::caller::Refusal;
use self::caller::Way;
use self::change::change;
use self::change::change_service;
use self::change::percent_decoded;
pub use self::documents::kernel;
pub use self::documents::metrics;
pub use self::documents::routes;
pub use self::documents::servers;
pub use self::documents::status;
pub use self::socket::Admin;

/// Who changes something at the admin socket.
pub(crate) const ADMINISTRATOR: &str = "by an administrator";

pub(crate) type Answer = Response<Full<Bytes>>;

/// An answer that tells what is wrong.
pub(crate) struct Problem {
    status: StatusCode,
    failure: Box<Failure>,
    /// Whether nothing more is read of the connection.
    closes: bool,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        let failure = Failure {
            error: error.into(),
            ..Failure::default()
        };
        Self::of(status, failure)
    }

    fn of(status: StatusCode, failure: Failure) -> Self {
        Self {
            status,
            failure: Box::new(failure),
            closes: false,
        }
    }

    fn unknown(error: String, known: Vec<String>) -> Self {
        let failure = Failure {
            error,
            known,
            ..Failure::default()
        };
        Self::of(StatusCode::NOT_FOUND, failure)
    }

    /// The connection ends with it.
    fn and_close(mut self) -> Self {
        self.closes = true;
        self
    }

    /// The answer that tells it.
    pub(crate) fn into_answer(self) -> Answer {
        let mut answer = json(self.status, &*self.failure);
        if self.closes {
            let close = HeaderValue::from_static("close");
            answer.headers_mut().insert(header::CONNECTION, close);
        }
        answer
    }
}

async fn serve(caller: Caller, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let answered = dispatch(&caller, request).await;
    let mut answer = answered.unwrap_or_else(Problem::into_answer);
    control::tell_the_last(&caller.switch, &mut answer);
    Ok(answer)
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
    caller.verify_again(&path)?;
    let segments: Vec<String> = path.split('/').skip(1).map(percent_decoded).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let Some((operation, values)) = Operation::at(&segments) else {
        return Err(Problem::unknown(format!("there is no {path}"), endpoints()));
    };
    if !takes(operation, request.method()) {
        return Ok(not_allowed(&path, request.method(), operation.allowed()));
    }
    if caller.role() < operation.needs() {
        return Err(caller.refuse(Refusal::Role, &path));
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
                role: caller.role(),
                operable: caller.may_be_operated(),
            };
            Ok(json(StatusCode::OK, &allowed))
        }
        (Operation::Metrics, _) => {
            let format = Format::Prometheus;
            let text = metrics(switch, format).await;
            Ok(answer(StatusCode::OK, format.content_type(), text))
        }
        (Operation::Reload, _) => {
            tracing::info!("a reload is asked for {}", caller.who());
            reload(switch).await
        }
        (Operation::Explain, _) => explain::explain(switch, request).await,
        (Operation::TakeOver, _) => match &caller.way {
            Way::Socket { socket, peer, .. } => {
                let begun = give::begin(switch, socket, *peer, request);
                begun.or_else(|no_place| Ok(no_place.into_answer()))
            }
            Way::Certificate(_) => Err(caller.refuse(Refusal::TakeOver, &path)),
        },
        (Operation::ChangeServerInAll, [address]) => {
            change(switch, None, address, request, &caller.who()).await
        }
        (Operation::ChangeServer, [pool, address]) => {
            change(switch, Some(pool), address, request, &caller.who()).await
        }
        (Operation::ChangeService, [service]) => {
            change_service(switch, service, request, &caller.who()).await
        }
        _ => documents::document(switch, operation, request.uri().query()).await,
    }
}

impl NoPlace {
    fn into_answer(self) -> Answer {
        let Self(status, why) = self;
        let mut answer = Problem::new(status, why).into_answer();
        // Which protocol it would be (RFC 9110, 15.5.22).
        if status == StatusCode::UPGRADE_REQUIRED {
            let protocol = HeaderValue::from_static(handover::PROTOCOL);
            answer.headers_mut().insert(header::UPGRADE, protocol);
            let upgrade = HeaderValue::from_static("upgrade");
            answer.headers_mut().insert(header::CONNECTION, upgrade);
        }
        answer
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
            Err(Problem::of(status, failure))
        }
    }
}
