// SPDX-License-Identifier: MIT
//! Processor time, by what the kernel counts.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use l7switch_qemu_tests::error::Doing as _;
use l7switch_qemu_tests::error::Error;
use l7switch_qemu_tests::error::Result;

/// Seconds that a process has taken so far, all its threads, in user space and in the kernel (proc_pid_stat(5)).
#[expect(clippy::cast_precision_loss, reason = "a small number")]
pub(super) fn of_process(process: u32) -> Result<f64> {
    let text = read(&format!("/proc/{process}/stat"))?;
    let ticks = process_ticks(&text).ok_or(Error::Message(text))?;
    Ok(ticks / rustix::param::clock_ticks_per_second() as f64)
}

fn process_ticks(text: &str) -> Option<f64> {
    // The name may have blanks and brackets.
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some(ticks()? + ticks()?)
}

/// The share of time that all processors are idle in the next second (proc_stat(5)).
pub(super) fn idle() -> Result<f64> {
    let ticks = || {
        let text = read("/proc/stat")?;
        Ticks::find(&text).ok_or(Error::Message(text))
    };
    let before = ticks()?;
    thread::sleep(Duration::from_secs(1));
    Ok(ticks()?.idle_since(before))
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).doing_with("read", Path::new(path))
}

/// Time of all processors, in ticks of the clock.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Ticks {
    all: f64,
    /// Of it, with nothing to do.
    idle: f64,
}

impl Ticks {
    fn find(text: &str) -> Option<Self> {
        let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let words = line.split_whitespace();
        let numbers: Vec<f64> = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
        // Time of guests, which follows, is counted in the user's already.
        let &[user, nice, system, idle, iowait, irq, softirq, steal, ..] = numbers.as_slice()
        else {
            return None;
        };
        let idle = idle + iowait;
        let all = user + nice + system + irq + softirq + steal + idle;
        Some(Self { all, idle })
    }

    fn idle_since(self, before: Self) -> f64 {
        (self.idle - before.idle) / (self.all - before.all).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_time_of_two_kinds() {
        let text = "12 (a (b) c) S 1 12 12 0 -1 4194560 100 200 0 0 36 62 5 6 20 0 4 0 100 1 2";
        assert_eq!(process_ticks(text), Some(98.0));
        assert_eq!(process_ticks("12 (a) S 1"), None);
        assert!(of_process(std::process::id()).unwrap() >= 0.0);
    }

    #[test]
    fn idle_time_is_found_in_the_kernels_table() {
        let text = "cpu  20 2 6 65 2 0 2 3 9 0\ncpu0 9 1 3 35 1 0 1 0 0 0\nintr 1 2\n";
        let ticks = Ticks::find(text).unwrap();
        assert_eq!((ticks.all, ticks.idle), (100.0, 67.0));
        let before = Ticks {
            all: 50.0,
            idle: 30.0,
        };
        assert_eq!(ticks.idle_since(before), 0.74);
        assert_eq!(ticks.idle_since(ticks), 0.0);
        assert_eq!(Ticks::find("cpu 1 2 3\n"), None);
        assert_eq!(Ticks::find("cpu0 1 2 3 4 5 6 7 8\n"), None);
    }
}
