// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A hook on every device of a namespace, those that come later too, where it gives packets to the stack.
//!
//! C header: include/linux/netfilter_netdev.h

use core::ptr::null_mut;

use kernel::error::to_result;
use kernel::ffi::c_uint;
use kernel::ffi::c_void;
use kernel::prelude::*;

use crate::shell::bindings;
use crate::shell::net::Net;

/// Hooks that are registered as long as this lives, but on the loopback device. None where the kernel has no such hook
/// (`CONFIG_NETFILTER_INGRESS`).
///
/// # Invariants
///
/// What `l7_ingress_register` gave; the namespace is there.
pub(in crate::shell) struct Ingress(*mut bindings::l7_ingress);

// SAFETY: the devices are the kernel's under its own lock.
unsafe impl Send for Ingress {}

impl Ingress {
    /// Registers. Sleeps.
    ///
    /// # Safety
    ///
    /// This is dropped before the namespace is gone. `hook` may be called with `target` until a grace period after that.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(in crate::shell) unsafe fn new(
        net: &Net,
        hook: unsafe extern "C" fn(
            *mut c_void,
            *mut bindings::sk_buff,
            *const bindings::nf_hook_state,
        ) -> c_uint,
        target: *mut c_void,
    ) -> Result<Self> {
        let mut ingress = null_mut();
        // SAFETY: the caller's promise; one pointer is written.
        to_result(unsafe {
            bindings::l7_ingress_register(net.as_raw(), Some(hook), target, &mut ingress)
        })?;
        // INVARIANT: it was given just now; the namespace stays by the caller's promise.
        Ok(Self(ingress))
    }
}

impl Drop for Ingress {
    fn drop(&mut self) {
        // SAFETY: by the invariant.
        unsafe { bindings::l7_ingress_unregister(self.0) };
    }
}
