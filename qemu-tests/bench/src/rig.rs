// SPDX-License-Identifier: MIT
//! The host's side of a measurement: a boot for each, so that none meets what another has left.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::time::Instant;

use l7switch_qemu_tests::error::Doing as _;
use l7switch_qemu_tests::error::Error;
use l7switch_qemu_tests::error::Result;
use l7switch_qemu_tests::host::artifacts;
use l7switch_qemu_tests::host::artifacts::Image;
use l7switch_qemu_tests::host::guest::Guest;
use l7switch_qemu_tests::host::kernel::Kernel;
use l7switch_qemu_tests::host::qemu::Console;
use l7switch_qemu_tests::host::qemu::Profiling;
use l7switch_qemu_tests::host::qemu::Start;
use l7switch_qemu_tests::host::session::Setup;
use l7switch_qemu_tests::host::suite;
use l7switch_qemu_tests::printed::Printed;
use l7switch_qemu_tests::test::Machine;

use super::case::Case;
use super::guest::Measured;
use super::guest::Order;
use super::guest::What;
use super::locks;
use super::locks::contention::Found;
use super::memory::Taken;
use super::profile::Profile;

/// One processor that takes a virtual nanosecond for an instruction.
const MACHINE: Machine = Machine {
    icount: true,
    processors: 1,
    parallel: false,
    memory: 1024,
};

/// Processors that run at the same time, and room for what the tracer writes.
const PARALLEL: Machine = Machine {
    icount: false,
    processors: locks::PROCESSORS,
    parallel: true,
    memory: 2048,
};

/// Room for a table of a million connections; nothing of it is counted in time.
const LARGE: Machine = Machine {
    icount: false,
    processors: 1,
    parallel: false,
    memory: 3072,
};

/// What a connection in the module's table takes, and the two sockets that begin it, KiB.
const FLOW: u32 = 2;

/// How long a measurement may take by the guest's clock.
const LIMIT: Duration = Duration::from_secs(300);
/// The same where tables are filled first.
const LONG_LIMIT: Duration = Duration::from_secs(3600);

/// What measurements are booted from.
#[derive(Debug)]
pub(crate) struct Rig {
    setup: Setup,
    boots: AtomicUsize,
}

impl Rig {
    /// Builds what the guests need. `init` is this crate's program.
    ///
    /// # Errors
    ///
    /// Where something cannot be built.
    pub(crate) fn new(init: &Path) -> Result<Self> {
        Ok(Self {
            setup: Setup::new(Kernel::wanted()?, init, Image::Ordinary)?,
            boots: AtomicUsize::new(0),
        })
    }

    /// The kernel's version.
    #[must_use]
    pub(crate) fn kernel(&self) -> &str {
        &self.setup.kernel.release
    }

    /// Measures.
    ///
    /// # Errors
    ///
    /// Where the guest does not do it.
    pub(crate) fn measure(&self, order: &Order) -> Result<Measured> {
        Ok(self.run(order, MACHINE, None)?.0)
    }

    /// Measures locks; tells too for what part of the time each of the guest's processors had none of the machine's.
    ///
    /// # Errors
    ///
    /// Where the guest does not do it; [`Error::Guest`] where it dies.
    pub(crate) fn locks(&self, order: &Order) -> Result<(Found, f64)> {
        self.run(order, PARALLEL, None)
    }

    /// Measures memory.
    ///
    /// # Errors
    ///
    /// Where the guest does not do it.
    pub(crate) fn memory(&self, order: &Order) -> Result<Taken> {
        Ok(self.run(order, LARGE, None)?.0)
    }

    /// Measures, and tells where the instructions go.
    ///
    /// # Errors
    ///
    /// Where the guest does not do it, or the profiler's files are not what they should be.
    pub(crate) fn profile(&self, order: &Order) -> Result<(Measured, Profile)> {
        let plugin = artifacts::profiler()?;
        let file = |what: &str| self.file(&format!("{}.{}.{what}", order.contender, order.case));
        let (counts, symbols) = (file("counts"), file("symbols"));
        let profiling = Profiling {
            plugin: &plugin,
            counts: &counts,
            symbols: &symbols,
        };
        let (measured, _): (Measured, _) = self.run(order, MACHINE, Some(profiling))?;
        let profile = Profile::read(&counts, &symbols, &measured)?;
        // It is of hundreds of megabytes.
        fs::remove_file(&counts).doing_with("remove", &counts)?;
        Ok((measured, profile))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.setup.folder.join(name)
    }

    /// Has a guest do it. Tells too for what part of the time each of its processors had none of the machine's.
    fn run<T: Printed>(
        &self,
        order: &Order,
        machine: Machine,
        profiling: Option<Profiling<'_>>,
    ) -> Result<(T, f64)> {
        let number = self.boots.fetch_add(1, Relaxed) + 1;
        let flows = Case::find(&order.case).map_or(0, |case| case.flows);
        let console = self.file(&format!("{number}.console"));
        let mut guest = Guest::boot(
            &Start {
                kernel: &self.setup.kernel,
                machine: Machine {
                    memory: machine.memory + flows * FLOW / 1024,
                    ..machine
                },
                initramfs: &self.setup.initramfs,
                image: &self.setup.artifacts.image,
                console: Console::File(&console),
                results: None,
                messages: &self.file(&format!("{number}.qemu")),
                // What is counted should be the measurement's alone.
                arguments: "serve 3",
                profiling,
            },
            &console,
        )?;
        let long = flows > 0 || order.what == What::Memory;
        let limit = if long { LONG_LIMIT } else { LIMIT };
        let (begin, before) = (Instant::now(), guest.waited());
        let result = guest.run(&order.name(), limit)?;
        let waited = guest.waited().saturating_sub(before);
        let wanted = begin.elapsed() * machine.processors.into();
        guest.finish()?;
        let printed = self.file(&format!("{number}.printed"));
        fs::write(&printed, &result.output).doing_with("write", &printed)?;
        let found = T::find(&result.output).filter(|_| result.is_good());
        if let Some(found) = found {
            return Ok((found, waited.as_secs_f64() / wanted.as_secs_f64()));
        }
        Err(Error::Tool {
            tool: order.name(),
            output: suite::report(&result),
        })
    }
}
