// SPDX-License-Identifier: MIT
//! A guest that runs: it is asked for a test and answers, or it dies and its console tells why.

use std::fs;
use std::io;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Write as _;
use std::os::unix::net::UnixListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use super::qemu::Start;
use crate::complaints;
use crate::error::Doing as _;
use crate::error::Error;
use crate::error::Result;
use crate::protocol;
use crate::protocol::Reply;
use crate::protocol::Request;
use crate::protocol::TestResult;
use crate::test;

// Limits on an idle machine; [`test::patience`] gives more.

/// How long the boot may take.
const BOOT: Duration = Duration::from_secs(120);
/// How much longer than its own limit a test may take before the guest counts as hung.
const GRACE: Duration = Duration::from_secs(60);
/// How long the guest may take to look for leaks and power off.
const END: Duration = Duration::from_secs(180);
/// How many lines of the console's end are shown.
const TAIL: usize = 40;

/// A guest that runs. It is killed where it is dropped.
#[derive(Debug)]
pub struct Guest {
    qemu: Child,
    results: BufReader<UnixStream>,
    console: PathBuf,
    messages: PathBuf,
    /// How many times its limit a test may take, by the host's clock.
    patience: u32,
    /// What it said of itself when it came up.
    pub ready: Ready,
}

/// What a guest says when it has come up.
#[derive(Debug, Clone, Default)]
pub struct Ready {
    /// The kernel's version.
    pub release: String,
    /// Time from the kernel's start.
    pub uptime: Duration,
    /// What the kernel complained of while booting.
    pub kernel: Vec<String>,
}

impl Guest {
    /// Boots it and waits until it is up. What `start.results` says is not looked at.
    ///
    /// # Errors
    ///
    /// Where it does not come up.
    pub fn boot(start: &Start<'_>, console: &Path) -> Result<Self> {
        // In a folder of its own: the path of a socket must be short.
        let folder = tempfile::tempdir().doing("make a temporary folder")?;
        let path = folder.path().join("results");
        let listener = UnixListener::bind(&path).doing_with("listen on", &path)?;
        listener
            .set_nonblocking(true)
            .doing("make the socket non-blocking")?;
        let mut qemu = Start {
            results: Some(&path),
            ..*start
        }
        .spawn()?;
        let deadline = Instant::now() + BOOT * test::patience(&start.kernel.release);
        let results = loop {
            match listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).doing("accept QEMU's connection"),
            }
            if Instant::now() > deadline || !matches!(qemu.try_wait(), Ok(None)) {
                let _ = qemu.kill();
                let _ = qemu.wait();
                return Err(Error::Tool {
                    tool: "qemu".to_owned(),
                    output: fs::read_to_string(start.messages).unwrap_or_default(),
                });
            }
            thread::sleep(Duration::from_millis(10));
        };
        results
            .set_nonblocking(false)
            .doing("make the socket blocking")?;
        let mut guest = Self {
            qemu,
            results: BufReader::new(results),
            console: console.to_owned(),
            messages: start.messages.to_owned(),
            patience: test::patience(&start.kernel.release)
                * if start.machine.icount { 12 } else { 1 },
            ready: Ready::default(),
        };
        match guest.receive(BOOT * guest.patience, "did not boot")? {
            Reply::Ready {
                release,
                uptime_millis,
                kernel,
            } => {
                guest.ready = Ready {
                    release,
                    uptime: Duration::from_millis(uptime_millis),
                    kernel,
                };
                Ok(guest)
            }
            other => Err(Error::Message(format!(
                "{other:?} where the guest should be ready"
            ))),
        }
    }

    /// Has it run a test, a crossing or a measurement, for so long by its own clock.
    ///
    /// # Errors
    ///
    /// Where the guest dies of it or falls silent. Ask it for nothing more then.
    pub fn run(&mut self, name: &str, timeout: Duration) -> Result<TestResult> {
        self.send(&Request::Run {
            name: name.to_owned(),
            timeout_seconds: timeout.as_secs(),
        })?;
        let limit = (timeout + GRACE) * self.patience;
        match self.receive(limit, &format!("died or hung in {name}"))? {
            Reply::Result(result) if result.name == name => Ok(result),
            other => Err(Error::Message(format!("{other:?} where {name} was run"))),
        }
    }

    /// For how long its threads have wanted a processor of the machine and had none, all together: the second number of
    /// their `schedstat` (Documentation/scheduler/sched-stats.rst). 0 where the machine's kernel does not count it.
    #[must_use]
    pub fn waited(&self) -> Duration {
        let threads = fs::read_dir(format!("/proc/{}/task", self.qemu.id()));
        let waited = threads.into_iter().flatten().filter_map(|thread| {
            let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            text.split(' ').nth(1)?.parse::<u64>().ok()
        });
        Duration::from_nanos(waited.sum())
    }

    /// Ends it; gives what its kernel complained of at last.
    ///
    /// # Errors
    ///
    /// Where it does not end.
    pub fn finish(mut self) -> Result<Vec<String>> {
        self.send(&Request::Finish)?;
        let complaints = match self.receive(END * self.patience, "did not finish")? {
            Reply::Finished { kernel } => kernel,
            other => {
                return Err(Error::Message(format!(
                    "{other:?} where the guest should end"
                )));
            }
        };
        let deadline = Instant::now() + END * self.patience;
        while matches!(self.qemu.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                return Err(self.dead("did not power off"));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(complaints)
    }

    fn send(&mut self, request: &Request) -> Result<()> {
        let line = protocol::encode(request)?;
        self.results
            .get_mut()
            .write_all(line.as_bytes())
            .map_err(|_| self.dead("is gone"))
    }

    fn receive(&mut self, limit: Duration, otherwise: &str) -> Result<Reply> {
        self.results
            .get_ref()
            .set_read_timeout(Some(limit))
            .doing("set a time limit")?;
        let mut line = String::new();
        match self.results.read_line(&mut line) {
            Ok(length) if length > 0 => protocol::decode(&line),
            Ok(_) => Err(self.dead(otherwise)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(self.dead(&format!("{otherwise} (silent for {} s)", limit.as_secs())))
            }
            Err(_) => Err(self.dead(otherwise)),
        }
    }

    /// Kills it, and says what its console shows.
    fn dead(&mut self, what: &str) -> Error {
        // A kernel that panics writes its last lines before QEMU ends: give it the time.
        let deadline = Instant::now() + Duration::from_secs(2);
        while matches!(self.qemu.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        self.kill();
        let console =
            String::from_utf8_lossy(&fs::read(&self.console).unwrap_or_default()).replace('\r', "");
        let mut detail = complaints::excerpt(console.lines());
        if detail.is_empty() {
            let lines: Vec<&str> = console.lines().collect();
            let skipped = lines.len().saturating_sub(TAIL);
            detail.push("the end of its console:".to_owned());
            detail.extend(lines.into_iter().skip(skipped).map(str::to_owned));
        }
        if let Ok(messages) = fs::read_to_string(&self.messages) {
            detail.extend(messages.lines().map(|line| format!("qemu: {line}")));
        }
        Error::Guest {
            what: format!("the guest {what}"),
            detail: detail.join("\n"),
            console: self.console.clone(),
        }
    }

    fn kill(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.kill();
    }
}
