// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A packet that the switch keeps.
//!
//! C header: include/linux/skbuff.h

use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use kernel::ffi::c_int;

use super::Buffer;
use super::Point;
use crate::shell::bindings;
use crate::shell::net::route::NextHop;
use crate::shell::net::route::Route;
use crate::shell::net::route::Selector;
use crate::shell::net::route::Sent;
use crate::shell::net::route::Vrf;
use crate::shell::net::Net;

/// The longest headers that a packet can have whose payload is cut, bytes: of IPv4 and TCP with all options 120, of IPv6
/// with room for extension headers.
const HEADERS_MAX: usize = 256;

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
        let stolen = unsafe { bindings::l7_skb_steal(buffer.as_ptr(), point != Point::LocalOut) };
        // INVARIANT: hooks get buffers that are on no list and that nobody else refers to.
        stolen.then_some(Self { buffer })
    }

    /// Takes what [`Owned::into_raw`] gave.
    ///
    /// # Safety
    ///
    /// It is, and whoever has it uses it no more; it is on no list, unless this is not dropped and not changed.
    pub(super) unsafe fn from_raw(buffer: NonNull<bindings::sk_buff>) -> Self {
        // INVARIANT: the caller's promise.
        Self { buffer }
    }

    /// The buffer, which is the caller's now.
    pub(in crate::shell) fn into_raw(self) -> NonNull<bindings::sk_buff> {
        ManuallyDrop::new(self).buffer
    }

    /// The same packet once more; headers are each one's own as soon as they are written, the payload is shared. `None`
    /// where memory is short.
    pub(crate) fn copy(&self) -> Option<Self> {
        // SAFETY: by the invariant the buffer is valid.
        let copy = unsafe { bindings::l7_skb_copy(self.buffer.as_ptr()) };
        // INVARIANT: a new one.
        NonNull::new(copy).map(|buffer| Self { buffer })
    }

    fn tcp_offset(&self) -> Option<u32> {
        // SAFETY: by the invariant the buffer is valid.
        let at: c_int = unsafe { bindings::l7_skb_find_tcp(self.buffer.as_ptr()) };
        u32::try_from(at).ok()
    }

    /// Keeps of the payload only the bytes from one position to before another, behind all headers; `payload_at` is where
    /// the TCP header says that the payload begins. Lengths, IPv4's header checksum and the TCP checksum are right then
    /// ([`Checksum::Partial`](super::Checksum)), as they have to be before. The sequence number and flags stay: they are
    /// the caller's.
    ///
    /// `false`: nothing was changed, since the packet has not these bytes, its checksum is wrong, or memory is short.
    pub(crate) fn keep_payload(&mut self, payload_at: u32, from: u32, to: u32) -> bool {
        self.cut(payload_at, from, to).is_some()
    }

    fn cut(&mut self, payload_at: u32, from: u32, to: u32) -> Option<()> {
        let payload = self.len().checked_sub(payload_at)?;
        if from > to || to > payload {
            return None;
        }
        if from == 0 && to == payload {
            return Some(());
        }
        let tcp_at = self.tcp_offset()?;
        let [offset] = self.read::<1>(tcp_at.checked_add(12)?)?;
        let words = u32::from(offset >> 4);
        if words < 5 || tcp_at.checked_add(words.wrapping_mul(4))? != payload_at {
            return None;
        }
        // The sum over what is left is computed anew: what is wrong must not become right.
        if !self.checksum_valid(tcp_at) {
            return None;
        }
        self.headers_mut(payload_at)?;
        let buffer = self.buffer.as_ptr();
        if from == 0 || from == to {
            let len = payload_at.checked_add(to.checked_sub(from)?)?;
            // SAFETY: by the invariant the buffer is valid and ours.
            if !unsafe { bindings::l7_skb_trim(buffer, len) } {
                return None;
            }
        } else {
            let mut headers = [0u8; HEADERS_MAX];
            let headers = headers.get_mut(..payload_at as usize)?;
            if !self.read_into(0, headers) {
                return None;
            }
            let start = payload_at.checked_add(from)?;
            let len = to.checked_sub(from)?;
            // SAFETY: the buffer is valid and has these bytes; the headers are `payload_at` bytes.
            let part =
                unsafe { bindings::l7_skb_part(buffer, start, len, headers.as_ptr(), payload_at) };
            // INVARIANT: a new one, whose data begins with the IP header.
            let part = Self {
                buffer: NonNull::new(part)?,
            };
            let whole = core::mem::replace(self, part);
            // SAFETY: it is ours to free.
            unsafe { bindings::l7_skb_consume(whole.into_raw().as_ptr()) };
        }
        // SAFETY: the buffer is valid and ours, its headers are linear and its own.
        unsafe { bindings::l7_skb_refit(self.buffer.as_ptr(), tcp_at, payload_at) };
        Some(())
    }

    /// Sends it from this host, whatever its source is, without passing the hook of local packets; a destination on this
    /// host gets it by the loopback device. The addresses, 16 bytes, IPv4 as IPv4-mapped, are those by which it is routed, in a VRF, unless the route is `known`.
    /// A packet that had come in from another host has passed a router then: its TTL is one less, and rules at `FORWARD` have seen it,
    /// with the device that it came by.
    ///
    /// What is too long for the
    /// route is fragmented, or, where it must not be (IPv4's DF, IPv6), dropped with an ICMP error to its source.
    ///
    /// No lock may be held that [`PacketHook`](crate::shell::net::netfilter::PacketHook) takes: that error passes it.
    pub(crate) fn send(
        self,
        net: &Net,
        vrf: Vrf,
        destination: [u8; 16],
        source: [u8; 16],
        known: Option<NextHop<'_>>,
    ) -> Sent {
        if let Some(hop) = known {
            return hop.send_packet(net, self);
        }
        let ports = self.tcp_offset().and_then(|at| self.read::<4>(at));
        let [s0, s1, d0, d1] = ports.unwrap_or_default();
        // SAFETY: by the invariant the buffer is valid.
        let (tos, mark) = unsafe {
            (
                bindings::l7_skb_tos(self.buffer.as_ptr()),
                bindings::l7_skb_mark(self.buffer.as_ptr()),
            )
        };
        let selector = Selector {
            vrf,
            source_port: u16::from_be_bytes([s0, s1]),
            destination_port: u16::from_be_bytes([d0, d1]),
            tos,
            mark,
        };
        match Route::to(net, source, destination, selector) {
            Some(route) => route.hop().send_packet(net, self),
            None => Sent::Lost,
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: by the invariant it is ours to free.
        unsafe { bindings::l7_skb_drop(self.buffer.as_ptr()) };
    }
}
