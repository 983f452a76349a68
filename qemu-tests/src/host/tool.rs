// SPDX-License-Identifier: MIT
//! Calls of the project's scripts and of other tools of the host.

use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use crate::error::Doing as _;
use crate::error::Error;
use crate::error::Result;

/// The project's folder.
#[must_use]
pub fn repository() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}

/// Runs a tool; gives what it prints on standard output. What it prints on the other one is shown where it fails.
///
/// # Errors
///
/// Where it cannot be run, or ends with an exit code other than 0.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .doing(format!("run {shown}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::Tool {
        tool: shown,
        output: format!(
            "{}{}({})",
            String::from_utf8_lossy(&output.stderr),
            String::from_utf8_lossy(&output.stdout),
            output.status
        ),
    })
}

/// Runs one of the project's scripts, which prints a path on its last line and what it does on standard error.
///
/// # Errors
///
/// Where it cannot be run, or ends with an exit code other than 0, or prints no path.
pub fn script(path: &str, arguments: &[&Path]) -> Result<PathBuf> {
    let mut command = Command::new(repository().join(path));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let shown = shown(&command);
    let output = command.output().doing(format!("run {shown}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().last() {
        Some(line) if output.status.success() => Ok(PathBuf::from(line)),
        _ => Err(Error::Tool {
            tool: shown,
            output: format!("{text}({}; what it says is above)", output.status),
        }),
    }
}

/// Says something to whoever runs the tests.
pub fn say(message: &str) {
    // Nothing is lost where nobody listens.
    let _ = writeln!(std::io::stderr(), "qemu-tests: {message}");
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}
