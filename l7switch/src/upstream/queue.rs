// SPDX-License-Identifier: MIT
//! Requests that wait for a server, in order, while all that could take them have as many as they may.
//!
//! A place is handed over: who gives one up, or makes room in another way, looks under the queue's lock for the first
//! request that can have it, and picks the server for it. So nobody has to be woken and to try, and no place is lost with
//! one who has left: what was handed to it is dropped there, which hands it on.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::task::Context;
use std::task::Poll;

use tokio::sync::oneshot;

use super::lease::Outstanding;
use super::pool::Pool;

/// A server that was chosen: its index in the pool, and the request counted there.
pub(super) type Picked = (usize, Outstanding);

/// What a request gets that asks for a server.
#[derive(Debug)]
pub(super) enum Turn {
    /// This one.
    Now(Picked),
    /// One of those that have as many requests as they may, later.
    Later(Waiting),
    /// None: as many wait as may.
    Full,
    /// None: no server is available, or those that are were tried.
    Nobody,
}

/// The queue of a pool, over all generations of the rules.
#[derive(Debug, Default)]
pub(super) struct Queue(Mutex<Line>);

/// Those who wait. Each of them still wants its turn: [`Waiting`] takes it out before it ends.
#[derive(Debug, Default)]
pub(super) struct Line {
    waiters: VecDeque<Waiter>,
    /// Number of the next one.
    next: u64,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    /// The pool as the rules were when it came.
    pool: Arc<Pool>,
    hash: u64,
    tried: Vec<usize>,
    turn: oneshot::Sender<Option<Picked>>,
}

impl Queue {
    /// The line, for as long as nobody else may choose a server.
    pub(super) fn lock(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those who wait.
    pub(super) fn len(&self) -> usize {
        self.lock().waiters.len()
    }

    /// Gives a request's place up, and servers to those who can have one now.
    pub(super) fn release(&self, give_up: impl FnOnce()) {
        let mut line = self.lock();
        give_up();
        line.serve();
    }
}

impl Line {
    /// Puts a request at the end, if fewer than `most` wait.
    pub(super) fn join(
        &mut self,
        queue: &Arc<Queue>,
        pool: &Arc<Pool>,
        hash: u64,
        tried: &[usize],
        most: usize,
    ) -> Turn {
        if self.waiters.len() >= most {
            return Turn::Full;
        }
        let (turn, given) = oneshot::channel();
        let number = self.next;
        self.next = number.wrapping_add(1);
        self.waiters.push_back(Waiter {
            number,
            pool: Arc::clone(pool),
            hash,
            tried: tried.to_vec(),
            turn,
        });
        Turn::Later(Waiting {
            queue: Arc::clone(queue),
            number,
            given,
        })
    }

    /// Gives servers to those who can have one, in order.
    fn serve(&mut self) {
        // Pools in which nobody who has tried no server found one: nobody else will.
        let mut without: Option<Arc<Pool>> = None;
        let mut at = 0_usize;
        while let Some(waiter) = self.waiters.get(at) {
            let pool = &waiter.pool;
            if without
                .as_ref()
                .is_some_and(|known| Arc::ptr_eq(known, pool))
            {
                at = at.saturating_add(1);
                continue;
            }
            let given = match pool.pick(waiter.hash, &waiter.tried) {
                Some(picked) => Some(picked),
                // Those that it waited for have gone.
                None if !pool.has_untried(&waiter.tried) => None,
                None => {
                    if waiter.tried.is_empty() {
                        without = Some(Arc::clone(pool));
                    }
                    at = at.saturating_add(1);
                    continue;
                }
            };
            let Some(waiter) = self.waiters.remove(at) else {
                return;
            };
            // It cannot have left at this moment: it leaves the line first, for which it needs the lock.
            let _ = waiter.turn.send(given);
        }
    }

    fn leave(&mut self, number: u64) {
        if let Ok(at) = self.waiters.binary_search_by_key(&number, |w| w.number) {
            self.waiters.remove(at);
        }
    }
}

/// A place in the line. Ready with a server, or without one where there is none any more. Dropped, the request waits no
/// longer.
#[derive(Debug)]
pub(super) struct Waiting {
    queue: Arc<Queue>,
    number: u64,
    given: oneshot::Receiver<Option<Picked>>,
}

impl Future for Waiting {
    type Output = Option<Picked>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let given = Pin::new(&mut self.given).poll(cx);
        given.map(|given| given.ok().flatten())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // What was given to it meanwhile is dropped behind this, without the lock.
        self.queue.lock().leave(self.number);
    }
}

#[cfg(test)]
mod tests;
