// SPDX-License-Identifier: MIT
//! The end of the switch: everybody is told, and everybody who still works is waited for.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::Mutex as AsyncMutex;
use tokio::sync::mpsc;
use tokio::sync::watch;

/// See [`Shutdown::last_chance`].
const LAST_CHANCE: Duration = Duration::from_secs(1);

/// The switch's end, as the rest of it sees it.
#[derive(Debug)]
pub struct Shutdown {
    draining: watch::Sender<bool>,
    /// Dropped when draining begins; the clones that connections hold keep the channel open.
    alive: Mutex<Option<mpsc::Sender<()>>>,
    ended: AsyncMutex<mpsc::Receiver<()>>,
}

/// Held by whatever has to end before the switch may.
#[derive(Clone, Debug)]
pub struct Busy {
    _alive: Option<mpsc::Sender<()>>,
}

impl Default for Shutdown {
    fn default() -> Self {
        let (alive, ended) = mpsc::channel(1);
        Self {
            draining: watch::Sender::new(false),
            alive: Mutex::new(Some(alive)),
            ended: AsyncMutex::new(ended),
        }
    }
}

impl Shutdown {
    /// Whether the switch is about to end.
    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Waits until it is.
    pub fn draining(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut watch = self.draining.subscribe();
        async move {
            // An error means that the switch is gone altogether.
            let _ = watch.wait_for(|draining| *draining).await;
        }
    }

    /// The time that a connection that was accepted has to make its first request when the switch
    /// is about to end.
    pub async fn last_chance(&self) {
        tokio::time::sleep(LAST_CHANCE).await;
    }

    /// Says that something works that has to be waited for.
    pub fn busy(&self) -> Busy {
        let alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        Busy {
            _alive: alive.clone(),
        }
    }

    /// Tells everybody that the switch ends.
    pub fn drain(&self) {
        self.draining.send_replace(true);
    }

    /// Waits until everybody is done, but not longer than `patience`. Gives whether they were.
    pub async fn wait(&self, patience: Duration) -> bool {
        self.alive
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let mut ended = self.ended.lock().await;
        // The channel ends with the last of its senders; nothing is ever sent.
        tokio::time::timeout(patience, ended.recv()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_end_waits_for_the_busy_but_not_for_ever() {
        let shutdown = Shutdown::default();
        let busy = shutdown.busy();
        let told = shutdown.draining();
        shutdown.drain();
        told.await;
        assert!(!shutdown.wait(Duration::from_secs(1)).await);
        drop(busy);
        assert!(shutdown.wait(Duration::from_secs(1)).await);
    }
}
