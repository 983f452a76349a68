// SPDX-License-Identifier: MIT
//! One timer for all the waits of a connection, one after another. A wait that ends in time costs the runtime's wheel of
//! timers nothing: what is armed stays armed, and is looked at when it fires.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::Sleep;
use tokio::time::sleep_until;

/// As good as for ever, where the clock could not hold the time.
const FAR: Duration = Duration::from_secs(86400 * 365);

/// What was waited for did not come in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired;

/// A timer that can be started anew at little cost. A new one gives no time.
#[derive(Debug, Default)]
pub struct Timer {
    patience: Duration,
    /// Absent: nothing has been waited for yet.
    deadline: Option<Instant>,
    /// No wait ends later.
    limit: Option<Instant>,
    /// What the time is, or was a moment ago.
    now: Option<Instant>,
    /// Fires at the deadline or before.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    /// Gives so much time, from when something is waited for: the clock is not read before.
    pub const fn start(&mut self, patience: Duration) {
        self.patience = patience;
        self.deadline = None;
    }

    /// Tells what the time is: the clock is not read for the next wait.
    pub fn set_now(&mut self, now: std::time::Instant) {
        self.now = Some(Instant::from_std(now));
    }

    /// No wait ends later than this; `None` takes that back.
    pub fn set_limit(&mut self, limit: Option<std::time::Instant>) {
        self.limit = limit.map(Instant::from_std);
    }

    /// Whether the limit has passed.
    pub fn is_over(&self) -> bool {
        self.limit.is_some_and(|limit| limit <= Instant::now())
    }

    /// How much of this time the limit leaves.
    pub fn within_limit(&self, patience: Duration) -> Duration {
        match self.limit {
            Some(limit) => patience.min(limit.saturating_duration_since(Instant::now())),
            None => patience,
        }
    }

    /// Ready when the time has passed.
    pub fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let patience = self.patience;
        let known = &mut self.now;
        let deadline = *self.deadline.get_or_insert_with(|| {
            let now = known.take().unwrap_or_else(Instant::now);
            let end = now.checked_add(patience).unwrap_or_else(|| now + FAR);
            self.limit.map_or(end, |limit| limit.min(end))
        });
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }

    /// Waits for what `poll` gives, until the time has passed.
    ///
    /// # Errors
    ///
    /// It has.
    pub async fn within<T>(
        &mut self,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Result<T, Expired> {
        poll_fn(|cx| match poll(cx) {
            Poll::Ready(value) => Poll::Ready(Ok(value)),
            Poll::Pending => self.poll_expired(cx).map(|()| Err(Expired)),
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn wait(timer: &mut Timer) -> Duration {
        let began = Instant::now();
        let waited = timer.within(|_| Poll::<()>::Pending).await;
        assert_eq!(waited, Err(Expired));
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn it_fires_when_it_was_last_told_to() {
        let mut timer = Timer::default();
        let second = Duration::from_secs(1);
        timer.start(10 * second);
        let mut polls = 0;
        let once = timer.within(|cx| {
            polls += 1;
            cx.waker().wake_by_ref();
            if polls == 2 {
                Poll::Ready(5)
            } else {
                Poll::Pending
            }
        });
        assert_eq!(once.await, Ok(5));
        // Earlier than what is armed, later, and for ever.
        timer.start(2 * second);
        assert_eq!(wait(&mut timer).await.as_secs(), 2);
        timer.start(20 * second);
        assert_eq!(wait(&mut timer).await.as_secs(), 20);
        timer.start(5 * second);
        assert!(timer.within(|_| Poll::Ready(())).await.is_ok());
        timer.start(60 * second);
        assert_eq!(wait(&mut timer).await.as_secs(), 60);
        timer.set_limit(Some((Instant::now() + 3 * second).into_std()));
        timer.start(60 * second);
        assert_eq!(timer.within_limit(60 * second), 3 * second);
        assert!(!timer.is_over());
        assert_eq!(wait(&mut timer).await.as_secs(), 3);
        assert!(timer.is_over());
        timer.start(second);
        assert_eq!(wait(&mut timer).await.as_secs(), 0);
        timer.set_limit(None);
        timer.start(second);
        assert_eq!(wait(&mut timer).await.as_secs(), 1);
        timer.start(Duration::MAX);
        let never = tokio::time::timeout(100 * second, wait(&mut timer)).await;
        assert!(never.is_err());
    }
}
