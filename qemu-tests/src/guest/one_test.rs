// SPDX-License-Identifier: MIT
//! The process of one test: the first of its namespaces of processes, mounts and network.

use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::process::ExitCode;

use rustix::mount::MountFlags;
use rustix::mount::mount;

use super::Find;
use crate::error::Doing as _;
use crate::error::Error;
use crate::error::Result;
use crate::kit::links::Links;

/// The exit code of a test that panicked.
pub(super) const PANICKED: u8 = 101;

pub(super) fn main(name: &str, find: &Find) -> Result<ExitCode> {
    let Some(job) = find(name) else {
        return Err(Error::Message(format!("no test {name}")));
    };
    // The images of processes, devices and sockets of these namespaces, not of the guest's.
    for (kind, place) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("tmpfs", "/run"),
        ("tmpfs", "/tmp"),
    ] {
        mount(kind, place, kind, MountFlags::empty(), None)
            .doing(format!("mount {kind} at {place}"))?;
    }
    // Kernels may lack these.
    for (kind, place) in [
        ("debugfs", "/sys/kernel/debug"),
        ("tracefs", "/sys/kernel/tracing"),
    ] {
        let _ = mount(kind, place, kind, MountFlags::empty(), None);
    }
    Links::open().set_up("lo");
    Ok(match catch_unwind(AssertUnwindSafe(job)) {
        Ok(()) => ExitCode::SUCCESS,
        // The panic's message is printed already.
        Err(_) => ExitCode::from(PANICKED),
    })
}
