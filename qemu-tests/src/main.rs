// SPDX-License-Identifier: MIT
//! The harness's program: on the host a guest to try things in, in the guest the first process.

use std::env;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::Subcommand;
use l7switch_qemu_tests::crossing::command as crossing;
use l7switch_qemu_tests::error::Doing as _;
use l7switch_qemu_tests::error::Result;
use l7switch_qemu_tests::guest;
use l7switch_qemu_tests::host::artifacts::Image;
use l7switch_qemu_tests::host::shell;
use l7switch_qemu_tests::test::Machine;
use l7switch_qemu_tests::tests;

/// Guests in which l7switch is tested.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Boots a guest with a shell on this terminal
    Shell {
        /// stock, custom, debug, or a folder as kmod/build/stock-kernel prints it
        #[arg(long, env = "L7_KERNEL", default_value = "stock")]
        kernel: String,
        /// Number of processors
        #[arg(long, default_value_t = Machine::DEFAULT.processors)]
        processors: u8,
        /// Memory in MiB
        #[arg(long, default_value_t = Machine::DEFAULT.memory)]
        memory: u32,
        /// One instruction per virtual nanosecond, one processor
        #[arg(long)]
        icount: bool,
        /// Processors that run at the same time where they are emulated
        #[arg(long, conflicts_with = "icount")]
        parallel: bool,
        /// With the servers of `make test-programs`
        #[arg(long)]
        programs: bool,
    },
    /// Makes the module pass on requests between each kind of device and beside each kind of neighbour; writes docs/crossing.md
    Crossing(crossing::Wanted),
    /// What the guest starts
    #[command(hide = true)]
    Guest {
        #[command(subcommand)]
        role: guest::Role,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "l7switch-qemu-tests: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Shell {
            kernel,
            processors,
            memory,
            icount,
            parallel,
            programs,
        } => {
            let machine = Machine {
                icount,
                processors: if icount { 1 } else { processors },
                parallel,
                memory,
            };
            let image = match programs {
                true => Image::Programs,
                false => Image::Ordinary,
            };
            shell::run(&kernel, machine, image, &init()?)
        }
        Command::Crossing(wanted) => crossing::run(&wanted, &init()?),
        Command::Guest { role } => guest::main(&role, &tests::job),
    }
}

/// What the guest starts first: this program.
fn init() -> Result<PathBuf> {
    env::current_exe().doing("find this program")
}
