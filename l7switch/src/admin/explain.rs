// SPDX-License-Identifier: MIT
//! What becomes of a request now: by the rules in force, with the kernel module and the servers as they stand.

use std::collections::HashSet;
use std::sync::Arc;

use http::Request;
use http::StatusCode;
use hyper::body::Incoming;
use l7switch_admin_api::Explained;
use l7switch_admin_api::KernelState;
use l7switch_admin_api::Question;
use l7switch_rules::explain;

use super::Answer;
use super::Problem;
use super::change::body;
use super::json;
use crate::switch::Switch;

pub(super) async fn explain(
    switch: &Arc<Switch>,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let question = question(body(request).await?);
    let generation = switch.generation();
    let rules = Arc::clone(&generation);
    // Very many routes take their time.
    let explained = tokio::task::spawn_blocking(move || rules.rules.explain(&question))
        .await
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let mut explanation = explained.map_err(|error| match error.services() {
        [] => Problem::new(StatusCode::BAD_REQUEST, error.text()),
        known => Problem::unknown(error.text().to_owned(), known.to_vec()),
    })?;
    if let Some(why) = without_kernel(switch.kernel_status().state) {
        explanation = explanation.without_kernel(why);
    }
    let reached: HashSet<&str> = explanation.reaches().collect();
    let pools = generation.pools.iter();
    let servers = pools
        .filter(|pool| reached.contains(pool.config().name.as_str()))
        .flat_map(|pool| pool.servers())
        .map(|server| server.status())
        .collect();
    let text = explanation.to_string();
    let explained = Explained {
        generation: generation.number,
        explanation: serde_json::to_value(&explanation).unwrap_or_default(),
        text,
        servers,
    };
    Ok(json(StatusCode::OK, &explained))
}

fn question(asked: Question) -> explain::Question {
    explain::Question {
        url: asked.url,
        method: asked.method,
        headers: asked.headers,
        source: asked.source,
        sni: asked.sni,
        service: asked.service,
    }
}

/// Why the kernel module serves nothing of the rules in force; `None`: it does.
const fn without_kernel(state: KernelState) -> Option<&'static str> {
    match state {
        KernelState::Loaded => None,
        KernelState::Off => Some("the kernel module is not to be used"),
        KernelState::Absent => Some("the kernel module is not loaded"),
        KernelState::NotPermitted => Some("the front may not use the kernel module"),
        KernelState::Refused => Some("the kernel module has refused the rules"),
        KernelState::Replaced => Some("another program has given the kernel module other rules"),
        KernelState::Unloaded => Some("another program has taken the rules from the kernel module"),
        KernelState::Failed => Some("the kernel module does not answer"),
    }
}
