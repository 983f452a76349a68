// SPDX-License-Identifier: MIT
//! What administrators, checks and requests have found of a server, entered.

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use l7switch_admin_api::Health;
use l7switch_admin_api::LastCheck;
use l7switch_rules::model::Passive;

use super::RealServer;
use super::account::MOST_REASON;
use crate::admin::ADMINISTRATOR;
use crate::net::clock::unix_now;
use crate::observe::events::Events;
use crate::observe::events::Kind;
use crate::observe::words;
use crate::observe::words::cut;

/// An active check that is over.
#[derive(Clone, Debug)]
pub struct Checked {
    /// How long it took.
    pub took: Duration,
    /// What was wrong, in words.
    pub result: Result<(), String>,
}

/// For tests to which nothing matters but whether the server is well.
#[cfg(test)]
impl From<bool> for Checked {
    fn from(is_well: bool) -> Self {
        let result = match is_well {
            true => Ok(()),
            false => Err("ill".to_owned()),
        };
        Self {
            took: Duration::ZERO,
            result,
        }
    }
}

impl RealServer {
    /// Has what happens to it told to `events`, for ever; others are not taken after them.
    pub(in crate::upstream) fn report_to(&self, events: &Arc<Events>) {
        self.events.get_or_init(|| Arc::clone(events));
    }

    /// Tells what has happened to it.
    pub fn report(&self, kind: Kind, text: impl Into<String>) {
        if let Some(events) = self.events.get() {
            events.add_of(kind, &self.pool, &self.address.to_string(), text);
        }
    }

    /// An administrator takes the server out, or puts it back.
    pub fn set_draining(&self, draining: bool) {
        self.set_draining_by(draining, ADMINISTRATOR);
    }

    /// The same; `who` does it, such as `by an administrator`.
    pub fn set_draining_by(&self, draining: bool, who: &str) {
        self.change(|control| {
            if draining != control.drains() || control.held_down {
                control.account.hand = draining.then(|| who.to_owned());
            }
            control.set_drain(draining);
            control.held_down = false;
            if !draining {
                control.ejected = false;
                self.failed_in_row.store(0, Relaxed);
            }
        });
    }

    /// `who` holds the server to be dead, whatever checks say, until [`Self::set_draining`].
    pub fn hold_down(&self, who: &str) {
        self.change(|control| {
            if !control.held_down {
                control.account.hand = Some(who.to_owned());
            }
            control.set_drain(false);
            control.held_down = true;
        });
    }

    /// Active checks begin (`true`: the server starts up, unless it is known already) or end.
    pub fn set_checked(&self, checked: bool) {
        self.change(|control| {
            control.health = match (checked, control.health) {
                (false, _) => None,
                (true, known) => Some(known.unwrap_or(Health::Up)),
            };
            control.against = 0;
            if !checked {
                control.account.last_check = None;
                control.account.failure = None;
            }
        });
    }

    /// Enters the result of an active check. Gives the new health when it changed.
    pub fn checked(&self, check: impl Into<Checked>, rise: u32, fall: u32) -> Option<Health> {
        let Checked { took, result } = check.into();
        let is_well = result.is_ok();
        let error = result.err().map(|why| cut(why, MOST_REASON));
        let mut changed = None;
        self.change(|control| {
            let (Some(health), result) = (
                control.health,
                if is_well { Health::Up } else { Health::Down },
            ) else {
                return;
            };
            control.account.last_check = Some(LastCheck {
                at: unix_now(),
                took_ms: took.as_secs_f64() * 1000.0,
                error: error.clone(),
            });
            if error.is_some() {
                control.account.failure.clone_from(&error);
            }
            if result == health {
                control.against = 0;
                return;
            }
            control.against = control.against.saturating_add(1);
            let needed = if is_well { rise } else { fall };
            if control.against >= needed {
                control.against = 0;
                control.health = Some(result);
                changed = Some(result);
            }
        });
        match changed {
            Some(Health::Up) => {
                tracing::info!(pool = %self.pool, server = %self.address, "up");
                self.report(Kind::ServerUp, "its checks succeed again");
            }
            Some(Health::Down) => {
                let why = error.unwrap_or_default();
                tracing::warn!(pool = %self.pool, server = %self.address, why, "down");
                self.report(Kind::ServerDown, why);
            }
            None => (),
        }
        changed
    }

    /// A request has ended well.
    pub fn succeeded(&self) {
        // Written only where that changes something: this is the way of every request.
        if self.failed_in_row.load(Relaxed) != 0 {
            self.failed_in_row.store(0, Relaxed);
        }
    }

    /// A request has failed by the server's fault: refused, reset, timed out, no response; `why` is that in words.
    /// `may_eject` says whether the pool can do without this server; it is asked where the server would be ejected.
    pub fn failed(
        self: &Arc<Self>,
        passive: &Passive,
        why: &str,
        may_eject: impl FnOnce() -> bool,
    ) {
        self.failures.fetch_add(1, Relaxed);
        self.report(Kind::ServerFailed, why);
        let in_row = self.failed_in_row.fetch_add(1, Relaxed).saturating_add(1);
        if passive.failures == 0 || in_row < passive.failures {
            return;
        }
        self.failed_in_row.store(0, Relaxed);
        if !may_eject() {
            return;
        }
        let why = match in_row {
            1 => format!("a failure: {}", cut(why.to_owned(), MOST_REASON)),
            _ => format!(
                "{in_row} failures in a row, the last: {}",
                cut(why.to_owned(), MOST_REASON)
            ),
        };
        let mut ejection = None;
        self.change(|control| {
            if !control.ejected {
                control.account.ejection = Some(why.clone());
                ejection = Some(control.eject(passive.eject));
            }
        });
        if let Some(number) = ejection {
            let time = words::time(passive.eject);
            tracing::warn!(pool = %self.pool, server = %self.address, why, "ejected for {time}");
            self.report(Kind::ServerEjected, format!("for {time}: {why}"));
            self.readmit_after(number, passive.eject);
        }
    }

    /// Whether requests may come to it, and whether it was ejected.
    pub(in crate::upstream) fn turnout(&self) -> (bool, bool) {
        let control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        let present = control.effective_weight() > 0
            && control.health != Some(Health::Down)
            && !control.held_down;
        (present, control.ejected)
    }

    pub(super) fn readmit(&self, number: u64) {
        let mut back = false;
        self.change(|control| {
            if control.ejection == number && control.ejected {
                control.ejected = false;
                self.failed_in_row.store(0, Relaxed);
                // Checks or an administrator may have taken it out meanwhile.
                back = control.state() == l7switch_admin_api::ServerState::Up;
            }
        });
        if back {
            tracing::info!(pool = %self.pool, server = %self.address, "back after ejection");
            self.report(Kind::ServerBack, "its ejection is over");
        }
    }
}
