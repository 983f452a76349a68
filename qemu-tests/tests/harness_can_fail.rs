// SPDX-License-Identifier: MIT
//! The harness sees what goes wrong in a guest: tests that fail on purpose must fail, and say how.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::path::Path;

use l7switch_qemu_tests::error::Result;
use l7switch_qemu_tests::host::artifacts::Image;
use l7switch_qemu_tests::host::session::Run;
use l7switch_qemu_tests::host::session::Session;
use l7switch_qemu_tests::host::suite;
use l7switch_qemu_tests::protocol::Outcome;
use l7switch_qemu_tests::protocol::TestResult;
use l7switch_qemu_tests::tests::SELFTESTS;

fn run(session: &mut Session, name: &str) -> Result<TestResult> {
    let test = SELFTESTS.iter().find(|test| test.name == name);
    session.run(test.expect("there is a test of this name"))
}

/// All in one, since booting takes longest.
#[test]
fn what_goes_wrong_is_seen_and_told() {
    let all = Run::new(
        Path::new(env!("CARGO_BIN_EXE_l7switch-qemu-tests")),
        Image::Ordinary,
    );
    let mut session = Session::new(&all);

    let result = run(&mut session, "selftest::passes").unwrap();
    assert!(result.is_good(), "{}", suite::report(&result));
    assert!(result.output.contains("selftest prints"));

    let result = run(&mut session, "selftest::panics").unwrap();
    assert_eq!(result.outcome, Outcome::Failed("it panicked".to_owned()));
    assert!(suite::report(&result).contains("selftest panics on purpose"));
    assert!(suite::report(&result).contains("selftest printed this"));

    let result = run(&mut session, "selftest::leaves_a_process_behind").unwrap();
    assert!(result.is_good(), "{}", suite::report(&result));
    let result = run(&mut session, "selftest::finds_nothing_left_behind").unwrap();
    assert!(result.is_good(), "{}", suite::report(&result));
    assert_eq!(
        all.boots(),
        1,
        "a test that only fails does not spoil the guest"
    );

    let result = run(&mut session, "selftest::makes_the_kernel_warn").unwrap();
    assert_eq!(result.outcome, Outcome::Passed);
    assert!(!result.is_good());
    assert!(suite::report(&result).contains("WARNING: selftest warns on purpose"));

    let result = run(&mut session, "selftest::hangs").unwrap();
    assert_eq!(
        all.boots(),
        2,
        "a kernel that complained is not used further"
    );
    assert_eq!(result.outcome, Outcome::TimedOut);
    assert!(
        suite::report(&result).contains("sleep 1000"),
        "{}",
        suite::report(&result)
    );

    let error = run(&mut session, "selftest::kills_the_kernel")
        .unwrap_err()
        .to_string();
    assert_eq!(all.boots(), 3);
    assert!(
        error.contains("died or hung in selftest::kills_the_kernel"),
        "{error}"
    );
    assert!(
        error.contains("Kernel panic - not syncing: sysrq triggered crash"),
        "{error}"
    );

    let result = run(&mut session, "selftest::passes").unwrap();
    assert!(result.is_good(), "{}", suite::report(&result));
    assert_eq!(all.boots(), 4, "the test after a panic has a new boot");
    assert_eq!(session.finish().unwrap(), Vec::<String>::new());
}
