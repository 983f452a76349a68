// SPDX-License-Identifier: MIT
//! Files that the rules do not name, and that are read again with each reload.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::Weak;

use super::Switch;

/// What has files that are read again with each reload of the rules, whatever comes of that.
pub trait ReadAgain: Debug + Send + Sync {
    /// Reads them, all or none.
    ///
    /// # Errors
    ///
    /// Why all stay as they were.
    fn read_again(&self) -> Result<(), String>;
}

/// All that has such files, as long as it lives.
#[derive(Debug, Default)]
pub(super) struct Others(Mutex<Vec<Weak<dyn ReadAgain>>>);

impl Others {
    /// Reads all again; gives what went wrong, which is logged.
    pub(super) fn read_again(&self) -> Vec<String> {
        let mut others = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        others.retain(|other| other.strong_count() > 0);
        let living: Vec<_> = others.iter().filter_map(Weak::upgrade).collect();
        drop(others);
        let failed = living.iter().filter_map(|other| other.read_again().err());
        failed.inspect(|why| tracing::error!("{why}")).collect()
    }
}

impl Switch {
    /// These files are read again with each reload.
    pub fn reads_again<T: ReadAgain + 'static>(&self, other: &Arc<T>) {
        let other: Weak<dyn ReadAgain> = Arc::downgrade(&(Arc::clone(other) as Arc<dyn ReadAgain>));
        let mut others = self.others.0.lock().unwrap_or_else(PoisonError::into_inner);
        others.push(other);
    }
}
