// SPDX-License-Identifier: MIT
//! What is known of a server and outlives the process: for a successor, and for the state file.

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use l7switch_admin_api::Health;
use l7switch_engine::sched;
use serde::Deserialize;
use serde::Serialize;
use tokio::time::Instant;

use super::RealServer;

/// What is known of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// What has happened just now, and means nothing to a process that starts later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passing: Option<Passing>,
}

/// What is known of a server for seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// How long ago its slow start began, milliseconds.
    #[serde(default)]
    pub rising: Option<u64>,
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Memory {
    /// Without what means nothing to a process that starts later; `None`: nothing is left that a server would not be anyway.
    pub fn lasting(self) -> Option<Self> {
        let lasting = Self {
            health: self.health.filter(|health| *health == Health::Down),
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
            passing: Some(Passing {
                against: control.against,
                failed_in_row: self.failed_in_row.load(Relaxed),
                ejected: ejected.map(|until| millis(until.saturating_duration_since(now))),
                rising: control.rising().map(millis),
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
            if let (Some(health), Some(_)) = (memory.health, control.health) {
                control.health = Some(health);
                control.against = passing.against;
            }
            if let Some(left) = passing.ejected {
                let left = Duration::from_millis(left).min(LONGEST_EJECTION);
                ejection = Some((control.eject(left), left));
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

/// Longest that an ejection of the process before goes on, whatever that process says.
const LONGEST_EJECTION: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use l7switch_admin_api::ServerState;
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
        old.hold_down();
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
        old.failed(&passive, || true);
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
        let down = old.memory().lasting().unwrap();
        assert_eq!(
            serde_json::to_string(&down).unwrap(),
            r#"{"health":"down"}"#
        );
        old.set_admin_weight(Some(0));
        old.set_draining(true);
        let text = serde_json::to_string(&old.memory().lasting().unwrap()).unwrap();
        assert_eq!(text, r#"{"weight":0,"draining":true,"health":"down"}"#);
    }
}
