// SPDX-License-Identifier: MIT
//! Tests that fail on purpose: tests/harness_can_fail.rs expects it.

use std::fs;
use std::thread;
use std::time::Duration;

use crate::kit::Host;

pub(super) fn passes() {
    println!("selftest prints");
}

pub(super) fn panics() {
    println!("selftest printed this");
    panic!("selftest panics on purpose");
}

pub(super) fn hangs() {
    let host = Host::new("lonely");
    host.run("sleep 1000");
}

pub(super) fn makes_the_kernel_warn() {
    fs::write("/dev/kmsg", "<4>WARNING: selftest warns on purpose").unwrap();
}

pub(super) fn leaves_a_process_behind() {
    let host = Host::new("left");
    host.run("setsid sleep 1234 >/dev/null 2>&1 &");
}

pub(super) fn finds_nothing_left_behind() {
    let processes = Host::new("left").run("cat /proc/[0-9]*/cmdline | tr '\\0' ' '");
    assert!(!processes.contains("sleep 1234"), "{processes}");
}

pub(super) fn kills_the_kernel() {
    println!("selftest kills the kernel on purpose");
    fs::write("/proc/sysrq-trigger", "c").unwrap();
    thread::sleep(Duration::from_secs(30));
}
