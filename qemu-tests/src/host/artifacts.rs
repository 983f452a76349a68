// SPDX-License-Identifier: MIT
//! What is put into the guest: the project's programs, the module, the image with a distribution's programs.

use std::env;
use std::ffi::OsStr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use super::kernel::Kernel;
use super::tool;
use crate::error::Error;
use crate::error::Result;

/// Which programs of the distribution a guest has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image {
    /// Those that tests stand on.
    Ordinary,
    /// The servers of `make test-programs` besides.
    Programs,
}

/// What is put into the guest.
#[derive(Debug, Clone)]
pub struct Artifacts {
    /// The program that is the first process in the guest: this crate's.
    pub init: PathBuf,
    /// The front.
    pub l7switch: PathBuf,
    /// The administrator's command.
    pub l7ctl: PathBuf,
    /// The module, where there is one.
    pub module: Option<PathBuf>,
    /// The root file system with the distribution's programs.
    pub image: PathBuf,
}

impl Artifacts {
    /// Builds all of it, or finds that nothing is to do.
    ///
    /// # Errors
    ///
    /// Where a build fails.
    pub fn build(kernel: &Kernel, init: &Path, image: Image) -> Result<Self> {
        let start = Instant::now();
        let arguments = match image {
            Image::Ordinary => &[][..],
            Image::Programs => &[Path::new("programs")],
        };
        let image = tool::script("kmod/build/guest-image", arguments)?;
        let module = module(kernel)?;
        let (l7switch, l7ctl) = programs()?;
        if start.elapsed().as_secs() > 2 {
            tool::say(&format!(
                "built what the guest needs in {} s",
                start.elapsed().as_secs()
            ));
        }
        Ok(Self {
            init: init.to_owned(),
            l7switch,
            l7ctl,
            module,
            image,
        })
    }
}

/// Whether a module can be had at all: tests that need one are ignored otherwise.
#[must_use]
pub fn has_module() -> bool {
    match env::var_os("L7_MODULE") {
        Some(path) => path != "none",
        None => tool::repository().join("kmod/build/module").exists(),
    }
}

/// The module for this kernel: the file that `L7_MODULE` names, else what kmod/build/module builds.
fn module(kernel: &Kernel) -> Result<Option<PathBuf>> {
    if !has_module() {
        return Ok(None);
    }
    match env::var_os("L7_MODULE") {
        Some(path) => Ok(Some(PathBuf::from(path))),
        None => tool::script("kmod/build/module", &[&kernel.folder]).map(Some),
    }
}

/// The front and `l7ctl`, as they are shipped, or by the profile that `L7_PROFILE` names (`dev` builds in seconds).
///
/// # Errors
///
/// Where they cannot be built.
pub fn programs() -> Result<(PathBuf, PathBuf)> {
    let profile = env::var_os("L7_PROFILE").unwrap_or_else(|| "release".into());
    let packages = ["--package", "l7switch", "--package", "l7ctl", "--bins"];
    let printed = cargo_build(&profile, &packages)?;
    let find = |name| found(executable(&printed, name), name);
    Ok((find("l7switch")?, find("l7ctl")?))
}

/// The plugin of QEMU's that counts instructions by function.
///
/// # Errors
///
/// Where it cannot be built.
pub fn profiler() -> Result<PathBuf> {
    let package = "l7switch-profiler";
    let printed = cargo_build("release".as_ref(), &["--package", package])?;
    let library = package.replace('-', "_");
    let mut files = messages(&printed, &library)
        .into_iter()
        .filter_map(|message| message.pointer("/filenames/0")?.as_str().map(PathBuf::from));
    found(files.next_back(), package)
}

/// Builds packages; gives cargo's messages. Cargo holds no lock while it runs tests, so it can be called from one.
fn cargo_build(profile: &OsStr, packages: &[&str]) -> Result<String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(tool::repository())
        .args([
            "build",
            "--locked",
            "--message-format=json-render-diagnostics",
            "--profile",
        ])
        .arg(profile)
        .args(packages);
    // What cargo tells a test of itself would make the other packages seem changed.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    tool::output(&mut command)
}

fn found(path: Option<PathBuf>, name: &str) -> Result<PathBuf> {
    path.ok_or_else(|| Error::Tool {
        tool: "cargo build".to_owned(),
        output: format!("it names no file of {name}"),
    })
}

/// Those of cargo's messages that are about a target.
fn messages(printed: &str, target: &str) -> Vec<serde_json::Value> {
    let name = |message: &serde_json::Value| {
        let name = message.pointer("/target/name");
        name.and_then(|name| name.as_str()) == Some(target)
    };
    printed
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(name)
        .collect()
}

/// The path of an executable, from cargo's messages.
fn executable(printed: &str, name: &str) -> Option<PathBuf> {
    messages(printed, name)
        .iter()
        .find_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executable_is_found_in_what_cargo_prints() {
        let messages = concat!(
            "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"l7switch\"},\"executable\":null}\n",
            "noise\n",
            "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"l7switch\"},\"executable\":\"/t/l7switch\"}\n",
        );
        assert_eq!(
            executable(messages, "l7switch"),
            Some(PathBuf::from("/t/l7switch"))
        );
        assert_eq!(executable(messages, "l7ctl"), None);
    }
}
