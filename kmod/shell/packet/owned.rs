// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A packet that the switch keeps.
//!
//! C header: include/linux/skbuff.h

use core::ptr::NonNull;

use super::super::bindings;
use super::Buffer;
use super::Point;

/// A packet that is the switch's: held, changed and sent at any time, or dropped. It refers to no device, socket, route or
/// tracked connection: these may go meanwhile.
///
/// # Invariants
///
/// `buffer` is valid, on no list, referred to by nobody else, and its data begins with the IP header.
#[repr(transparent)]
pub(crate) struct Owned {
    buffer: NonNull<bindings::sk_buff>,
}

// SAFETY: by the invariant nobody else uses the buffer, and buffers are bound to no CPU.
unsafe impl Send for Owned {}
// SAFETY: shared references only read the buffer.
unsafe impl Sync for Owned {}

// SAFETY: by the invariant.
unsafe impl Buffer for Owned {
    fn raw(&self) -> Option<NonNull<bindings::sk_buff>> {
        Some(self.buffer)
    }
}

impl Owned {
    /// Takes a packet out of a hook, away from its socket and device. `None` where memory is short.
    ///
    /// # Safety
    ///
    /// The buffer is the hook's and its data begins with the IP header; where this gives some, the hook does not use it
    /// any more and says `NF_STOLEN`.
    pub(super) unsafe fn steal(buffer: NonNull<bindings::sk_buff>, point: Point) -> Option<Self> {
        // SAFETY: the caller's promise.
        let stolen = unsafe { bindings::l7_skb_steal(buffer.as_ptr(), point == Point::PreRouting) };
        // INVARIANT: hooks get buffers that are on no list and that nobody else refers to.
        stolen.then_some(Self { buffer })
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: by the invariant it is ours to free.
        unsafe { bindings::l7_skb_drop(self.buffer.as_ptr()) };
    }
}
