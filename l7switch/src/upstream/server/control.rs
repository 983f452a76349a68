// SPDX-License-Identifier: MIT
//! What rules, administrators and checks have said of a server, and what comes of it.

use std::sync::Weak;
use std::time::Duration;

use l7switch_admin_api::Health;
use l7switch_admin_api::ServerState;
use l7switch_engine::sched;
use l7switch_rules::model::Lookup;
use tokio::time::Instant;

use super::RealServer;
use super::account::Account;
use crate::net::clock::unix_now;

/// What comes of all that the hands on a server have said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether it gets requests.
    pub state: ServerState,
    /// Its weight where it gets them, as schedulers have it ([`weight_scale`](l7switch_rules::model::Pool::weight_scale)); draining does not change it.
    pub weight: u32,
    /// Whether it is another than the rules': an administrator has set it, or the server starts slowly.
    pub weight_is_set: bool,
}

/// What the hands on a server have said.
#[derive(Debug)]
pub(super) struct Control {
    /// The name that it was found by; absent: the rules give its address.
    pub(super) name: Option<Lookup>,
    pub(super) configured: u32,
    pub(super) backup: bool,
    pub(super) admin_weight: Option<u32>,
    /// Whether the rules drain it.
    pub(super) configured_drain: bool,
    /// Whether an administrator drains it, or has put it back; absent: as the rules say.
    pub(super) admin_drain: Option<bool>,
    /// An administrator holds it to be dead.
    pub(super) held_down: bool,
    /// What the active check says; absent: there is none.
    pub(super) health: Option<Health>,
    /// Checks in a row with the result that contradicts `health`.
    pub(super) against: u32,
    /// Number of the present ejection; counts up, so that the end of an old one is not the end of a
    /// new one.
    pub(super) ejection: u64,
    pub(super) ejected: bool,
    /// When the present ejection ends.
    pub(super) ejected_until: Option<Instant>,
    /// How slowly it starts; absent: at once.
    pub(super) slow_start: Option<SlowStart>,
    /// It has come with a reload, and nothing was concluded of that.
    pub(super) is_new: bool,
    /// When its present slow start began, with its number.
    began: Option<(u64, Instant)>,
    /// Number of the last slow start.
    starts: u64,
    /// Why it is in its state, and since when.
    pub(super) account: Account,
}

/// How slowly a server starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlowStart {
    /// Until it has its weight.
    pub time: Duration,
    /// What weights are multiplied by, so that there are steps below 1. The same for all servers of a pool.
    pub scale: u32,
}

/// A slow start that has begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Climb {
    pub(super) number: u64,
    /// Time between two steps.
    pub(super) step: Duration,
}

impl Climb {
    /// Raises the weight of a server that starts slowly, until it is the one in the rules.
    pub(super) fn begin(self, server: Weak<RealServer>) {
        tokio::spawn(async move {
            let mut goes_on = true;
            while goes_on {
                tokio::time::sleep(self.step).await;
                let Some(server) = server.upgrade() else {
                    return;
                };
                server.change(|control| goes_on = control.goes_on(self.number));
            }
        });
    }
}

/// Share of its weight that a server has at first, percent (Envoy's `min_weight_percent`).
const FIRST: u128 = 10;

/// Steps of a slow start, where that is not too often.
const STEPS: u32 = 100;

impl Control {
    /// What is said of a server that is up.
    pub(super) fn new(weight: u32) -> Self {
        Self {
            name: None,
            configured: weight,
            backup: false,
            admin_weight: None,
            configured_drain: false,
            admin_drain: None,
            held_down: false,
            health: None,
            against: 0,
            ejection: 0,
            ejected: false,
            ejected_until: None,
            slow_start: None,
            is_new: false,
            began: None,
            starts: 0,
            account: Account::new(),
        }
    }

    /// The weight that it gets requests by, as rules have it.
    pub(super) fn effective_weight(&self) -> u32 {
        self.risen(1)
    }

    /// The same, as the scheduler has it.
    pub(super) fn weight_in_force(&self) -> u32 {
        self.risen(self.scale())
    }

    /// What weights are multiplied by.
    fn scale(&self) -> u32 {
        self.slow_start.map_or(1, |slow| slow.scale)
    }

    /// Its weight times `scale`, as far as it has risen; 0 where it is drained.
    fn risen(&self, scale: u32) -> u32 {
        if self.drains() {
            return 0;
        }
        self.undrained(scale)
    }

    /// The same, whether it is drained or not; not 0 unless the rules or an administrator say so.
    fn undrained(&self, scale: u32) -> u32 {
        let weight = self.admin_weight.unwrap_or(self.configured);
        let full = weight.saturating_mul(scale).min(sched::MAX_WEIGHT);
        let (Some((_, began)), Some(slow)) = (self.began, self.slow_start) else {
            return full;
        };
        let (since, time) = (began.elapsed().as_nanos(), slow.time.as_nanos().max(1));
        let least = u128::from(full).saturating_mul(FIRST).div_ceil(100);
        let part = u128::from(full).saturating_mul(since).div_ceil(time);
        u32::try_from(part.max(least)).map_or(full, |part| part.min(full))
    }

    /// Concludes whether it starts slowly now, as it stood otherwise before.
    pub(super) fn climbs(&mut self, before: ServerState) -> Option<Climb> {
        let state = self.state();
        let was_out = matches!(before, ServerState::Down | ServerState::Draining);
        let starts = state == ServerState::Up && (was_out || self.is_new);
        if state != ServerState::Up && state != ServerState::Ejected {
            self.began = None;
        }
        let slow = self.slow_start.filter(|_| starts)?;
        self.is_new = false;
        Some(self.rise(slow, Instant::now()))
    }

    /// Whether a slow start goes on. One that is over is forgotten.
    pub(super) fn goes_on(&mut self, number: u64) -> bool {
        match (self.began, self.slow_start) {
            (Some((present, began)), Some(slow)) if present == number => {
                if began.elapsed() < slow.time {
                    return true;
                }
                self.began = None;
                false
            }
            _ => false,
        }
    }

    /// Ejects the server. Gives the ejection's number.
    pub(super) fn eject(&mut self, time: Duration) -> u64 {
        self.ejected = true;
        self.ejected_until = Instant::now().checked_add(time);
        self.account.back = unix_now().saturating_add(time.as_secs());
        self.ejection = self.ejection.wrapping_add(1);
        self.ejection
    }

    /// How long ago the slow start began that goes on.
    pub(super) fn rising(&self) -> Option<Duration> {
        self.began.map(|(_, began)| began.elapsed())
    }

    /// Goes on with a slow start that began elsewhere, so long ago.
    pub(super) fn go_on_rising(&mut self, since: Duration) -> Option<Climb> {
        let slow = self.slow_start.filter(|slow| since < slow.time)?;
        let began = Instant::now().checked_sub(since)?;
        if self.state() != ServerState::Up {
            return None;
        }
        Some(self.rise(slow, began))
    }

    fn rise(&mut self, slow: SlowStart, began: Instant) -> Climb {
        self.starts = self.starts.wrapping_add(1);
        self.began = Some((self.starts, began));
        let step = slow.time / STEPS;
        Climb {
            number: self.starts,
            step: step.clamp(Duration::from_millis(10), Duration::from_secs(1)),
        }
    }

    pub(super) fn standing(&self) -> Standing {
        Standing {
            state: self.state(),
            weight: self.undrained(self.scale()),
            // The kernel's table has 0 where the rules drain a server.
            weight_is_set: self.admin_weight.is_some()
                || self.began.is_some()
                || self.configured_drain,
        }
    }

    /// Whether it gets nothing new.
    pub(super) fn drains(&self) -> bool {
        self.admin_drain.unwrap_or(self.configured_drain)
    }

    /// What the rules say of draining it. What an administrator has said counts until they say the same.
    pub(super) fn configure_drain(&mut self, drain: bool) {
        self.configured_drain = drain;
        self.admin_drain = self.admin_drain.filter(|&told| told != drain);
    }

    /// What an administrator says of it.
    pub(super) fn set_drain(&mut self, drain: bool) {
        self.admin_drain = (drain != self.configured_drain).then_some(drain);
    }

    pub(super) fn state(&self) -> ServerState {
        if self.drains() {
            ServerState::Draining
        } else if self.held_down || self.health == Some(Health::Down) {
            ServerState::Down
        } else if self.ejected {
            ServerState::Ejected
        } else {
            ServerState::Up
        }
    }
}
