// SPDX-License-Identifier: MIT
//! Puts together the archive that the guest boots from.

use std::env;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use super::artifacts::Artifacts;
use super::cpio::Archive;
use super::kernel::Kernel;
use super::tool;
use crate::error::Doing as _;
use crate::error::Error;
use crate::error::Result;

/// Writes the archive: busybox and what the boot needs, and below /l7 the project's files.
///
/// # Errors
///
/// Where a file is missing.
pub fn write(to: &Path, kernel: &Kernel, artifacts: &Artifacts) -> Result<()> {
    let mut archive = Archive::new();
    for folder in ["proc", "sys", "dev"] {
        archive.folder(folder);
    }
    archive.file("init", 0o755, include_bytes!("init.sh"));
    archive.copy("bin/busybox", 0o755, &busybox()?)?;
    for module in kernel.modules.iter().flat_map(|modules| &modules.for_boot) {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        archive.copy(&format!("modules/{name}"), 0o644, module)?;
    }

    // Without debug information, which would fill the guest's memory. A module keeps the symbols that traces show.
    let scratch = tempfile::tempdir().doing("make a temporary folder")?;
    let module = artifacts
        .module
        .iter()
        .map(|module| ("l7switch.ko", module));
    for (path, from) in [
        ("bin/guest", &artifacts.init),
        ("bin/l7switch", &artifacts.l7switch),
        ("bin/l7ctl", &artifacts.l7ctl),
    ]
    .into_iter()
    .chain(module)
    {
        let bare = scratch.path().join("bare");
        tool::output(
            Command::new("strip")
                .arg("--strip-debug")
                .arg("-o")
                .args([&bare, from]),
        )?;
        archive.copy(&format!("l7/{path}"), 0o755, &bare)?;
    }
    share(&mut archive, kernel)?;
    fs::write(to, archive.finish()).doing_with("write", to)
}

/// Data: example rules, and the kernel's Python tool for netlink with the specifications of the families, ours among
/// them.
fn share(archive: &mut Archive, kernel: &Kernel) -> Result<()> {
    let repository = tool::repository();
    archive.folder("l7/share");
    archive.copy_folder(
        "l7/share/examples",
        &repository.join("rules/examples"),
        &|path| path.extension().is_some_and(|end| end == "toml"),
    )?;
    let specification = repository.join("kmod/netlink/l7switch.yaml");
    if specification.exists() {
        archive.copy(
            "l7/share/netlink/specs/l7switch.yaml",
            0o644,
            &specification,
        )?;
    }
    let ynl = kernel.folder.join("source/tools/net/ynl/pyynl");
    if ynl.is_dir() {
        archive.copy_folder("l7/share/pyynl", &ynl, &|path| {
            path.extension().is_some_and(|end| end == "py")
        })?;
        let netlink = kernel.folder.join("source/Documentation/netlink");
        archive.copy_folder("l7/share/netlink", &netlink, &|path| {
            let name = path.file_name().unwrap_or_default();
            // Schemas stand beside the folder of specifications; of these, some that tests may want.
            !path
                .parent()
                .is_some_and(|folder| folder.ends_with("specs"))
                || name == "nlctrl.yaml"
                || name == "rt-link.yaml"
                || name == "conntrack.yaml"
        })?;
    }
    Ok(())
}

/// A busybox that brings its libraries with it: the host's, or the one that `.ci/install` has unpacked where the host's does not.
fn busybox() -> Result<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME").filter(|cache| !cache.is_empty());
    let cache = cache.map_or_else(
        || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache"),
        PathBuf::from,
    );
    let found = [
        PathBuf::from("/usr/bin/busybox"),
        PathBuf::from("/bin/busybox"),
        cache.join("l7switch/tools/bin/busybox"),
    ]
    .into_iter()
    .filter(|path| path.exists())
    // ldd fails where there is nothing to list.
    .find(|path| tool::output(Command::new("ldd").arg(path)).is_err());
    found.ok_or_else(|| Error::Tool {
        tool: "busybox".to_owned(),
        output: "there is none that is linked statically: .ci/install test fetches one".to_owned(),
    })
}
