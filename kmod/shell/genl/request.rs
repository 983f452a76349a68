// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A request of a client, its answer, and the words of a refusal.

use core::fmt;

use kernel::error::to_result;
use kernel::prelude::*;

use super::attribute::Attribute;
use super::message::Message;
use super::message::Owned;
use super::message::Words;
use crate::shell::bindings;
use crate::shell::net::Net;

/// Bytes of an extended acknowledgement's words, its NUL included (`NETLINK_MAX_FMTMSG_LEN`).
const WORDS: usize = 80;

/// A request that is being answered.
///
/// # Invariants
///
/// `info` is valid through `'a` and nobody else uses it meanwhile.
pub(crate) struct Request<'a> {
    info: &'a mut bindings::genl_info,
    /// The last attribute number of the command's policy.
    last: u16,
}

impl<'a> Request<'a> {
    /// Takes what the kernel gives a command.
    ///
    /// # Safety
    ///
    /// `info` is what `doit` of an operation whose policy ends with attribute `last` was called with.
    pub(super) unsafe fn from_raw(info: *mut bindings::genl_info, last: u16) -> Self {
        // SAFETY: the caller's promise.
        let info = unsafe { &mut *info };
        Self { info, last }
    }

    /// The namespace of the client's socket.
    pub(crate) fn net(&self) -> &'a Net {
        // SAFETY: by the invariant `info` is valid.
        let net = unsafe { bindings::l7_genl_info_net(self.info) };
        // SAFETY: the socket holds its namespace as long as the request is answered.
        unsafe { Net::from_raw(net) }
    }

    /// The netlink port of the client, which names its socket.
    pub(crate) fn port(&self) -> u32 {
        self.info.snd_portid
    }

    /// Attribute `number`, where the request has it.
    pub(crate) fn attribute(&self, number: u16) -> Option<Attribute<'a>> {
        if number > self.last || self.info.attrs.is_null() {
            return None;
        }
        // SAFETY: the kernel's array has a place for every number up to the policy's last.
        let raw = unsafe { *self.info.attrs.add(usize::from(number)) };
        if raw.is_null() {
            return None;
        }
        // SAFETY: the kernel's parser found the attribute in the request, which lives as long as `info`.
        Some(unsafe { Attribute::from_raw(raw) })
    }

    /// The same for one that has to be there.
    ///
    /// # Errors
    ///
    /// `EINVAL`; the acknowledgement names the attribute.
    pub(crate) fn wanted(&self, number: u16) -> Result<Attribute<'a>> {
        if let Some(attribute) = self.attribute(number) {
            return Ok(attribute);
        }
        if !self.info.extack.is_null() {
            // SAFETY: by the invariant `info` is valid, and with it its acknowledgement.
            unsafe { (*self.info.extack).miss_type = number };
        }
        self.refuse(EINVAL, None, format_args!("an attribute is missing"))
    }

    /// Refuses the request with words for the client's administrator, and the attribute that is to blame.
    pub(crate) fn refuse<T>(
        &self,
        error: Error,
        attribute: Option<Attribute<'_>>,
        words: fmt::Arguments<'_>,
    ) -> Result<T> {
        if !self.info.extack.is_null() {
            let mut text = Words::<{ WORDS - 1 }>::new();
            text.put(words);
            // SAFETY: by the invariant `info` is valid, and with it its acknowledgement, which lives until it is sent.
            let extack = unsafe { &mut *self.info.extack };
            let mut place = extack._msg_buf.iter_mut();
            for (place, &byte) in place.by_ref().zip(text.as_bytes()) {
                *place = byte;
            }
            if let Some(end) = extack._msg_buf.get_mut(text.as_bytes().len()) {
                *end = 0;
            }
            extack._msg = extack._msg_buf.as_ptr();
            if let Some(attribute) = attribute {
                extack.bad_attr = attribute.as_raw();
            }
        }
        Err(error)
    }

    /// Answers with a message of at most `len` bytes of attributes, which `fill` writes; it must not sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EMSGSIZE` where `len` does not suffice; what `fill` gives.
    pub(crate) fn reply(
        &mut self,
        len: usize,
        fill: impl FnOnce(&mut Message) -> Result,
    ) -> Result {
        let mut reply = Owned::new(len, false)?;
        // SAFETY: by the invariant `info` is valid, and with it the request's header.
        let command = unsafe { (*self.info.genlhdr).cmd };
        let numbers = (self.info.snd_portid, self.info.snd_seq, command);
        reply.write(self.info.family, numbers, fill)?;
        // SAFETY: the buffer is given away.
        to_result(unsafe { bindings::l7_genlmsg_reply(reply.into_raw(), self.info) })
    }
}
