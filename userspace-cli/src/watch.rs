// SPDX-License-Identifier: MIT
//! Commands that show the same again and again.

use std::io;
use std::io::IsTerminal as _;
use std::time::Duration;
use std::time::Instant;

use clap::Args;

use crate::closed;
use crate::print;

/// Whether it is shown again and again.
#[derive(Clone, Debug, Args)]
pub(crate) struct Watch {
    /// Show it again and again, with rates, and mark what has changed
    #[arg(long)]
    pub(crate) watch: bool,
    /// Time between two readings
    #[arg(long, value_name = "TIME", default_value = "2s", requires = "watch", value_parser = interval)]
    pub(crate) interval: Duration,
    /// End after so many readings
    #[arg(long, value_name = "N", requires = "watch")]
    pub(crate) count: Option<u64>,
}

pub(crate) fn interval(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match time >= Duration::from_millis(100) {
        true => Ok(time),
        false => Err("the shortest is 100ms".to_owned()),
    }
}

/// What was read the last time, and how long ago.
#[derive(Debug)]
pub(crate) struct Before<T> {
    /// What was read.
    pub(crate) was: T,
    /// Seconds since then.
    pub(crate) seconds: f64,
}

impl<T> Before<T> {
    /// How often a second something happened that is counted; `-` where the counting has begun anew.
    pub(crate) fn rate(&self, now: u64, was: u64) -> String {
        #[expect(clippy::cast_precision_loss, reason = "a rate is shown by few digits")]
        let more = now.checked_sub(was).map(|more| more as f64);
        match more {
            Some(more) if self.seconds > 0.0 => format!("{:.1}", more / self.seconds),
            _ => "-".to_owned(),
        }
    }
}

/// Reads, and shows what `draw` makes of it: once, or again and again. A reading that fails later than the first is shown, and
/// the next one follows: the switch may be about to come back.
pub(crate) fn run<T>(
    watch: &Watch,
    out: &mut impl io::Write,
    mut read: impl FnMut() -> Result<T, String>,
    draw: impl Fn(&T, Option<&Before<T>>) -> String,
) -> Result<(), String> {
    let is_terminal = watch.watch && io::stdout().is_terminal();
    let mut before: Option<(T, Instant)> = None;
    let mut shown: u64 = 0;
    loop {
        let (reading, at) = (read(), Instant::now());
        let text = match (reading, before.take()) {
            (Ok(now), last) => {
                let last = last.map(|(was, then)| Before {
                    was,
                    seconds: at.duration_since(then).as_secs_f64(),
                });
                let text = draw(&now, last.as_ref());
                before = Some((now, at));
                text
            }
            (Err(error), None) if shown == 0 => return Err(error),
            (Err(error), last) => {
                before = last;
                format!("l7ctl: {error}\n")
            }
        };
        let text = match (is_terminal, shown) {
            // Home, the text with the rest of each line cleared, and all below it.
            (true, _) => format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n")),
            (false, 0) => text,
            (false, _) => format!("\n{text}"),
        };
        print(out, &text)?;
        if let Err(error) = out.flush() {
            return closed(&error);
        }
        shown = shown.saturating_add(1);
        if !watch.watch || watch.count.is_some_and(|count| shown >= count) {
            return Ok(());
        }
        std::thread::sleep(watch.interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_after_a_failure_and_knows_what_was_before() {
        let watch = Watch {
            watch: true,
            interval: Duration::from_millis(1),
            count: Some(3),
        };
        let mut answers = [Ok(5_u64), Err("gone".to_owned()), Ok(7)].into_iter();
        let mut out = Vec::new();
        let draw = |now: &u64, before: Option<&Before<u64>>| {
            format!("{now} after {:?}\n", before.map(|before| before.was))
        };
        run(&watch, &mut out, || answers.next().unwrap(), draw).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "5 after None\n\nl7ctl: gone\n\n7 after Some(5)\n");
        let mut none = Vec::new();
        let failed = run(&watch, &mut none, || Err::<u64, _>("no".to_owned()), draw);
        assert_eq!(failed, Err("no".to_owned()));
        assert!(interval("50ms").is_err() && interval("1s").is_ok());
    }

    #[test]
    fn rates_are_by_second() {
        let before = Before {
            was: (),
            seconds: 2.0,
        };
        assert_eq!(before.rate(15, 10), "2.5");
        assert_eq!(before.rate(5, 10), "-");
    }
}
