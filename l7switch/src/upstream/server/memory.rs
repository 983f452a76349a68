// SPDX-License-Identifier: MIT
//! What is known of a server and outlives the process: for a successor, and for the state file.

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use l7switch_admin_api::Health;
use l7switch_admin_api::LastCheck;
use l7switch_admin_api::ServerState;
use l7switch_engine::sched;
use serde::Deserialize;
use serde::Serialize;
use tokio::time::Instant;

use super::RealServer;
use super::account::MOST_REASON;
use crate::net::clock::unix_now;
use crate::observe::words::cut;

/// What is known of a server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// The weight that an administrator has set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Whether an administrator drains it, or has put it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining: Option<bool>,
    /// Whether an administrator holds it to be dead.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held_down: bool,
    /// What its checks say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Since when it is in its state, Unix time in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// Who has drained it, or holds it to be dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hand: Option<String>,
    /// What the last check that failed has found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// What has happened just now, and means nothing to a process that starts later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passing: Option<Passing>,
}

/// What is known of a server for seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Passing {
    /// Checks in a row with the result that contradicts `health`.
    #[serde(default)]
    pub against: u32,
    /// Requests in a row that have failed.
    #[serde(default)]
    pub failed_in_row: u32,
    /// How long it is ejected still, milliseconds.
    #[serde(default)]
    pub ejected: Option<u64>,
    /// How it came to be ejected.
    #[serde(default)]
    pub ejection: Option<String>,
    /// How long ago its slow start began, milliseconds.
    #[serde(default)]
    pub rising: Option<u64>,
    /// Its last check.
    #[serde(default)]
    pub last_check: Option<LastCheck>,
    /// Whether the rules drain it.
    #[serde(default)]
    pub drained: bool,
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Memory {
    /// Without what means nothing to a process that starts later; `None`: nothing is left that a server would not be anyway.
    pub fn lasting(self) -> Option<Self> {
        let is_out = self.draining == Some(true) || self.held_down;
        let health = self.health.filter(|health| *health == Health::Down);
        let lasting = Self {
            health,
            since: self.since.filter(|_| is_out || health.is_some()),
            hand: self.hand.filter(|_| is_out),
            failure: self.failure.filter(|_| health.is_some()),
            passing: None,
            ..self
        };
        (lasting != Self::default()).then_some(lasting)
    }
}

impl RealServer {
    /// What is known of it.
    pub fn memory(&self) -> Memory {
        let now = Instant::now();
        let control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        let ejected = control.ejected_until.filter(|_| control.ejected);
        Memory {
            weight: control.admin_weight,
            draining: control.admin_drain,
            held_down: control.held_down,
            health: control.health,
            since: Some(control.account.since),
            hand: control.account.hand.clone(),
            failure: control.account.failure.clone(),
            passing: Some(Passing {
                against: control.against,
                failed_in_row: self.failed_in_row.load(Relaxed),
                ejected: ejected.map(|until| millis(until.saturating_duration_since(now))),
                ejection: control.account.ejection.clone(),
                rising: control.rising().map(millis),
                last_check: control.account.last_check.clone(),
                drained: control.configured_drain,
            }),
        }
    }

    /// Goes on with what was known of it. Health counts only where its pool has checks.
    pub fn remember(self: &Arc<Self>, memory: &Memory) {
        let passing = memory.passing.clone().unwrap_or_default();
        self.failed_in_row.store(passing.failed_in_row, Relaxed);
        let mut ejection = None;
        self.change(|control| {
            control.admin_weight = memory.weight.map(|weight| weight.min(sched::MAX_WEIGHT));
            control.admin_drain = memory.draining;
            control.held_down = memory.held_down && !control.drains();
            control.account.hand = shortened(&memory.hand);
            if let (Some(health), Some(_)) = (memory.health, control.health) {
                control.health = Some(health);
                control.against = passing.against;
                control.account.failure = shortened(&memory.failure);
                control.account.last_check = passing.last_check.map(|check| LastCheck {
                    error: shortened(&check.error),
                    ..check
                });
            }
            if let Some(left) = passing.ejected {
                let left = Duration::from_millis(left).min(LONGEST_EJECTION);
                ejection = Some((control.eject(left), left));
                control.account.ejection = shortened(&passing.ejection);
            }
        });
        // It stands as it stood: so it has since then.
        let stood = if memory.draining.unwrap_or(passing.drained) {
            ServerState::Draining
        } else if memory.held_down || memory.health == Some(Health::Down) {
            ServerState::Down
        } else if passing.ejected.is_some() {
            ServerState::Ejected
        } else {
            ServerState::Up
        };
        self.change(|control| {
            if let Some(since) = memory.since
                && control.state() == stood
            {
                control.account.since = since.min(unix_now());
            }
        });
        if let Some((number, left)) = ejection {
            self.readmit_after(number, left);
        }
        if let Some(since) = passing.rising {
            let mut climb = None;
            self.change(|control| climb = control.go_on_rising(Duration::from_millis(since)));
            if let Some(climb) = climb {
                climb.begin(Arc::downgrade(self));
            }
        }
    }

    /// Ends an ejection when its time is over.
    pub(super) fn readmit_after(self: &Arc<Self>, number: u64, time: Duration) {
        let server = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            server.readmit(number);
        });
    }
}

/// A reason as another process has it, of the length that it has here.
fn shortened(text: &Option<String>) -> Option<String> {
    text.clone().map(|text| cut(text, 2 * MOST_REASON))
}

/// Longest that an ejection of the process before goes on, whatever that process says.
const LONGEST_EJECTION: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use l7switch_rules::model::Passive;

    use super::*;
    use crate::upstream::server::control::SlowStart;

    fn server() -> Arc<RealServer> {
        let address = "127.0.0.1:80".parse::<std::net::SocketAddr>().unwrap();
        RealServer::new("p".into(), address.into(), 10, &Arc::default())
    }

    fn passed(server: &RealServer, to: &Arc<RealServer>) {
        let text = serde_json::to_string(&server.memory()).unwrap();
        to.remember(&serde_json::from_str(&text).unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_down_stays_so_until_its_checks_say_otherwise() {
        let (old, new) = (server(), server());
        for one in [&old, &new] {
            one.set_checked(true);
        }
        assert_eq!(old.checked(false, 2, 1), Some(Health::Down));
        assert_eq!(old.checked(true, 2, 1), None);
        passed(&old, &new);
        assert_eq!(new.standing().state, ServerState::Down);
        assert!(!new.sched().available());
        assert_eq!(
            new.checked(true, 2, 1),
            Some(Health::Up),
            "the second in a row"
        );
        // Without checks nobody would ever say otherwise.
        let unchecked = server();
        passed(&old, &unchecked);
        assert_eq!(unchecked.standing().state, ServerState::Up);
    }

    #[tokio::test(start_paused = true)]
    async fn what_administrators_said_and_ejections_go_on() {
        let (old, new) = (server(), server());
        old.set_admin_weight(Some(3));
        old.hold_down("by netlink port 7");
        passed(&old, &new);
        assert_eq!(new.standing(), old.standing());
        old.set_draining(true);
        passed(&old, &new);
        assert_eq!(new.standing(), old.standing());
        old.set_draining(false);
        let passive = Passive {
            failures: 1,
            eject: Duration::from_secs(10),
        };
        old.failed(&passive, "reset", || true);
        tokio::time::sleep(Duration::from_secs(4)).await;
        passed(&old, &new);
        assert_eq!(new.standing().state, ServerState::Ejected);
        tokio::time::sleep(Duration::from_millis(5_900)).await;
        assert_eq!(new.standing().state, ServerState::Ejected);
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(new.standing().state, ServerState::Up);
        assert_eq!(new.standing().weight, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn why_and_since_when_go_on_with_a_state_that_does() {
        let (old, new) = (server(), server());
        for one in [&old, &new] {
            one.set_checked(true);
        }
        old.checked(false, 1, 1);
        old.control.lock().unwrap().account.since = 1000;
        passed(&old, &new);
        let status = new.status();
        assert_eq!((status.since, status.why.as_deref()), (1000, Some("ill")));
        assert_eq!(status.last_check, old.status().last_check);
        // What is not in the same state there is in it since now.
        let unchecked = server();
        passed(&old, &unchecked);
        let status = unchecked.status();
        assert!(status.since > 1000 && status.why.is_none() && status.last_check.is_none());
        // By the state file, too.
        let later = server();
        later.set_checked(true);
        later.remember(&old.memory().lasting().unwrap());
        let status = later.status();
        assert_eq!((status.since, status.why.as_deref()), (1000, Some("ill")));
        assert_eq!(status.last_check, None);
        // A clock that was ahead says nothing.
        let mut memory = old.memory();
        memory.since = Some(u64::MAX);
        memory.failure = Some("\u{fc}".repeat(100_000));
        later.remember(&memory);
        let status = later.status();
        assert!(status.since <= unix_now() && status.why.unwrap().len() < 1000);
        old.hold_down("by netlink port 7");
        passed(&old, &new);
        assert_eq!(new.status().why.as_deref(), Some("by netlink port 7"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_start_goes_on_where_it_was() {
        let (old, new) = (server(), server());
        for one in [&old, &new] {
            one.set_checked(true);
            one.set_slow_start(Some(SlowStart {
                time: Duration::from_secs(100),
                scale: 1,
            }));
        }
        old.checked(false, 1, 1);
        old.checked(true, 1, 1);
        tokio::time::sleep(Duration::from_secs(50)).await;
        passed(&old, &new);
        assert_eq!(new.sched().weight(), 5);
        tokio::time::sleep(Duration::from_secs(51)).await;
        assert_eq!(new.sched().weight(), 10);
    }

    #[test]
    fn only_what_lasts_is_kept_and_only_where_there_is_something() {
        let old = server();
        assert_eq!(old.memory().lasting(), None);
        old.set_checked(true);
        assert_eq!(old.memory().lasting(), None);
        old.checked(false, 1, 1);
        old.control.lock().unwrap().account.since = 5;
        let down = old.memory().lasting().unwrap();
        assert_eq!(
            serde_json::to_string(&down).unwrap(),
            r#"{"health":"down","since":5,"failure":"ill"}"#
        );
        old.set_admin_weight(Some(0));
        old.set_draining(true);
        old.control.lock().unwrap().account.since = 6;
        let text = serde_json::to_string(&old.memory().lasting().unwrap()).unwrap();
        let expected = r#"{"weight":0,"draining":true,"health":"down","since":6,"hand":"by an administrator","failure":"ill"}"#;
        assert_eq!(text, expected);
    }
}
