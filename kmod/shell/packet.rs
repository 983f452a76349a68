// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A packet in a hook: a view of its `sk_buff`.
//!
//! C header: include/linux/skbuff.h

use core::ptr::NonNull;

use kernel::ffi::c_uint;
use kernel::ffi::c_void;

use super::bindings;

/// A packet that a hook looks at. Offsets are counted in bytes from the start of the IP header.
///
/// # Invariants
///
/// `buffer` is valid through `'a`, and nobody else writes it meanwhile.
pub(crate) struct Packet<'a> {
    buffer: NonNull<bindings::sk_buff>,
    /// Where the IP header is, from the buffer's data.
    start: u32,
    _life: core::marker::PhantomData<&'a ()>,
}

impl Packet<'_> {
    /// Takes what the kernel gives a hook; `None` where it has no IP header.
    ///
    /// # Safety
    ///
    /// `buffer` is valid and is not written by others as long as this lives.
    pub(super) unsafe fn from_raw(buffer: NonNull<bindings::sk_buff>) -> Option<Self> {
        // SAFETY: the caller's promise.
        let start = unsafe { bindings::l7_skb_network_offset(buffer.as_ptr()) };
        Some(Self {
            buffer,
            start: u32::try_from(start).ok()?,
            _life: core::marker::PhantomData,
        })
    }

    /// Bytes from the IP header to the end.
    pub(crate) fn len(&self) -> u32 {
        // SAFETY: by the invariant the buffer is valid.
        unsafe { bindings::l7_skb_len(self.buffer.as_ptr()) }.saturating_sub(self.start)
    }

    /// So many bytes at an offset, wherever in the buffer they lie; `None` where the packet is shorter.
    pub(crate) fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let mut bytes = [0u8; N];
        let from: c_uint = self.start.checked_add(offset)?;
        let len = c_uint::try_from(N).ok()?;
        let to = bytes.as_mut_ptr().cast::<c_void>();
        // SAFETY: by the invariant the buffer is valid; `N` bytes may be written.
        unsafe { bindings::l7_skb_read(self.buffer.as_ptr(), from, to, len) }.then_some(bytes)
    }

    /// Where the TCP header of an IPv6 packet is, behind its extension headers; `None` where there is none, or where the
    /// packet is not the first fragment.
    pub(crate) fn ipv6_tcp_offset(&self) -> Option<u32> {
        let mut offset: c_uint = 0;
        // SAFETY: by the invariant the buffer is valid; one number is written.
        let found = unsafe { bindings::l7_ipv6_find_tcp(self.buffer.as_ptr(), &mut offset) };
        // IPPROTO_TCP
        (found == 6).then(|| offset.checked_sub(self.start))?
    }
}
