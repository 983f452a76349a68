// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Packets held, in the order in which they came.

use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::ptr::NonNull;

use super::Buffer;
use super::Owned;
use crate::shell::bindings;

/// A queue of packets. It allocates nothing: the packets are chained.
///
/// # Invariants
///
/// `first` and `last` are the ends of a chain of buffers, each what an [`Owned`] had and this queue's, or both none.
#[derive(Default)]
pub(crate) struct Held {
    first: Option<NonNull<bindings::sk_buff>>,
    last: Option<NonNull<bindings::sk_buff>>,
    count: u32,
    memory: u32,
}

// SAFETY: it is a number of `Owned`.
unsafe impl Send for Held {}
// SAFETY: as above.
unsafe impl Sync for Held {}

impl Held {
    /// Holds nothing.
    pub(crate) const fn new() -> Self {
        // INVARIANT: none.
        Self {
            first: None,
            last: None,
            count: 0,
            memory: 0,
        }
    }

    /// Packets held.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Bytes of memory that they hold ([`Buffer::memory`]).
    pub(crate) fn memory(&self) -> u32 {
        self.memory
    }

    /// Whether none is held.
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Adds a packet at the end.
    pub(crate) fn push(&mut self, packet: Owned) {
        self.memory = self.memory.saturating_add(packet.memory());
        self.count = self.count.saturating_add(1);
        let buffer = packet.into_raw();
        match self.last {
            // SAFETY: by the invariant it is ours, as the new one is now.
            Some(last) => unsafe { bindings::l7_skb_chain(last.as_ptr(), buffer.as_ptr()) },
            None => self.first = Some(buffer),
        }
        // INVARIANT: `into_raw` made it ours, and it is on no list: the chain ends with it.
        self.last = Some(buffer);
    }

    /// Takes the first packet.
    pub(crate) fn pop(&mut self) -> Option<Owned> {
        let buffer = self.first?;
        // SAFETY: by the invariant it is ours; it is on no list from then on.
        let next = unsafe { bindings::l7_skb_unchain(buffer.as_ptr()) };
        self.first = NonNull::new(next);
        if self.first.is_none() {
            self.last = None;
        }
        // SAFETY: by the invariant it is what an `Owned` had, and it is on no list any more.
        let packet = unsafe { Owned::from_raw(buffer) };
        self.count = self.count.saturating_sub(1);
        self.memory = self.memory.saturating_sub(packet.memory());
        Some(packet)
    }

    /// The packets, from the first on, to be read.
    pub(crate) fn iter(&self) -> Iter<'_> {
        Iter {
            next: self.first,
            _held: PhantomData,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}

/// A packet that is held.
pub(crate) struct HeldPacket<'a>(ManuallyDrop<Owned>, PhantomData<&'a Held>);

impl<'a> HeldPacket<'a> {
    /// [`Buffer::run`], for as long as the queue is borrowed.
    pub(crate) fn bytes(&self, offset: u32) -> &'a [u8] {
        let run = self.0.run(offset);
        // SAFETY: the bytes are of a buffer of the queue's, which keeps it and does not change it as long as it is
        // borrowed.
        unsafe { core::slice::from_raw_parts(run.as_ptr(), run.len()) }
    }
}

impl Deref for HeldPacket<'_> {
    type Target = Owned;

    fn deref(&self) -> &Owned {
        &self.0
    }
}

/// What [`Held::iter`] gives.
pub(crate) struct Iter<'a> {
    next: Option<NonNull<bindings::sk_buff>>,
    _held: PhantomData<&'a Held>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = HeldPacket<'a>;

    fn next(&mut self) -> Option<HeldPacket<'a>> {
        let buffer = self.next?;
        // SAFETY: by the queue's invariant it is valid as long as the queue is borrowed.
        self.next = NonNull::new(unsafe { bindings::l7_skb_next(buffer.as_ptr()) });
        // SAFETY: it stays the queue's: nobody drops this one, and nobody gets more than a shared reference to it.
        let packet = ManuallyDrop::new(unsafe { Owned::from_raw(buffer) });
        Some(HeldPacket(packet, PhantomData))
    }
}
