// SPDX-License-Identifier: MIT
//! The guest's side: the first process sets the guest up, runs each test in a process and namespaces of its own, and
//! watches the kernel's log.

use std::process::Command;
use std::process::ExitCode;
use std::thread;

use clap::Subcommand;
use l7switch_netlink::Client;
use rustix::system::RebootCommand;
use rustix::system::reboot;

use crate::error::Error;
use crate::error::Result;
use crate::test;

pub mod kernel_log;
mod leaks;
mod one_test;
pub mod port;
mod serve;
mod setup;
mod shell;

/// What the program is in the guest.
#[derive(Debug, Subcommand)]
pub enum Role {
    /// The first process: runs what the host asks for
    Serve {
        /// How long it waits first, for what the kernel still does when it has booted
        settle_seconds: u64,
    },
    /// The first process: a shell on the console
    Shell {
        /// The terminal's height, 0 where unknown
        rows: u16,
        /// The terminal's width, 0 where unknown
        columns: u16,
    },
    /// The process of one test
    Test {
        /// Its name
        name: String,
    },
    /// A loader that begins and goes no further, for tests that kill it
    BeginLoad {
        /// The table's length in bytes
        len: u32,
    },
}

/// What the guest runs: a test, a crossing, a measurement. It fails by panicking.
pub type Job = Box<dyn FnOnce()>;

/// Gives what a name stands for, as the host sends it; none where nothing has that name.
pub type Find = dyn Fn(&str) -> Option<Job>;

/// Does what the role says; `find` tells what a test's process runs. The first process ends the guest when it is done.
///
/// # Errors
///
/// Those of a test's process; the first process writes its own to the kernel's log and ends the guest.
pub fn main(role: &Role, find: &Find) -> Result<ExitCode> {
    let done = match role {
        Role::Test { name } => return one_test::main(name, find),
        Role::BeginLoad { len } => return begin_load(*len),
        Role::Serve { settle_seconds } => setup::run().and_then(|()| serve::run(*settle_seconds)),
        Role::Shell { rows, columns } => setup::run().and_then(|()| shell::run(*rows, *columns)),
    };
    if let Err(error) = &done {
        kernel_log::write(&format!("guest: {error}"));
    }
    // With -no-reboot this is the end of QEMU, and needs no ACPI.
    rustix::fs::sync();
    let _ = reboot(RebootCommand::Restart);
    done.map(|()| ExitCode::SUCCESS)
}

fn begin_load(len: u32) -> Result<ExitCode> {
    let begun = Client::open().and_then(|mut client| {
        client.begin(len)?;
        Ok(client)
    });
    let _client = begun.map_err(|error| Error::Message(error.to_string()))?;
    loop {
        thread::park();
    }
}

/// What kmemleak reports now, in lines.
pub(crate) use leaks::scan as leaks_now;

/// What limits of time are multiplied by, with the running kernel.
pub(crate) fn patience() -> u32 {
    test::patience(&rustix::system::uname().release().to_string_lossy())
}

/// A program of the distribution, with the environment that tests have.
pub(crate) fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env_clear().envs([
        ("PATH", "/l7/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("HOME", "/root"),
        ("LC_ALL", "C.UTF-8"),
        ("TERM", "linux"),
    ]);
    command
}
