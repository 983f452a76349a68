// SPDX-License-Identifier: MIT
//! The tests that run in the guest, for `cargo test`. They are in src/tests/.

use std::path::Path;
use std::process::ExitCode;

use l7switch_qemu_tests::host::suite;
use l7switch_qemu_tests::tests::TESTS;

fn main() -> ExitCode {
    suite::main(TESTS, Path::new(env!("CARGO_BIN_EXE_l7switch-qemu-tests")))
}
