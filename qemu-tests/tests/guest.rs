// SPDX-License-Identifier: MIT
//! The tests that run in the guest, for `cargo test`, but for those of the basic suite: it runs by itself, and first. They
//! are in src/tests/.

use std::path::Path;
use std::process::ExitCode;

use l7switch_qemu_tests::host::suite;
use l7switch_qemu_tests::host::suite::Suite;
use l7switch_qemu_tests::tests::LONG;
use l7switch_qemu_tests::tests::TESTS;

fn main() -> ExitCode {
    let long = std::env::var_os("L7_LONG").map_or(&[][..], |_| LONG);
    suite::main(
        Suite::Rest,
        TESTS.iter().chain(long),
        Path::new(env!("CARGO_BIN_EXE_l7switch-qemu-tests")),
    )
}
