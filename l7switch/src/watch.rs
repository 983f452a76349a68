// SPDX-License-Identifier: MIT
//! Reload when a file changes of which the rules are made: rule files, certificates and keys, pages.
//!
//! Folders are watched, not files: editors, and configuration management, replace a file by renaming another one over it, after
//! which a watch on the file would see the old one. Others replace a symbolic link on the way to a file (`current` by a release,
//! `..data` of a Kubernetes ConfigMap), so the folder of each link is watched too, and where links lead is looked at anew after
//! each change.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use notify::EventKind;
use notify::RecommendedWatcher;
use notify::RecursiveMode;
use notify::Watcher;
use notify::event::ModifyKind;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::switch::Switch;

/// How long it has to be quiet after a change: files are written in several steps, a certificate and its key one after the other.
const QUIET: Duration = Duration::from_millis(200);

/// After so long it need not be quiet.
const LATEST: Duration = Duration::from_secs(5);

/// Most symbolic links on the way to a file, as the kernel has it (`path_resolution(7)`).
const MOST_LINKS: usize = 40;

/// A watch on the rules. Dropped, it ends.
#[derive(Debug)]
pub struct Watch {
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watch {
    /// Watches the rule file, or all rule files of the folder, and the files that the rules in force name.
    ///
    /// # Errors
    ///
    /// The kernel's limit of watches, or a folder that is not there.
    pub fn start(switch: &Arc<Switch>, rules: &Path) -> notify::Result<Self> {
        let rules = std::path::absolute(rules).map_err(notify::Error::io)?;
        let (tell, mut told) = mpsc::channel(1);
        let ways = Arc::new(Mutex::new(Ways::default()));
        let wanted = Arc::clone(&ways);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let is_wanted = match event {
                Ok(event) => is_change(event.kind) && lock(&wanted).has_any(&event.paths),
                // Events were lost.
                Err(_) => true,
            };
            if is_wanted {
                // One that waits already is enough.
                let _ = tell.try_send(());
            }
        })?;
        let mut folders = Folders {
            watcher,
            watched: BTreeMap::new(),
        };
        let files = files_of(switch, &rules);
        folders.follow(Ways::to(&files, &rules), &ways)?;
        let mut stamps = stamps(&files);
        let switch = Arc::downgrade(switch);
        let task = tokio::spawn(async move {
            while told.recv().await.is_some() {
                let latest = Instant::now() + LATEST;
                while Instant::now() < latest
                    && let Ok(Some(())) = tokio::time::timeout(QUIET, told.recv()).await
                {
                }
                let Some(switch) = switch.upgrade() else {
                    return;
                };
                // Until nothing has changed while it was looked at.
                loop {
                    let files = files_of(&switch, &rules);
                    if let Err(error) = folders.follow(Ways::to(&files, &rules), &ways) {
                        tracing::warn!(%error, "changes of files may not be seen");
                    }
                    let now = self::stamps(&files);
                    // One that the rules name no more is not missed.
                    let is_missed =
                        |path: &PathBuf| path.starts_with(&rules) && !now.contains_key(path);
                    let is_unchanged = now
                        .iter()
                        .all(|(path, stamp)| stamps.get(path) == Some(stamp))
                        && !stamps.keys().any(is_missed);
                    stamps = now;
                    if is_unchanged {
                        break;
                    }
                    // The outcome is logged and counted there.
                    let _ = switch.reload().await;
                    // What the rules have named just now is as it was read.
                    for (path, stamp) in self::stamps(&named(&switch)) {
                        stamps.entry(path).or_insert(stamp);
                    }
                    tokio::time::sleep(QUIET).await;
                }
            }
        });
        Ok(Self { task })
    }
}

/// What tells a file from what it was before; absent: there is none.
type Stamps = BTreeMap<PathBuf, Option<[i64; 6]>>;

fn stamps(files: &BTreeSet<PathBuf>) -> Stamps {
    let stamp = |path: &PathBuf| {
        let found = fs::metadata(path).ok()?;
        let wide = |number: u64| i64::from_ne_bytes(number.to_ne_bytes());
        Some([
            wide(found.dev()),
            wide(found.ino()),
            wide(found.size()),
            found.mtime(),
            found.mtime_nsec(),
            found.ctime_nsec(),
        ])
    };
    files
        .iter()
        .map(|path| (path.clone(), stamp(path)))
        .collect()
}

/// The files that the rules in force name.
fn named(switch: &Switch) -> BTreeSet<PathBuf> {
    let files = switch.generation().rules.model.files().into_iter();
    files
        .filter_map(|path| std::path::absolute(path).ok())
        .collect()
}

/// The rule files, and the files that the rules in force name.
fn files_of(switch: &Switch, rules: &Path) -> BTreeSet<PathBuf> {
    let mut files = named(switch);
    match fs::read_dir(rules) {
        Ok(entries) => files.extend(
            entries
                .filter_map(|entry| Some(entry.ok()?.path()))
                .filter(|path| is_rule_file(path)),
        ),
        Err(_) => {
            files.insert(rules.to_owned());
        }
    }
    files
}

fn is_rule_file(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "toml")
}

fn lock(ways: &Mutex<Ways>) -> std::sync::MutexGuard<'_, Ways> {
    ways.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What stands on the ways to files.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ways {
    /// Links, and the files themselves, without links before them.
    steps: BTreeSet<PathBuf>,
    /// A folder of rule files: each of them counts.
    rules: Option<PathBuf>,
}

impl Ways {
    fn to(files: &BTreeSet<PathBuf>, rules: &Path) -> Self {
        let mut ways = Self::default();
        for file in files {
            ways.walk(file);
        }
        let end = ways.walk(rules);
        ways.rules = end.is_dir().then_some(end);
        ways
    }

    /// Goes along a path as the kernel does (`path_resolution(7)`), and notes each link and the end. Gives the end.
    fn walk(&mut self, path: &Path) -> PathBuf {
        let steps = |path: &Path| -> Vec<OsString> {
            let parts = path.components().map(|part| part.as_os_str().to_owned());
            parts.collect()
        };
        let mut ahead = VecDeque::from(steps(path));
        let mut links = 0;
        let mut at = PathBuf::from("/");
        while let Some(next) = ahead.pop_front() {
            match Path::new(&next).components().next() {
                Some(Component::Normal(name)) => at.push(name),
                Some(Component::ParentDir) => {
                    at.pop();
                    continue;
                }
                Some(Component::RootDir) => {
                    at = PathBuf::from("/");
                    continue;
                }
                _ => continue,
            }
            if fs::symlink_metadata(&at).is_err() {
                // What is missing may come.
                self.steps.insert(at.clone());
            } else if links < MOST_LINKS
                && let Ok(target) = fs::read_link(&at)
            {
                links = links.saturating_add(1);
                self.steps.insert(at.clone());
                at.pop();
                for step in steps(&target).into_iter().rev() {
                    ahead.push_front(step);
                }
            }
        }
        self.steps.insert(at.clone());
        at
    }

    fn has_any(&self, paths: &[PathBuf]) -> bool {
        paths.iter().any(|path| {
            self.steps.contains(path)
                || path.parent() == self.rules.as_deref() && is_rule_file(path)
        })
    }

    /// The folders in which all of it stands, as far as they are there.
    fn folders(&self) -> BTreeSet<PathBuf> {
        let parents = self.steps.iter().filter_map(|step| step.parent());
        let there = parents.filter_map(|parent| parent.ancestors().find(|folder| folder.is_dir()));
        there
            .map(Path::to_owned)
            .chain(self.rules.clone())
            .collect()
    }
}

/// The folders that are watched.
struct Folders {
    watcher: RecommendedWatcher,
    /// By path, with what the kernel knows them by: another folder may have taken the place of one.
    watched: BTreeMap<PathBuf, (u64, u64)>,
}

impl Folders {
    /// Watches what these ways go through, and nothing else.
    fn follow(&mut self, ways: Ways, shared: &Mutex<Ways>) -> notify::Result<()> {
        let wanted: BTreeMap<_, _> = ways
            .folders()
            .into_iter()
            .filter_map(|folder| {
                let found = fs::metadata(&folder).ok()?;
                Some((folder, (found.dev(), found.ino())))
            })
            .collect();
        *lock(shared) = ways;
        let watcher = &mut self.watcher;
        self.watched.retain(|folder, known| {
            let stays = wanted.get(folder) == Some(known);
            if !stays {
                // The kernel has ended it already where the folder is gone.
                let _ = watcher.unwatch(folder);
            }
            stays
        });
        for (folder, known) in wanted {
            if !self.watched.contains_key(&folder) {
                self.watcher.watch(&folder, RecursiveMode::NonRecursive)?;
                self.watched.insert(folder, known);
            }
        }
        Ok(())
    }
}

/// Whether content may have changed: reading a file causes events too.
const fn is_change(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::Create(_)
            | EventKind::Remove(_)
            | EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Name(_) | ModifyKind::Any)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn every_link_on_the_way_is_a_step() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("releases/1")).unwrap();
        fs::write(root.join("releases/1/rules.toml"), "").unwrap();
        symlink("releases/1", root.join("current")).unwrap();
        symlink(root.join("current"), root.join("absolute")).unwrap();
        symlink("../releases/./1/rules.toml", root.join("releases/link")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let steps = |path: &str| {
            let mut ways = Ways::default();
            ways.walk(&root.join(path));
            let short = |step: &PathBuf| {
                let step = step.strip_prefix(&root).unwrap();
                step.to_str().unwrap().to_owned()
            };
            ways.steps.iter().map(short).collect::<Vec<_>>().join(" ")
        };
        let file = "releases/1/rules.toml";
        assert_eq!(steps(file), file);
        assert_eq!(steps("current/rules.toml"), format!("current {file}"));
        assert_eq!(
            steps("absolute/rules.toml"),
            format!("absolute current {file}")
        );
        assert_eq!(steps("releases/link"), format!("{file} releases/link"));
        assert_eq!(steps("current/none.toml"), "current releases/1/none.toml");
        assert_eq!(steps("none/none.toml"), "none none/none.toml");
        assert!(steps("loop").starts_with("loop"));
    }
}
