// SPDX-License-Identifier: MIT
//! Servers of the distribution behind the kernel path, in an image that has them all: `make test-programs`.

use std::path::Path;
use std::process::ExitCode;

use l7switch_qemu_tests::host::suite;
use l7switch_qemu_tests::host::suite::Suite;
use l7switch_qemu_tests::tests::PROGRAMS;

fn main() -> ExitCode {
    suite::main(
        Suite::Programs,
        PROGRAMS.iter(),
        Path::new(env!("CARGO_BIN_EXE_l7switch-qemu-tests")),
    )
}
