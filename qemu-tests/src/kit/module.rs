// SPDX-License-Identifier: MIT
//! Loading and unloading of l7switch.ko and of the kernel's own modules.

use std::ffi::CString;
use std::fs;
use std::fs::File;
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use rustix::io::Errno;
use rustix::system::delete_module;
use rustix::system::finit_module;

use super::process;
use super::wait::limit;
use super::wait::wait_until;

/// The module's file in the guest.
pub const PATH: &str = "/l7/l7switch.ko";
/// Its name, as lsmod shows it.
pub const NAME: &str = "l7switch";

/// l7switch.ko, loaded. It is unloaded where this is dropped; what cannot be unloaded fails the test.
#[derive(Debug)]
pub struct Module {
    loaded: bool,
}

impl Module {
    /// Loads it, with the modules that it depends on.
    ///
    /// # Panics
    ///
    /// Where the kernel refuses it.
    #[must_use]
    pub fn load() -> Self {
        Self::try_load("").unwrap_or_else(|error| panic!("{PATH} does not load: {error}"))
    }

    /// Loads it with parameters: "name=value name=value".
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn try_load(parameters: &str) -> io::Result<Self> {
        let file = File::open(PATH)?;
        let parameters = CString::new(parameters)?;
        match finit_module(&file, &parameters, 0) {
            // A symbol is not there: of a module that it depends on.
            Err(Errno::NOENT) => {
                let depends = process::attempt(&format!("modinfo -F depends {PATH}")).stdout;
                let names = depends.trim().split(',');
                names.filter(|name| !name.is_empty()).for_each(modprobe);
                finit_module(&file, &parameters, 0)?;
            }
            other => other?,
        }
        Ok(Self { loaded: true })
    }

    /// Unloads it.
    ///
    /// # Errors
    ///
    /// The kernel's: `ResourceBusy` or `WouldBlock` where it is in use.
    pub fn unload(mut self) -> io::Result<()> {
        self.loaded = false;
        remove()
    }

    /// Unloads it as soon as that goes: what used it may take a moment to end.
    ///
    /// # Panics
    ///
    /// Where it does not go in time.
    pub fn unload_soon(mut self) {
        self.loaded = false;
        wait_until("the module unloads", || remove().is_ok());
    }

    /// How many things use it, by /proc/modules.
    #[must_use]
    pub fn users(&self) -> Option<u64> {
        users(NAME)
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        if self.loaded {
            // What the first process finds loaded is reported there.
            let _ = remove();
        }
    }
}

/// How many things use a module; none where it is not loaded.
#[must_use]
pub fn users(name: &str) -> Option<u64> {
    let modules = fs::read_to_string("/proc/modules").unwrap_or_default();
    let mut lines = modules.lines().map(str::split_whitespace);
    let mut line = lines.find(|line| line.clone().next() == Some(name))?;
    line.nth(2)?.parse().ok()
}

/// Loads one of the kernel's modules with those that it needs; nothing where it is built in.
///
/// # Panics
///
/// Where the kernel has none of that name.
pub fn modprobe(name: &str) {
    let built_in = Path::new("/sys/module").join(name.replace('-', "_"));
    if !built_in.exists() {
        let attempt = process::attempt(&format!("modprobe {name}"));
        assert!(attempt.is_good(), "modprobe {name}: {}", attempt.stderr);
    }
}

fn remove() -> io::Result<()> {
    let name = CString::new(NAME)?;
    Ok(delete_module(
        &name,
        rustix::fs::OFlags::NONBLOCK.bits().cast_signed(),
    )?)
}

/// Unloads the module where a test has left it loaded, and says so where it does not go in time: namespaces of
/// the test, which may hold it, take a moment to end.
pub(crate) fn clear_away() -> Option<String> {
    let deadline = Instant::now() + limit();
    loop {
        let users = users(NAME)?;
        match remove() {
            Ok(()) => return None,
            Err(error) if Instant::now() > deadline => {
                return Some(format!(
                    "{NAME} does not unload: {error}; it has {users} users"
                ));
            }
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Waits until a module is gone from /proc/modules.
///
/// # Panics
///
/// Where it stays.
pub fn wait_until_gone(name: &str) {
    wait_until(&format!("{name} is gone"), || users(name).is_none());
}
