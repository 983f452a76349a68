// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A dump: a list that may be longer than one buffer, so it is written in parts.

use core::ptr::NonNull;

use kernel::prelude::*;

use super::message::Message;
use crate::shell::bindings;
use crate::shell::net::Net;

/// What a dump remembers between its parts.
#[repr(C)]
struct Place {
    position: u64,
}

/// One part of a dump.
///
/// # Invariants
///
/// `buffer` and `callback` are what the kernel called `dumpit` with.
pub(crate) struct Dump<'a> {
    buffer: NonNull<bindings::sk_buff>,
    callback: &'a mut bindings::netlink_callback,
    command: u8,
}

impl<'a> Dump<'a> {
    /// Takes what the kernel gives.
    ///
    /// # Safety
    ///
    /// Both are what `dumpit` of command `command` was called with.
    pub(super) unsafe fn from_raw(
        buffer: NonNull<bindings::sk_buff>,
        callback: *mut bindings::netlink_callback,
        command: u8,
    ) -> Self {
        Self {
            buffer,
            // SAFETY: the caller's promise.
            callback: unsafe { &mut *callback },
            command,
        }
    }

    /// The namespace of the client's socket.
    pub(crate) fn net(&self) -> &'a Net {
        // SAFETY: by the invariant the callback is valid.
        let net = unsafe { bindings::l7_genl_dump_net(self.callback) };
        // SAFETY: the socket holds its namespace as long as it is answered.
        unsafe { Net::from_raw(net) }
    }

    fn place(&mut self) -> &mut Place {
        const { assert!(core::mem::size_of::<Place>() <= 48) };
        // SAFETY: the callback's context is the command's own: zeroed at the start, aligned as a pointer is, 48 bytes.
        unsafe { &mut *(&raw mut self.callback.__bindgen_anon_1).cast::<Place>() }
    }

    /// Where to go on; 0 at the start.
    pub(crate) fn position(&mut self) -> u64 {
        self.place().position
    }

    /// Goes on elsewhere, without an entry.
    pub(crate) fn go_on_at(&mut self, position: u64) {
        self.place().position = position;
    }

    /// Says of which generation the list is: a client learns (`NLM_F_DUMP_INTR`) where it changed between parts.
    pub(crate) fn generation(&mut self, generation: u64) {
        // The kernel compares 32 bits, and takes 0 for none.
        let [a, b, c, d, ..] = generation.to_le_bytes();
        self.callback.seq = u32::from_le_bytes([a, b, c, d]).wrapping_shl(1) | 1;
    }

    /// Writes the entry at the position and goes on to `next`. False where the buffer is full: the command then ends,
    /// and is called again.
    ///
    /// # Errors
    ///
    /// What `fill` gives; `EMSGSIZE` where the entry alone is longer than a buffer.
    pub(crate) fn entry(
        &mut self,
        next: u64,
        fill: impl FnOnce(&mut Message) -> Result,
    ) -> Result<bool> {
        // SAFETY: by the invariant both are the kernel's for this dump.
        let info = unsafe { bindings::l7_genl_info_dump(self.callback) };
        // SAFETY: the kernel keeps the information as long as the dump goes on.
        let family = unsafe { (*info).family };
        // SAFETY: as above.
        let header = unsafe {
            bindings::l7_genlmsg_put_dump(self.buffer.as_ptr(), self.callback, family, self.command)
        };
        let result = if header.is_null() {
            Err(EMSGSIZE)
        } else {
            // SAFETY: a message was begun, and `self` is borrowed as long as it is written.
            fill(&mut unsafe { Message::in_buffer(self.buffer) })
        };
        match result {
            Ok(()) => {
                // SAFETY: the header that was begun above.
                unsafe { bindings::l7_genlmsg_end(self.buffer.as_ptr(), header) };
                self.place().position = next;
                Ok(true)
            }
            Err(error) => {
                // SAFETY: the header that was begun above, or null.
                unsafe { bindings::l7_genlmsg_cancel(self.buffer.as_ptr(), header) };
                // SAFETY: by the invariant the buffer is valid.
                let used = unsafe { bindings::l7_skb_len(self.buffer.as_ptr()) };
                if error == EMSGSIZE && used > 0 {
                    Ok(false)
                } else {
                    Err(error)
                }
            }
        }
    }

    /// Bytes written so far: what `dumpit` returns; 0 ends the dump.
    pub(super) fn written(&self) -> kernel::ffi::c_int {
        // SAFETY: by the invariant the buffer is valid.
        let len = unsafe { bindings::l7_skb_len(self.buffer.as_ptr()) };
        kernel::ffi::c_int::try_from(len).unwrap_or(0)
    }
}
