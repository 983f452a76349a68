// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A network namespace.
//!
//! C header: include/net/net_namespace.h

pub(crate) mod fast_path;
mod ingress;
pub(crate) mod netfilter;
pub(crate) mod pernet;
pub(crate) mod port_watch;
pub(crate) mod route;
pub(crate) mod ticker;
pub(crate) mod work;

use kernel::sync::rcu;
use kernel::types::Opaque;

use crate::shell::bindings;

/// A network namespace, `struct net`.
///
/// # Invariants
///
/// Whoever has a reference has one to a namespace that is not freed while the reference lives.
#[repr(transparent)]
pub(crate) struct Net(Opaque<bindings::net>);

// SAFETY: a namespace is used from all CPUs; nothing of it is reached through this type but by the kernel's functions.
unsafe impl Sync for Net {}

impl Net {
    /// Takes a pointer as a reference.
    ///
    /// # Safety
    ///
    /// `net` is not null, and the namespace is not freed during `'a`.
    pub(in crate::shell) unsafe fn from_raw<'a>(net: *mut bindings::net) -> &'a Self {
        // SAFETY: the caller's promise; the type is transparent.
        unsafe { &*net.cast::<Self>() }
    }

    /// Whether packets of a family are forwarded here, by some devices at least (`net.ipv4.ip_forward`,
    /// `net.ipv6.conf.all.forwarding`). Looks at every device where they are not forwarded by all.
    pub(crate) fn forwards(&self, _guard: &rcu::Guard, ipv4: bool) -> bool {
        // SAFETY: the namespace is there, under RCU.
        unsafe { bindings::l7_net_forwards(self.as_raw(), ipv4) }
    }

    /// The pointer that the kernel's functions take.
    pub(in crate::shell) fn as_raw(&self) -> *mut bindings::net {
        self.0.get()
    }
}
