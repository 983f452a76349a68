// SPDX-License-Identifier: GPL-2.0 OR MIT
//! An attribute of a request.
//!
//! C header: include/net/netlink.h (`struct nlattr`)

use core::mem::size_of;
use core::slice;

use crate::shell::bindings;

/// Bytes of an attribute's header: length and type, 16 bits each, host order.
const HEADER: usize = size_of::<bindings::nlattr>();
/// Attributes begin at multiples of this.
const ALIGN: usize = 4;

/// An attribute: its content has gone through the policy of its command.
#[derive(Clone, Copy)]
pub(crate) struct Attribute<'a> {
    raw: *const bindings::nlattr,
    content: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// Takes a pointer from the kernel's parser.
    ///
    /// # Safety
    ///
    /// `raw` points to an attribute whose length the kernel has checked, in a message that lives through `'a`.
    pub(super) unsafe fn from_raw(raw: *const bindings::nlattr) -> Self {
        // SAFETY: the caller's promise.
        let len = usize::from(unsafe { (*raw).nla_len }).saturating_sub(HEADER);
        // SAFETY: the content follows the header in the same message.
        let start = unsafe { raw.cast::<u8>().add(HEADER) };
        // SAFETY: the kernel has checked that so many bytes are there.
        let content = unsafe { slice::from_raw_parts(start, len) };
        Self { raw, content }
    }

    /// For an extended acknowledgement.
    pub(super) fn as_raw(self) -> *const bindings::nlattr {
        self.raw
    }

    /// Its content.
    pub(crate) fn bytes(self) -> &'a [u8] {
        self.content
    }

    /// A text, without NUL.
    pub(crate) fn text(self) -> &'a [u8] {
        self.content.split(|&byte| byte == 0).next().unwrap_or(&[])
    }

    /// 16 bits, host order.
    pub(crate) fn u16(self) -> Option<u16> {
        Some(u16::from_ne_bytes(*self.content.first_chunk()?))
    }

    /// 32 bits, host order.
    pub(crate) fn u32(self) -> Option<u32> {
        Some(u32::from_ne_bytes(*self.content.first_chunk()?))
    }

    /// So many bytes.
    pub(crate) fn array<const N: usize>(self) -> Option<[u8; N]> {
        self.content.first_chunk().copied()
    }

    /// The content of attribute `number` of a nested set.
    pub(crate) fn nested(self, number: u16) -> Option<&'a [u8]> {
        let mut rest = self.content;
        while let Some((header, _)) = rest.split_first_chunk::<HEADER>() {
            let [len0, len1, type0, type1] = *header;
            let len = usize::from(u16::from_ne_bytes([len0, len1]));
            let kind = u16::from_ne_bytes([type0, type1]) & TYPE_MASK;
            let content = rest.get(HEADER..len)?;
            if kind == number {
                return Some(content);
            }
            rest = rest
                .get(len.checked_next_multiple_of(ALIGN)?..)
                .unwrap_or_default();
        }
        None
    }
}

/// The bits of a type without its flags (`NLA_TYPE_MASK`).
const TYPE_MASK: u16 = 0x3fff;
