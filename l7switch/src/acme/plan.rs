// SPDX-License-Identifier: MIT
//! When a certificate is ordered: renewals, and attempts after failures.

use std::time::Duration;
use std::time::SystemTime;

pub(super) use l7switch_certificates::state::LONGEST_WAIT;

/// The shortest pause after a failure, and between two certificates for the same names.
pub(super) const PAUSE: Duration = Duration::from_secs(60);

/// The longest pause after failures, before chance makes it longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 3600);

/// How often an authority is asked when a certificate is to be renewed (RFC 9773, 4.3.2), at most and at least.
const ASKED: (Duration, Duration) = (Duration::from_secs(3600), LONGEST_WAIT);

/// A part of a duration, 0 to 1, which is drawn for each certificate: not all of them are renewed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chance(pub(super) u16);

impl Chance {
    pub(super) fn draw() -> Self {
        Self(fastrand::u16(..))
    }

    fn of(self, whole: Duration) -> Duration {
        let share = whole.checked_div(1 << 16).unwrap_or_default();
        share.saturating_mul(u32::from(self.0))
    }
}

/// When a certificate is renewed that the authority says nothing of: after two thirds of its time, or up to a twentieth of it before.
pub(super) fn renewal((from, to): (SystemTime, SystemTime), chance: Chance) -> SystemTime {
    let whole = to.duration_since(from).unwrap_or_default();
    let latest = whole.checked_div(3).unwrap_or_default().saturating_mul(2);
    let earlier = chance.of(whole.checked_div(20).unwrap_or_default());
    from.checked_add(latest.saturating_sub(earlier))
        .unwrap_or(to)
}

/// When a certificate is renewed for which the authority suggests a time: anywhere in its window (RFC 9773, 4.2).
pub(super) fn in_window((start, end): (SystemTime, SystemTime), chance: Chance) -> SystemTime {
    let whole = end.duration_since(start).unwrap_or_default();
    start.checked_add(chance.of(whole)).unwrap_or(start)
}

/// The latest time for a renewal, whatever the authority suggests: a tenth of the certificate's time is left.
pub(super) fn latest((from, to): (SystemTime, SystemTime)) -> SystemTime {
    let whole = to.duration_since(from).unwrap_or_default();
    let left = whole.checked_div(10).unwrap_or_default();
    to.checked_sub(left).unwrap_or(from)
}

/// The pause after so many failures in a row: a minute, two, four, and so on up to six hours; up to a quarter longer by chance, and as
/// long as the authority wants.
pub(super) fn pause(failures: u32, wanted: Option<Duration>, chance: Chance) -> Duration {
    let doubled = 1_u32
        .checked_shl(failures.saturating_sub(1))
        .unwrap_or(u32::MAX);
    let pause = PAUSE.saturating_mul(doubled).min(LONGEST_PAUSE);
    let longer = chance.of(pause.checked_div(4).unwrap_or_default());
    let wanted = wanted.unwrap_or_default().min(LONGEST_WAIT);
    pause.saturating_add(longer).max(wanted)
}

/// In what time an authority is asked again when a certificate is to be renewed; `wanted`: what it says itself.
pub(super) fn asked_again(wanted: Duration) -> Duration {
    wanted.clamp(ASKED.0, ASKED.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3600;
    const NEVER: Chance = Chance(0);
    const FULL: Chance = Chance(u16::MAX);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_certificate_is_renewed_when_two_thirds_of_its_time_have_passed() {
        let validity = (at(100 * DAY), at(190 * DAY));
        assert_eq!(renewal(validity, NEVER), at(160 * DAY));
        let earliest = renewal(validity, FULL);
        // A twentieth of 90 days is 4.5.
        assert!(earliest > at(155 * DAY) && earliest < at(156 * DAY));
        // Of six days, and of a time that is none.
        assert_eq!(renewal((at(0), at(6 * DAY)), NEVER), at(4 * DAY));
        assert_eq!(renewal((at(10), at(5)), FULL), at(10));
    }

    #[test]
    fn the_window_of_the_authority_is_met() {
        let window = (at(10 * DAY), at(12 * DAY));
        assert_eq!(in_window(window, NEVER), at(10 * DAY));
        assert_eq!(in_window(window, Chance(1 << 15)), at(11 * DAY));
        assert!(in_window(window, FULL) < at(12 * DAY));
        assert_eq!(in_window((at(5), at(1)), FULL), at(5));
        assert_eq!(latest((at(100 * DAY), at(190 * DAY))), at(181 * DAY));
    }

    #[test]
    fn pauses_double_up_to_six_hours() {
        let minutes = |failures| pause(failures, None, NEVER).as_secs() / 60;
        let all: Vec<u64> = (1..=11).map(minutes).collect();
        assert_eq!(all, [1, 2, 4, 8, 16, 32, 64, 128, 256, 360, 360]);
        assert_eq!(minutes(u32::MAX), 360);
        assert_eq!(minutes(0), 1);
        let longest = pause(100, None, FULL);
        assert!(longest > Duration::from_secs(7 * 3600) && longest < Duration::from_secs(8 * 3600));
        // What the authority says is heeded, within a day.
        let hour = Duration::from_secs(3600);
        assert_eq!(pause(1, Some(hour), FULL), hour);
        assert_eq!(pause(1, Some(Duration::MAX), FULL), LONGEST_WAIT);
    }

    #[test]
    fn authorities_are_asked_once_an_hour_at_most() {
        assert_eq!(asked_again(Duration::ZERO), Duration::from_secs(3600));
        assert_eq!(
            asked_again(Duration::from_secs(7200)),
            Duration::from_secs(7200)
        );
        assert_eq!(asked_again(Duration::MAX), LONGEST_WAIT);
    }
}
