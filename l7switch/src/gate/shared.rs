// SPDX-License-Identifier: MIT
//! What the gate tells the handler of requests, and the handler the gate.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::AcqRel;
use std::sync::atomic::Ordering::Acquire;
use std::sync::atomic::Ordering::Release;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;

use crate::reason::Refusal;

/// What the gate knows of a request and its handler does not see.
#[derive(Debug)]
pub struct Ticket {
    /// Counted from 1 on each connection.
    pub number: u64,
    /// What is wrong, if the request is synthetic.
    pub refusal: Option<Refusal>,
    /// Whether this is an OPTIONS request for a URI without path or query: it asks for `*`, not for
    /// `/` (RFC 9112, 3.2.4), which is what hyper makes of it.
    pub asterisk: bool,
}

/// What gate and request handler know together of one connection.
#[derive(Debug)]
pub struct Shared {
    /// Requests that were handed up, the synthetic one included.
    passed: AtomicU64,
    /// Requests that the handler has seen.
    seen: AtomicU64,
    /// Number of the synthetic request and what is wrong.
    refusal: Mutex<Option<(u64, Refusal)>>,
    /// Number of the latest request whose target is an authority alone, but for the scheme.
    asterisk: AtomicU64,
    /// Why the body that is being read was cut short.
    broken_body: Mutex<Option<Refusal>>,
    /// Number of the latest request whose answer is known, times two, plus one if it is 101.
    decided: AtomicU64,
    waker: Mutex<Option<Waker>>,
    /// Whether the last message was read to its end and nothing behind it.
    clean: AtomicBool,
}

impl Shared {
    /// For the handler, once for each request in order.
    pub fn begin(&self) -> Ticket {
        let number = self.seen.fetch_add(1, AcqRel).wrapping_add(1);
        let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        let why = match &*refusal {
            Some((synthetic, _)) if *synthetic == number => refusal.take().map(|(_, why)| why),
            _ => None,
        };
        Ticket {
            number,
            refusal: why,
            asterisk: self.asterisk.load(Acquire) == number,
        }
    }

    /// Requests that the handler has seen.
    pub fn seen(&self) -> u64 {
        self.seen.load(Acquire)
    }

    /// Why the gate cut the current body short, if it did.
    pub fn broken_body(&self) -> Option<Refusal> {
        self.broken_body
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// For the handler, before it answers: whether the answer is 101, behind which the connection
    /// is another protocol's.
    pub fn decide_upgrade(&self, number: u64, changes: bool) {
        self.decided
            .store(number.wrapping_shl(1) | u64::from(changes), Release);
        let waker = self
            .waker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether the connection is another protocol's by now.
    pub fn has_changed(&self) -> bool {
        self.decided.load(Acquire) & 1 == 1
    }

    /// Whether everything that was received belonged to requests that are complete.
    pub fn is_clean(&self) -> bool {
        self.clean.load(Acquire)
    }

    /// For the gate: what was received belongs to complete requests, or does not.
    pub(super) fn set_clean(&self, clean: bool) {
        self.clean.store(clean, Release);
    }

    /// For the gate: a request is handed up. Gives its number.
    pub(super) fn pass(&self) -> u64 {
        self.passed.fetch_add(1, AcqRel).wrapping_add(1)
    }

    /// For the gate: the request that was just handed up asks for `*`.
    pub(super) fn pass_asterisk(&self, number: u64) {
        self.asterisk.store(number, Release);
    }

    /// For the gate: the synthetic request is handed up in place of one that is refused.
    pub(super) fn refuse(&self, why: Refusal) {
        let number = self.pass();
        let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        *refusal = Some((number, why));
        self.set_clean(false);
    }

    /// For the gate: the body that is being read ends here.
    pub(super) fn cut_body(&self, why: Refusal) {
        let mut broken = self
            .broken_body
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *broken = Some(why);
        self.set_clean(false);
    }

    /// For the gate, behind a request that asked for an upgrade: whether its answer is 101.
    pub(super) fn poll_decision(&self, cx: &mut Context<'_>) -> Poll<bool> {
        let number = self.passed.load(Acquire);
        let decision = || {
            let decided = self.decided.load(Acquire);
            (decided.wrapping_shr(1) == number).then_some(decided & 1 == 1)
        };
        if decision().is_none() {
            let mut waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
            *waker = Some(cx.waker().clone());
        }
        // It may have been decided between the look and the registration: look again.
        decision().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            passed: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            refusal: Mutex::default(),
            asterisk: AtomicU64::new(0),
            broken_body: Mutex::default(),
            decided: AtomicU64::new(0),
            waker: Mutex::default(),
            clean: AtomicBool::new(true),
        }
    }
}
