// SPDX-License-Identifier: MIT
//! What has to be set right on this host for the module to serve as it could: each is logged once.

use l7switch_netlink::Concern;

/// What has been logged, by its counter.
#[derive(Debug, Default)]
pub(super) struct Logged(Vec<&'static str>);

impl Logged {
    /// Logs what was not logged before. Gives how many those were.
    pub(super) fn log(&mut self, concerns: &[Concern]) -> usize {
        let before = self.0.len();
        for concern in concerns {
            if !self.0.contains(&concern.counter) {
                self.0.push(concern.counter);
                tracing::warn!("kernel: {}", concern.text);
            }
        }
        self.0.len().saturating_sub(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_concern_is_logged_once() {
        let concern = |counter| Concern {
            counter,
            text: "set it right".to_owned(),
        };
        let mut logged = Logged::default();
        assert_eq!(logged.log(&[]), 0);
        assert_eq!(logged.log(&[concern("one")]), 1);
        assert_eq!(logged.log(&[concern("one"), concern("other")]), 1);
        assert_eq!(logged.log(&[concern("one"), concern("other")]), 0);
    }
}
