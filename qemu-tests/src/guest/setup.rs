// SPDX-License-Identifier: MIT
//! What the first process does first: the mounts that a system has, the loopback device, limits.

use std::ffi::CStr;
use std::fs;
use std::path::Path;

use rustix::mount::MountFlags;
use rustix::mount::mount;
use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::setrlimit;

use crate::error::Doing as _;
use crate::error::Result;
use crate::kit::links::Links;

/// Type, place, options of a mount, and whether a kernel may lack it.
const MOUNTS: &[(&str, &str, Option<&CStr>, bool)] = &[
    ("tmpfs", "/run", None, false),
    ("tmpfs", "/tmp", None, false),
    ("devpts", "/dev/pts", None, true),
    ("tmpfs", "/dev/shm", None, true),
    ("cgroup2", "/sys/fs/cgroup", None, true),
    ("debugfs", "/sys/kernel/debug", None, true),
    ("tracefs", "/sys/kernel/tracing", None, true),
];

/// Settings of the kernel, which some kernels lack.
const SETTINGS: &[(&str, &str)] = &[
    // The module's own messages reach the console.
    ("kernel/printk", "8 4 1 7"),
    ("kernel/printk_ratelimit", "0"),
    // A busy machine has its guests wait.
    ("kernel/hung_task_timeout_secs", "160"),
    ("kernel/kptr_restrict", "0"),
    ("kernel/sysrq", "1"),
    ("fs/nr_open", "1048576"),
];

/// How many files a process may hold open.
const FILES: u64 = 65_536;

pub(super) fn run() -> Result<()> {
    for &(kind, place, options, may_lack) in MOUNTS {
        let _ = fs::create_dir(place);
        let mounted = mount(kind, place, kind, MountFlags::empty(), options);
        if !may_lack {
            mounted.doing(format!("mount {kind} at {place}"))?;
        }
    }
    for (setting, value) in SETTINGS {
        let _ = fs::write(Path::new("/proc/sys").join(setting), value);
    }
    for (link, target) in [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
    ] {
        let _ = std::os::unix::fs::symlink(target, link);
    }
    // A test may hold both ends of thousands of connections.
    let files = Rlimit {
        current: Some(FILES),
        maximum: Some(FILES),
    };
    setrlimit(Resource::Nofile, files).doing("raise the number of open files")?;
    rustix::system::sethostname(b"l7-guest").doing("set the host's name")?;
    Links::open().set_up("lo");
    Ok(())
}
