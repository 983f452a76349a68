// SPDX-License-Identifier: MIT
//! The Python server, `programs/server.py`, as a real server.

use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use serde::Deserialize;
use tempfile::TempDir;

use super::process::Process;
use super::process::program;

/// A running Python server.
#[derive(Debug)]
pub(crate) struct Python {
    process: Option<Process>,
    folder: TempDir,
    name: String,
    pub(crate) address: SocketAddr,
}

/// A request head that the server has read.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Seen {
    /// Request line, then the field lines.
    pub(crate) head: Vec<String>,
}

/// What the server tells of a request to `/echo`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Echo {
    pub(crate) server: String,
    pub(crate) connection: u64,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) version: String,
    fields: Vec<(String, String)>,
    pub(crate) length: u64,
    pub(crate) sha256: String,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Echo {
    pub(crate) fn parse(content: &[u8]) -> Self {
        serde_json::from_slice(content)
            .unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(content)))
    }

    /// All fields of a name.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let named = self
            .fields
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// The only field of a name; empty where there is none.
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> &str {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name}: {all:?}");
        all.first().copied().unwrap_or_default()
    }
}

/// A program in Python that belongs to these tests.
pub(crate) fn script(name: &str) -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/programs");
    let mut command = program("python3", "python3");
    command.arg(folder.join(name));
    command
}

impl Python {
    pub(crate) fn start(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (process, address) = launch(name, folder.path(), 0);
        Self {
            process: Some(process),
            folder,
            name: name.to_owned(),
            address,
        }
    }

    /// Kills it; its address stays.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again at its address after [`Python::kill`].
    pub(crate) fn restart(&mut self) {
        let (process, address) = launch(&self.name, self.folder.path(), self.address.port());
        assert_eq!(address, self.address);
        self.process = Some(process);
    }

    /// Request heads that the server has read, in order.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        let text = std::fs::read_to_string(self.folder.path().join("seen")).unwrap();
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Whether a request with this text in its request line has arrived.
    pub(crate) fn has_seen(&self, text: &str) -> bool {
        self.seen().iter().any(|seen| seen.head[0].contains(text))
    }

    /// Makes its health check fail or succeed.
    pub(crate) fn set_sick(&self, sick: bool) {
        let path = self.folder.path().join(format!("{}.sick", self.name));
        if sick {
            std::fs::write(path, "").unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }

    /// A file that a request to `/gate` or `/before` can wait for.
    pub(crate) fn gate(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn launch(name: &str, folder: &Path, port: u16) -> (Process, SocketAddr) {
    let mut command = script("server.py");
    command
        .args(["--name", name, "--port", &port.to_string(), "--seen"])
        .arg(folder.join("seen"));
    let process = Process::start(command);
    let port: u16 = process.line("ready ").parse().unwrap();
    (process, SocketAddr::from(([127, 0, 0, 1], port)))
}
