// SPDX-License-Identifier: GPL-2.0 OR MIT
//! CachedRoutes of a connection's packets: routes that are found once and kept, so that a packet need not pass the stack.
//!
//! C header: include/net/dst.h

use core::marker::PhantomData;
use core::ptr::NonNull;

use kernel::sync::rcu;

use crate::shell::bindings;
use crate::shell::net::route::NextHop;
use crate::shell::net::route::Route;
use crate::shell::net::route::Selector;
use crate::shell::net::route::Vrf;
use crate::shell::net::Net;
use crate::shell::packet::Buffer;
use crate::shell::packet::Packet;
use crate::shell::packet::Point;

/// The way to an address.
///
/// # Invariants
///
/// A reference to the entry, if there is one, is this one's.
pub(crate) struct CachedRoute {
    /// A route that packets are forwarded by and nothing else.
    entry: Option<NonNull<bindings::dst_entry>>,
    /// What tells whether an IPv6 route is what it was.
    cookie: u32,
    /// There is no such route: packets pass the stack.
    stack: bool,
}

// SAFETY: routes are counted by atomic operations, and read under RCU.
unsafe impl Send for CachedRoute {}
// SAFETY: as above.
unsafe impl Sync for CachedRoute {}

impl CachedRoute {
    /// It has not been looked for.
    pub(crate) const fn unknown() -> Self {
        // INVARIANT: there is no entry.
        Self {
            entry: None,
            cookie: 0,
            stack: false,
        }
    }

    /// Forgets it.
    pub(crate) fn forget(&mut self) {
        self.stack = false;
        if let Some(entry) = self.entry.take() {
            // SAFETY: by the invariant the reference is ours.
            unsafe { bindings::dst_release(entry.as_ptr()) };
        }
    }

    /// The way for packets from an address of this host's, or that it stands for, to the way's: both 16 bytes, IPv4 as
    /// IPv4-mapped, with their ports, source first. It is looked for where it is not known or is no more what it was. `None`
    /// where packets have to pass the stack.
    #[inline(always)]
    pub(crate) fn find<'g>(
        &mut self,
        _guard: &'g rcu::Guard,
        net: &Net,
        vrf: Vrf,
        source: &[u8; 16],
        destination: &[u8; 16],
        ports: (u16, u16),
    ) -> Option<NextHop<'g>> {
        if let Some(entry) = self.entry {
            // SAFETY: by the invariant the entry is there.
            if unsafe { bindings::l7_way_is_good(entry.as_ptr(), self.cookie) } {
                // INVARIANT: entries are freed a grace period after they were forgotten.
                return Some(NextHop(entry, PhantomData));
            }
            self.forget();
        }
        if self.stack {
            return None;
        }
        self.look(net, vrf, source, destination, ports)
    }

    #[inline(never)]
    fn look<'g>(
        &mut self,
        net: &Net,
        vrf: Vrf,
        source: &[u8; 16],
        destination: &[u8; 16],
        (source_port, destination_port): (u16, u16),
    ) -> Option<NextHop<'g>> {
        self.stack = true;
        let selector = Selector {
            vrf,
            source_port,
            destination_port,
            ..Selector::default()
        };
        let route = Route::to(net, *source, *destination, selector)?;
        // SAFETY: the route is there; one number is written.
        let plain = unsafe { bindings::l7_way_is_plain(route.hop().0.as_ptr(), &mut self.cookie) };
        if !plain {
            return None;
        }
        let entry = route.into_raw();
        // INVARIANT: the reference is ours.
        (self.entry, self.stack) = (Some(entry), false);
        // INVARIANT: as above, by the guard of the caller.
        Some(NextHop(entry, PhantomData))
    }
}

impl Drop for CachedRoute {
    fn drop(&mut self) {
        self.forget();
    }
}

impl Packet<'_> {
    /// Whether the packet, which came in, can go a way without the stack. Not if it is too long, a fragment or has options, or
    /// rules of netfilter or IPsec want to see it.
    #[inline(always)]
    pub(crate) fn fits(&self, way: NextHop<'_>, tcp_at: u32) -> bool {
        let Some(buffer) = self.raw() else {
            return false;
        };
        let (buffer, way) = (buffer.as_ptr(), way.0.as_ptr());
        // SAFETY: the buffer is the hook's; the entry is there.
        unsafe {
            match self.point() {
                Point::Ingress => bindings::l7_way_fits_at_ingress(buffer, way),
                Point::PreRouting => bindings::l7_way_fits(buffer, way, tcp_at),
                Point::LocalOut => false,
            }
        }
    }

    /// Sends the packet, rewritten, on its way, as a router does; the hook has it no more. `false`: it was dropped, for want of
    /// memory or a neighbour.
    ///
    /// No lock may be held that a hook takes.
    pub(crate) fn go(&mut self, way: NextHop<'_>) -> bool {
        let Some(buffer) = self.give_away() else {
            return false;
        };
        // SAFETY: the buffer was the hook's, which says `NF_STOLEN` now; the entry is there.
        unsafe { bindings::l7_way_go(buffer.as_ptr(), way.0.as_ptr()) }
    }
}
