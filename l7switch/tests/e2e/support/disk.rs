// SPDX-License-Identifier: MIT
//! A disk that is full for a while.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::process::program;
use super::process::run;

/// A full disk where only root can make one, or else a folder that cannot be written.
pub(crate) struct Disk(tempfile::TempDir);

impl Disk {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        if rustix::process::geteuid().is_root() {
            let at = folder.path().to_str().unwrap();
            run(
                "mount",
                "mount",
                ["-t", "tmpfs", "-o", "size=64k", "none", at],
            );
        }
        Self(folder)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn fill(&self) {
        if rustix::process::geteuid().is_root() {
            let path = self.0.path().join("filler");
            let error = std::fs::write(path, vec![0; 1 << 20]).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
        } else {
            std::fs::set_permissions(self.0.path(), Permissions::from_mode(0o500)).unwrap();
        }
    }

    pub(crate) fn clear(&self) {
        if rustix::process::geteuid().is_root() {
            std::fs::remove_file(self.0.path().join("filler")).unwrap();
        } else {
            std::fs::set_permissions(self.0.path(), Permissions::from_mode(0o700)).unwrap();
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if rustix::process::geteuid().is_root() {
            let _ = program("umount", "mount")
                .args(["-l"])
                .arg(self.0.path())
                .status();
        }
    }
}
