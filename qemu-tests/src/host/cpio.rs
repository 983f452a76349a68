// SPDX-License-Identifier: MIT
//! Writes cpio archives in the "newc" format, the one that kernels take as initramfs
//! (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::error::Doing as _;
use crate::error::Result;

const FOLDER: u32 = 0o040_755;
const LINK: u32 = 0o120_777;
const FILE: u32 = 0o100_000;

/// An archive in the making. Paths are relative to the root, folders come by themselves.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    folders: BTreeSet<String>,
    inode: u32,
}

impl Archive {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a folder with the folders above it.
    pub fn folder(&mut self, path: &str) {
        if path.is_empty() || self.folders.contains(path) {
            return;
        }
        self.folder_above(path);
        self.folders.insert(path.to_owned());
        self.entry(path, FOLDER, &[]);
    }

    /// Adds a file of these permissions (0o755 for a program).
    pub fn file(&mut self, path: &str, permissions: u32, content: &[u8]) {
        self.folder_above(path);
        self.entry(path, FILE | permissions, content);
    }

    /// Adds a symbolic link at `path` to `target`.
    pub fn link(&mut self, path: &str, target: &str) {
        self.folder_above(path);
        self.entry(path, LINK, target.as_bytes());
    }

    /// Adds a file of the host.
    ///
    /// # Errors
    ///
    /// Where it cannot be read.
    pub fn copy(&mut self, path: &str, permissions: u32, from: &Path) -> Result<()> {
        let content = fs::read(from).doing_with("read", from)?;
        self.file(path, permissions, &content);
        Ok(())
    }

    /// Adds a folder of the host with the files below it of which `wanted` says so.
    ///
    /// # Errors
    ///
    /// Where one cannot be read.
    pub fn copy_folder(
        &mut self,
        path: &str,
        from: &Path,
        wanted: &dyn Fn(&Path) -> bool,
    ) -> Result<()> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(from).doing_with("list", from)? {
            entries.push(entry.doing_with("list", from)?.path());
        }
        entries.sort();
        for entry in entries {
            let Some(name) = entry.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            let inside = format!("{path}/{name}");
            if entry.is_dir() {
                self.copy_folder(&inside, &entry, wanted)?;
            } else if wanted(&entry) {
                self.copy(&inside, 0o755, &entry)?;
            }
        }
        Ok(())
    }

    /// The archive's bytes.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn folder_above(&mut self, path: &str) {
        if let Some((above, _)) = path.rsplit_once('/') {
            self.folder(above);
        }
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.inode += 1;
        let links = if mode == FOLDER { 2 } else { 1 };
        let name_length = path.len() + 1;
        // ino, mode, uid, gid, nlink, mtime, filesize, device twice, device of a node twice, namesize, check
        let mut header = format!("070701{:08X}{mode:08X}", self.inode);
        header += &format!(
            "{:08X}{:08X}{links:08X}{:08X}{:08X}",
            0,
            0,
            0,
            content.len()
        );
        header += &format!(
            "{:08X}{:08X}{:08X}{:08X}{name_length:08X}{:08X}",
            0, 0, 0, 0, 0
        );
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;
    use std::process::Stdio;

    use super::*;

    #[test]
    fn what_is_written_is_what_cpio_reads() {
        let mut archive = Archive::new();
        archive.file("init", 0o755, b"#!/bin/sh\n");
        archive.file("a/b/three", 0o644, b"123");
        archive.file("a/b/four", 0o644, b"1234");
        archive.file("a/empty", 0o600, b"");
        archive.folder("a/folder");
        archive.folder("a/folder");
        archive.link("a/link", "b/three");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);

        let folder = tempfile::tempdir().unwrap();
        let mut cpio = Command::new("cpio")
            .args(["--extract", "--quiet", "--no-absolute-filenames"])
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        cpio.stdin.take().unwrap().write_all(&bytes).unwrap();
        assert!(cpio.wait().unwrap().success());
        let read = |path: &str| fs::read_to_string(folder.path().join(path)).unwrap();
        assert_eq!(read("init"), "#!/bin/sh\n");
        assert_eq!(read("a/b/three"), "123");
        assert_eq!(read("a/b/four"), "1234");
        assert_eq!(read("a/empty"), "");
        assert_eq!(read("a/link"), "123");
        assert!(folder.path().join("a/folder").is_dir());
        let mode = fs::metadata(folder.path().join("init"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o755);
        assert_eq!(fs::read_dir(folder.path().join("a")).unwrap().count(), 4);
    }

    #[test]
    fn a_folder_is_copied_with_what_is_wanted_of_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("in")).unwrap();
        fs::write(folder.path().join("in/yes.py"), "1").unwrap();
        fs::write(folder.path().join("no.txt"), "2").unwrap();
        let mut archive = Archive::new();
        let python = |path: &Path| path.extension().is_some_and(|end| end == "py");
        archive.copy_folder("to", folder.path(), &python).unwrap();
        let text = String::from_utf8_lossy(&archive.finish()).into_owned();
        assert!(text.contains("to/in/yes.py"));
        assert!(!text.contains("no.txt"));
    }
}
