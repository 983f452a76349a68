// SPDX-License-Identifier: MIT
//! How many connections each client of a service has.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use l7switch_rules::model::Limits;

use crate::client::Client;
use crate::http::forwarded;
use crate::observe::log_limit;
use crate::observe::reason::Reason;

/// The clients of a service that have connections which are counted, and how many.
#[derive(Debug, Default)]
pub struct Sources(Mutex<HashMap<IpAddr, u32>>);

impl Sources {
    /// Counts one more connection of a client, unless it has `most` already.
    pub fn enter(self: &Arc<Self>, source: IpAddr, most: u32) -> Option<OfSource> {
        let mut counts = self.counts();
        let count = counts.entry(source).or_default();
        if *count >= most {
            return None;
        }
        *count = count.saturating_add(1);
        Some(OfSource {
            sources: Arc::clone(self),
            source,
        })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that is counted as its client's.
#[derive(Debug)]
pub struct OfSource {
    sources: Arc<Sources>,
    source: IpAddr,
}

impl Drop for OfSource {
    fn drop(&mut self) {
        let mut counts = self.sources.counts();
        if let Some(count) = counts.get_mut(&self.source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.source);
            }
        }
    }
}

/// Whether a client may have the connection that it has made, which is counted then. A proxy that the service trusts makes
/// connections for many clients: its own are not counted.
pub fn admit(client: &mut Client, limits: &Limits) -> bool {
    let Some(most) = limits.connections_per_source else {
        return true;
    };
    let generation = client.core.active.load();
    let trusted = generation
        .service(&client.service)
        .map_or(&[][..], |(_, model, _)| &model.trusted);
    if forwarded::is_trusted(trusted, client.peer.ip()) {
        return true;
    }
    let source = limits.source_prefix.of(client.peer.ip());
    match client.stats.sources.enter(source, most) {
        Some(counted) => {
            client.is_counted(counted);
            true
        }
        None => {
            client.stats.refused(Reason::TooManyConnections);
            let detail = "the client has as many connections as it may have";
            log_limit::hostile(Reason::TooManyConnections, client.peer, detail);
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_own_count() {
        let sources = Arc::new(Sources::default());
        let (one, two) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let first = sources.enter(one, 2).unwrap();
        let second = sources.enter(one, 2).unwrap();
        assert!(sources.enter(one, 2).is_none());
        let other = sources.enter(two, 2).unwrap();
        drop(first);
        let third = sources.enter(one, 2).unwrap();
        assert!(sources.enter(one, 2).is_none());
        // A reload may lower the limit below what there is.
        assert!(sources.enter(one, 1).is_none());
        drop((second, third, other));
        assert!(sources.counts().is_empty(), "nobody is remembered");
    }
}
