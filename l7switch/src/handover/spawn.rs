// SPDX-License-Identifier: MIT
//! A successor that the front starts itself.

use std::env;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use tokio::process::Command;

use crate::switch::Switch;

/// The option of a successor.
const OPTION: &str = "--take-over";

/// What the service manager says to one process only.
const OF_THIS_PROCESS: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"];

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
        let mut command = Command::new(&self.path);
        command.args(&self.arguments).stdin(Stdio::null());
        for name in OF_THIS_PROCESS {
            command.env_remove(name);
        }
        let place = switch.place();
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                return place.fail(0, &format!("{}: {error}", self.path.display()));
            }
        };
        let pid = child.id().unwrap_or_default();
        tracing::info!(successor = pid, program = %self.path.display(), "a successor is started");
        let switch = Arc::clone(switch);
        tokio::spawn(async move {
            if let Ok(status) = child.wait().await {
                switch.place().ended(pid, &format!("it ended: {status}"));
            }
        });
    }
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
