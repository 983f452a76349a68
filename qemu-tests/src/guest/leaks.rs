// SPDX-License-Identifier: MIT
//! kmemleak, where the kernel has it (Documentation/dev-tools/kmemleak.rst).

use std::fs;
use std::thread;
use std::time::Duration;

const PATH: &str = "/sys/kernel/debug/kmemleak";

/// Forgets what was leaked so far: the boot is not under test.
pub(crate) fn forget() {
    let _ = fs::write(PATH, "clear");
}

/// Scans, and gives the reports: one line each of the first hundred. Empty where the kernel does not look for leaks.
pub(crate) fn scan() -> Vec<String> {
    if fs::metadata(PATH).is_err() {
        return Vec::new();
    }
    // What is younger than five seconds is not reported; a second scan sorts out what moved during the first.
    thread::sleep(Duration::from_secs(6));
    for _ in 0..2 {
        let _ = fs::write(PATH, "scan");
    }
    fs::read_to_string(PATH)
        .unwrap_or_default()
        .lines()
        .take(100)
        .map(|line| format!("kmemleak: {line}"))
        .collect()
}
