// SPDX-License-Identifier: MIT
//! Virtio ports, by which host and guest speak.

use std::fs;
use std::path::PathBuf;

/// The port that has this name.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    let ports = fs::read_dir("/sys/class/virtio-ports").ok()?;
    let named = |port: &fs::DirEntry| {
        fs::read_to_string(port.path().join("name")).is_ok_and(|found| found.trim() == name)
    };
    let port = ports.flatten().find(named)?;
    Some(PathBuf::from("/dev").join(port.file_name()))
}
