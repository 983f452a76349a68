// SPDX-License-Identifier: MIT
//! The tests that run in the guest. A test is a function in one of these files and a line in the list.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use crate::guest_test;
use crate::test::Test;

mod boot;
mod front;
mod module;
mod selftest;

/// Every test of the guest.
pub const TESTS: &[Test] = &[
    guest_test!(boot::tools_run),
    guest_test!(boot::namespaces_talk),
    guest_test!(boot::modules_load),
    guest_test!(boot::instructions_are_counted).icount(),
    guest_test!(front::quickstart_in_guest),
    guest_test!(module::loads_and_goes).needs_module(),
    guest_test!(module::loads_and_goes_many_times).needs_module(),
];

/// Tests that fail on purpose, by which the harness is tested. They are not run with the others.
pub const SELFTESTS: &[Test] = &[
    guest_test!(selftest::passes),
    guest_test!(selftest::panics),
    guest_test!(selftest::hangs).timeout(2),
    guest_test!(selftest::makes_the_kernel_warn),
    guest_test!(selftest::leaves_a_process_behind),
    guest_test!(selftest::finds_nothing_left_behind),
    guest_test!(selftest::kills_the_kernel),
];

/// The test of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Test> {
    TESTS.iter().chain(SELFTESTS).find(|test| test.name == name)
}
