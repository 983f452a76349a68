// SPDX-License-Identifier: MIT
//! The first process as the host's servant: runs the tests it is asked for, one at a time.

use std::fs;
use std::fs::File;
use std::io;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use rustix::thread::UnshareFlags;

use super::kernel_log;
use super::kernel_log::KernelLog;
use super::leaks;
use super::one_test;
use super::patience;
use super::port;
use super::program;
use crate::complaints;
use crate::error::Doing as _;
use crate::error::Error;
use crate::error::Result;
use crate::kit::module;
use crate::protocol;
use crate::protocol::Outcome;
use crate::protocol::Reply;
use crate::protocol::Request;
use crate::protocol::TestResult;

/// How much of what a test prints goes to the host: its end.
const OUTPUT: usize = 64 * 1024;

pub(super) fn run(settle_seconds: u64) -> Result<()> {
    thread::sleep(Duration::from_secs(settle_seconds));
    let path = results()?;
    let mut port = File::options()
        .read(true)
        .write(true)
        .open(&path)
        .doing_with("open", &path)?;
    let requests = BufReader::new(port.try_clone().doing("copy a descriptor")?);
    let mut log = KernelLog::from_start()?;
    let boot: Vec<String> = log.read();
    leaks::forget();
    let mut send = |reply: Reply| {
        port.write_all(protocol::encode(&reply)?.as_bytes())
            .doing("write to the host")
    };
    send(Reply::Ready {
        release: rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned(),
        uptime_millis: uptime_millis(),
        kernel: complaints::excerpt(boot.iter().map(String::as_str)),
    })?;
    // The end of the stream means that the host is gone.
    for line in requests.lines() {
        match protocol::decode(&line.doing("read from the host")?)? {
            Request::Run {
                name,
                timeout_seconds,
            } => {
                let timeout = Duration::from_secs(timeout_seconds) * patience();
                let result = run_test(&mut log, name, timeout)?;
                send(Reply::Result(result))?;
            }
            Request::Finish => {
                let mut kernel = log.read();
                kernel.extend(leaks::scan());
                send(Reply::Finished {
                    kernel: complaints::excerpt(kernel.iter().map(String::as_str)),
                })?;
                return Ok(());
            }
        }
    }
    Ok(())
}

/// How long the port may take to be there.
const PORT: Duration = Duration::from_secs(10);

/// The virtio port that has the agreed name, as soon as it is there.
fn results() -> Result<PathBuf> {
    let deadline = Instant::now() + PORT * patience();
    loop {
        if let Some(path) = port::find(protocol::PORT) {
            return Ok(path);
        }
        if Instant::now() > deadline {
            return Err(Error::Message(format!("no port {}", protocol::PORT)));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn uptime_millis() -> u64 {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds: f64 = text
        .split_whitespace()
        .next()
        .and_then(|seconds| seconds.parse().ok())
        .unwrap_or_default();
    u64::try_from(Duration::from_secs_f64(seconds).as_millis()).unwrap_or(u64::MAX)
}

fn run_test(log: &mut KernelLog, name: String, timeout: Duration) -> Result<TestResult> {
    // What the kernel said between two tests is this one's to explain; it names the one before.
    kernel_log::write(&format!("guest: test {name} begins"));
    let start = Instant::now();
    let path = "/run/l7-test-output";
    let output = File::create(path).doing(format!("write {path}"))?;
    let errors = output.try_clone().doing("copy a descriptor")?;
    let mut command = program("/l7/bin/guest");
    command
        .args(["guest", "test", &name])
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors);
    let mut child = spawn_apart(&mut command).doing("start the test")?;
    let pid = Pid::from_child(&child);
    let (ended, wait) = mpsc::channel();
    // A thread that waits costs nothing meanwhile, which matters where instructions are counted.
    let waiter = thread::spawn(move || {
        let _ = ended.send(child.wait());
    });
    let mut stacks = String::new();
    let outcome = match wait.recv_timeout(timeout) {
        Ok(status) => outcome(status.doing("wait for the test")?),
        Err(_) => {
            stacks = what_all_do();
            let _ = kill_process(pid, Signal::KILL);
            Outcome::TimedOut
        }
    };
    let _ = waiter.join();
    let millis = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    let left_behind = module::clear_away();
    kernel_log::write(&format!("guest: test {name} ended"));
    let kernel = log.read();
    let printed = fs::read(path).unwrap_or_default();
    let skipped = printed.len().saturating_sub(OUTPUT);
    let mut output =
        String::from_utf8_lossy(printed.get(skipped..).unwrap_or_default()).into_owned();
    output += &stacks;
    Ok(TestResult {
        name,
        outcome,
        output,
        kernel: complaints::excerpt(kernel.iter().map(String::as_str)),
        left_behind,
        millis,
    })
}

/// Starts a program as the first process of namespaces of its own: whatever it starts, mounts or sets ends with it.
fn spawn_apart(command: &mut Command) -> io::Result<Child> {
    let namespaces =
        UnshareFlags::NEWPID | UnshareFlags::NEWNS | UnshareFlags::NEWNET | UnshareFlags::NEWIPC;
    // The thread is in them, and ends; what it has started remains.
    thread::scope(|scope| {
        let spawned = scope.spawn(|| {
            // Deprecated for what it can do to descriptors, which is not asked here.
            #[expect(deprecated, reason = "the other one is unsafe")]
            rustix::thread::unshare(namespaces)?;
            command.spawn()
        });
        spawned
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn outcome(status: ExitStatus) -> Outcome {
    if status.success() {
        Outcome::Passed
    } else if status.code() == Some(i32::from(one_test::PANICKED)) {
        Outcome::Failed("it panicked".to_owned())
    } else if let Some(signal) = status.signal() {
        Outcome::Failed(format!("its process died of signal {signal}"))
    } else {
        Outcome::Failed(format!("its process ended with {status}"))
    }
}

/// Every process but the kernel's own, with where in the kernel it waits: read when a test hangs.
fn what_all_do() -> String {
    let mut text = String::from("\n--- what ran when the time was over:\n");
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let path = entry.path();
        let read = |file: &str| fs::read_to_string(path.join(file)).unwrap_or_default();
        let command = read("cmdline").replace('\0', " ");
        if command.is_empty() || path.ends_with("1") || path.ends_with("self") {
            continue;
        }
        text += &format!(
            "{} {}\n",
            entry.file_name().to_string_lossy(),
            command.trim_end()
        );
        for line in read("stack").lines().take(8) {
            text += &format!("    {line}\n");
        }
    }
    text
}
