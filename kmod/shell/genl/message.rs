// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A message that is being written.

use core::ptr::NonNull;
use kernel::ffi::c_int;
use kernel::ffi::c_void;

use kernel::error::to_result;
use kernel::prelude::*;

use crate::shell::bindings;

/// Attributes that are put behind each other into one message.
///
/// # Invariants
///
/// `buffer` is a socket buffer that a message has been begun in and that nobody else uses.
pub(crate) struct Message {
    buffer: NonNull<bindings::sk_buff>,
}

impl Message {
    /// Goes on in a buffer.
    ///
    /// # Safety
    ///
    /// A message has been begun in `buffer`, and nobody else uses it as long as this lives.
    pub(super) unsafe fn in_buffer(buffer: NonNull<bindings::sk_buff>) -> Self {
        // INVARIANT: the caller's promise.
        Self { buffer }
    }

    /// Puts bytes as an attribute.
    ///
    /// # Errors
    ///
    /// `EMSGSIZE` where they do not fit any more.
    pub(crate) fn bytes(&mut self, number: u16, content: &[u8]) -> Result {
        let len = c_int::try_from(content.len()).map_err(|_| EMSGSIZE)?;
        // An attribute's length has 16 bits.
        if content.len() > l7switch_engine::netlink::MAX_ATTRIBUTE {
            return Err(EMSGSIZE);
        }
        let content = content.as_ptr().cast::<c_void>();
        // SAFETY: by the invariant the buffer is a message's; the content is readable for `len` bytes.
        to_result(unsafe {
            bindings::nla_put(self.buffer.as_ptr(), c_int::from(number), len, content)
        })
    }

    /// Puts a text; its NUL is added.
    pub(crate) fn text(&mut self, number: u16, text: &[u8]) -> Result {
        let len = text
            .len()
            .checked_add(1)
            .filter(|&len| len <= l7switch_engine::netlink::MAX_ATTRIBUTE);
        let len = c_int::try_from(len.ok_or(EMSGSIZE)?).map_err(|_| EMSGSIZE)?;
        // SAFETY: by the invariant the buffer is a message's.
        let place =
            unsafe { bindings::nla_reserve(self.buffer.as_ptr(), c_int::from(number), len) };
        if place.is_null() {
            return Err(EMSGSIZE);
        }
        // SAFETY: the content follows the header.
        let place = unsafe { place.add(1) }.cast::<u8>();
        // SAFETY: `len` bytes were reserved, one more than the text has.
        unsafe { core::ptr::copy_nonoverlapping(text.as_ptr(), place, text.len()) };
        // SAFETY: the last of the reserved bytes.
        unsafe { *place.add(text.len()) = 0 };
        Ok(())
    }

    /// Puts what is displayed as a text; over 255 bytes of it are left away.
    pub(crate) fn display(&mut self, number: u16, value: impl core::fmt::Display) -> Result {
        let mut text = Words::<256>::new();
        text.put(format_args!("{value}"));
        self.text(number, text.as_bytes())
    }

    /// Puts a flag.
    pub(crate) fn flag(&mut self, number: u16) -> Result {
        self.bytes(number, &[])
    }

    /// Puts 16 bits.
    pub(crate) fn u16(&mut self, number: u16, value: u16) -> Result {
        self.bytes(number, &value.to_ne_bytes())
    }

    /// Puts 32 bits.
    pub(crate) fn u32(&mut self, number: u16, value: u32) -> Result {
        self.bytes(number, &value.to_ne_bytes())
    }

    /// Puts a number as 32 bits where it fits, else as 64 (`uint`, Documentation/userspace-api/netlink/specs.rst).
    pub(crate) fn uint(&mut self, number: u16, value: u64) -> Result {
        match u32::try_from(value) {
            Ok(value) => self.u32(number, value),
            Err(_) => self.bytes(number, &value.to_ne_bytes()),
        }
    }

    /// Puts a nested set that `fill` writes.
    pub(crate) fn nest(&mut self, number: u16, fill: impl FnOnce(&mut Self) -> Result) -> Result {
        // SAFETY: by the invariant the buffer is a message's.
        let start =
            unsafe { bindings::l7_nla_nest_start(self.buffer.as_ptr(), c_int::from(number)) };
        if start.is_null() {
            return Err(EMSGSIZE);
        }
        let result = fill(self);
        match result {
            // SAFETY: `start` is what the nest began with, in this buffer.
            Ok(()) => unsafe { bindings::l7_nla_nest_end(self.buffer.as_ptr(), start) },
            // SAFETY: as above.
            Err(_) => unsafe { bindings::l7_nla_nest_cancel(self.buffer.as_ptr(), start) },
        }
        result
    }
}

/// A message of its own, in its own buffer.
pub(super) struct Owned {
    buffer: NonNull<bindings::sk_buff>,
}

impl Owned {
    /// A buffer for a message with at most `len` bytes of attributes. Sleeps, unless `atomic`.
    pub(super) fn new(len: usize, atomic: bool) -> Result<Self> {
        // SAFETY: any size is good.
        let buffer = unsafe { bindings::l7_genlmsg_new(len, atomic) };
        Ok(Self {
            buffer: NonNull::new(buffer).ok_or(ENOMEM)?,
        })
    }

    /// Writes the message: its header with these numbers, then what `fill` puts.
    pub(super) fn write(
        &mut self,
        family: *const bindings::genl_family,
        (port, sequence, command): (u32, u32, u8),
        fill: impl FnOnce(&mut Message) -> Result,
    ) -> Result {
        // SAFETY: the buffer is ours, the family a registered one.
        let header = unsafe {
            bindings::genlmsg_put(self.buffer.as_ptr(), port, sequence, family, 0, command)
        };
        if header.is_null() {
            return Err(EMSGSIZE);
        }
        // SAFETY: just begun, and `self` is borrowed as long as the message lives.
        let mut message = unsafe { Message::in_buffer(self.buffer) };
        fill(&mut message)?;
        // SAFETY: the header that was begun above.
        unsafe { bindings::l7_genlmsg_end(self.buffer.as_ptr(), header) };
        Ok(())
    }

    /// Gives the buffer away.
    pub(super) fn into_raw(self) -> *mut bindings::sk_buff {
        let buffer = self.buffer.as_ptr();
        core::mem::forget(self);
        buffer
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: the buffer is ours and is freed once.
        unsafe { bindings::l7_nlmsg_free(self.buffer.as_ptr()) }
    }
}

/// A text of at most `N` bytes; what does not fit is left away.
pub(super) struct Words<const N: usize> {
    text: [u8; N],
    len: usize,
}

impl<const N: usize> Words<N> {
    /// Empty.
    pub(super) const fn new() -> Self {
        Self {
            text: [0; N],
            len: 0,
        }
    }

    /// Adds words.
    pub(super) fn put(&mut self, words: core::fmt::Arguments<'_>) {
        // Writing fails only where a value's own formatting does; what there is then stays.
        let _ = core::fmt::Write::write_fmt(self, words);
    }

    /// What there is.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.text.get(..self.len).unwrap_or_default()
    }
}

impl<const N: usize> core::fmt::Write for Words<N> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let rest = self.text.get_mut(self.len..).unwrap_or_default();
        for (place, &byte) in rest.iter_mut().zip(text.as_bytes()) {
            *place = byte;
            self.len = self.len.wrapping_add(1);
        }
        Ok(())
    }
}
