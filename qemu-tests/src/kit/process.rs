// SPDX-License-Identifier: MIT
//! Programs on a host: run to their end, or started and ended by the test.

use std::fs;
use std::fs::File;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::process::Pid;
pub use rustix::process::Signal;
use rustix::process::kill_process;

use super::wait::limit;
use super::wait::wait_for;
use super::wait::wait_until;
use crate::guest::program;

/// How a program ended that may fail.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Its status.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl Attempt {
    /// Whether its exit code is 0.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.status.success()
    }

    /// Its exit code, or -1 where a signal ended it.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }
}

/// Runs a line of shell where the calling thread is.
pub(crate) fn attempt(line: &str) -> Attempt {
    let output = shell(line).stdin(Stdio::null()).output().expect("sh runs");
    Attempt {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Starts a program where the calling thread is.
pub(crate) fn start(line: &str) -> Process {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let output = PathBuf::from(format!("/tmp/process-{number}"));
    let file = File::create(&output).expect("/tmp is writable");
    let child = shell(&format!("exec {line}"))
        .stdin(Stdio::null())
        .stdout(file.try_clone().expect("a descriptor can be copied"))
        .stderr(file)
        .spawn()
        .expect("sh starts");
    Process {
        line: line.to_owned(),
        child,
        output,
    }
}

fn shell(line: &str) -> Command {
    let mut command = program("/bin/sh");
    command
        .args(["-euc", line])
        .env("LIMIT", limit().as_secs().to_string());
    command
}

/// A program that runs on a host. It is killed where it is dropped.
#[derive(Debug)]
pub struct Process {
    line: String,
    child: Child,
    output: PathBuf,
}

impl Process {
    /// What it has printed so far, both streams.
    #[must_use]
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Its process id, in the test's namespace.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    ///
    /// # Panics
    ///
    /// Where it has ended.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal)
            .unwrap_or_else(|error| panic!("no signal for {}: {error}", self.line));
    }

    /// Waits until it ends by itself, for [`limit`] at most.
    ///
    /// # Panics
    ///
    /// Where it does not.
    pub fn wait(&mut self) -> ExitStatus {
        let line = self.line.clone();
        let mut status = None;
        wait_until(&format!("{line} ends"), || {
            status = self.child.try_wait().expect("it can be waited for");
            status.is_some()
        });
        status.expect("it has ended")
    }

    /// Waits until it has printed `words`.
    ///
    /// # Panics
    ///
    /// Where it ends or goes on without; shows what it printed.
    pub fn wait_for_output(&mut self, words: &str) {
        self.wait_long_for_output(words, limit());
    }

    /// The same, for so long at most.
    ///
    /// # Panics
    ///
    /// Where it does not, or ends before.
    pub fn wait_long_for_output(&mut self, words: &str, limit: Duration) {
        wait_for(&format!("{} prints {words}", self.line), limit, || {
            let running = self.is_running();
            let printed = self.output();
            let found = printed.contains(words);
            assert!(found || running, "{} has ended: {printed}", self.line);
            found
        });
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_running() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            println!("--- {} printed:\n{}", self.line, self.output());
        }
    }
}
