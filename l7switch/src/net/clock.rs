// SPDX-License-Identifier: MIT
//! Monotonic time in the form that the schedulers take, and the time of day.

use std::sync::LazyLock;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Nanoseconds since the first call in this process.
pub fn now_ns() -> u64 {
    ns_of(Instant::now())
}

/// The same of a time that is known.
pub fn ns_of(now: Instant) -> u64 {
    nanos(now.saturating_duration_since(*START))
}

/// A duration in nanoseconds, at most `u64::MAX`.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What is no more than a clock that goes wrong a little, or is put right slowly (adjtimex(2)).
const STEP: Duration = Duration::from_secs(2);

/// Says where the time of day is set to another one, which changes nothing here but what is shown: certificates, lines of logs, `since`.
#[derive(Debug)]
pub(crate) struct Steps {
    at: (Instant, SystemTime),
}

impl Steps {
    /// Begins.
    pub(crate) fn new() -> Self {
        Self {
            at: (Instant::now(), SystemTime::now()),
        }
    }

    /// Looks; to be called again and again.
    pub(crate) fn look(&mut self) {
        if let Some((way, by)) = self.step((Instant::now(), SystemTime::now())) {
            let by = humantime::format_duration(Duration::from_secs(by.as_secs()));
            tracing::warn!("the clock was set {way} by {by}, or this machine has slept");
        }
    }

    /// The step since the last time, if there was one.
    fn step(&mut self, now: (Instant, SystemTime)) -> Option<(&'static str, Duration)> {
        let (instant, time) = std::mem::replace(&mut self.at, now);
        let expected = time.checked_add(now.0.saturating_duration_since(instant))?;
        let (way, by) = match now.1.duration_since(expected) {
            Ok(by) => ("forward", by),
            Err(error) => ("back", error.duration()),
        };
        (by > STEP).then_some((way, by))
    }
}

/// The time of day, Unix time in seconds.
pub fn unix_now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_the_clock_are_told_from_its_going_wrong() {
        let mut steps = Steps::new();
        let (instant, time) = steps.at;
        let second = Duration::from_secs(1);
        let mut look = |seconds: u32, time| steps.step((instant + seconds * second, time));
        assert_eq!(look(1, time + second), None);
        assert_eq!(look(2, time + 3 * second), None, "a second wrong");
        assert_eq!(
            look(3, time + 104 * second),
            Some(("forward", 100 * second))
        );
        assert_eq!(look(4, time + 105 * second), None, "it is said once");
        assert_eq!(look(5, time - 94 * second), Some(("back", 200 * second)));
        assert_eq!(look(6, time - 93 * second), None);
    }
}
