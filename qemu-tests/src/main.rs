// SPDX-License-Identifier: MIT
//! The harness's program: on the host a guest to try things in, in the guest the first process.

use std::env;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::Subcommand;
use l7switch_qemu_tests::bench::commands;
use l7switch_qemu_tests::bench::contender::Contender;
use l7switch_qemu_tests::bench::guest::Order;
use l7switch_qemu_tests::bench::guest::What;
use l7switch_qemu_tests::bench::host::Plan;
use l7switch_qemu_tests::crossing::command as crossing;
use l7switch_qemu_tests::error::Doing as _;
use l7switch_qemu_tests::error::Result;
use l7switch_qemu_tests::guest;
use l7switch_qemu_tests::host::artifacts::Image;
use l7switch_qemu_tests::host::shell;
use l7switch_qemu_tests::test::Machine;

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
    /// Measures what the contenders add to a request, and records it in docs/measurements/
    Bench(commands::Bench),
    /// Compares what the module adds with the record
    Gate,
    /// Measures the front beside other proxies on this machine, and records it in docs/measurements/
    BenchHost {
        #[command(flatten)]
        plan: Plan,
        /// Do not record it
        #[arg(long)]
        dry: bool,
    },
    /// Measures locks that wait for one another on two processors, and records it in docs/measurements/
    BenchLocks(commands::Wanted),
    /// Measures what the module's connections take of memory, and records it in docs/measurements/
    BenchMemory {
        /// Do not record it
        #[arg(long)]
        dry: bool,
    },
    /// Makes the module pass on requests between each kind of device and beside each kind of neighbour; writes docs/crossing.md
    Crossing(crossing::Wanted),
    /// Says where the instructions of a request go, by function of the kernel's
    Profile {
        /// Who stands between client and server
        contender: Contender,
        /// The name of a case
        #[arg(default_value = "keepalive-128B")]
        case: String,
        /// Folder for the table and the flame graph
        #[arg(long, default_value = "target/profile")]
        out: PathBuf,
    },
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
        Command::Bench(arguments) => commands::bench(&arguments, &init()?),
        Command::BenchHost { plan, dry } => commands::bench_host(plan, dry),
        Command::BenchLocks(arguments) => commands::bench_locks(&arguments, &init()?),
        Command::BenchMemory { dry } => commands::bench_memory(dry, &init()?),
        Command::Crossing(wanted) => crossing::run(&wanted, &init()?),
        Command::Gate => commands::gate(&init()?),
        Command::Profile {
            contender,
            case,
            out,
        } => commands::profile(
            &Order {
                contender,
                case,
                what: What::Profile,
            },
            &out,
            &init()?,
        ),
        Command::Guest { role } => guest::main(&role),
    }
}

/// What the guest starts first: this program.
fn init() -> Result<PathBuf> {
    env::current_exe().doing("find this program")
}
