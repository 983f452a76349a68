// SPDX-License-Identifier: MIT
//! What outlives the process of certificates that are ordered by ACME: the account's key, certificates with their keys, pauses after failures.
//!
//! | File below `state` | Content |
//! |---|---|
//! | `HOST-HASH/` | what belongs to one directory: its host, and the begin of the SHA-256 of its URL |
//! | `…/account.json` | the account |
//! | `…/NAME-HASH.pem` | a certificate: its key and its chain; its first name, and the begin of the SHA-256 of all of them |
//! | `…/NAME-HASH.retry.json` | how many orders have failed in a row, and until when no other is made |
//!
//! A file is replaced as a whole: it is written under another name, brought to the disk, and renamed.

use std::fmt::Write as _;
use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use aws_lc_rs::digest::SHA256;
use aws_lc_rs::digest::digest;
use l7switch_rules::model;
use serde::Deserialize;
use serde::Serialize;
use thiserror::Error;

use crate::file;
use crate::pair::Pair;

mod look;

pub use look::look;

/// Longest file, bytes.
const MOST: u64 = 1024 * 1024;

/// Longest pause before an order.
pub const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// Files of a folder that are looked through.
const MOST_FILES: usize = 10_000;

/// What cannot be used of the state folder, and why.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}: {why}", path.display())]
pub struct StateError {
    path: PathBuf,
    why: String,
    /// Another user might be allowed it.
    is_denied: bool,
}

impl StateError {
    fn new(path: &Path, why: impl ToString) -> Self {
        Self {
            path: path.to_owned(),
            why: why.to_string(),
            is_denied: false,
        }
    }

    fn io(path: &Path, error: &io::Error) -> Self {
        Self {
            is_denied: error.kind() == io::ErrorKind::PermissionDenied,
            ..Self::new(path, error)
        }
    }
}

/// The part of the state folder that belongs to one directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Folder(PathBuf);

/// An account as it is kept.
#[derive(Debug, Serialize, Deserialize)]
pub struct StoredAccount {
    /// The addresses that the authority knows.
    pub contact: Vec<String>,
    /// As instant-acme writes it.
    pub credentials: serde_json::Value,
}

/// A pause after failures, as it is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Orders that have failed in a row.
    pub failures: u32,
    /// Unix time in seconds before which no other is made.
    pub not_before: u64,
}

impl Folder {
    /// Opens the folder of a directory; what is not there is made.
    ///
    /// # Errors
    ///
    /// See [`StateError`].
    pub fn open(rules: &model::Acme) -> Result<Self, StateError> {
        let folder = Self::of(rules);
        private(&rules.state)?;
        private(&folder.0)?;
        // It would be found out only when the next order is made.
        folder.account()?;
        Ok(folder)
    }

    /// Where the folder of a directory is.
    fn of(rules: &model::Acme) -> Self {
        let hash = hash([rules.directory.as_str()]);
        let authority = rules.directory.trim_start_matches("https://");
        let host = authority.split(['/', '?', ':', '[']).next();
        let host = host.unwrap_or_default();
        Self(rules.state.join(format!("{host}-{hash}")))
    }

    /// The account, if there is one.
    ///
    /// # Errors
    ///
    /// See [`StateError`].
    pub fn account(&self) -> Result<Option<StoredAccount>, StateError> {
        let path = self.account_path();
        let Some(content) = read(&path)? else {
            return Ok(None);
        };
        serde_json::from_slice(&content).map(Some).map_err(|error| {
            let why =
                format!("it holds no account ({error}); remove it, and a new account is made");
            StateError::new(&path, why)
        })
    }

    /// Keeps the account.
    ///
    /// # Errors
    ///
    /// See [`StateError`].
    pub fn keep_account(&self, account: &StoredAccount) -> Result<(), StateError> {
        let path = self.account_path();
        let content = serde_json::to_vec(account).map_err(|error| StateError::new(&path, error))?;
        write(&path, &content)
    }

    /// Puts the account aside: the authority does not know it.
    ///
    /// # Errors
    ///
    /// See [`StateError`].
    pub fn forget_account(&self) -> Result<(), StateError> {
        let path = self.account_path();
        fs::rename(&path, self.0.join("account.old.json"))
            .map_err(|error| StateError::io(&path, &error))
    }

    /// Certificates of the folder that have some of these names and are good now.
    pub fn with_names(&self, names: &[String], now: SystemTime) -> Vec<Arc<Pair>> {
        let entries = fs::read_dir(&self.0).into_iter().flatten();
        let paths = entries
            .take(MOST_FILES)
            .filter_map(|entry| Some(entry.ok()?.path()));
        paths
            .filter(|path| path.extension().is_some_and(|end| end == "pem"))
            .filter_map(|path| read_certificate(&path).ok().flatten()?.ok())
            .filter(|pair| pair.validity.is_some_and(|(_, to)| now < to))
            .filter(|pair| pair.names.iter().any(|name| names.contains(name)))
            .map(Arc::new)
            .collect()
    }

    fn account_path(&self) -> PathBuf {
        self.0.join("account.json")
    }

    /// The file of the certificate for these names.
    pub fn certificate(&self, names: &[String]) -> PathBuf {
        let mut sorted: Vec<&str> = names.iter().map(String::as_str).collect();
        sorted.sort_unstable();
        let hash = hash(sorted);
        let first = names.first().map_or("", String::as_str);
        // A name of the kernel's has 255 bytes at most, one of DNS 253.
        let first: String = first.chars().take(200).collect();
        self.0.join(format!("{first}-{hash}.pem"))
    }
}

/// A certificate from its file; `None`: there is none, or one that cannot be used, which is told.
///
/// # Errors
///
/// See [`StateError`].
pub fn read_certificate(path: &Path) -> Result<Option<Result<Pair, String>>, StateError> {
    if read(path)?.is_none() {
        return Ok(None);
    }
    let rules = model::Certificate {
        cert: path.to_owned(),
        key: path.to_owned(),
        ocsp: None,
    };
    Ok(Some(Pair::read(&rules).map_err(|error| error.to_string())))
}

/// Keeps a certificate.
///
/// # Errors
///
/// See [`StateError`].
pub fn keep_certificate(path: &Path, pem: &[u8]) -> Result<(), StateError> {
    write(path, pem)
}

/// The pause of a certificate. One that cannot be read is none.
pub fn retry(certificate: &Path, now: SystemTime) -> Retry {
    let path = certificate.with_extension("retry.json");
    let content = read(&path).ok().flatten();
    let retry: Option<Retry> = content.and_then(|content| serde_json::from_slice(&content).ok());
    // A clock that was wrong must not be waited for.
    let latest = unix(now).saturating_add(LONGEST_WAIT.as_secs());
    retry
        .filter(|retry| retry.not_before <= latest)
        .unwrap_or_default()
}

/// Keeps the pause of a certificate; `None`: there is none any more.
///
/// # Errors
///
/// See [`StateError`].
pub fn keep_retry(certificate: &Path, retry: Option<Retry>) -> Result<(), StateError> {
    let path = certificate.with_extension("retry.json");
    match retry {
        Some(retry) => {
            let content =
                serde_json::to_vec(&retry).map_err(|error| StateError::new(&path, error))?;
            write(&path, &content)
        }
        None => match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StateError::io(&path, &error))
            }
            _ => Ok(()),
        },
    }
}

/// Unix time in seconds; 0 before 1970.
pub fn unix(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// The time of a Unix time.
pub fn time(unix: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_secs(unix))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The first 64 bits of the SHA-256 of texts, in hexadecimal digits.
fn hash<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let texts: Vec<&str> = texts.into_iter().collect();
    let mut hash = String::with_capacity(16);
    for byte in digest(&SHA256, texts.join(",").as_bytes())
        .as_ref()
        .iter()
        .take(8)
    {
        // Writing to a String does not fail.
        let _ = write!(hash, "{byte:02x}");
    }
    hash
}

/// Makes a folder that only its owner may enter, or finds that it is one.
fn private(path: &Path) -> Result<(), StateError> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.map_err(|error| StateError::io(path, &error))?;
    let metadata = fs::metadata(path).map_err(|error| StateError::io(path, &error))?;
    closed_to_others(path, &metadata, 0o700)?;
    writable(path)
}

/// That this user may make files in a folder.
fn writable(path: &Path) -> Result<(), StateError> {
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    rustix::fs::access(path, access).map_err(|error| StateError::io(path, &error.into()))
}

/// That nobody but the owner can come at private keys.
fn closed_to_others(path: &Path, metadata: &fs::Metadata, wanted: u32) -> Result<(), StateError> {
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let why = format!(
        "private keys are kept there, and others have access (mode {mode:04o}): chmod {wanted:o} {}",
        path.display()
    );
    Err(StateError::new(path, why))
}

/// The content of a file; `None`: it is not there.
fn read(path: &Path) -> Result<Option<Vec<u8>>, StateError> {
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| StateError::io(path, &error))?,
    };
    closed_to_others(path, &metadata, 0o600)?;
    file::read(path, MOST)
        .map(Some)
        .map_err(|error| StateError::io(path, &error))
}

/// Replaces a file.
fn write(path: &Path, content: &[u8]) -> Result<(), StateError> {
    let new = path.with_extension("new");
    let written = || {
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => (),
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        // The name too has to be on the disk.
        match path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    };
    written().map_err(|error| StateError::io(path, &error))
}

#[cfg(test)]
mod tests;
