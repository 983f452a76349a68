// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A packet in a hook.
//!
//! C header: include/linux/netfilter.h

use core::marker::PhantomData;
use core::ptr::NonNull;

use kernel::ffi::c_uint;
use kernel::ffi::c_void;
use kernel::sync::rcu;

use super::Buffer;
use super::Owned;
use crate::shell::bindings;
use crate::shell::net::route::NextHop;
use crate::shell::net::route::Vrf;
use crate::shell::net::Net;

const _: () = assert!(size_of::<rcu::Guard>() == 0, "a guard is made of nothing");

/// Where a hook sees a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    /// It came in and is not routed yet. In softirq context.
    PreRouting,
    /// A device has given it to the stack, which has not looked at it yet. In softirq context.
    Ingress,
    /// It comes from this host and is routed. In process context, with softirqs on, or in softirq context; a lock that the
    /// hook takes at the other point, too, is taken with [`crate::shell::sync::bottom_halves::Disabled`].
    LocalOut,
}

/// That RCU's read side is held as long as a hook runs.
///
/// # Safety
///
/// A hook runs during `'a`.
#[inline]
pub(in crate::shell) unsafe fn hook_guard<'a>() -> &'a rcu::Guard {
    // SAFETY: a guard has no bytes. The kernel calls hooks on RCU's read side (`nf_hook` in include/linux/netfilter.h,
    // `nf_ingress` in net/core/dev.c), which is what one stands for; nobody drops this one.
    unsafe { NonNull::dangling().as_ref() }
}

/// A packet that a hook sees.
///
/// # Invariants
///
/// `buffer`, where it is some, and `state` are what the kernel gave the hook, valid through `'a`; the buffer is the hook's.
pub(crate) struct Packet<'a> {
    /// None: stolen.
    buffer: Option<NonNull<bindings::sk_buff>>,
    state: NonNull<bindings::nf_hook_state>,
    point: Point,
    _life: PhantomData<&'a mut ()>,
}

// SAFETY: by the invariant; `from_raw` has looked where the IP header is.
unsafe impl Buffer for Packet<'_> {
    fn raw(&self) -> Option<NonNull<bindings::sk_buff>> {
        self.buffer
    }
}

impl<'a> Packet<'a> {
    /// Takes what the kernel gives a hook; `None` where its data does not begin with the IP header, and for a packet that
    /// comes back by the loopback device: it is seen once, when it goes out.
    ///
    /// # Safety
    ///
    /// Both are what the kernel gave a hook, and nobody else uses the buffer as long as this lives. If [`Self::is_stolen`]
    /// says so, the hook says `NF_STOLEN`.
    #[inline]
    pub(in crate::shell) unsafe fn from_raw(
        buffer: NonNull<bindings::sk_buff>,
        state: NonNull<bindings::nf_hook_state>,
    ) -> Option<Self> {
        // SAFETY: the caller's promise.
        let seen = unsafe { bindings::l7_hook_sees(buffer.as_ptr(), state.as_ptr()) };
        // SAFETY: the caller's promise.
        let hook = u32::from(unsafe { state.as_ref() }.hook);
        let local = hook == bindings::nf_inet_hooks_NF_INET_LOCAL_OUT;
        // INVARIANT: the caller's promise.
        seen.then_some(Self {
            buffer: Some(buffer),
            state,
            point: if local {
                Point::LocalOut
            } else {
                Point::PreRouting
            },
            _life: PhantomData,
        })
    }

    /// The same at a device's ingress. `None` for a packet that is not plain, or that others may want to see: it is for
    /// [`Point::PreRouting`].
    ///
    /// # Safety
    ///
    /// As of [`Self::from_raw`]; `target` is that of the hook.
    #[inline]
    pub(in crate::shell) unsafe fn at_ingress(
        buffer: NonNull<bindings::sk_buff>,
        state: NonNull<bindings::nf_hook_state>,
        target: *const c_void,
    ) -> Option<Self> {
        // SAFETY: the caller's promise.
        let plain =
            unsafe { bindings::l7_ingress_is_plain(buffer.as_ptr(), state.as_ptr(), target) };
        // INVARIANT: the caller's promise.
        plain.then_some(Self {
            buffer: Some(buffer),
            state,
            point: Point::Ingress,
            _life: PhantomData,
        })
    }

    /// Whether it is the hook's no more.
    pub(in crate::shell) fn is_stolen(&self) -> bool {
        self.buffer.is_none()
    }

    /// The buffer, which the hook has no more.
    pub(in crate::shell) fn give_away(&mut self) -> Option<NonNull<bindings::sk_buff>> {
        self.buffer.take()
    }

    fn state(&self) -> &bindings::nf_hook_state {
        // SAFETY: by the invariant it is valid, and nobody writes it.
        unsafe { self.state.as_ref() }
    }

    /// Where the hook is.
    #[inline]
    pub(crate) fn point(&self) -> Point {
        self.point
    }

    /// Takes a packet from a device, for a hook at [`Point::Ingress`]: from then on it does not go on as it is. Gives whether its
    /// TCP checksum is right ([`Buffer::checksum_valid`]). `None` where it has to go on: the stack will drop it.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<bool> {
        let buffer = self.buffer.filter(|_| self.point == Point::Ingress)?;
        // SAFETY: by the invariant the buffer is valid; `at_ingress` found it plain.
        match unsafe { bindings::l7_ingress_take(buffer.as_ptr()) } {
            ..0 => None,
            right => Some(right != 0),
        }
    }

    /// That RCU's read side is held as long as the hook runs.
    pub(crate) fn guard(&self) -> &'a rcu::Guard {
        // SAFETY: by the invariant the hook runs through `'a`.
        unsafe { hook_guard() }
    }

    /// The namespace that the packet is in.
    pub(crate) fn net(&self) -> &'a Net {
        // SAFETY: the kernel gives a hook a namespace that outlives the call.
        unsafe { Net::from_raw(self.state().net) }
    }

    /// Whether an address, 16 bytes, IPv4 as IPv4-mapped, is this host's where the packet was received or is sent: a socket could be
    /// bound to it.
    pub(crate) fn is_to_this_host(&self, address: &[u8; 16]) -> bool {
        // SAFETY: by the invariant the state is valid; the address is 16 bytes; hooks run under RCU.
        unsafe { bindings::l7_hook_is_local(self.state.as_ptr(), address.as_ptr()) }
    }

    /// Whether a socket of this host has the connection of a TCP packet, whose header is at `tcp_at`, or had it not long ago.
    pub(crate) fn has_socket(&self, tcp_at: u32) -> bool {
        self.buffer.is_some_and(|buffer| {
            // SAFETY: by the invariants the state is valid and the buffer is the hook's; hooks run under RCU.
            unsafe { bindings::l7_hook_has_socket(self.state.as_ptr(), buffer.as_ptr(), tcp_at) }
        })
    }

    /// Whether IPsec has policies where the packet is.
    pub(crate) fn has_ipsec(&self) -> bool {
        // SAFETY: the namespace is there.
        unsafe { bindings::l7_net_has_ipsec(self.net().as_raw()) }
    }

    /// Whether IPsec's policies let a received packet in, with the headers that it came with: to an address, 16 bytes, IPv4 as
    /// IPv4-mapped. The stack asks them later, and what is taken here never gets there.
    pub(crate) fn is_let_in(&self, destination: &[u8; 16]) -> bool {
        let Some(buffer) = self.buffer else {
            return false;
        };
        if self.point() == Point::LocalOut {
            return true;
        }
        // SAFETY: by the invariants the state is valid and the buffer is the hook's; the address is 16 bytes; hooks run under
        // RCU.
        unsafe {
            bindings::l7_hook_ipsec_lets_in(
                self.state.as_ptr(),
                buffer.as_ptr(),
                destination.as_ptr(),
            )
        }
    }

    /// The VRF in which the packet was received or is sent.
    pub(crate) fn vrf(&self) -> Vrf {
        // SAFETY: by the invariant the state is valid; hooks run under RCU.
        Vrf(unsafe { bindings::l7_hook_vrf(self.state.as_ptr()) })
    }

    /// Takes the packet out of the hook: the kernel knows of it no more, whatever the hook says then. `None` where memory
    /// is short; the packet is in the hook still.
    pub(crate) fn steal(&mut self) -> Option<Owned> {
        let buffer = self.buffer?;
        // SAFETY: by the invariant the buffer is the hook's, whose end says `NF_STOLEN` once this has none.
        let owned = unsafe { Owned::steal(buffer, self.point()) }?;
        self.buffer = None;
        Some(owned)
    }

    /// Makes of the packet one of this host's without payload, with other headers, whose checksums are 0, for a way; takes it out of
    /// the hook. `None`: it was not changed, since others have its bytes too, or there is no room.
    pub(in crate::shell) fn turn(
        &mut self,
        net: &Net,
        way: NextHop<'_>,
        headers: &[u8],
    ) -> Option<NonNull<bindings::sk_buff>> {
        let buffer = self.buffer.filter(|_| self.point == Point::Ingress)?;
        let len = c_uint::try_from(headers.len()).ok()?;
        // SAFETY: by the invariants the buffer is the hook's and the route is there; `len` bytes may be read.
        let turned = unsafe {
            bindings::l7_skb_turn(
                net.as_raw(),
                buffer.as_ptr(),
                way.0.as_ptr(),
                headers.as_ptr(),
                len,
            )
        };
        turned.then(|| self.buffer.take()).flatten()
    }

    /// Routes a packet that came in to an address, 16 bytes, IPv4 as IPv4-mapped. To be called before the headers are
    /// rewritten, with the source that it came with: a source that is an address of this host's, as a virtual service's
    /// is, would be a martian to the routing that follows otherwise. The packet then goes where this found, whatever
    /// destination is written into it.
    ///
    /// `false` where there is no route (or forwarding is off): the packet has none, and cannot be let on rewritten.
    ///
    /// IPv6 has no martians: it is routed after the hook, by the headers as they are then, and this says `true`.
    pub(crate) fn route_input(&mut self, destination: [u8; 16]) -> bool {
        let Some(buffer) = self.buffer else {
            return false;
        };
        self.point() != Point::LocalOut
            // SAFETY: by the invariant the buffer is valid; hooks run under RCU.
            && unsafe { bindings::l7_skb_route_input(buffer.as_ptr(), destination.as_ptr()) }
    }

    /// Routes a packet of this host's again, by the headers as they are now. `false` where there is no route: the packet
    /// may have none any more, and has to be dropped or stolen.
    pub(crate) fn reroute(&mut self) -> bool {
        let Some(buffer) = self.buffer else {
            return false;
        };
        self.point() == Point::LocalOut
            // SAFETY: by the invariant both are valid.
            && unsafe { bindings::l7_skb_reroute(self.state.as_ptr(), buffer.as_ptr()) }
    }
}
