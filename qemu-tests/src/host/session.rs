// SPDX-License-Identifier: MIT
//! A session of tests: boots a guest when a test wants one, keeps it for the next test that wants the same machine, and
//! replaces one that a test has spoiled.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::artifacts::Artifacts;
use super::artifacts::Image;
use super::guest::Guest;
use super::initramfs;
use super::kernel::Kernel;
use super::qemu::Console;
use super::qemu::Start;
use super::runs;
use super::tool;
use crate::error::Error;
use crate::error::Result;
use crate::protocol::Outcome;
use crate::protocol::TestResult;
use crate::test::Machine;
use crate::test::Test;

/// What guests are booted from, built once.
#[derive(Debug)]
pub struct Setup {
    /// The kernel.
    pub kernel: Kernel,
    /// What is put into the guest.
    pub artifacts: Artifacts,
    /// This run's folder.
    pub folder: PathBuf,
    /// The archive to boot from.
    pub initramfs: PathBuf,
}

impl Setup {
    /// Builds everything. `init` is this crate's program, which is started as the guest's first process.
    ///
    /// # Errors
    ///
    /// Where something cannot be built.
    pub fn new(kernel: Kernel, init: &Path, image: Image) -> Result<Self> {
        let artifacts = Artifacts::build(&kernel, init, image)?;
        let folder = runs::new_folder(&target(init))?;
        let initramfs = folder.join("initramfs.cpio");
        initramfs::write(&initramfs, &kernel, &artifacts)?;
        Ok(Self {
            kernel,
            artifacts,
            folder,
            initramfs,
        })
    }
}

/// Cargo's target folder, from the path of an executable in it (target/debug/x).
fn target(executable: &Path) -> PathBuf {
    executable
        .ancestors()
        .nth(2)
        .map_or_else(|| tool::repository().join("target"), Path::to_owned)
}

/// What the sessions of a run share.
#[derive(Debug)]
pub struct Run {
    init: PathBuf,
    image: Image,
    setup: OnceLock<std::result::Result<Setup, String>>,
    boots: AtomicUsize,
}

impl Run {
    /// A run whose guests start this program, with this image. Nothing is built or booted yet.
    #[must_use]
    pub fn new(init: &Path, image: Image) -> Arc<Self> {
        Arc::new(Self {
            init: init.to_owned(),
            image,
            setup: OnceLock::new(),
            boots: AtomicUsize::new(0),
        })
    }

    /// How often a guest was booted.
    #[must_use]
    pub fn boots(&self) -> usize {
        self.boots.load(Relaxed)
    }

    /// What guests are booted from; whoever asks first builds it.
    ///
    /// # Errors
    ///
    /// Where something cannot be built.
    pub fn setup(&self) -> Result<&Setup> {
        let setup = self.setup.get_or_init(|| {
            Kernel::wanted()
                .and_then(|kernel| Setup::new(kernel, &self.init, self.image))
                .map_err(|error| error.to_string())
        });
        setup.as_ref().map_err(|reason| no_boot(reason))
    }
}

/// A session of tests: one guest at a time.
#[derive(Debug)]
pub struct Session {
    run: Arc<Run>,
    guest: Option<(Machine, Guest)>,
    /// Why guests cannot be had: said again to every test, not tried again.
    hopeless: Option<String>,
}

impl Session {
    /// A session of this run.
    #[must_use]
    pub fn new(run: &Arc<Run>) -> Self {
        Self {
            run: Arc::clone(run),
            guest: None,
            hopeless: None,
        }
    }

    /// The machine of the guest that is up.
    #[must_use]
    pub fn machine(&self) -> Option<Machine> {
        self.guest.as_ref().map(|(machine, _)| *machine)
    }

    /// Runs a test in a guest of its machine.
    ///
    /// # Errors
    ///
    /// Where there is no guest, or the test is its death.
    pub fn run(&mut self, test: &Test) -> Result<TestResult> {
        self.run_named(test.name, test.machine, test.timeout)
    }

    /// Runs what has this name in a guest of a machine, for so long by its clock.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub fn run_named(
        &mut self,
        name: &str,
        machine: Machine,
        timeout: Duration,
    ) -> Result<TestResult> {
        let mut guest = self.guest_for(machine)?;
        let result = guest.run(name, timeout)?;
        // Lockdep and others fall silent after their first complaint; what a test leaves behind is in others' way.
        let spoiled = !result.kernel.is_empty()
            || result.left_behind.is_some()
            || result.outcome == Outcome::TimedOut;
        if !spoiled {
            self.guest = Some((machine, guest));
        }
        Ok(result)
    }

    /// Ends the guest, if there is one; gives what its kernel complained of at last.
    ///
    /// # Errors
    ///
    /// Where it does not end.
    pub fn finish(&mut self) -> Result<Vec<String>> {
        match self.guest.take() {
            Some((_, guest)) => guest.finish(),
            None => Ok(Vec::new()),
        }
    }

    fn guest_for(&mut self, machine: Machine) -> Result<Guest> {
        match self.guest.take() {
            Some((its, guest)) if its == machine => return Ok(guest),
            Some((_, guest)) => complain_at_end(guest.finish())?,
            None => {}
        }
        if let Some(reason) = &self.hopeless {
            return Err(no_boot(reason));
        }
        let booted = self.boot(machine);
        if let Err(error) = &booted {
            self.hopeless = Some(error.to_string());
        }
        booted
    }

    fn boot(&self, machine: Machine) -> Result<Guest> {
        let setup = self.run.setup()?;
        let number = self.run.boots.fetch_add(1, Relaxed) + 1;
        // What is counted should be the test's alone. Idle seconds are skipped where instructions are counted.
        let settle = if machine.icount { 3 } else { 0 };
        let console = setup.folder.join(format!("{number}.console"));
        let guest = Guest::boot(
            &Start {
                kernel: &setup.kernel,
                machine,
                initramfs: &setup.initramfs,
                image: &setup.artifacts.image,
                console: Console::File(&console),
                results: None,
                messages: &setup.folder.join(format!("{number}.qemu")),
                arguments: &format!("serve {settle}"),
                profiling: None,
            },
            &console,
        )?;
        complain_at_end(Ok(guest.ready.kernel.clone()))?;
        Ok(guest)
    }
}

fn no_boot(reason: &str) -> Error {
    Error::Tool {
        tool: "the guest's boot".to_owned(),
        output: reason.to_owned(),
    }
}

/// What a kernel complains of before the first test or after the last one is an error of the session.
fn complain_at_end(complaints: Result<Vec<String>>) -> Result<()> {
    let complaints = complaints?;
    if complaints.is_empty() {
        return Ok(());
    }
    Err(Error::Tool {
        tool: "the guest, while no test ran,".to_owned(),
        output: complaints.join("\n"),
    })
}
