// SPDX-License-Identifier: MIT
//! The basic suite: tests of the guest that show in less than a minute that each area works.

use std::path::Path;
use std::process::ExitCode;

use l7switch_qemu_tests::host::suite;
use l7switch_qemu_tests::host::suite::Suite;
use l7switch_qemu_tests::tests::TESTS;

fn main() -> ExitCode {
    suite::main(
        Suite::Basic,
        TESTS.iter(),
        Path::new(env!("CARGO_BIN_EXE_l7switch-qemu-tests")),
    )
}
