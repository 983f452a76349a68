// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Packets: reading and writing an `sk_buff`, be it in a hook or kept.
//!
//! C header: include/linux/skbuff.h

mod held;
mod hooked;
mod icmp;
mod owned;

use core::ptr::NonNull;

use kernel::ffi::c_int;
use kernel::ffi::c_uint;
use kernel::ffi::c_void;

use crate::shell::bindings;

pub(crate) use held::Held;
pub(crate) use held::HeldPacket;
pub(in crate::shell) use hooked::hook_guard;
pub(crate) use hooked::Packet;
pub(crate) use hooked::Point;
pub(crate) use icmp::IcmpError;
pub(crate) use owned::Owned;

/// IPPROTO_TCP.
const TCP: u8 = 6;

/// What the checksum field of a TCP header holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checksum {
    /// The checksum: it changes with everything in the segment and with the pseudo-header.
    Full,
    /// The sum of the pseudo-header, not complemented (`CHECKSUM_PARTIAL`): it changes with addresses and length only. The
    /// device or the stack adds the rest.
    Partial,
}

/// What a packet in a hook and a kept one have in common. Offsets are counted in bytes from the start of the IP header.
///
/// Of a packet that was stolen nothing is there: its length is 0, and everything else says `None` or `false`.
///
/// # Safety
///
/// What [`Buffer::raw`] gives is valid as long as the implementor is borrowed, its data begins with the IP header, and no
/// one else writes it meanwhile.
pub(crate) unsafe trait Buffer {
    /// The kernel's buffer.
    fn raw(&self) -> Option<NonNull<bindings::sk_buff>>;

    /// Bytes from the IP header to the end. IPv4's total length and IPv6's payload length are 0 in packets longer than
    /// 65,535 bytes (BIG TCP): this is right there, too.
    fn len(&self) -> u32 {
        self.raw().map_or(0, |buffer| {
            // SAFETY: by the trait's promise the buffer is valid.
            unsafe { bindings::l7_skb_len(buffer.as_ptr()) }
        })
    }

    /// Bytes of memory that the packet holds, with the kernel's own.
    fn memory(&self) -> u32 {
        self.raw().map_or(0, |buffer| {
            // SAFETY: by the trait's promise the buffer is valid.
            unsafe { bindings::l7_skb_truesize(buffer.as_ptr()) }
        })
    }

    /// Copies what lies at an offset, wherever in the buffer that is; `false` where the packet is shorter.
    fn read_into(&self, offset: u32, bytes: &mut [u8]) -> bool {
        let (Some(buffer), Ok(len)) = (self.raw(), c_uint::try_from(bytes.len())) else {
            return false;
        };
        let to = bytes.as_mut_ptr().cast::<c_void>();
        // SAFETY: by the trait's promise the buffer is valid; `len` bytes may be written.
        unsafe { bindings::l7_skb_read(buffer.as_ptr(), offset, to, len) }
    }

    /// So many bytes at an offset; `None` where the packet is shorter.
    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let mut bytes = [0u8; N];
        self.read_into(offset, &mut bytes).then_some(bytes)
    }

    /// What it begins with in one piece, and the length of all of it ([`Buffer::len`]).
    #[inline]
    fn start(&self) -> (&[u8], u32) {
        let Some(buffer) = self.raw() else {
            return (&[], 0);
        };
        // SAFETY: by the trait's promise the buffer is valid as long as this is borrowed.
        unsafe { start_of(buffer) }
    }

    /// The bytes from an offset that lie in one piece, without a copy. Empty behind the end, and where the bytes are foreign
    /// ([`Buffer::is_foreign`]).
    fn run(&self, offset: u32) -> &[u8] {
        let Some(buffer) = self.raw() else {
            return &[];
        };
        let mut len: c_uint = 0;
        // SAFETY: by the trait's promise the buffer is valid; one number is written.
        let bytes = unsafe { bindings::l7_skb_run(buffer.as_ptr(), offset, &mut len) };
        if bytes.is_null() {
            return &[];
        }
        // SAFETY: `len` bytes of the buffer, which stay as long as it is borrowed; who shares them does not write them.
        unsafe { core::slice::from_raw_parts(bytes, len as usize) }
    }

    /// Whether there are bytes in it that a program can still write (sendfile, `MSG_ZEROCOPY`), or that are not to be had in
    /// one piece without a copy.
    fn is_foreign(&self) -> bool {
        self.raw().is_some_and(|buffer| {
            // SAFETY: by the trait's promise the buffer is valid.
            unsafe { bindings::l7_skb_is_foreign(buffer.as_ptr()) }
        })
    }

    /// Copies such bytes: what is read from then on is what is sent. `false` where memory is short, or no processor can read
    /// them.
    fn make_own(&mut self) -> bool {
        self.raw().is_some_and(|buffer| {
            // SAFETY: by the trait's promise the buffer is valid, and nobody else writes it.
            unsafe { bindings::l7_skb_make_own(buffer.as_ptr()) }
        })
    }

    /// Copies the first so many bytes to where nobody else writes them, and leaves the others. `false` where memory is short, or
    /// there are not so many.
    fn pull(&mut self, len: u32) -> bool {
        self.raw().is_some_and(|buffer| {
            // SAFETY: by the trait's promise the buffer is valid, and nobody else writes it.
            unsafe { bindings::l7_skb_pull(buffer.as_ptr(), len) }
        })
    }

    /// Has a packet of TCP be cut into segments of no more than `most` bytes of TCP's options and data when it is sent; its
    /// headers have been [written](Buffer::headers_mut), and its checksum is right. Whether it has to be; `None` where memory
    /// is short.
    fn limit(&mut self, tcp_at: u32, payload_at: u32, most: u16) -> Option<bool> {
        let buffer = self.raw()?.as_ptr();
        // SAFETY: by the trait's promise the buffer is valid, and nobody else writes it.
        match unsafe { bindings::l7_skb_limit(buffer, tcp_at, payload_at, u32::from(most)) } {
            ..0 => None,
            cut => Some(cut != 0),
        }
    }

    /// Where the TCP header of an IPv6 packet is, behind its extension headers; `None` where there is none, or where the
    /// packet is not the first fragment.
    fn ipv6_tcp_offset(&self) -> Option<u32> {
        let mut offset: c_uint = 0;
        // SAFETY: by the trait's promise the buffer is valid; one number is written.
        let found =
            unsafe { bindings::l7_ipv6_find(self.raw()?.as_ptr(), &mut offset, c_int::from(TCP)) };
        (found == c_int::from(TCP)).then_some(offset)
    }

    /// The first bytes, made linear and this packet's own, to be changed, and what the checksum field of the TCP header
    /// holds. `None` where the packet is shorter, or memory is short.
    ///
    /// What the device knew of the packet by its headers (a sum over everything, the flow's hash) is forgotten: checksums
    /// in the headers are the caller's to keep right.
    fn headers_mut(&mut self, len: u32) -> Option<(&mut [u8], Checksum)> {
        let buffer = self.raw()?.as_ptr();
        let mut partial = false;
        // SAFETY: by the trait's promise the buffer is valid, and nobody else writes it; one value is written.
        let bytes = unsafe { bindings::l7_skb_writable(buffer, len, &mut partial) };
        if bytes.is_null() {
            return None;
        }
        // SAFETY: `len` bytes that are linear and this buffer's own, borrowed with it.
        let bytes = unsafe { core::slice::from_raw_parts_mut(bytes, len as usize) };
        let checksum = if partial {
            Checksum::Partial
        } else {
            Checksum::Full
        };
        Some((bytes, checksum))
    }

    /// Whether the TCP checksum is right. Reads the whole packet, unless the device has verified it or the packet never was
    /// on a wire. IPv4's header checksum has to be right.
    fn checksum_valid(&mut self, tcp_at: u32) -> bool {
        self.raw().is_some_and(|buffer| {
            // SAFETY: by the trait's promise the buffer is valid, and nobody else writes it.
            unsafe { bindings::l7_skb_sum_is_right(buffer.as_ptr(), tcp_at, TCP) }
        })
    }

    /// Connection tracking is to leave the packet alone, whether it is loaded or not.
    fn untrack(&mut self) {
        if let Some(buffer) = self.raw() {
            // SAFETY: by the trait's promise the buffer is valid, and nobody else writes it.
            unsafe { bindings::l7_skb_untrack(buffer.as_ptr()) };
        }
    }
    /// Where things are in an ICMP or ICMPv6 error of a TCP segment (RFC 792, RFC 4443), the checksum of which is right;
    /// `None` for any other packet.
    fn icmp_error(&mut self) -> Option<IcmpError> {
        icmp::find(self.raw()?)
    }

    /// Computes the checksum of an ICMP error anew, after what it tells of was rewritten; IPv6's addresses of the error
    /// itself go into it, too. `false` where memory is short, and the error is to be dropped.
    fn icmp_rewritten(&mut self, error: &IcmpError) -> bool {
        self.raw()
            .is_some_and(|buffer| icmp::sum(buffer, error.icmp_at))
    }
}

/// What a buffer begins with in one piece, and the length of all of it.
///
/// # Safety
///
/// The buffer is valid, and its linear part stays, through `'a`; who shares it does not write it.
#[inline]
pub(in crate::shell) unsafe fn start_of<'a>(buffer: NonNull<bindings::sk_buff>) -> (&'a [u8], u32) {
    /// A field.
    ///
    /// # Safety
    ///
    /// The buffer has a `T` there.
    unsafe fn field<T: Copy>(buffer: NonNull<bindings::sk_buff>, at: c_uint) -> T {
        // SAFETY: the caller's promise.
        unsafe { buffer.cast::<u8>().add(at as usize).cast::<T>().read() }
    }
    // SAFETY: the constants are where these fields are.
    let (data, len, beyond) = unsafe {
        (
            field::<*const u8>(buffer, bindings::L7_SKB_DATA),
            field::<c_uint>(buffer, bindings::L7_SKB_LEN),
            field::<c_uint>(buffer, bindings::L7_SKB_DATA_LEN),
        )
    };
    let linear = len.saturating_sub(beyond) as usize;
    // SAFETY: the linear part of the buffer, by the caller's promise.
    (unsafe { core::slice::from_raw_parts(data, linear) }, len)
}
