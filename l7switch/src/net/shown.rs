// SPDX-License-Identifier: MIT
//! A certificate of a service: from files, or ordered.

use std::sync::Arc;
use std::time::SystemTime;

use l7switch_admin_api::CertificateStatus;
use l7switch_certificates::Pair;
use rustls::sign::CertifiedKey;

use crate::acme::Slot;

/// A certificate that clients are shown.
#[derive(Clone, Debug)]
pub enum Shown {
    /// From files.
    Files(Pair),
    /// Ordered by ACME: what it has at the time.
    Ordered(Arc<Slot>),
}

impl Shown {
    /// The names that it is for, in lower case.
    pub(super) fn names(&self) -> &[String] {
        match self {
            Self::Files(pair) => &pair.names,
            Self::Ordered(slot) => &slot.names,
        }
    }

    /// As rustls has it, for a client that asks for this name. `None`: it has not come yet.
    pub(super) fn certified(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        match self {
            Self::Files(pair) => Some(Arc::clone(&pair.certified)),
            Self::Ordered(slot) => Some(Arc::clone(&slot.pair_for(name)?.certified)),
        }
    }

    /// What is told of it.
    pub fn status(&self) -> CertificateStatus {
        match self {
            Self::Files(pair) => of_pair(pair),
            Self::Ordered(slot) => CertificateStatus {
                // Also before it is there.
                name: slot.label().to_owned(),
                names: slot.names.clone(),
                order: Some(slot.status()),
                ..slot.pair().as_deref().map(of_pair).unwrap_or_default()
            },
        }
    }
}

fn of_pair(pair: &Pair) -> CertificateStatus {
    let unix = |time: SystemTime| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH);
        since.unwrap_or_default().as_secs()
    };
    CertificateStatus {
        name: pair.label(),
        names: pair.names.clone(),
        file: pair.rules.cert.clone(),
        not_before: pair.validity.map(|(from, _)| unix(from)),
        not_after: pair.validity.map(|(_, to)| unix(to)),
        order: None,
    }
}
