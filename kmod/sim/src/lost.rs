// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the network lost of connections: whether it, or the switch, kept one from getting on.

use crate::plan::SECOND;

/// After so long, ns, TCP has sent again what was lost (RFC 6298, 2.5: up to two minutes), and the switch gives a silent
/// connection up.
pub const SILENCE: u64 = 130 * SECOND;
/// So many probes of a silent peer are not answered before a host gives it up.
pub const PROBES: u32 = 9;
/// Within a minute, ns, a TCP that has backed off sends once or twice.
const MINUTE: u64 = 60 * SECOND;
/// In so many of the fifteen minutes that a client waits something has to be lost: lone repeats are lost in one or two.
const MINUTES: u32 = 5;

/// What the network lost of a connection, on both sides of the switch.
#[derive(Clone, Debug, Default)]
pub struct Lost {
    /// When the last packet to the switch was lost.
    to_switch: Option<u64>,
    /// How much was lost since the server has last heard anything.
    unheard: u32,
    /// In how many minutes something was lost, and the last one of them.
    minutes: u32,
    minute: Option<u64>,
}

impl Lost {
    /// A packet was lost.
    pub fn add(&mut self, now: u64, to_switch: bool) {
        self.unheard += 1;
        if to_switch {
            self.to_switch = Some(now);
        }
        let minute = Some(now / MINUTE);
        if self.minute != minute {
            self.minute = minute;
            self.minutes += 1;
        }
    }

    /// Something has come to the server.
    pub fn heard(&mut self) {
        self.unheard = 0;
    }

    /// Whether so much was lost since the server has last heard anything that it may have taken its peer for gone: each of its
    /// probes was lost, or the answer to it.
    pub fn hides_answers(&self) -> bool {
        self.unheard >= PROBES
    }

    /// Whether it was the network that kept the connection busy with what was lost.
    pub fn delays(&self) -> bool {
        self.minutes >= MINUTES
    }

    /// Whether the switch has heard nothing of the connection for [`SILENCE`] since what was said was lost.
    pub fn silences(&self, now: u64) -> bool {
        self.to_switch.is_some_and(|at| now < at + SILENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lone_repeats_that_are_lost_do_not_delay_a_connection() {
        let mut lost = Lost::default();
        for at in [5, 8, 50, 200, 201, 400, 600] {
            lost.add(at * SECOND, true);
        }
        assert!(!lost.delays());
        lost.add(700 * SECOND, false);
        assert!(lost.delays());
    }

    #[test]
    fn a_silence_is_the_networks_where_something_was_lost_in_it_on_the_way_to_the_switch() {
        let mut lost = Lost::default();
        lost.add(100 * SECOND, false);
        assert!(!lost.silences(110 * SECOND));
        lost.add(100 * SECOND, true);
        assert!(lost.silences(100 * SECOND + SILENCE - 1));
        assert!(!lost.silences(100 * SECOND + SILENCE));
    }
}
