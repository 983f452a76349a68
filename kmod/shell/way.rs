// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Ways of packets that are forwarded: routes that are found once and kept, so that a packet need not pass the stack.
//!
//! C header: include/net/dst.h

use core::marker::PhantomData;
use core::ptr::NonNull;

use super::bindings;
use super::packet::Buffer;
use super::packet::Packet;
use super::packet::Point;

/// The way from a device to an address, or none yet.
///
/// # Invariants
///
/// A reference to the entry is this one's.
#[derive(Default)]
pub(crate) struct Way {
    entry: Option<NonNull<bindings::dst_entry>>,
    /// What tells whether an IPv6 route is what it was.
    cookie: u32,
    /// The index of the device that its packets come in by.
    device: u32,
}

// SAFETY: routes are counted by atomic operations, and read under RCU.
unsafe impl Send for Way {}
// SAFETY: as above.
unsafe impl Sync for Way {}

/// A way that a packet can go.
///
/// # Invariants
///
/// The entry is there as long as the hook in which it was found runs, whoever drops its [`Way`].
#[derive(Clone, Copy)]
pub(crate) struct Found<'a>(NonNull<bindings::dst_entry>, PhantomData<&'a ()>);

impl Way {
    /// None yet.
    pub(crate) const fn none() -> Self {
        // INVARIANT: there is no entry.
        Self {
            entry: None,
            cookie: 0,
            device: 0,
        }
    }

    /// Forgets it.
    pub(crate) fn forget(&mut self) {
        if let Some(entry) = self.entry.take() {
            // SAFETY: by the invariant the reference is ours.
            unsafe { bindings::dst_release(entry.as_ptr()) };
        }
    }

    /// The way of a packet that came in to an address, 16 bytes, IPv4 as IPv4-mapped; it is looked for where it is not
    /// known or is no more what it was. The packet has the source that it came with. `None` where it has to pass the stack: it is
    /// for this host, or too long, or it is a fragment or has options, or rules of netfilter or IPsec want to see it.
    pub(crate) fn find<'a>(
        &mut self,
        packet: &mut Packet<'a>,
        destination: &[u8; 16],
        tcp_at: u32,
    ) -> Option<Found<'a>> {
        if packet.point() != Point::PreRouting {
            return None;
        }
        let buffer = packet.raw()?;
        let device = packet.device();
        let known = self.entry.filter(|entry| {
            device == self.device
                // SAFETY: by the invariant the entry is there.
                && unsafe { bindings::l7_way_is_good(entry.as_ptr(), self.cookie) }
        });
        let entry = match known {
            Some(entry) => entry,
            None => {
                self.forget();
                // SAFETY: the buffer is the hook's; the address has 16 bytes, and one number is written.
                let entry = unsafe {
                    bindings::l7_way_find(buffer.as_ptr(), destination.as_ptr(), &mut self.cookie)
                };
                let entry = NonNull::new(entry)?;
                // INVARIANT: the reference that came with it is ours.
                (self.entry, self.device) = (Some(entry), device);
                entry
            }
        };
        // SAFETY: the buffer is the hook's, and the entry there.
        let fits = unsafe { bindings::l7_way_fits(buffer.as_ptr(), entry.as_ptr(), tcp_at) };
        // INVARIANT: hooks run under RCU, and entries are freed after a grace period.
        fits.then_some(Found(entry, PhantomData))
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.forget();
    }
}

impl<'a> Packet<'a> {
    /// Sends the packet, rewritten, on its way, as a router does; the hook has it no more. `false`: it was dropped, for want of
    /// memory or a neighbour.
    ///
    /// No lock may be held that a hook takes.
    pub(crate) fn go(&mut self, way: Found<'a>) -> bool {
        let Some(buffer) = self.give_away() else {
            return false;
        };
        // SAFETY: the buffer was the hook's, which says `NF_STOLEN` now; by the invariant the entry is there.
        unsafe { bindings::l7_way_go(buffer.as_ptr(), way.0.as_ptr()) }
    }
}
