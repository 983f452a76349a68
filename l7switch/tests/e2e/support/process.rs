// SPDX-License-Identifier: MIT
//! Child processes that are ended with the test that started them.

use std::ffi::OsStr;
use std::io::BufRead;
use std::io::BufReader;
use std::os::unix::process::CommandExt;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use super::PATIENCE;

/// A program that is searched in `$PATH`, and where nginx is on Debian.
///
/// # Panics
///
/// Where it is missing: the tests prove nothing without it, so it is not passed over.
pub(crate) fn program(name: &str, package: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|file| file.is_file());
    let Some(found) = found else {
        panic!("`{name}` is missing and this test needs it: apt-get install {package}");
    };
    Command::new(found)
}

/// Runs a program to its end and gives what it printed.
///
/// # Panics
///
/// Where it fails.
#[track_caller]
pub(crate) fn run<A: AsRef<OsStr>>(
    name: &str,
    package: &str,
    arguments: impl IntoIterator<Item = A>,
) -> String {
    let out = program(name, package)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(
        out.status.success(),
        "{name}: {}\n{text}\n{errors}",
        out.status
    );
    text
}

/// A running program; it is killed and reaped when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    /// Whether the program leads a process group of its own.
    group: bool,
    lines: Receiver<String>,
}

impl Drop for Process {
    fn drop(&mut self) {
        // Errors say that it has ended already.
        if self.group && matches!(self.child.try_wait(), Ok(None)) {
            let group = format!("-{}", self.child.id());
            let _ = program("kill", "procps")
                .args(["-KILL", "--", &group])
                .status();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Starts a program whose standard output can be read line by line.
    pub(crate) fn start(command: Command) -> Self {
        Self::spawn(command, false)
    }

    /// The same for a program that starts others, which end with it.
    pub(crate) fn start_group(mut command: Command) -> Self {
        command.process_group(0);
        Self::spawn(command, true)
    }

    fn spawn(mut command: Command, group: bool) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        // Ends with the program, which closes the pipe.
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            name,
            child,
            group,
            lines,
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that begins so, and gives the rest of it.
    #[track_caller]
    pub(crate) fn line(&self, beginning: &str) -> String {
        let line = self.try_line(beginning);
        line.unwrap_or_else(|| panic!("{}: no line `{beginning}…`", self.name))
    }

    /// The same; nothing where the program ends or hangs before.
    pub(crate) fn try_line(&self, beginning: &str) -> Option<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).ok()?;
            if let Some(rest) = line.strip_prefix(beginning) {
                return Some(rest.to_owned());
            }
        }
    }

    /// All lines that were printed and not read.
    pub(crate) fn lines_so_far(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    /// Sends a signal, named as kill(1) names it.
    pub(crate) fn signal(&self, name: &str) {
        run(
            "kill",
            "procps",
            [format!("-{name}"), self.id().to_string()],
        );
    }

    pub(crate) fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for the end.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        super::until("the process ends", || {
            status = self.has_ended();
            status.is_some()
        });
        status.unwrap()
    }
}
