// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Netlink sockets that are closed: whoever began something through one does not end it any more.
//!
//! C header: include/linux/netlink.h (`NETLINK_URELEASE`), include/linux/notifier.h

use core::marker::PhantomData;

use kernel::error::to_result;
use kernel::ffi::c_int;
use kernel::ffi::c_ulong;
use kernel::ffi::c_void;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::types::Opaque;

use super::pernet;
use crate::shell::bindings;
use crate::shell::net::pernet::Namespace;
use crate::shell::net::Net;

/// A namespace that wants to know of closed sockets.
pub(crate) trait Watch: Namespace {
    /// The generic netlink socket with this port was closed. May sleep.
    fn port_closed(&self, port: u32);
}

/// # Safety
///
/// For the kernel only, as a notifier of the netlink chain.
unsafe extern "C" fn closed<T: Watch>(
    _block: *mut bindings::notifier_block,
    event: c_ulong,
    data: *mut c_void,
) -> c_int {
    if event == bindings::NETLINK_URELEASE as c_ulong && !data.is_null() {
        // SAFETY: with this event the chain carries a `struct netlink_notify`.
        let notify = unsafe { &*data.cast::<bindings::netlink_notify>() };
        if u32::try_from(notify.protocol) == Ok(bindings::NETLINK_GENERIC) && !notify.net.is_null()
        {
            // SAFETY: the socket that is being closed holds its namespace.
            let net = unsafe { Net::from_raw(notify.net) };
            // SAFETY: `Registration` holds the registration of the namespaces' data; a namespace with a user's socket
            // is beyond its `init` and not at its `exit`.
            if let Some(namespace) = unsafe { T::slot().get(net) } {
                namespace.port_closed(notify.portid);
            }
        }
    }
    // NOTIFY_DONE
    0
}

/// [`Watch::port_closed`] is called as long as this lives.
pub(crate) struct Registration<T: Watch> {
    block: Pin<KBox<Opaque<bindings::notifier_block>>>,
    // Dropped after the notifier was unregistered below.
    _namespaces: Arc<pernet::Registration<T>>,
    _type: PhantomData<T>,
}

// SAFETY: the block is the kernel's between registration and its end, under its own lock.
unsafe impl<T: Watch> Send for Registration<T> {}
// SAFETY: as above.
unsafe impl<T: Watch> Sync for Registration<T> {}

impl<T: Watch> Registration<T> {
    /// Begins to watch.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(namespaces: Arc<pernet::Registration<T>>) -> Result<Self> {
        let block = bindings::notifier_block {
            notifier_call: Some(closed::<T>),
            ..Default::default()
        };
        let block = KBox::pin(Opaque::new(block), GFP_KERNEL)?;
        // SAFETY: the block stays where it is until it is unregistered in `drop`.
        to_result(unsafe { bindings::netlink_register_notifier(block.get()) })?;
        Ok(Self {
            block,
            _namespaces: namespaces,
            _type: PhantomData,
        })
    }
}

impl<T: Watch> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: registered by `new`; the chain waits for calls that run.
        unsafe { bindings::netlink_unregister_notifier(self.block.get()) };
    }
}
