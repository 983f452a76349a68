// SPDX-License-Identifier: MIT
//! Reload when the rule file changes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use notify::EventKind;
use notify::RecommendedWatcher;
use notify::RecursiveMode;
use notify::Watcher;
use notify::event::ModifyKind;
use tokio::sync::mpsc;

use crate::switch::Switch;

/// How long it has to be quiet after a change: editors write a file in several steps.
const QUIET: Duration = Duration::from_millis(200);

/// A watch on the rules. Dropped, it ends.
#[derive(Debug)]
pub struct Watch {
    _watcher: RecommendedWatcher,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watch {
    /// Watches the rule file, or all rule files of the folder.
    ///
    /// What is watched is the folder: most editors, and configuration management, replace a file by
    /// renaming another one over it, after which a watch on the file would see the old one.
    ///
    /// # Errors
    ///
    /// The kernel's limit of watches, or a folder that is not there.
    pub fn start(switch: &Arc<Switch>, rules: &Path) -> notify::Result<Self> {
        let rules = rules.canonicalize().map_err(notify::Error::io)?;
        let folder = if rules.is_dir() {
            Some(rules.as_path())
        } else {
            rules.parent()
        };
        let folder = folder.unwrap_or(Path::new("/")).to_owned();
        let file = rules
            .file_name()
            .filter(|_| !rules.is_dir())
            .map(ToOwned::to_owned);
        let (tell, mut told) = mpsc::channel(1);
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                let Ok(event) = event else { return };
                let touched = event.paths.iter().any(|path| match &file {
                    Some(file) => path.file_name() == Some(file),
                    None => path
                        .extension()
                        .is_some_and(|extension| extension == "toml"),
                });
                if touched && is_change(event.kind) {
                    // One that waits already is enough.
                    let _ = tell.try_send(());
                }
            })?;
        watcher.watch(&folder, RecursiveMode::NonRecursive)?;
        let switch = Arc::downgrade(switch);
        let task = tokio::spawn(async move {
            while told.recv().await.is_some() {
                while let Ok(Some(())) = tokio::time::timeout(QUIET, told.recv()).await {}
                let Some(switch) = switch.upgrade() else {
                    return;
                };
                // The outcome is logged and counted there.
                let _ = switch.reload().await;
            }
        });
        Ok(Self {
            _watcher: watcher,
            task,
        })
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
