// SPDX-License-Identifier: MIT
//! Who is measured on a machine, and the programs that it takes.

use std::env;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use l7switch_qemu_tests::error::Doing as _;
use l7switch_qemu_tests::error::Error;
use l7switch_qemu_tests::error::Result;
use l7switch_qemu_tests::host::artifacts;

/// What stands between client and real server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Contender {
    /// Nothing: the client asks the real server.
    Direct,
    Front,
    Haproxy,
    Nginx,
    Envoy,
    Traefik,
}

impl Contender {
    pub(super) const ALL: [Self; 6] = [
        Self::Direct,
        Self::Front,
        Self::Haproxy,
        Self::Nginx,
        Self::Envoy,
        Self::Traefik,
    ];

    /// All but [`Self::Direct`].
    pub(super) fn proxies() -> &'static [Self] {
        let [_direct, proxies @ ..] = const { &Self::ALL };
        proxies
    }

    /// Its name for people, and of its files.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Front => "front",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx",
            Self::Envoy => "Envoy",
            Self::Traefik => "Traefik",
        }
    }
}

/// Where the programs are; the others are in PATH.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) front: PathBuf,
    pub(super) envoy: PathBuf,
    pub(super) traefik: PathBuf,
    pub(super) oha: PathBuf,
}

impl Programs {
    /// Builds the front; the others must be there, as `.ci/install bench` installs them.
    pub(super) fn find() -> Result<Self> {
        let cache = env::var_os("XDG_CACHE_HOME").filter(|cache| !cache.is_empty());
        let cache = cache.map(PathBuf::from).or_else(|| {
            let home = env::var_os("HOME")?;
            Some(Path::new(&home).join(".cache"))
        });
        let tools = cache.unwrap_or_default().join("l7switch/tools/bin");
        let find = |name| {
            let path = tools.join(name);
            match path.exists() {
                true => Ok(path),
                false => Err(Error::Message(format!(
                    "{} is not there; `.ci/install bench` installs it",
                    path.display()
                ))),
            }
        };
        Ok(Self {
            envoy: find("envoy")?,
            traefik: find("traefik")?,
            oha: find("oha")?,
            front: artifacts::programs()?.0,
        })
    }

    /// Envoy's command line: one worker.
    pub(super) fn envoy_line(&self, file: &str) -> Vec<String> {
        let envoy = self.envoy.display().to_string();
        let options = ["--disable-hot-restart", "--log-level", "error"];
        [&envoy, "-c", file, "--concurrency", "1"]
            .into_iter()
            .chain(options)
            .map(str::to_owned)
            .collect()
    }

    /// Names and versions.
    pub(super) fn versions(&self) -> Result<Vec<String>> {
        let programs: [(&str, &Path, &str); 9] = [
            ("l7switch", &self.front, "--version"),
            ("HAProxy", Path::new("haproxy"), "-v"),
            ("nginx", Path::new("nginx"), "-v"),
            ("Envoy", &self.envoy, "--version"),
            ("Traefik", &self.traefik, "version"),
            ("wrk", Path::new("wrk"), "-v"),
            ("oha", &self.oha, "--version"),
            ("h2load", Path::new("h2load"), "--version"),
            ("nghttpd", Path::new("nghttpd"), "--version"),
        ];
        let named = programs.into_iter().map(|(name, program, option)| {
            let output = command(program)
                .arg(option)
                .stdin(Stdio::null())
                .output()
                .doing_with("run", program)?;
            // wrk fails after it has said it, nginx says it on standard error.
            let printed = [output.stdout, output.stderr].concat();
            let version = version(&String::from_utf8_lossy(&printed)).unwrap_or_default();
            Ok(format!("{name} {version}"))
        });
        named.collect()
    }
}

/// A command; Debian's proxies live in /usr/sbin, which a user's PATH may not have.
pub(super) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin");
    command.env("PATH", path);
    command
}

/// The first word that is digits with a dot.
fn version(printed: &str) -> Option<String> {
    let words = printed.split(|letter: char| letter.is_whitespace() || "/,".contains(letter));
    let mut versions = words.filter(|word| {
        word.starts_with(|first: char| first.is_ascii_digit()) && word.contains('.')
    });
    versions.next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn versions_are_found_in_what_programs_print() {
        for (printed, found) in [
            ("l7switch 0.1.0\n", "0.1.0"),
            (
                "HAProxy version 3.0.11-1+deb13u2 2026/04/30 - https://haproxy.org/\n",
                "3.0.11-1+deb13u2",
            ),
            ("nginx version: nginx/1.26.3\n", "1.26.3"),
            (
                "\nenvoy  version: 9e5580933739775e8bce696a57a2e1bc99368f23/1.40.0/Clean/RELEASE/BoringSSL\n",
                "1.40.0",
            ),
            (
                "Version:      3.7.15\nCodename:     langres\nGo version:   go1.26.9\n",
                "3.7.15",
            ),
            ("h2load nghttp2/1.52.0\n", "1.52.0"),
            (
                "wrk debian/4.1.0-4+b1 [epoll] Copyright (C) 2012 Will Glozer\n",
                "4.1.0-4+b1",
            ),
        ] {
            assert_eq!(version(printed).as_deref(), Some(found));
        }
        assert_eq!(version("no version\n"), None);
    }
}
