// SPDX-License-Identifier: MIT
//! A successor that the front starts itself.
//!
//! Its parent must be whoever adopts orphans (PID 1, a subreaper) before it is anybody's main process: a service manager hears of the
//! end of its own children only, and the front may drain for hours. So the front starts the program once, as a relay: that starts the
//! successor, says its process, and ends when the front holds a descriptor of it.

use std::env;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::io;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::process::ExitCode;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use rustix::fs::FileType;
use rustix::process::Pid;
use rustix::process::WaitOptions;
use tokio::io::AsyncReadExt;
use tokio::process::Child;

use super::PATIENCE;
use super::process;
use crate::switch::Switch;

/// The option of a successor.
const OPTION: &str = "--take-over";

/// The variable of a relay, whose standard input is a socket of the front. A program of an older version, which does not know it, is
/// the successor itself.
const RELAY: &str = "L7SWITCH_RELAY";

/// What the service manager says to one process only.
const OF_THIS_PROCESS: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"];

/// Longest process ID in digits, and more than that.
const DIGITS: u64 = 20;

/// How often it is looked whether a successor has ended, until it has the place.
const LOOKS: Duration = Duration::from_millis(50);

/// How this process was started, so that another one can be.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// The program as it is called now: what lies there later, after an upgrade, is what a successor runs.
    ///
    /// # Errors
    ///
    /// The file system does not say (/proc is not mounted).
    pub fn own() -> io::Result<Self> {
        Ok(Self {
            path: env::current_exe()?,
            arguments: successor_arguments(env::args_os().skip(1)),
        })
    }

    /// Starts a successor.
    pub fn start(&self, switch: &Arc<Switch>) {
        let (relay, socket) = match self.start_relay() {
            Ok(started) => started,
            Err(error) => {
                let why = format!("{}: {error}", self.path.display());
                return switch.place().fail(0, &why);
            }
        };
        let path = self.path.clone();
        let switch = Arc::clone(switch);
        tokio::spawn(async move {
            let place = switch.place();
            match said(socket).await {
                Some((pid, process)) => {
                    tracing::info!(successor = pid, program = %path.display(), "a successor is started");
                    drop(tokio::spawn(reap(relay)));
                    let (mut looks, began) = (tokio::time::interval(LOOKS), Instant::now());
                    while place.given_to() != Some(pid) {
                        looks.tick().await;
                        if began.elapsed() > PATIENCE && !place.is_asked() {
                            process::end(&process);
                            let why = "it has not asked for the place in time, and is told to end";
                            return place.ended(pid, why).await;
                        }
                        if process::has_ended(&process, Duration::ZERO) {
                            // As PID 1 this process adopts it.
                            reap_orphan(pid);
                            let why = "it ended; lines of its own say why";
                            return place.ended(pid, why).await;
                        }
                    }
                }
                None => {
                    let pid = relay.id().unwrap_or_default();
                    // One that ends well has started a successor of which nothing is known, as descriptors are used up.
                    if let Some(status) = reap(relay).await.filter(|status| !status.success()) {
                        place.ended(pid, &format!("it ended: {status}")).await;
                    }
                }
            }
        });
    }

    fn start_relay(&self) -> io::Result<(Child, tokio::net::UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let ours = tokio::net::UnixStream::from_std(ours)?;
        let mut command = Command::new(&self.path);
        command
            .args(&self.arguments)
            .env(RELAY, "1")
            .stdin(OwnedFd::from(theirs));
        for name in OF_THIS_PROCESS {
            command.env_remove(name);
        }
        Ok((tokio::process::Command::from(command).spawn()?, ours))
    }
}

/// What a relay says: the successor's process, with a descriptor of it. `None`: nothing, as it has ended.
async fn said(socket: tokio::net::UnixStream) -> Option<(u32, OwnedFd)> {
    let mut digits = String::new();
    let mut socket = socket.take(DIGITS);
    socket.read_to_string(&mut digits).await.ok()?;
    let pid: i32 = digits.parse().ok()?;
    // It cannot be another process by now: the relay, which lives until the socket is closed, has not asked for its status.
    let process = process::open(Pid::from_raw(pid)?)?;
    Some((u32::try_from(pid).ok()?, process))
}

/// Asks for the status of a process that may be a child of this one's, and may not.
fn reap_orphan(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
    }
}

async fn reap(mut child: Child) -> Option<std::process::ExitStatus> {
    child.wait().await.ok()
}

/// Where this process is a relay: starts the successor, and gives this process's exit code. To be called before anything else.
pub fn relay() -> Option<ExitCode> {
    env::var_os(RELAY)?;
    // An older program that was a successor itself passes the variable on, and no socket.
    let input = rustix::fs::fstat(io::stdin()).ok()?;
    if !FileType::from_raw_mode(input.st_mode).is_socket() {
        return None;
    }
    Some(match start_successor() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(
                io::stderr(),
                "l7switch: the successor cannot be started: {error}"
            );
            ExitCode::FAILURE
        }
    })
}

fn start_successor() -> io::Result<()> {
    let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut arguments = env::args_os();
    // As the front called it: the file may have been replaced meanwhile.
    let path = arguments.next().unwrap_or_default();
    let successor = Command::new(path)
        .args(arguments)
        .env_remove(RELAY)
        .stdin(Stdio::null())
        .spawn()?;
    // Until the front has it. Where that has died, the successor goes on without.
    let _ = write!(socket, "{}", successor.id())
        .and_then(|()| socket.shutdown(Shutdown::Write))
        .and_then(|()| socket.read_to_end(&mut Vec::new()));
    Ok(())
}

/// The arguments of a successor: the same, with the option that makes it one.
fn successor_arguments(own: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = own.collect();
    if !arguments
        .iter()
        .any(|argument| argument == OsStr::new(OPTION))
    {
        arguments.insert(0, OPTION.into());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_successor_gets_the_same_arguments_and_its_option_once() {
        let given = |arguments: &[&str]| successor_arguments(arguments.iter().map(Into::into));
        assert_eq!(
            given(&["a.toml", "--", "b"]),
            ["--take-over", "a.toml", "--", "b"]
        );
        assert_eq!(given(&["--take-over", "a"]), ["--take-over", "a"]);
    }
}
