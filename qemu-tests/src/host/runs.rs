// SPDX-License-Identifier: MIT
//! Where a run's consoles and other files are kept: target/qemu/TIME-PID, the last ten.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use crate::error::Doing as _;
use crate::error::Result;

/// How many runs are kept.
const KEPT: usize = 10;

/// Makes the folder of this run. `target` is cargo's.
///
/// # Errors
///
/// Where the folder cannot be made.
pub fn new_folder(target: &Path) -> Result<PathBuf> {
    let all = target.join("qemu");
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs());
    let folder = all.join(format!("{seconds:011}-{}", process::id()));
    fs::create_dir_all(&folder).doing_with("make", &folder)?;
    remove_old(&all, KEPT)?;
    Ok(folder)
}

fn remove_old(all: &Path, kept: usize) -> Result<()> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(all).doing_with("list", all)? {
        let path = entry.doing_with("list", all)?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    folders.sort();
    let surplus = folders.len().saturating_sub(kept);
    for folder in folders.iter().take(surplus) {
        // Another run may remove the same one.
        let _ = fs::remove_dir_all(folder);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_runs_go() {
        let all = tempfile::tempdir().unwrap();
        for name in ["001", "002", "003"] {
            fs::create_dir(all.path().join(name)).unwrap();
        }
        remove_old(all.path(), 2).unwrap();
        assert!(!all.path().join("001").exists());
        assert!(all.path().join("003").exists());
    }
}
