// SPDX-License-Identifier: MIT
//! Orders certificates, one at a time, for as long as the switch lives. A reload only changes what is wanted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Weak;
use std::time::Duration;
use std::time::SystemTime;

use l7switch_rules::model;

use super::Acme;
use super::order;
use super::order::OrderError;
use super::order::Wanted;
use super::plan;
use super::slot::Slot;
use crate::observe::events::Events;
use crate::observe::events::Kind;
use crate::observe::words;
use crate::ruleset::generation::Core;
use crate::ruleset::generation::Generation;

/// Time for an order, all in all.
const TIME: Duration = Duration::from_secs(600);

/// Longest time after which what is due is looked at again: the time of day may be set.
const LOOK: Duration = Duration::from_secs(3600);

/// Longest reason of a failure that is kept, bytes: some are what an authority says.
const MOST_REASON: usize = 1000;

/// What is done next.
enum Next {
    Wait(Duration),
    Order(Box<model::Acme>, Arc<Slot>),
    Ask(Box<model::Acme>, Arc<Slot>),
}

/// Orders and renews what the rules in force want.
pub(crate) async fn keep(core: Weak<Core>, acme: Arc<Acme>) {
    loop {
        let (next, events) = match core.upgrade() {
            Some(core) if !core.shutdown.is_draining() => {
                let next = next(&core.active.load(), SystemTime::now());
                (next, Arc::clone(&core.events))
            }
            _ => return,
        };
        match next {
            Next::Wait(time) => {
                let _ = tokio::time::timeout(time, acme.changed.notified()).await;
            }
            Next::Order(rules, slot) => attempt(*rules, slot, &acme, events).await,
            Next::Ask(rules, slot) => ask(*rules, slot).await,
        }
    }
}

/// The certificates of a generation that are ordered, each once.
fn slots(generation: &Generation) -> impl Iterator<Item = &Arc<Slot>> {
    let services = generation.services.iter();
    let all = services
        .filter_map(|service| service.tls.as_ref())
        .flat_map(|tls| tls.ordered());
    let unique: BTreeMap<_, _> = all.map(|slot| (Arc::as_ptr(slot), slot)).collect();
    unique.into_values()
}

fn next(generation: &Generation, now: SystemTime) -> Next {
    let Some(rules) = &generation.rules.model.acme else {
        return Next::Wait(LOOK);
    };
    let rules = || Box::new(rules.clone());
    let Some(first) = slots(generation).min_by_key(|slot| slot.due()) else {
        return Next::Wait(LOOK);
    };
    if first.due() <= now {
        return Next::Order(rules(), Arc::clone(first));
    }
    let mut asked = slots(generation).filter_map(|slot| Some((slot.asked()?, slot)));
    let soonest = asked.by_ref().min_by_key(|(asked, _)| *asked);
    if let Some((asked, slot)) = &soonest
        && *asked <= now
    {
        return Next::Ask(rules(), Arc::clone(slot));
    }
    let soonest = soonest.map_or(first.due(), |(asked, _)| asked.min(first.due()));
    let wait = soonest.duration_since(now).unwrap_or_default();
    Next::Wait(wait.clamp(Duration::from_millis(100), LOOK))
}

fn wanted(rules: model::Acme, slot: &Slot) -> Wanted {
    Wanted {
        rules,
        folder: slot.folder.clone(),
        names: slot.names.clone(),
        replaces: slot.replaced(),
    }
}

/// Orders a certificate, and shows it.
async fn attempt(rules: model::Acme, slot: Arc<Slot>, acme: &Acme, events: Arc<Events>) {
    let wanted = wanted(rules, &slot);
    let challenges = Arc::clone(&acme.challenges);
    let result = match order::client(&wanted.rules) {
        Ok(client) => {
            let asked = client.clone();
            let work = async move { order::order(&wanted, asked, &challenges).await };
            (bounded(work).await, client.wait())
        }
        Err(error) => (Err(error.to_string()), None),
    };
    let (result, wait) = result;
    // Files are written.
    let told = tokio::task::spawn_blocking(move || {
        let now = SystemTime::now();
        let result = result.and_then(|(key, chain)| slot.install(&key, &chain, now));
        match result {
            Ok(()) => {
                let status = slot.status();
                tracing::info!(
                    names = slot.names.join(","),
                    next = status.next,
                    "a certificate was ordered"
                );
                events.add(Kind::CertificateOrdered, slot.names.join(", "));
            }
            Err(why) => {
                let why = cut(why);
                events.add(
                    Kind::OrderFailed,
                    format!("{}: {why}", slot.names.join(", ")),
                );
                if slot.fail(&why, wait, now) {
                    tracing::error!(
                        names = slot.names.join(","),
                        next = slot.status().next,
                        "no certificate: {why}"
                    );
                }
            }
        }
    });
    // It fails where the runtime ends.
    let _ = told.await;
}

/// Asks the authority when a certificate is to be renewed. Where it does not say, the switch reckons.
async fn ask(rules: model::Acme, slot: Arc<Slot>) {
    let told = match (slot.identifier(), order::client(&rules)) {
        (Some(identifier), Ok(client)) => {
            let wanted = wanted(rules, &slot);
            bounded(async move { order::window(&wanted, client, &identifier).await }).await
        }
        _ => Ok(None),
    };
    let now = SystemTime::now();
    match told {
        Ok(Some((window, again))) => slot.is_told(Some(window), again, now),
        Ok(None) => slot.is_told(None, plan::LONGEST_WAIT, now),
        Err(why) => {
            let why = cut(why);
            tracing::debug!(
                names = slot.names.join(","),
                "when to renew is not known: {why}"
            );
            slot.is_told(None, LOOK.saturating_mul(6), now);
        }
    }
}

/// Does what an authority may make long, or worse, apart from the keeper.
async fn bounded<T: Send + 'static>(
    work: impl Future<Output = Result<T, OrderError>> + Send + 'static,
) -> Result<T, String> {
    let mut task = tokio::spawn(work);
    match tokio::time::timeout(TIME, &mut task).await {
        Ok(Ok(result)) => result.map_err(|error| error.to_string()),
        Ok(Err(error)) => Err(format!("a bug: the order has ended: {error}")),
        Err(_) => {
            task.abort();
            Err(format!("the order did not end in {TIME:?}"))
        }
    }
}

/// A reason in a line of bounded length.
fn cut(why: String) -> String {
    let why = why.replace(|c: char| c.is_control(), " ");
    words::cut(why, MOST_REASON)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_authority_says_is_one_short_line() {
        assert_eq!(cut("a\nb\u{1b}[2J".to_owned()), "a b [2J");
        let long = cut("\u{e4}".repeat(5000));
        assert!(long.len() < MOST_REASON + 8 && long.ends_with('\u{2026}'));
    }
}
