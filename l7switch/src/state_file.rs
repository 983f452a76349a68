// SPDX-License-Identifier: MIT
//! The state file: what administrators have set and checks have found, for the next process; docs/upgrade.md is its reference.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use l7switch_admin_api as api;
use rustix::fs::OFlags;
use serde::Deserialize;
use serde::Serialize;
use thiserror::Error;
use tokio::time::sleep;
use tokio::time::timeout;

use crate::handover::state::State;
use crate::observe::events::Kind;
use crate::switch::Switch;

/// Version of the content.
const VERSION: u32 = 1;

/// Longest file that is read, bytes.
const MOST: u64 = 64 * 1024 * 1024;

/// How often it is looked whether health has changed.
const LOOK: Duration = Duration::from_secs(1);

/// How long changes are waited for that follow another one.
const PAUSE: Duration = Duration::from_millis(100);

/// What the file has.
#[derive(Debug, Serialize, Deserialize)]
struct Content<S> {
    version: u32,
    #[serde(flatten)]
    state: S,
}

/// Only that: of another version, nothing else is understood.
#[derive(Debug, Deserialize)]
struct Version {
    version: u32,
}

/// Why a file is not used.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file system says no.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is no regular file.
    #[error("it is no regular file")]
    Kind,
    /// Somebody else could have written it.
    #[error("it is owned by user {0}, who is neither root nor this one")]
    Owner(u32),
    /// The same.
    #[error("its mode is {0:03o}: nobody but its owner may have it (600)")]
    Mode(u32),
    /// It is longer than any may be.
    #[error("it has more than {MOST} bytes")]
    TooLong,
    /// Of a front of another time.
    #[error("it has version {0}, and {VERSION} is understood")]
    Version(u32),
    /// It is damaged.
    #[error("it is not understood: {0}")]
    Content(#[from] serde_json::Error),
}

/// Reads a file. `None`: there is none.
///
/// # Errors
///
/// See [`ReadError`].
pub fn read(path: &Path) -> Result<Option<State>, ReadError> {
    // Nobody is waited for, and no link is followed.
    let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or_default())
        .open(path);
    let file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let about = file.metadata()?;
    let own = rustix::process::geteuid().as_raw();
    if !about.is_file() {
        return Err(ReadError::Kind);
    }
    if ![0, own].contains(&about.uid()) {
        return Err(ReadError::Owner(about.uid()));
    }
    let mode = about.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(ReadError::Mode(mode));
    }
    let mut text = Vec::new();
    file.take(MOST.saturating_add(1)).read_to_end(&mut text)?;
    if u64::try_from(text.len()).is_ok_and(|length| length > MOST) {
        return Err(ReadError::TooLong);
    }
    let Version { version } = serde_json::from_slice(&text)?;
    if version != VERSION {
        return Err(ReadError::Version(version));
    }
    Ok(Some(serde_json::from_slice::<Content<State>>(&text)?.state))
}

/// Replaces a file as a whole: after a crash there is the old one or the new one.
///
/// # Errors
///
/// As the file system says; the file is as it was.
pub fn write(path: &Path, state: &State) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // Its mode is 600.
    let mut new = tempfile::Builder::new()
        .prefix(".l7switch-state-")
        .tempfile_in(folder)?;
    let content = Content {
        version: VERSION,
        state,
    };
    let mut text = serde_json::to_vec_pretty(&content)?;
    text.push(b'\n');
    new.write_all(&text)?;
    new.as_file().sync_all()?;
    new.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

/// What has become of the file.
#[derive(Debug, Default)]
pub struct StateFileStatus {
    path: OnceLock<PathBuf>,
    writes: AtomicU64,
    failures: AtomicU64,
    error: Mutex<Option<String>>,
}

impl StateFileStatus {
    /// For the admin API; `None`: there is no file.
    pub fn status(&self) -> Option<api::StateFileStatus> {
        Some(api::StateFileStatus {
            path: self.path.get()?.clone(),
            writes: self.writes.load(Relaxed),
            failures: self.failures.load(Relaxed),
            error: self.error().clone(),
        })
    }

    fn error(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the file as the switch is. Dropped, it does no more.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    /// What was written last.
    last: Arc<Mutex<Option<State>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for StateFile {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl StateFile {
    /// Keeps a file from now on, until another process has the switch's place.
    pub fn start(switch: &Arc<Switch>, path: &Path) -> Self {
        let path = switch.state_file().path.get_or_init(|| path.to_owned());
        let last = Arc::default();
        let task = tokio::spawn(keep(
            Arc::downgrade(switch),
            path.clone(),
            Arc::clone(&last),
        ));
        Self {
            path: path.clone(),
            last,
            task,
        }
    }

    /// Writes what has changed since, at the end of the switch.
    pub async fn end(self, switch: &Switch) {
        self.task.abort();
        update(switch, &self.path, &self.last).await;
    }
}

async fn keep(switch: Weak<Switch>, path: PathBuf, last: Arc<Mutex<Option<State>>>) {
    loop {
        let Some(switch) = switch.upgrade() else {
            return;
        };
        update(&switch, &path, &last).await;
        // What is changed by an administrator comes first.
        if timeout(LOOK, switch.changed().notified()).await.is_ok() {
            sleep(PAUSE).await;
        }
    }
}

/// Writes the file if something has changed.
async fn update(switch: &Switch, path: &Path, last: &Mutex<Option<State>>) {
    // While a successor gets what is known, nothing is written; after that it is the successor's.
    let _changes = switch.place().changes.read().await;
    if switch.place().given_to().is_some() {
        return;
    }
    let now = switch.state().lasting();
    if last.lock().unwrap_or_else(PoisonError::into_inner).as_ref() == Some(&now) {
        return;
    }
    let status = switch.state_file();
    let to = path.to_owned();
    let written = tokio::task::spawn_blocking(move || write(&to, &now).map(|()| now)).await;
    // It fails where the runtime ends.
    let Ok(written) = written else { return };
    match written {
        Ok(now) => {
            status.writes.fetch_add(1, Relaxed);
            if status.error().take().is_some() {
                tracing::info!("the state file {} is written again", path.display());
            }
            *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        }
        Err(error) => {
            status.failures.fetch_add(1, Relaxed);
            let before = status.error().replace(error.to_string());
            let text = format!("{}: {error}", path.display());
            switch.core().events.add(Kind::StateFileFailed, text);
            if before.is_none() {
                let path = path.display();
                tracing::warn!("the state file {path} cannot be written, it is tried on: {error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::fs::symlink;

    use l7switch_admin_api::Health;

    use super::*;
    use crate::handover::state::OfServer;
    use crate::upstream::Memory;

    fn state() -> State {
        State {
            servers: vec![OfServer {
                pool: "p".to_owned(),
                server: "10.0.0.1:80".to_owned(),
                memory: Memory {
                    weight: Some(3),
                    health: Some(Health::Down),
                    ..Memory::default()
                },
            }],
            maintenance: [("web".to_owned(), api::Maintenance::Closed(true))].into(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        assert!(read(&path).unwrap().is_none());
        for _ in 0..2 {
            write(&path, &state()).unwrap();
            assert_eq!(read(&path).unwrap(), Some(state()));
        }
        let mode = path.metadata().unwrap().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("{\n  \"version\": 1,\n"), "{text}");
    }

    #[test]
    fn what_cannot_be_trusted_or_understood_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let with = |text: &str| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        };
        for text in [
            "",
            "{",
            "null",
            "[]",
            "{}",
            "{\"version\": \"1\"}",
            "\0\u{ff}",
            "{\"version\": -1}",
        ] {
            with(text);
            assert!(matches!(read(&path), Err(ReadError::Content(_))), "{text}");
        }
        with("{\"version\": 2, \"servers\": 7}");
        assert!(matches!(read(&path), Err(ReadError::Version(2))));
        with("{\"version\": 1, \"servers\": 7}");
        assert!(matches!(read(&path), Err(ReadError::Content(_))));
        // What a later one of the same version may add.
        with("{\"version\": 1, \"more\": 7}");
        assert_eq!(read(&path).unwrap(), Some(State::default()));
        for mode in [0o640, 0o604, 0o620, 0o666] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert!(matches!(read(&path), Err(ReadError::Mode(is)) if is == mode));
        }
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(matches!(read(&link), Err(ReadError::Io(_))));
        assert!(matches!(read(folder.path()), Err(ReadError::Kind)));
        // Only root can give a file away.
        if rustix::process::geteuid().is_root() {
            with("{\"version\": 1}");
            std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
            assert!(matches!(read(&path), Err(ReadError::Owner(12_345))));
        }
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        std::fs::create_dir(&path).unwrap();
        assert!(write(&path, &state()).is_err(), "a folder is there");
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
        assert!(write(&folder.path().join("none/state"), &state()).is_err());
    }
}
