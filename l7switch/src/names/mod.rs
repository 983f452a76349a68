// SPDX-License-Identifier: MIT
//! Names of servers: each is looked up again and again, and what is known of it lives longer than one generation of the
//! rules.

mod renewal;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::time::Duration;
use std::time::Instant;

use l7switch_admin_api::NameStatus;
use l7switch_resolver::Answer;
use l7switch_resolver::look_up;
use l7switch_rules::model::Model;
use l7switch_rules::names::Answers;
use l7switch_rules::names::Found;
use l7switch_rules::names::Lookup;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::task::JoinSet;

use crate::observe::events::Events;
use crate::observe::events::Kind;
pub(crate) use renewal::renew;

/// How long rules wait for the first answers to their names.
const FIRST: Duration = Duration::from_secs(2);

/// Shortest time between two look-ups of a name, whatever its TTL says.
const SHORTEST: Duration = Duration::from_secs(1);

/// Longest time between two look-ups of a name.
const LONGEST: Duration = Duration::from_secs(3600);

/// Time until the next look-up after one that failed; up to half of it is added at random.
const AGAIN: Duration = Duration::from_secs(4);

/// Longest time of a look-up. The resolver has times of its own for each question.
const PATIENCE: Duration = Duration::from_secs(60);

/// A task that ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Task(JoinHandle<()>);

impl Task {
    pub(crate) fn start(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The names of the rules in force.
#[derive(Debug)]
pub(crate) struct Names {
    /// In place of the system's configuration.
    server: Option<SocketAddr>,
    watched: Mutex<BTreeMap<Lookup, Watched>>,
    /// Told after each look-up.
    looked_up: Notify,
    /// Told when a name has other addresses than before.
    changed: Arc<Notify>,
    /// Told what cannot be resolved.
    events: Arc<Events>,
}

#[derive(Debug)]
struct Watched {
    known: Vec<Found>,
    resolutions: u64,
    failures: u64,
    /// Why the last look-up failed.
    error: Option<String>,
    _task: Task,
}

impl Names {
    /// None so far. `server`: a name server in place of the system's configuration.
    pub(crate) fn new(server: Option<SocketAddr>, events: Arc<Events>) -> Arc<Self> {
        Arc::new(Self {
            server,
            watched: Mutex::default(),
            looked_up: Notify::new(),
            changed: Arc::default(),
            events,
        })
    }

    /// Where it tells what cannot be resolved.
    pub(crate) const fn events(&self) -> &Arc<Events> {
        &self.events
    }

    fn watched(&self) -> MutexGuard<'_, BTreeMap<Lookup, Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks after the names of these rules from now on, beside those that there are.
    pub(crate) fn add(self: &Arc<Self>, model: &Model) {
        let mut watched = self.watched();
        for name in model.lookups() {
            watched.entry(name.clone()).or_insert_with(|| Watched {
                known: Vec::new(),
                resolutions: 0,
                failures: 0,
                error: None,
                _task: Task::start(watch(Arc::downgrade(self), name.clone(), self.server)),
            });
        }
    }

    /// Looks after no other names than those of these rules any more.
    pub(crate) fn keep(&self, model: &Model) {
        let wanted: BTreeSet<&Lookup> = model.lookups().collect();
        self.watched().retain(|name, _| wanted.contains(name));
    }

    /// The same as [`Self::add`], and waits until each has been looked up, at most two seconds.
    pub(crate) async fn first(self: &Arc<Self>, model: &Model) {
        self.add(model);
        let all = async {
            loop {
                let told = self.looked_up.notified();
                tokio::pin!(told);
                told.as_mut().enable();
                if self.unanswered().is_empty() {
                    return;
                }
                told.await;
            }
        };
        if tokio::time::timeout(FIRST, all).await.is_err() {
            let names = self.unanswered().join(", ");
            tracing::warn!("no answer yet to: {names}; their servers are added when it comes");
        }
    }

    /// The names that have not been looked up so far.
    fn unanswered(&self) -> Vec<String> {
        let watched = self.watched();
        let new = watched
            .iter()
            .filter(|(_, name)| name.resolutions + name.failures == 0);
        new.map(|(name, _)| name.to_string()).collect()
    }

    /// What is known.
    pub(crate) fn answers(&self) -> Answers {
        let watched = self.watched();
        let known = watched
            .iter()
            .map(|(name, entry)| (name.clone(), entry.known.clone()));
        known.collect()
    }

    /// Told when [`Self::answers`] has become another.
    pub(crate) fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }

    /// What an administrator sees.
    pub(crate) fn status(&self) -> BTreeMap<String, NameStatus> {
        let watched = self.watched();
        let status = watched.iter().map(|(name, entry)| {
            let status = NameStatus {
                addresses: u64::try_from(entry.known.len()).unwrap_or(u64::MAX),
                resolutions: entry.resolutions,
                failures: entry.failures,
                error: entry.error.clone(),
            };
            (name.to_string(), status)
        });
        status.collect()
    }

    /// Enters what a look-up gave. Gives the time until the next.
    fn enter(&self, name: &Lookup, result: Result<Answer, String>) -> Duration {
        let mut watched = self.watched();
        let again = AGAIN.mul_f64(1.0 + fastrand::f64() / 2.0);
        let Some(entry) = watched.get_mut(name) else {
            return again;
        };
        let wait = match result {
            Ok(answer) => {
                entry.resolutions = entry.resolutions.saturating_add(1);
                if entry.error.take().is_some() {
                    tracing::info!(%name, "resolved again");
                }
                let known = merged(&entry.known, answer.found);
                if known != entry.known {
                    let addresses: Vec<String> = known.iter().map(describe).collect();
                    tracing::info!(%name, "resolved to {}", addresses.join(", "));
                    entry.known = known;
                    self.changed.notify_one();
                }
                answer.until.map_or(again, |until| {
                    until
                        .saturating_duration_since(Instant::now())
                        .clamp(SHORTEST, LONGEST)
                })
            }
            Err(why) => {
                entry.failures = entry.failures.saturating_add(1);
                if entry.error.is_none() {
                    let kept = entry.known.len();
                    tracing::warn!(%name, kept, "not resolved: {why}");
                    let text = format!("{name} is not resolved: {why}");
                    self.events.add(Kind::NameFailed, text);
                }
                entry.error = Some(why);
                again
            }
        };
        drop(watched);
        self.looked_up.notify_waiters();
        wait
    }

    fn known(&self, name: &Lookup) -> Vec<Found> {
        let watched = self.watched();
        let entry = watched.get(name);
        entry.map(|entry| entry.known.clone()).unwrap_or_default()
    }
}

/// What was known and still holds in its old order, then what is new: name servers turn their answers round.
fn merged(known: &[Found], found: Vec<Found>) -> Vec<Found> {
    let mut merged: Vec<Found> = known
        .iter()
        .filter(|old| found.contains(old))
        .copied()
        .collect();
    for new in found {
        if !merged.contains(&new) {
            merged.push(new);
        }
    }
    merged
}

fn describe(found: &Found) -> String {
    match found.record {
        Some(record) => SocketAddr::new(found.address, record.port).to_string(),
        None => found.address.to_string(),
    }
}

/// Looks a name up again and again, for as long as it is wanted.
async fn watch(names: Weak<Names>, name: Lookup, server: Option<SocketAddr>) {
    loop {
        let Some(there) = names.upgrade() else { return };
        let known = there.known(&name);
        drop(there);
        let mut look_ups = JoinSet::new();
        look_ups.spawn(look_up(server, name.clone(), known));
        let result = match tokio::time::timeout(PATIENCE, look_ups.join_next()).await {
            Ok(Some(Ok(result))) => result,
            Ok(Some(Err(error))) => Err(error.to_string()),
            Ok(None) | Err(_) => Err(format!("no answer within {PATIENCE:?}")),
        };
        let Some(there) = names.upgrade() else { return };
        let wait = there.enter(&name, result);
        drop(there);
        tokio::time::sleep(wait).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(address: &str) -> Found {
        Found {
            address: address.parse().unwrap(),
            record: None,
        }
    }

    #[test]
    fn an_answer_in_another_order_is_no_other_answer() {
        let [a, b, c] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(found);
        assert_eq!(merged(&[a, b], vec![b, a]), [a, b]);
        assert_eq!(merged(&[a, b], vec![c, b]), [b, c]);
        assert_eq!(merged(&[], vec![b, b, a]), [b, a]);
    }
}
