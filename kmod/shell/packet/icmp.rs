// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Errors of ICMP and ICMPv6 about TCP segments.
//!
//! C header: include/linux/icmp.h, include/linux/icmpv6.h

use core::ptr::NonNull;

use kernel::ffi::c_uint;

use crate::shell::bindings;

/// Where things are in an ICMP error, bytes from the start of its IP header.
#[derive(Clone, Copy, Default)]
pub(crate) struct IcmpError {
    /// The ICMP header: type, code, checksum, and in bytes 4 to 8 the MTU where that is what it is about.
    pub(crate) icmp_at: u32,
    /// The IP header of the segment that the error is about.
    pub(crate) ip_at: u32,
    /// Its TCP header, of which eight bytes at least are there: ports and sequence number.
    pub(crate) tcp_at: u32,
}

pub(super) fn find(buffer: NonNull<bindings::sk_buff>) -> Option<IcmpError> {
    let [mut icmp_at, mut ip_at, mut tcp_at]: [c_uint; 3] = [0; 3];
    // SAFETY: the buffer is valid and the caller's by the promise of `Buffer`; three numbers are written.
    let found = unsafe {
        bindings::l7_skb_icmp_error(buffer.as_ptr(), &mut icmp_at, &mut ip_at, &mut tcp_at)
    };
    found.then_some(IcmpError {
        icmp_at,
        ip_at,
        tcp_at,
    })
}

pub(super) fn sum(buffer: NonNull<bindings::sk_buff>, icmp_at: u32) -> bool {
    // SAFETY: the buffer is valid and the caller's by the promise of `Buffer`.
    unsafe { bindings::l7_skb_icmp_sum(buffer.as_ptr(), icmp_at) }
}
