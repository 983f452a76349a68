// SPDX-License-Identifier: MIT
//! Which kernel is booted: a folder as kmod/build/stock-kernel prints it.

use std::env;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use super::tool;
use crate::error::Doing as _;
use crate::error::Result;

/// A kernel that can be booted.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// How it was asked for: `stock`, `debug`, the name of a folder.
    pub name: String,
    /// The folder, with `release`, `vmlinuz`, perhaps `root/` and `source/`.
    pub folder: PathBuf,
    /// The version, as `uname -r` says it.
    pub release: String,
    /// The image of its modules, where it has any.
    pub modules: Option<Modules>,
}

/// A kernel's modules, as the script `modules-image` prepares them.
#[derive(Debug, Clone)]
pub struct Modules {
    /// A squashfs image, for /usr/lib/modules/RELEASE.
    pub image: PathBuf,
    /// What the guest loads to mount its images, in this order.
    pub for_boot: Vec<PathBuf>,
}

impl Kernel {
    /// The kernel that the variable `L7_KERNEL` asks for: the stock one where it is not set.
    ///
    /// # Errors
    ///
    /// Where the kernel cannot be made.
    pub fn wanted() -> Result<Self> {
        Self::find(&env::var("L7_KERNEL").unwrap_or_else(|_| "stock".to_owned()))
    }

    /// A kernel by name: `stock`; a configuration that kmod/build/custom-kernel knows (`custom`, `debug`); the path of a
    /// folder. It is made where it is not there yet.
    ///
    /// # Errors
    ///
    /// Where the kernel cannot be made.
    pub fn find(name: &str) -> Result<Self> {
        let folder = if name == "stock" {
            tool::script("kmod/build/stock-kernel", &[])?
        } else if name.contains('/') {
            PathBuf::from(name)
        } else {
            tool::script("kmod/build/custom-kernel", &[Path::new(name)])?
        };
        let release = fs::read_to_string(folder.join("release"))
            .doing_with("read the release in", &folder)?
            .trim()
            .to_owned();
        let modules = if folder.join("root/usr/lib/modules").is_dir() {
            Some(Modules::of(&folder)?)
        } else {
            None
        };
        let name = Path::new(name).file_name().map_or_else(
            || "kernel".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        );
        Ok(Self {
            name,
            folder,
            release,
            modules,
        })
    }
}

impl Modules {
    fn of(kernel: &Path) -> Result<Self> {
        let image = tool::script("qemu-tests/modules-image", &[kernel])?;
        let boot = image.with_extension("boot");
        let mut for_boot = Vec::new();
        for entry in fs::read_dir(&boot).doing_with("list", &boot)? {
            for_boot.push(entry.doing_with("list", &boot)?.path());
        }
        for_boot.sort();
        Ok(Self { image, for_boot })
    }
}
