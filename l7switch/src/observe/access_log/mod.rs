// SPDX-License-Identifier: MIT
//! The access log: one line per request, written by a thread of its own that never blocks the data
//! path. Lines that cannot be written, or for which the queue has no room, are lost and counted.

mod field;
mod format;
mod line;
mod target;
#[cfg(test)]
mod tests;

use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

pub use field::Field;
pub use format::Fields;
pub use format::Format;
pub use line::Line;
pub use target::Target;

use target::Outcome;
use target::Sink;

/// Lines that may wait for the writer.
const QUEUE: usize = 16 * 1024;

/// Which part of the requests that ended well have a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample(f64);

impl Default for Sample {
    fn default() -> Self {
        Self(100.0)
    }
}

/// `10%`, `0.5%`: over 0, at most 100.
impl FromStr for Sample {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').and_then(|text| text.parse().ok());
        match number {
            Some(percent) if percent > 0.0 && percent <= 100.0 => Ok(Self(percent)),
            _ => Err("a part such as 10% is wanted, over 0 and at most 100".to_owned()),
        }
    }
}

impl Sample {
    fn takes(self, line: &Line) -> bool {
        // What an administrator looks for is never left out.
        line.end != "ok" || line.status >= 400 || self.draws()
    }

    /// Whether the lot falls on one of that part.
    pub fn draws(self) -> bool {
        fastrand::f64() * 100.0 < self.0
    }
}

/// What is logged, how, and where.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where lines go.
    pub target: Target,
    /// How they look.
    pub format: Format,
    /// Which requests have one.
    pub sample: Sample,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            target: Target::Off,
            format: Format::default(),
            sample: Sample::default(),
        }
    }
}

enum Command {
    Line(String),
    Reopen,
    Flush(SyncSender<()>),
}

/// The log's near end. Cheap to use from any thread.
#[derive(Debug)]
pub struct AccessLog {
    queue: Option<SyncSender<Command>>,
    config: Config,
    dropped: Arc<AtomicU64>,
    /// Whether lines say something of the requests' header fields.
    reads_headers: bool,
}

impl AccessLog {
    /// Opens the target and starts the writer.
    ///
    /// # Errors
    ///
    /// The target cannot be opened, or the thread not be started.
    pub fn open(config: &Config) -> io::Result<Self> {
        let dropped = Arc::<AtomicU64>::default();
        let queue = match Sink::open(&config.target)? {
            Some(sink) => {
                let (queue, commands) = mpsc::sync_channel(QUEUE);
                let dropped = Arc::clone(&dropped);
                std::thread::Builder::new()
                    .name("access-log".to_owned())
                    .spawn(move || write_lines(sink, &commands, &dropped))?;
                Some(queue)
            }
            None => None,
        };
        Ok(Self {
            reads_headers: config.format.says(Field::is_of_headers),
            queue,
            config: config.clone(),
            dropped,
        })
    }

    /// Whether lines are wanted at all.
    pub const fn enabled(&self) -> bool {
        self.queue.is_some()
    }

    /// Whether a line needs to know the request's header fields.
    pub const fn reads_headers(&self) -> bool {
        self.reads_headers
    }

    /// Hands a line over, or drops and counts it where the queue is full.
    pub fn write(&self, line: &Line) {
        let Some(queue) = &self.queue else { return };
        if !self.config.sample.takes(line) {
            return;
        }
        let text = self.config.format.write(line);
        if queue.try_send(Command::Line(text)).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Lines that were lost.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Opens the file anew, after it was renamed.
    pub fn reopen(&self) {
        if let Some(queue) = &self.queue
            && queue.try_send(Command::Reopen).is_err()
        {
            tracing::warn!("the access log is busy and was not reopened: send the signal again");
        }
    }

    /// Waits, blocking, until all lines are written, but not longer than a second.
    pub fn flush(&self) {
        let Some(queue) = &self.queue else { return };
        let (done, wait) = mpsc::sync_channel(1);
        if queue.try_send(Command::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(Duration::from_secs(1));
        }
    }
}

/// What is said of a log that cannot be written.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// From now on lines are lost.
    Fails(String),
    /// No more.
    Works,
}

/// Whether the log can be written, as it was last.
#[derive(Debug, Default)]
struct Standing {
    is_failing: bool,
}

impl Standing {
    /// Counts the lines that are lost. Gives what is to be said, which is once until it changes.
    fn hear(&mut self, outcome: Outcome, dropped: &AtomicU64) -> Option<Said> {
        let outcome = outcome?;
        let was_failing = std::mem::replace(&mut self.is_failing, outcome.is_err());
        match outcome {
            Err((lost, error)) => {
                dropped.fetch_add(lost, Relaxed);
                (!was_failing).then(|| Said::Fails(error.to_string()))
            }
            Ok(()) => was_failing.then_some(Said::Works),
        }
    }
}

/// Writes what comes, until nobody sends any more.
fn write_lines(mut sink: Sink, commands: &Receiver<Command>, dropped: &AtomicU64) {
    let mut standing = Standing::default();
    let mut hear = |outcome| match standing.hear(outcome, dropped) {
        Some(Said::Fails(error)) => {
            tracing::error!(
                error,
                "the access log cannot be written: lines are lost and counted"
            );
        }
        Some(Said::Works) => tracing::info!("the access log can be written again"),
        None => (),
    };
    while let Ok(first) = commands.recv() {
        let mut next = Some(first);
        while let Some(command) = next {
            match command {
                Command::Line(text) => hear(sink.line(&text)),
                Command::Reopen => {
                    hear(sink.flush());
                    if let Err(error) = sink.reopen() {
                        tracing::error!(%error, "the access log is not opened anew: lines go where they went");
                    }
                }
                Command::Flush(done) => {
                    hear(sink.flush());
                    let _ = done.send(());
                }
            }
            next = commands.try_recv().ok();
        }
        hear(sink.flush());
    }
}
