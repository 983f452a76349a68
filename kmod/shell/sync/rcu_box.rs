// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A box that many read under RCU while one replaces it.
//!
//! C header: include/linux/rcupdate.h

use core::marker::PhantomData;
use core::ptr::null_mut;
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::Ordering;

use kernel::prelude::*;
use kernel::sync::rcu;

/// A box, or none, published by RCU.
///
/// # Invariants
///
/// The pointer is null or from `KBox::into_raw`, and what it points to is dropped only when a grace period has passed
/// since it was last here.
pub(crate) struct RcuBox<T> {
    pointer: AtomicPtr<T>,
    _owns: PhantomData<KBox<T>>,
}

// SAFETY: it owns a T and gives shared references to it to any thread.
unsafe impl<T: Send + Sync> Send for RcuBox<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for RcuBox<T> {}

impl<T> RcuBox<T> {
    /// None.
    pub(crate) const fn none() -> Self {
        // INVARIANT: null.
        Self {
            pointer: AtomicPtr::new(null_mut()),
            _owns: PhantomData,
        }
    }

    /// What is published now.
    pub(crate) fn read<'g>(&'g self, _guard: &'g rcu::Guard) -> Option<&'g T> {
        // SAFETY: by the invariant the box lives until a grace period has passed, and so as long as the guard. The
        // acquire pairs with the release of `replace` (rcu_dereference asks for less).
        unsafe { self.pointer.load(Ordering::Acquire).as_ref() }
    }

    /// Publishes another and drops the one before when nobody reads it any more. Sleeps for a grace period.
    pub(crate) fn replace(&self, new: Option<KBox<T>>) {
        let new = new.map_or(null_mut(), KBox::into_raw);
        let old = self.pointer.swap(new, Ordering::AcqRel);
        if !old.is_null() {
            rcu::synchronize_rcu();
            // SAFETY: by the invariant it is from a box; the swap made it ours, and the grace period has passed.
            drop(unsafe { KBox::from_raw(old) });
        }
    }
}

impl<T> Drop for RcuBox<T> {
    fn drop(&mut self) {
        let old = *self.pointer.get_mut();
        if !old.is_null() {
            // SAFETY: by the invariant it is from a box; readers borrow `self`, so there is none.
            drop(unsafe { KBox::from_raw(old) });
        }
    }
}
