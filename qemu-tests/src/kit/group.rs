// SPDX-License-Identifier: MIT
//! Control groups, which limit the memory of processes (Documentation/admin-guide/cgroup-v2.rst).

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use rustix::mount::MountFlags;
use rustix::mount::mount;

/// Where the groups are mounted.
const ROOT: &str = "/tmp/groups";

/// A group of processes. It is removed where it is dropped.
#[derive(Debug)]
pub struct Group {
    folder: PathBuf,
}

impl Group {
    /// Makes a group whose processes may have so many bytes of memory; nobody is in it yet.
    ///
    /// # Panics
    ///
    /// Where the kernel refuses.
    #[must_use]
    pub fn new(name: &str, memory: u64) -> Self {
        let root = Path::new(ROOT);
        if !root.exists() {
            fs::create_dir(root).expect("/tmp is writable");
            mount("none", root, "cgroup2", MountFlags::empty(), None).expect("there are groups");
        }
        fs::write(root.join("cgroup.subtree_control"), "+memory").expect("memory can be limited");
        let folder = root.join(name);
        fs::create_dir(&folder).expect("a group can be made");
        let group = Self { folder };
        group.write("memory.max", &memory.to_string());
        group
    }

    /// Puts the test's own process into it, with the memory that it takes from now on.
    pub fn enter(&self) {
        self.write("cgroup.procs", "0");
    }

    /// Takes the test's process out again.
    ///
    /// # Panics
    ///
    /// Where the kernel refuses.
    pub fn leave(&self) {
        fs::write(Path::new(ROOT).join("cgroup.procs"), "0").expect("a group can be left");
    }

    /// One of its files: "memory.current".
    ///
    /// # Panics
    ///
    /// Where it has none of that name.
    #[must_use]
    pub fn read(&self, file: &str) -> String {
        fs::read_to_string(self.folder.join(file))
            .unwrap_or_else(|error| panic!("{file} of {}: {error}", self.folder.display()))
    }

    fn write(&self, file: &str, value: &str) {
        fs::write(self.folder.join(file), value)
            .unwrap_or_else(|error| panic!("{file} of {}: {error}", self.folder.display()));
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = fs::write(Path::new(ROOT).join("cgroup.procs"), "0");
        }
        let _ = fs::remove_dir(&self.folder);
    }
}
