// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Routes of packets that the switch sends.
//!
//! C header: include/net/dst.h, include/net/route.h, include/net/ip6_route.h

use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use kernel::ffi::c_int;
use kernel::ffi::c_uint;

use crate::shell::bindings;
use crate::shell::net::netfilter::Filter;
use crate::shell::net::Net;
use crate::shell::packet::Owned;
use crate::shell::packet::Packet;

/// A routing domain (VRF).
///
/// C header: include/net/l3mdev.h
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Vrf(pub(in crate::shell) c_int);

/// What routing looks at besides the addresses: rules, and which of several paths.
#[derive(Clone, Copy, Default)]
pub(crate) struct Selector {
    /// The routing domain.
    pub(crate) vrf: Vrf,
    /// TCP's source port, host order.
    pub(crate) source_port: u16,
    /// TCP's destination port.
    pub(crate) destination_port: u16,
    /// IPv4's type of service, IPv6's traffic class.
    pub(crate) tos: u8,
    /// The mark of the packets (`SO_MARK`).
    pub(crate) mark: u32,
}

/// A route to an address, for what is sent now: it holds the device that it leads to.
///
/// # Invariants
///
/// `entry` is a route of `net`, and one reference to it is ours.
pub(crate) struct Route {
    entry: NonNull<bindings::dst_entry>,
}

impl Route {
    /// Finds the route, whatever the source is. Both addresses are 16 bytes, IPv4 as IPv4-mapped. `None` where there is
    /// none.
    pub(crate) fn to(
        net: &Net,
        source: [u8; 16],
        destination: [u8; 16],
        selector: Selector,
    ) -> Option<Self> {
        // SAFETY: the namespace is there; the addresses are 16 bytes.
        let entry = unsafe {
            bindings::l7_route_output(
                net.as_raw(),
                selector.vrf.0,
                source.as_ptr(),
                destination.as_ptr(),
                selector.source_port,
                selector.destination_port,
                selector.tos,
                selector.mark,
            )
        };
        // INVARIANT: the reference that came with it is ours.
        NonNull::new(entry).map(|entry| Self { entry })
    }

    /// The address of this host's that packets to a destination come from; `None` where there is no route. Both 16 bytes,
    /// IPv4 as IPv4-mapped.
    pub(crate) fn source(net: &Net, vrf: Vrf, destination: [u8; 16]) -> Option<[u8; 16]> {
        let mut source = [0u8; 16];
        // SAFETY: the namespace is there; both addresses are 16 bytes, and the second may be written.
        let found = unsafe {
            bindings::l7_route_source(
                net.as_raw(),
                vrf.0,
                destination.as_ptr(),
                source.as_mut_ptr(),
            )
        };
        found.then_some(source)
    }

    /// Whether an address, 16 bytes, IPv4 as IPv4-mapped, is this host's.
    pub(crate) fn is_here(net: &Net, vrf: Vrf, address: [u8; 16]) -> bool {
        let selector = Selector {
            vrf,
            ..Selector::default()
        };
        Self::to(net, address, address, selector).is_some_and(|route| route.hop().is_local())
    }

    /// It, to send by.
    pub(crate) fn hop(&self) -> NextHop<'_> {
        // INVARIANT: the reference is held as long as this is borrowed.
        NextHop(self.entry, PhantomData)
    }

    /// The route, of which the reference is the caller's.
    pub(in crate::shell) fn into_raw(self) -> NonNull<bindings::dst_entry> {
        ManuallyDrop::new(self).entry
    }
}

/// What became of a packet that was to be sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It is on its way.
    Gone,
    /// Rules of netfilter dropped it.
    Filtered(Filter),
    /// It was dropped: no route, no memory, or whoever was asked to send it said so.
    Lost,
}

impl Sent {
    fn of(said: c_int) -> Self {
        match Filter::of(said) {
            Some(at) => Self::Filtered(at),
            None if said == 0 => Self::Gone,
            None => Self::Lost,
        }
    }
}

/// A route that is there for some time, to send packets by.
///
/// # Invariants
///
/// The entry is there through `'a`.
#[derive(Clone, Copy)]
pub(crate) struct NextHop<'a>(
    pub(in crate::shell) NonNull<bindings::dst_entry>,
    pub(in crate::shell) PhantomData<&'a ()>,
);

impl NextHop<'_> {
    /// The longest IP packet that the route takes, bytes.
    pub(crate) fn mtu(self) -> u32 {
        // SAFETY: by the invariant the route is there.
        unsafe { bindings::l7_route_mtu(self.0.as_ptr()) }
    }

    /// Whether it leads to this host.
    pub(crate) fn is_local(self) -> bool {
        // SAFETY: by the invariant the route is there.
        unsafe { bindings::l7_route_is_local(self.0.as_ptr()) }
    }

    /// Sends a packet without passing the hook of local packets: its IP header, its TCP header with options, and few data. Of these the length, IPv4's identification (unless DF is set), IPv4's header checksum and the TCP checksum
    /// are filled in where they are 0. It is lost where they are no such headers, too.
    ///
    /// It may be made of a packet that came in, which the hook has no more then.
    pub(crate) fn send(self, net: &Net, headers: &[u8], instead: Option<&mut Packet<'_>>) -> Sent {
        let Ok(len) = c_uint::try_from(headers.len()) else {
            return Sent::Lost;
        };
        let turned = instead.and_then(|packet| packet.turn(net, self, headers));
        let buffer = turned.map_or_else(
            // SAFETY: by the invariant the route is there; `len` bytes may be read.
            || unsafe {
                bindings::l7_skb_build(net.as_raw(), self.0.as_ptr(), headers.as_ptr(), len, 0)
            },
            NonNull::as_ptr,
        );
        if buffer.is_null() {
            return Sent::Lost;
        }
        // SAFETY: the buffer is ours to give away, and its data begins with the IP header; by the invariant the route is
        // there.
        Sent::of(unsafe { bindings::l7_skb_send(net.as_raw(), buffer, self.0.as_ptr()) })
    }

    /// Sends a packet; see [`Owned::send`].
    pub(in crate::shell) fn send_packet(self, net: &Net, packet: Owned) -> Sent {
        let buffer = packet.into_raw();
        // SAFETY: as above.
        Sent::of(unsafe { bindings::l7_skb_send(net.as_raw(), buffer.as_ptr(), self.0.as_ptr()) })
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        // SAFETY: by the invariant the reference is ours.
        unsafe { bindings::dst_release(self.entry.as_ptr()) };
    }
}
