// SPDX-License-Identifier: MIT
//! What a test in the guest is: a name, a function, and what it needs of the machine.

use std::time::Duration;

/// A test that runs in the guest.
#[derive(Debug, Clone, Copy)]
pub struct Test {
    /// `file::function`, below `src/tests/`.
    pub name: &'static str,
    /// It fails by panicking.
    pub run: fn(),
    /// Whether it loads l7switch.ko.
    pub needs_module: bool,
    /// Whether it is of the basic suite.
    pub basic: bool,
    /// The machine in which it runs. Tests with equal machines share a boot.
    pub machine: Machine,
    /// How long it may take on an idle machine, by the guest's clock; [`patience`] gives it more.
    pub timeout: Duration,
}

/// A machine that QEMU makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Machine {
    /// One processor that retires one instruction per virtual nanosecond: rates become instruction counts.
    pub icount: bool,
    /// Number of processors.
    pub processors: u8,
    /// Whether these run at the same time where they are emulated, and locks are taken as on a machine without a hypervisor;
    /// else they run in turn.
    pub parallel: bool,
    /// Memory in MiB.
    pub memory: u32,
}

/// How much slower a guest may be than on an idle machine: its processor may be one of several programs' that want the
/// machine's.
const BUSY: u32 = 4;

/// Whether a kernel of this version is the `debug` one, which checks every access to memory.
#[must_use]
pub fn is_slow(release: &str) -> bool {
    release.contains("debug")
}

/// What every limit of time is multiplied by, on the host and in the guest: limits are written for the stock kernel on an
/// idle machine.
#[must_use]
pub fn patience(release: &str) -> u32 {
    let slowness = if is_slow(release) { 10 } else { 1 };
    BUSY * slowness
}

impl Machine {
    /// What a test gets that asks for nothing.
    pub const DEFAULT: Self = Self {
        icount: false,
        processors: 2,
        parallel: false,
        memory: 1024,
    };
}

impl Test {
    /// A test that needs nothing special.
    #[must_use]
    pub const fn new(name: &'static str, run: fn()) -> Self {
        Self {
            name,
            run,
            needs_module: false,
            basic: false,
            machine: Machine::DEFAULT,
            timeout: Duration::from_secs(60),
        }
    }

    /// It loads l7switch.ko: where none can be built, the test is listed as ignored.
    #[must_use]
    pub const fn needs_module(mut self) -> Self {
        self.needs_module = true;
        self
    }

    /// It is of the basic suite, which runs first and takes less than a minute: it shows that its area works at all.
    #[must_use]
    pub const fn basic(mut self) -> Self {
        self.basic = true;
        self
    }

    /// It counts instructions: one processor, one instruction per virtual nanosecond.
    #[must_use]
    pub const fn icount(mut self) -> Self {
        self.machine.icount = true;
        self.machine.processors = 1;
        self
    }

    /// It wants so many processors.
    #[must_use]
    pub const fn processors(mut self, number: u8) -> Self {
        self.machine.processors = number;
        self
    }

    /// It wants so much memory, in MiB.
    #[must_use]
    pub const fn memory(mut self, mib: u32) -> Self {
        self.machine.memory = mib;
        self
    }

    /// It may take so many seconds on an idle machine, by the guest's clock (60 where nothing is said).
    #[must_use]
    pub const fn timeout(mut self, seconds: u64) -> Self {
        self.timeout = Duration::from_secs(seconds);
        self
    }
}

/// A [`Test`] of a function, named after its path: `guest_test!(boot::tools_run)`.
#[macro_export]
macro_rules! guest_test {
    ($file:ident :: $function:ident) => {
        $crate::test::Test::new(
            concat!(stringify!($file), "::", stringify!($function)),
            $file::$function,
        )
    };
}
