// SPDX-License-Identifier: MIT
//! How many client connections are open, and how many may be.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use rustix::process::Resource;
use rustix::process::getrlimit;
use tokio::sync::Notify;

/// Connections that are open.
#[derive(Debug, Default)]
pub struct Room {
    open: AtomicUsize,
    /// Told whenever one ends.
    freed: Notify,
}

impl Room {
    /// Connections now.
    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// Waits until fewer than `limit` connections are open. There is one caller for each listener, so a limit may be passed by as many
    /// as there are listeners.
    pub async fn below(&self, limit: usize) {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if self.open() < limit {
                return;
            }
            freed.await;
        }
    }

    /// Counts a connection until the guard is dropped.
    pub fn enter(self: &Arc<Self>) -> Entered {
        self.open.fetch_add(1, Relaxed);
        Entered(Arc::clone(self))
    }
}

/// A connection that is counted as open.
#[derive(Debug)]
pub struct Entered(Arc<Room>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
        self.0.freed.notify_waiters();
    }
}

/// Descriptors that are for nobody's connection at most: listeners, logs, checks, the admin socket.
const RESERVE: u64 = 256;

/// Most client connections of a process: each may need a descriptor towards a server, too. More wait in the kernel's queue, where
/// they need none (HAProxy's `maxconn` is found so, too).
pub fn most_connections() -> usize {
    match getrlimit(Resource::Nofile).current {
        Some(descriptors) => most_with(descriptors),
        None => usize::MAX,
    }
}

fn most_with(descriptors: u64) -> usize {
    let reserve = RESERVE.min(descriptors / 2);
    let most = descriptors.saturating_sub(reserve) / 2;
    usize::try_from(most.max(1)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_limit_waits_for_a_connection_to_end() {
        let room = Arc::<Room>::default();
        let first = room.enter();
        let waiting = tokio::spawn({
            let room = Arc::clone(&room);
            async move { room.below(1).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        waiting.await.unwrap();
        assert_eq!(room.open(), 0);
    }

    #[test]
    fn half_of_the_descriptors_are_for_clients() {
        for (descriptors, most) in [(0, 1), (2, 1), (64, 16), (1024, 384), (524_288, 262_016)] {
            assert_eq!(most_with(descriptors), most);
        }
    }
}
