// SPDX-License-Identifier: MIT
//! What switching costs, the module beside others, in a guest that counts instructions.
//!
//! The machine retires one instruction per virtual nanosecond, so that a rate is a count of instructions, of client,
//! switch and server together. What a contender adds is the difference to plain forwarding.
//!
//! On the host: what is to be measured, and what is made of it. In the guest, one boot for each measurement:
//! [`guest`]. The guest itself is that of the tests, `l7switch_qemu_tests`.
#![forbid(unsafe_code)]

mod case;
mod commands;
mod configuration;
mod contender;
mod fill;
mod gate;
mod guest;
mod host;
mod locks;
mod measure;
mod median;
mod memory;
mod plot;
mod profile;
mod programs;
mod record;
mod report;
mod rig;

use std::env;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::Subcommand;
use l7switch_qemu_tests::error::Doing as _;
use l7switch_qemu_tests::error::Result;
use l7switch_qemu_tests::guest::Role;

use contender::Contender;
use guest::Order;
use guest::What;

/// Measures l7switch beside others.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measures what the contenders add to a request, and records it in docs/measurements/
    Measure(commands::Bench),
    /// Compares what the module adds with the record
    Gate,
    /// Measures the front beside other proxies on this machine, and records it in docs/measurements/
    Host {
        #[command(flatten)]
        plan: host::Plan,
        /// Only these cases; with --dry
        #[arg(long = "case", requires = "dry")]
        cases: Vec<String>,
        /// Do not record it
        #[arg(long)]
        dry: bool,
    },
    /// A client of TLS that only shakes hands
    #[command(hide = true)]
    Handshakes(host::Handshakes),
    /// Measures locks that wait for one another on two processors, and records it in docs/measurements/
    Locks(commands::Wanted),
    /// Measures what the module's connections take of memory, and records it in docs/measurements/
    Memory {
        /// Do not record it
        #[arg(long)]
        dry: bool,
    },
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
        role: Role,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "l7switch-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Measure(arguments) => commands::bench(&arguments, &init()?),
        Command::Gate => commands::gate(&init()?),
        Command::Host { plan, cases, dry } => commands::bench_host(plan, &cases, dry),
        Command::Handshakes(client) => client.run().map(|()| ExitCode::SUCCESS),
        Command::Locks(arguments) => commands::bench_locks(&arguments, &init()?),
        Command::Memory { dry } => commands::bench_memory(dry, &init()?),
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
        Command::Guest { role } => l7switch_qemu_tests::guest::main(&role, &|name| {
            let order = Order::parse(name)?;
            Some(Box::new(move || order.run()))
        }),
    }
}

/// What the guest starts first: this program.
fn init() -> Result<PathBuf> {
    env::current_exe().doing("find this program")
}
