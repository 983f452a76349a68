// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A lock that nobody waits for.

use core::cell::UnsafeCell;
use core::ops::Deref;
use core::ops::DerefMut;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering;

/// A value that one has at a time. For what is used by one processor with softirqs off: there it is always free, and costs
/// less than a spinlock.
///
/// # Invariants
///
/// While `taken` is set, a [`Taken`] has the value, and nobody else uses it.
pub(crate) struct TryLock<T> {
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: by the invariant one at a time uses the value, whichever processor it is on; who has it may share it.
unsafe impl<T: Send + Sync> Sync for TryLock<T> {}

impl<T> TryLock<T> {
    /// Free.
    pub(crate) const fn new(value: T) -> Self {
        // INVARIANT: it is not taken.
        Self {
            taken: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// The value; `None` where somebody has it.
    #[inline]
    pub(crate) fn take(&self) -> Option<Taken<'_, T>> {
        let free = !self.taken.swap(true, Ordering::Acquire);
        // INVARIANT: it was free, and is taken now by this one.
        free.then_some(Taken(self))
    }
}

/// Has the value of a lock until it is dropped.
///
/// # Invariants
///
/// It is the only one of its lock.
pub(crate) struct Taken<'a, T>(&'a TryLock<T>);

impl<T> Deref for Taken<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: by the invariant nobody else uses the value.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for Taken<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: by the invariant nobody else uses the value.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for Taken<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.0.taken.store(false, Ordering::Release);
    }
}
