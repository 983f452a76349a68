// SPDX-License-Identifier: MIT
//! Certificates that the front orders itself, by ACME (RFC 8555).
//!
//! A [`Slot`] is a certificate that the rules want; services show what it has. One task for the process orders and renews
//! (`keeper.rs`): a reload orders nothing anew. What it needs to know outlives the process in the state folder.

mod challenge;
mod client;
pub(crate) mod keeper;
mod order;
mod plan;
mod slot;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::time::SystemTime;

use l7switch_certificates::state;
use l7switch_rules::model;
use thiserror::Error;
use tokio::sync::Notify;

use crate::net::tls::TlsError;

pub use challenge::ACME_TLS;
pub use challenge::Challenges;
pub use challenge::is_challenge;
pub use l7switch_certificates::state::StateError;
pub use slot::Slot;

/// What of ACME lives as long as the process.
#[derive(Debug, Default)]
pub struct Acme {
    /// Challenges that are pending.
    pub challenges: Arc<Challenges>,
    /// Told when other rules come into force.
    changed: Notify,
    slots: Mutex<Slots>,
}

/// Certificates by folder and sorted names.
type Slots = BTreeMap<(state::Folder, Vec<String>), Weak<Slot>>;

/// Why certificates cannot be ordered as the rules say.
#[derive(Debug, Error)]
pub enum AcmeError {
    /// The state folder.
    #[error(transparent)]
    State(#[from] StateError),
    /// A file that the rules name.
    #[error(transparent)]
    File(#[from] TlsError),
}

/// Where the certificates of a generation come from.
#[derive(Debug)]
pub struct Source<'a> {
    acme: &'a Acme,
    folder: Option<state::Folder>,
}

impl Acme {
    /// Where certificates come from by these rules. The state folder is made if it is not there.
    ///
    /// # Errors
    ///
    /// See [`AcmeError`].
    pub fn source(&self, rules: Option<&model::Acme>) -> Result<Source<'_>, AcmeError> {
        if let Some(rules) = rules {
            order::check_files(rules)?;
        }
        Ok(Source {
            acme: self,
            folder: rules.map(state::Folder::open).transpose()?,
        })
    }

    /// Other rules are in force.
    pub fn changed(&self) {
        self.changed.notify_one();
    }

    /// The certificate for these names; one that lives is the same.
    ///
    /// # Errors
    ///
    /// The state folder, or a file in it, cannot be used.
    fn slot(&self, folder: &state::Folder, names: &[String]) -> Result<Arc<Slot>, StateError> {
        let mut sorted = names.to_vec();
        sorted.sort_unstable();
        let mut slots = self.slots();
        slots.retain(|_, slot| slot.strong_count() > 0);
        let key = (folder.clone(), sorted);
        if let Some(slot) = slots.get(&key).and_then(Weak::upgrade) {
            slot.look_again(SystemTime::now());
            return Ok(slot);
        }
        let slot = Arc::new(Slot::open(folder.clone(), names, SystemTime::now())?);
        slots.insert(key, Arc::downgrade(&slot));
        Ok(slot)
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source<'_> {
    /// A certificate that the rules order. `None`: they do not say of whom, which the check does not let pass.
    ///
    /// # Errors
    ///
    /// A file of the state folder cannot be used.
    pub fn slot(
        &self,
        ordered: &model::OrderedCertificate,
    ) -> Result<Option<Arc<Slot>>, StateError> {
        let folder = self.folder.as_ref();
        folder
            .map(|folder| self.acme.slot(folder, &ordered.acme))
            .transpose()
    }
}
