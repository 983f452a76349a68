// SPDX-License-Identifier: MIT
//! The tests of the guest as `cargo test` wants them: listed, filtered, run one after the other.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use libtest_mimic::Arguments;
use libtest_mimic::Failed;
use libtest_mimic::Trial;

use super::artifacts;
use super::session::Session;
use crate::protocol::Outcome;
use crate::protocol::TestResult;
use crate::test::Test;

/// Runs those of the tests that the command line wants; with `--nocapture`, what good ones print is shown too. `init` is this crate's program.
#[must_use]
pub fn main(tests: impl Iterator<Item = &'static Test>, init: &Path) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // There is one guest at a time.
    arguments.test_threads = Some(1);
    let session = Arc::new(Mutex::new(Session::new(init)));
    let show = arguments.nocapture;
    let has_module = artifacts::has_module();
    let mut sorted: Vec<&'static Test> = tests.collect();
    sorted.sort_by_key(|test| test.machine);
    let trials = sorted
        .into_iter()
        .map(|test| {
            let session = Arc::clone(&session);
            Trial::test(test.name, move || run(&session, test, show))
                .with_ignored_flag(test.needs_module && !has_module)
        })
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    let ended = session
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .finish();
    let complaint = match ended {
        Ok(complaints) if complaints.is_empty() => return conclusion.exit_code(),
        Ok(complaints) => complaints.join("\n"),
        Err(error) => error.to_string(),
    };
    // After the last test, so that it is no test's.
    let _ = writeln!(
        std::io::stderr(),
        "failed: after the last test, the kernel complained:\n{complaint}"
    );
    ExitCode::FAILURE
}

fn run(session: &Mutex<Session>, test: &Test, show: bool) -> Result<(), Failed> {
    let result = session
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .run(test)?;
    if show && result.is_good() {
        let _ = write!(
            std::io::stdout(),
            "\n{}({} ms by the guest's clock) ",
            result.output,
            result.millis
        );
    }
    if result.is_good() {
        Ok(())
    } else {
        Err(report(&result).into())
    }
}

/// What is shown of a test that failed.
#[must_use]
pub fn report(result: &TestResult) -> String {
    let mut text = match &result.outcome {
        Outcome::Passed => "the function returned".to_owned(),
        Outcome::Failed(how) => format!("the function failed ({how})"),
        Outcome::TimedOut => format!("it had not ended after {} ms", result.millis),
    };
    if !result.kernel.is_empty() {
        text += "\n--- the kernel complained:\n";
        text += &result.kernel.join("\n");
    }
    if let Some(left) = &result.left_behind {
        text += "\n--- it left behind: ";
        text += left;
    }
    if !result.output.is_empty() {
        text += "\n--- it printed:\n";
        text += result.output.trim_end();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_shows_all_that_is_wrong() {
        let text = report(&TestResult {
            name: "a::b".to_owned(),
            outcome: Outcome::Passed,
            output: "printed\n".to_owned(),
            kernel: vec!["BUG: one".to_owned(), " two".to_owned()],
            left_behind: Some("the module".to_owned()),
            millis: 1,
        });
        assert_eq!(
            text,
            "the function returned\n--- the kernel complained:\nBUG: one\n two\n--- it left behind: the module\n\
             --- it printed:\nprinted"
        );
    }
}
