// SPDX-License-Identifier: MIT
//! The tests of the guest as `cargo test` wants them: listed, filtered, run one after the other.

use std::env;
use std::io::Write as _;
use std::panic::resume_unwind;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::thread;

use libtest_mimic::Arguments;
use libtest_mimic::Failed;
use libtest_mimic::Trial;

use super::artifacts;
use super::artifacts::Image;
use super::session::Run;
use super::session::Session;
use crate::printed::Printed as _;
use crate::programs;
use crate::programs::Row;
use crate::protocol::Outcome;
use crate::protocol::TestResult;
use crate::test::Machine;
use crate::test::Test;

/// How many guests run at once where nothing is said, and as many processors are there.
const GUESTS: usize = 2;

/// The tests of a suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// Those that show in less than a minute that each area works.
    Basic,
    /// All others; where a name is asked for, all that have it.
    Rest,
    /// Servers of the distribution, in an image of their own: `make test-programs`. Where all pass, it writes the page.
    Programs,
}

/// Runs those of the tests that the command line wants, several guests at once: `L7_GUESTS`. With `--nocapture`, what
/// good ones print is shown too. `init` is this crate's program.
#[must_use]
pub fn main(suite: Suite, tests: impl Iterator<Item = &'static Test>, init: &Path) -> ExitCode {
    let mut arguments = Arguments::from_args();
    let wanted = |test: &&Test| match suite {
        Suite::Basic => test.basic,
        Suite::Rest => !test.basic || arguments.filter.is_some(),
        Suite::Programs => true,
    };
    let guests = guests();
    let image = match suite {
        Suite::Basic | Suite::Rest => Image::Ordinary,
        Suite::Programs => Image::Programs,
    };
    let run = Run::new(init, image);
    let pool = Arc::new(Pool {
        idle: Mutex::new((0..guests).map(|_| Session::new(&run)).collect()),
        rows: Mutex::new(Vec::new()),
    });
    let show = arguments.nocapture;
    let has_module = artifacts::has_module();
    let mut sorted: Vec<&'static Test> = tests.filter(wanted).collect();
    sorted.sort_by_key(|test| test.machine);
    arguments.test_threads = Some(guests);
    let trials = sorted
        .into_iter()
        .map(|test| {
            let pool = Arc::clone(&pool);
            Trial::test(test.name, move || run_test(&pool, test, show))
                .with_ignored_flag(test.needs_module && !has_module)
        })
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    let complaints = pool.finish();
    if complaints.is_empty() {
        let mut rows = lock(&pool.rows);
        let all = conclusion.num_passed > 0 && conclusion.num_filtered_out == 0;
        if suite == Suite::Programs
            && all
            && !conclusion.has_failed()
            && let Err(error) = programs::write(&mut rows)
        {
            let _ = writeln!(std::io::stderr(), "failed: {error}");
            return ExitCode::FAILURE;
        }
        return conclusion.exit_code();
    }
    // After the last test, so that it is no test's.
    let _ = writeln!(
        std::io::stderr(),
        "failed: after the last test, the kernel complained:\n{}",
        complaints.join("\n")
    );
    ExitCode::FAILURE
}

/// How many guests run at once: each takes a processor where it is emulated.
#[must_use]
pub fn guests() -> usize {
    let said = env::var("L7_GUESTS")
        .ok()
        .and_then(|said| said.parse().ok());
    let processors = || thread::available_parallelism().map_or(1, usize::from);
    said.unwrap_or_else(|| processors().min(GUESTS)).max(1)
}

/// The sessions that no test uses: as many as tests run at once.
struct Pool {
    idle: Mutex<Vec<Session>>,
    /// What was found of programs.
    rows: Mutex<Vec<Row>>,
}

impl Pool {
    /// One for a test of this machine: best with a guest that fits, or none yet.
    fn take(&self, machine: Machine) -> Option<Session> {
        let mut idle = lock(&self.idle);
        let fitting = |wanted| idle.iter().position(|session| session.machine() == wanted);
        let place = fitting(Some(machine))
            .or_else(|| fitting(None))
            .unwrap_or(0);
        (place < idle.len()).then(|| idle.swap_remove(place))
    }

    /// Ends the guests; gives what their kernels complained of at last.
    fn finish(&self) -> Vec<String> {
        let sessions: Vec<Session> = lock(&self.idle).drain(..).collect();
        thread::scope(|scope| {
            let ends: Vec<_> = sessions
                .into_iter()
                .map(|mut session| scope.spawn(move || session.finish()))
                .collect();
            ends.into_iter()
                .flat_map(|end| match end.join() {
                    Ok(Ok(complaints)) => complaints,
                    Ok(Err(error)) => vec![error.to_string()],
                    Err(panic) => resume_unwind(panic),
                })
                .collect()
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run_test(pool: &Pool, test: &Test, show: bool) -> Result<(), Failed> {
    let mut session = pool.take(test.machine).ok_or("no session is idle")?;
    let result = session.run(test);
    lock(&pool.idle).push(session);
    let result = result?;
    lock(&pool.rows).extend(Row::find(&result.output));
    if show && result.is_good() {
        let _ = writeln!(
            std::io::stdout(),
            "--- {}: {} ms by the guest's clock\n{}",
            result.name,
            result.millis,
            result.output
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
