// SPDX-License-Identifier: MIT
//! Whether the names in rules are known now.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use l7switch_rules::RuleSet;
use l7switch_rules::names::Lookup;
use l7switch_rules::text::diagnostic::Diagnostic;
use l7switch_rules::text::diagnostic::Report;
use l7switch_rules::text::source::Span;
use tokio::task::JoinSet;

use crate::look_up;

/// Longest time for all names: whoever checks rules waits for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Looks the names of rules up, all at the same time. Gives their report with a warning for each that is not known now: the front
/// starts all the same, and asks again. `server`: a name server in place of the system's configuration.
pub async fn check(rules: &RuleSet, server: Option<SocketAddr>) -> Report {
    let names: BTreeSet<Lookup> = rules.model.lookups().cloned().collect();
    let mut look_ups = JoinSet::new();
    for name in &names {
        let name = name.clone();
        look_ups.spawn(async move {
            let result = look_up(server, name.clone(), Vec::new()).await;
            (name, result.err())
        });
    }
    let mut waiting = names;
    let mut found = Vec::new();
    let all = async {
        while let Some(ended) = look_ups.join_next().await {
            let Ok((name, error)) = ended else { continue };
            waiting.remove(&name);
            found.extend(error.map(|error| unresolved(name, &error)));
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, all).await;
    if in_time.is_err() {
        let why = format!("no answer within {PATIENCE:?}");
        found.extend(waiting.into_iter().map(|name| unresolved(name, &why)));
    }
    rules.warnings.clone().with(found)
}

fn unresolved(name: Lookup, why: &str) -> (Lookup, Diagnostic) {
    let message = format!("`{name}` is not resolved: {why}");
    let help =
        "until it is, there is no server of this name; l7ctl check --offline looks no names up";
    let diagnostic = Diagnostic::warning("unresolved", Span::default(), message).help(help);
    (name, diagnostic)
}
