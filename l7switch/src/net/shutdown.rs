// SPDX-License-Identifier: MIT
//! The end of the switch: everybody is told, and everybody who still works is waited for.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
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
    /// Whether another process has the sockets: connections may stay until their next request.
    is_left: AtomicBool,
    /// Whether the time for what was in progress is over.
    is_over: AtomicBool,
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
            is_left: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
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
    /// is about to end. Where another process goes on serving, it has all the time it has otherwise.
    pub async fn last_chance(&self) {
        if self.is_left() {
            std::future::pending().await
        }
        tokio::time::sleep(LAST_CHANCE).await;
    }

    /// Whether another process goes on serving. A connection without a request is not closed then, since its next request may be on
    /// its way: the answer says that it is the last, and the client finds the other process.
    pub fn is_left(&self) -> bool {
        self.is_left.load(Relaxed)
    }

    /// Tells everybody that the switch ends, and that another process goes on serving.
    pub fn leave(&self) {
        self.is_left.store(true, Relaxed);
        self.drain();
    }

    /// The time for what is in progress is over: what ends from now on, the switch ends.
    pub fn cut(&self) {
        self.is_over.store(true, Relaxed);
    }

    /// Whether it is.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
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
    async fn where_another_process_serves_no_chance_is_the_last() {
        let hour = Duration::from_secs(3600);
        let shutdown = Shutdown::default();
        shutdown.drain();
        let chance = tokio::time::timeout(hour, shutdown.last_chance());
        assert!(chance.await.is_ok());
        let shutdown = Shutdown::default();
        shutdown.leave();
        assert!(shutdown.is_draining());
        let chance = tokio::time::timeout(hour, shutdown.last_chance());
        assert!(chance.await.is_err());
    }

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
