// SPDX-License-Identifier: MIT
//! QEMU's command line, and whether the machine's hardware virtualisation is of use.

use std::env;
use std::fs;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::OnceLock;
use std::sync::mpsc;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use super::kernel::Kernel;
use crate::error::Doing as _;
use crate::error::Result;
use crate::protocol;
use crate::test;
use crate::test::Machine;

/// The program.
const QEMU: &str = "qemu-system-x86_64";

/// What the kernel is told: consoles, and to end at once where it cannot go on. On a busy machine the emulated timer can be too
/// late for the check of it at boot, which would panic: it is left out.
const COMMAND_LINE: &str = "console=ttyS0 no_timer_check panic=-1 oops=panic printk.devkmsg=on loglevel=5 random.trust_cpu=on \
     net.ifnames=0";

/// The processor that QEMU emulates. With five levels of page tables KASAN takes a good access of the boot for a wild one,
/// and lockdep is off from then on.
const PROCESSOR: &str = "max,la57=off";

/// What a slow kernel is told besides: its interpreter of ACPI takes longer for the routing of interrupts than it gives
/// itself.
const SLOW: &str = "pci=noacpi";

/// How long hardware virtualisation is given to show that it runs a kernel.
const TRIAL: Duration = Duration::from_secs(5);

/// What runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// The machine's processor.
    Kvm,
    /// QEMU's translator.
    Tcg,
}

/// Where a guest's console goes.
#[derive(Debug, Clone, Copy)]
pub enum Console<'a> {
    /// Into a file.
    File(&'a Path),
    /// To the terminal, Ctrl-A X ends.
    Terminal,
}

/// Everything that a guest is started with.
#[derive(Debug)]
pub struct Start<'a> {
    /// The kernel.
    pub kernel: &'a Kernel,
    /// The machine.
    pub machine: Machine,
    /// The archive to boot from.
    pub initramfs: &'a Path,
    /// The root file system.
    pub image: &'a Path,
    /// Where the console goes.
    pub console: Console<'a>,
    /// The socket for the results port.
    pub results: Option<&'a Path>,
    /// Where QEMU's own messages go.
    pub messages: &'a Path,
    /// Arguments for the first process.
    pub arguments: &'a str,
    /// Whether and how its instructions are counted by function.
    pub profiling: Option<Profiling<'a>>,
}

/// What a profile is made of.
#[derive(Debug, Clone, Copy)]
pub struct Profiling<'a> {
    /// The plugin.
    pub plugin: &'a Path,
    /// Where the plugin writes, when QEMU ends.
    pub counts: &'a Path,
    /// Where the guest writes its kernel's symbols.
    pub symbols: &'a Path,
}

impl Start<'_> {
    /// Starts QEMU.
    ///
    /// # Errors
    ///
    /// Where it cannot be started.
    pub fn spawn(&self) -> Result<Child> {
        let messages = File::create(self.messages).doing_with("write", self.messages)?;
        let mut command = self.command(accelerator(self.kernel));
        command.stderr(messages);
        match self.console {
            Console::File(_) => command.stdin(Stdio::null()).stdout(Stdio::null()),
            Console::Terminal => command.stdin(Stdio::inherit()).stdout(Stdio::inherit()),
        };
        spawn_for_good(command).doing(format!("start {QEMU}"))
    }

    fn command(&self, accelerator: Accelerator) -> Command {
        // However the harness ends, its guest ends too.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", QEMU]);
        command.args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-nic",
            "none",
            "-no-reboot",
        ]);
        if self.machine.icount {
            command.args([
                "-accel",
                "tcg,thread=single",
                "-icount",
                "shift=0,sleep=off",
                "-cpu",
                PROCESSOR,
                // Neither time nor chance comes from outside, so that counts repeat.
                "-rtc",
                "base=2026-01-01,clock=vm",
                "-seed",
                "1",
            ]);
        } else {
            let (accelerator, processor) = match accelerator {
                Accelerator::Kvm => ("kvm", "host"),
                Accelerator::Tcg if self.machine.parallel => ("tcg,thread=multi", PROCESSOR),
                // One thread for all processors: with one for each, a processor may still run code that another has just
                // patched, and a kernel that flips a static key dies of "Oops: int3" now and then (seen with QEMU 7.2).
                Accelerator::Tcg => ("tcg,thread=single", PROCESSOR),
            };
            // A kernel that finds a hypervisor waits for its spinlocks in another way (virt_spin_lock).
            let apart = match self.machine.parallel {
                true => ",hypervisor=off",
                false => "",
            };
            command.args(["-accel", accelerator, "-cpu"]);
            command.arg(format!("{processor}{apart}"));
        }
        let slow = match test::is_slow(&self.kernel.release) {
            true => SLOW,
            false => "",
        };
        command
            .args(["-smp", &self.machine.processors.to_string()])
            .args(["-m", &self.machine.memory.to_string()])
            .arg("-kernel")
            .arg(self.kernel.folder.join("vmlinuz"))
            .arg("-initrd")
            .arg(self.initramfs)
            .args([
                "-append",
                &format!(
                    "{COMMAND_LINE} {slow} {} -- {}",
                    std::env::var("L7_APPEND").unwrap_or_default(),
                    self.arguments
                ),
            ]);
        match self.console {
            Console::File(path) => command.args(["-serial", &format!("file:{}", path.display())]),
            Console::Terminal => command.args(["-serial", "mon:stdio"]),
        };
        let modules = self
            .kernel
            .modules
            .iter()
            .map(|modules| modules.image.as_path());
        for (number, image) in [self.image].into_iter().chain(modules).enumerate() {
            command.args([
                "-drive",
                &format!(
                    "file={},format=raw,if=none,id=disk{number},readonly=on",
                    image.display()
                ),
                "-device",
                &format!("virtio-blk-pci,drive=disk{number}"),
            ]);
        }
        if let Ok(more) = std::env::var("L7_QEMU") {
            command.args(more.split_whitespace());
        }
        if let Some(results) = self.results {
            command.args([
                "-chardev",
                &format!("socket,id=results,path={}", results.display()),
                "-device",
                "virtio-serial-pci",
                "-device",
                &format!("virtserialport,chardev=results,name={}", protocol::PORT),
            ]);
        }
        if let Some(profiling) = &self.profiling {
            command.args([
                "-chardev",
                &format!("file,id=symbols,path={}", profiling.symbols.display()),
                "-device",
                &format!("virtserialport,chardev=symbols,name={}", protocol::SYMBOLS),
                "-plugin",
                &format!(
                    "{},out={}",
                    profiling.plugin.display(),
                    profiling.counts.display()
                ),
            ]);
        }
        command
    }
}

/// A command to start, and whom to tell.
type Job = (Command, Sender<io::Result<Child>>);

/// Starts a program that ends when this process does, by `--pdeathsig`: which means the thread that started it. So that is
/// one that stays.
fn spawn_for_good(command: Command) -> io::Result<Child> {
    static STARTER: OnceLock<Sender<Job>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (jobs, wanted) = mpsc::channel::<Job>();
        thread::spawn(move || {
            for (mut command, started) in wanted {
                let _ = started.send(command.spawn());
            }
        });
        jobs
    });
    let (started, child) = mpsc::channel();
    let gone = || io::Error::other("the thread that starts guests is gone");
    starter.send((command, started)).map_err(|_| gone())?;
    child.recv().map_err(|_| gone())?
}

/// What runs guests on this machine: `L7_ACCEL=tcg` or `kvm` says so, else it is tried once per run. /dev/kvm may exist
/// and yet run no kernel.
pub fn accelerator(kernel: &Kernel) -> Accelerator {
    static FOUND: OnceLock<Accelerator> = OnceLock::new();
    *FOUND.get_or_init(|| match env::var("L7_ACCEL").as_deref() {
        Ok("tcg") => Accelerator::Tcg,
        Ok("kvm") => Accelerator::Kvm,
        _ if kvm_works(kernel) => Accelerator::Kvm,
        _ => Accelerator::Tcg,
    })
}

/// Boots the kernel by KVM, without a root: it works where the kernel says anything.
fn kvm_works(kernel: &Kernel) -> bool {
    if File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_err()
    {
        return false;
    }
    let Ok(folder) = tempfile::tempdir() else {
        return false;
    };
    let console = folder.path().join("console");
    let spawned = Command::new(QEMU)
        .args([
            "-nodefaults",
            "-display",
            "none",
            "-nic",
            "none",
            "-no-reboot",
            "-m",
            "256",
        ])
        .args([
            "-accel",
            "kvm",
            "-cpu",
            "host",
            "-append",
            "console=ttyS0 panic=-1",
        ])
        .arg("-kernel")
        .arg(kernel.folder.join("vmlinuz"))
        .args(["-serial", &format!("file:{}", console.display())])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = spawned else {
        return false;
    };
    let start = Instant::now();
    let mut works = false;
    while !works && start.elapsed() < TRIAL {
        thread::sleep(Duration::from_millis(50));
        // Asked before the console is read: what a process that ended has written is there.
        let ended = !matches!(child.try_wait(), Ok(None));
        works = fs::read_to_string(&console).is_ok_and(|text| text.contains("Linux version"));
        if ended {
            break;
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    works
}
