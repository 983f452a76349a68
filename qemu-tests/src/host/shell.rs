// SPDX-License-Identifier: MIT
//! A guest with a shell on the terminal, everything in place.

use std::path::Path;
use std::process::ExitCode;

use super::artifacts::Image;
use super::kernel::Kernel;
use super::qemu::Console;
use super::qemu::Start;
use super::session::Setup;
use super::tool;
use crate::error::Doing as _;
use crate::error::Result;
use crate::test::Machine;

/// Boots a guest whose console is this terminal; comes back when the guest ends.
///
/// # Errors
///
/// Where something cannot be built, or QEMU cannot be started.
pub fn run(kernel: &str, machine: Machine, image: Image, init: &Path) -> Result<ExitCode> {
    let setup = Setup::new(Kernel::find(kernel)?, init, image)?;
    let size = rustix::termios::tcgetwinsize(std::io::stdin());
    let (rows, columns) = size.map_or((0, 0), |size| (size.ws_row, size.ws_col));
    tool::say("booting; leave with `exit`, or Ctrl-A X at any time");
    let mut qemu = Start {
        kernel: &setup.kernel,
        machine,
        initramfs: &setup.initramfs,
        image: &setup.artifacts.image,
        console: Console::Terminal,
        results: None,
        messages: &setup.folder.join("shell.qemu"),
        arguments: &format!("shell {rows} {columns}"),
        profiling: None,
    }
    .spawn()?;
    let status = qemu.wait().doing("wait for QEMU")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
