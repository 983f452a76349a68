// SPDX-License-Identifier: MIT
//! What administrators change by the admin API.

use std::net::SocketAddr;
use std::sync::Arc;

use http::Request;
use http::StatusCode;
use http_body_util::BodyExt;
use http_body_util::LengthLimitError;
use http_body_util::Limited;
use hyper::body::Incoming;
use l7switch_admin_api::ServerChange;
use l7switch_admin_api::ServerStatus;
use l7switch_admin_api::Servers;
use l7switch_admin_api::ServiceChange;
use l7switch_admin_api::ServiceStatus;
use l7switch_admin_api::WantedState;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::Answer;
use super::Problem;
use super::json;
use super::status;
use crate::control::CONTENT_TIME;
use crate::handover::state::maintenance_of;
use crate::observe::events::Kind;
use crate::switch::SetError;
use crate::switch::Switch;

/// Longest content of a request.
const CONTENT_MAX: usize = 64 * 1024;

/// Reads a request's content, which may take [`CONTENT_TIME`].
pub(super) async fn body<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Problem> {
    let bad = |error: String| Problem::new(StatusCode::BAD_REQUEST, error);
    let content = Limited::new(request.into_body(), CONTENT_MAX).collect();
    let content = timeout(CONTENT_TIME, content)
        .await
        .map_err(|_| {
            let seconds = CONTENT_TIME.as_secs();
            let why = format!("the content has not come within {seconds} s");
            Problem::new(StatusCode::REQUEST_TIMEOUT, why).and_close()
        })?
        .map_err(|error| match error.is::<LengthLimitError>() {
            true => Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the content is longer than {CONTENT_MAX} bytes"),
            ),
            false => bad(error.to_string()),
        })?
        .to_bytes();
    // serde would take an array for the object's values, in their order.
    if content.trim_ascii_start().first() == Some(&b'[') {
        return Err(bad("the content is an object, not an array".to_owned()));
    }
    serde_json::from_slice(&content).map_err(|error| bad(error.to_string()))
}

/// Closes a service for maintenance, or opens it. `who` does it, such as `by an administrator`.
pub(super) async fn change_service(
    switch: &Arc<Switch>,
    name: &str,
    request: Request<Incoming>,
    who: &str,
) -> Result<Answer, Problem> {
    let change: ServiceChange = body(request).await?;
    may_change(switch)?;
    let generation = switch.generation();
    // Of one that a reload has taken away, what was told can be taken back.
    if generation.service(name).is_none()
        && change.maintenance == Some(None)
        && switch.told().has_told(name)
    {
        let taken_back = switch.maintain(name, None, who).await;
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
        let wanted = wanted.map(|wanted| {
            let wrong = |text| bad(format!("`{text}` is not an address or prefix"));
            maintenance_of(wanted).map_err(wrong)
        });
        let wanted = wanted.transpose()?;
        let changed = switch.maintain(name, wanted, who).await;
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

/// Changes a server in a pool, or in all. `who` does it, such as `by an administrator`.
pub(crate) async fn change(
    switch: &Arc<Switch>,
    pool: Option<&str>,
    address: &str,
    request: Request<Incoming>,
    who: &str,
) -> Result<Answer, Problem> {
    let change: ServerChange = body(request).await?;
    // A successor gets it, or does not begin yet.
    let _changes = switch.place().changes.read().await;
    may_change(switch)?;
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
            match state {
                WantedState::Drain => server.set_draining_by(true, who),
                WantedState::Up => server.set_draining_by(false, who),
                WantedState::Down => server.hold_down(who),
            }
        }
        pool.rebuild_lookup();
        let after = server.status();
        server.report(
            Kind::ServerChanged,
            format!("{} {who}", words(&change, &after)),
        );
        tracing::info!(
            pool = after.pool,
            server = %after.address,
            weight = after.effective_weight,
            state = after.state.as_str(),
            "changed {who}"
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
    switch.has_changed();
    Ok(json(StatusCode::OK, &Servers { servers: changed }))
}

/// What was changed.
fn words(change: &ServerChange, after: &ServerStatus) -> String {
    let state = match change.state {
        Some(WantedState::Drain) => Some("drained".to_owned()),
        Some(WantedState::Down) => Some("disabled".to_owned()),
        Some(WantedState::Up) => Some("put back".to_owned()),
        None => None,
    };
    let weight = match change.weight {
        Some(Some(weight)) => Some(format!("weight {weight}")),
        Some(None) => Some(format!("the rule file's weight, {}", after.weight)),
        None => None,
    };
    let parts: Vec<String> = state.into_iter().chain(weight).collect();
    match parts.is_empty() {
        true => "not changed".to_owned(),
        false => parts.join(", "),
    }
}

/// What is changed in a front that another process has replaced would be lost.
fn may_change(switch: &Switch) -> Result<(), Problem> {
    match switch.place().given_to() {
        None => Ok(()),
        Some(pid) => {
            let why = format!("process {pid} has taken the place of this front: ask again");
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, why))
        }
    }
}

/// A path segment as it was before it was put into a URL (RFC 3986, 2.1); bad escapes stay.
pub(crate) fn percent_decoded(segment: &str) -> String {
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
