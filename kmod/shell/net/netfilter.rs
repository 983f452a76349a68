// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Hooks in the path of packets.
//!
//! C header: include/linux/netfilter.h

use core::ptr::NonNull;

use kernel::error::to_result;
use kernel::ffi::c_int;
use kernel::ffi::c_uint;
use kernel::ffi::c_void;
use kernel::prelude::*;
use kernel::sync::rcu;
use kernel::sync::Arc;
use kernel::types::Opaque;

use crate::shell::bindings;
use crate::shell::net::ingress::Ingress;
use crate::shell::net::Net;
use crate::shell::packet::hook_guard;
use crate::shell::packet::start_of;
use crate::shell::packet::Packet;
use crate::shell::packet::Point;

/// Right behind the raw table's chains, whichever was there first, and before connection tracking (`NF_IP_PRI_RAW`,
/// `NF_IP_PRI_CONNTRACK`).
const PRIORITY: c_int = bindings::L7_HOOK_PRIORITY;

/// Where packets are seen: those that come in, and those of local clients.
const POINTS: [c_uint; 2] = [
    bindings::nf_inet_hooks_NF_INET_PRE_ROUTING,
    bindings::nf_inet_hooks_NF_INET_LOCAL_OUT,
];

/// What the kernel calls.
type Hook = unsafe extern "C" fn(
    *mut c_void,
    *mut bindings::sk_buff,
    *const bindings::nf_hook_state,
) -> c_uint;

/// What becomes of a packet, unless the hook has stolen it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes on, changed or not.
    Accept,
    /// It is dropped. A local sender does not learn of it, as of no loss in the network.
    Drop,
    /// It came in and was rewritten: it goes to who is behind the hook at `PRE_ROUTING`, and to the stack. Where it was taken at
    /// ingress, and had no hook of `PRE_ROUTING` before it, to the stack only. At `LOCAL_OUT` as `Accept`.
    Finish,
}

/// Where rules of netfilter dropped a packet behind the module's hook.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filter {
    /// At `PRE_ROUTING`.
    PreRouting,
    /// At `LOCAL_IN`.
    Input,
    /// At `FORWARD`.
    Forward,
    /// At `POST_ROUTING`.
    PostRouting,
    /// At one of the last two: both have rules.
    Behind,
}

impl Filter {
    /// What a helper says: 1 + the number of the hook. `None`: none dropped it.
    pub(in crate::shell) fn of(said: c_int) -> Option<Self> {
        match c_uint::try_from(said).ok()?.checked_sub(1)? {
            bindings::nf_inet_hooks_NF_INET_PRE_ROUTING => Some(Self::PreRouting),
            bindings::nf_inet_hooks_NF_INET_LOCAL_IN => Some(Self::Input),
            bindings::nf_inet_hooks_NF_INET_FORWARD => Some(Self::Forward),
            bindings::nf_inet_hooks_NF_INET_POST_ROUTING => Some(Self::PostRouting),
            _ => Some(Self::Behind),
        }
    }
}

/// What is done with packets.
pub(crate) trait PacketHook: Send + Sync {
    /// What is read of a packet first.
    type Headers;

    /// Sees an IPv4 packet, of any protocol. Under RCU, in the context that [`Point`](crate::shell::packet::Point) tells; must not
    /// sleep.
    ///
    /// What is sent meanwhile ([`Owned::send`](crate::shell::packet::Owned::send)) may have the stack send an ICMP error of this
    /// host's, which is in the hook before that returns: it is sent with no lock held that the hook takes.
    fn ipv4(&self, packet: &mut Packet<'_>) -> Verdict;

    /// Sees an IPv6 packet; likewise.
    fn ipv6(&self, packet: &mut Packet<'_>) -> Verdict;

    /// Reads the headers with which a packet begins at ingress, all that lies in one piece. `None`: it need not be seen there, and is
    /// seen at `PRE_ROUTING`.
    fn concerns(&self, guard: &rcu::Guard, start: &[u8]) -> Option<Self::Headers>;

    /// Sees a packet of either family that a device has given to the stack: a TCP segment in an IP packet without options, that
    /// nobody else wants to see if the switch knows it. What is accepted comes to [`Self::ipv4`] or [`Self::ipv6`] later: it
    /// must not be changed. Under RCU in softirq context, as they are.
    fn ingress(&self, packet: &mut Packet<'_>, headers: &Self::Headers) -> Verdict;

    /// What the hook let on by [`Verdict::Finish`] was dropped by rules of netfilter behind it.
    fn dropped_behind(&self, at: Filter);

    /// No packet comes any more. In process context, while the namespace is still there.
    fn farewell(&self, net: &Net);
}

/// Calls a hook.
///
/// # Safety
///
/// `target` is of an `Arc<T>` that lives, `buffer` and `state` what the kernel gave the hook.
unsafe fn call<T: PacketHook>(
    target: *mut c_void,
    buffer: *mut bindings::sk_buff,
    state: *const bindings::nf_hook_state,
    to: fn(&T, &mut Packet<'_>) -> Verdict,
) -> c_uint {
    let from = target;
    // SAFETY: the caller's promise.
    let target = unsafe { &*target.cast::<T>() };
    let (Some(buffer), Some(state)) = (NonNull::new(buffer), NonNull::new(state.cast_mut())) else {
        return bindings::NF_ACCEPT;
    };
    // SAFETY: the caller's promise; whether it was stolen is said below.
    let Some(mut packet) = (unsafe { Packet::from_raw(buffer, state) }) else {
        return bindings::NF_ACCEPT;
    };
    let verdict = to(target, &mut packet);
    if packet.is_stolen() {
        return bindings::NF_STOLEN;
    }
    match (verdict, packet.point()) {
        (Verdict::Finish, Point::PreRouting) => {
            // SAFETY: the buffer is the hook's; the kernel does not use it after `NF_STOLEN`, and goes on with it otherwise.
            let said = unsafe { bindings::l7_hook_finish(buffer.as_ptr(), state.as_ptr(), from) };
            if said < 0 {
                return bindings::NF_ACCEPT;
            }
            if let Some(at) = Filter::of(said) {
                target.dropped_behind(at);
            }
            bindings::NF_STOLEN
        }
        (Verdict::Accept | Verdict::Finish, _) => bindings::NF_ACCEPT,
        (Verdict::Drop, Point::PreRouting | Point::Ingress) => bindings::NF_DROP,
        (Verdict::Drop, Point::LocalOut) => {
            // SAFETY: the caller's promise; the kernel does not use it after `NF_STOLEN`.
            unsafe { bindings::l7_skb_drop(buffer.as_ptr()) };
            bindings::NF_STOLEN
        }
    }
}

/// # Safety
///
/// For the kernel only, with what a hook of IPv4 that [`Hooks`] registered is called with.
unsafe extern "C" fn ipv4<T: PacketHook>(
    target: *mut c_void,
    buffer: *mut bindings::sk_buff,
    state: *const bindings::nf_hook_state,
) -> c_uint {
    // SAFETY: `Hook` keeps the target until no packet is in the hook any more.
    unsafe { call::<T>(target, buffer, state, T::ipv4) }
}

/// # Safety
///
/// For the kernel only, with what a hook of IPv6 that [`Hooks`] registered is called with.
unsafe extern "C" fn ipv6<T: PacketHook>(
    target: *mut c_void,
    buffer: *mut bindings::sk_buff,
    state: *const bindings::nf_hook_state,
) -> c_uint {
    // SAFETY: as for IPv4.
    unsafe { call::<T>(target, buffer, state, T::ipv6) }
}

/// # Safety
///
/// For the kernel only, with what a hook at ingress that [`Hooks`] registered is called with.
unsafe extern "C" fn ingress<T: PacketHook>(
    target: *mut c_void,
    buffer: *mut bindings::sk_buff,
    state: *const bindings::nf_hook_state,
) -> c_uint {
    // SAFETY: `Hooks` keeps the target until no packet is in the hook any more.
    let to = unsafe { &*target.cast::<T>() };
    let (Some(buffer), Some(state)) = (NonNull::new(buffer), NonNull::new(state.cast_mut())) else {
        return bindings::NF_ACCEPT;
    };
    // SAFETY: the kernel gave the buffer to the hook.
    let (start, _) = unsafe { start_of(buffer) };
    // SAFETY: this is the hook.
    let Some(headers) = to.concerns(unsafe { hook_guard() }, start) else {
        return bindings::NF_ACCEPT;
    };
    // SAFETY: the kernel gave both to the hook; whether the buffer was stolen is said below.
    let Some(mut packet) = (unsafe { Packet::at_ingress(buffer, state, target) }) else {
        return bindings::NF_ACCEPT;
    };
    let verdict = to.ingress(&mut packet, &headers);
    if packet.is_stolen() {
        return bindings::NF_STOLEN;
    }
    match verdict {
        Verdict::Accept => bindings::NF_ACCEPT,
        Verdict::Drop => bindings::NF_DROP,
        Verdict::Finish => {
            // SAFETY: the buffer is the hook's; the kernel does not use it after `NF_STOLEN`.
            if let Some(at) = Filter::of(unsafe { bindings::l7_ingress_finish(buffer.as_ptr()) }) {
                to.dropped_behind(at);
            }
            bindings::NF_STOLEN
        }
    }
}

/// Reassembly of fragments before the hooks, as long as this lives.
///
/// # Invariants
///
/// It is enabled in the namespace, which is there.
struct Reassembly(*mut bindings::net);

// SAFETY: the kernel counts who wants it under its own lock.
unsafe impl Send for Reassembly {}

impl Reassembly {
    /// # Safety
    ///
    /// This is dropped before the namespace is gone.
    ///
    /// # Errors
    ///
    /// The kernel's: `ENOMEM`.
    unsafe fn new(net: &Net) -> Result<Self> {
        // SAFETY: the namespace is valid.
        to_result(unsafe { bindings::l7_defrag_enable(net.as_raw()) })?;
        // INVARIANT: it is enabled, and the namespace stays by the caller's promise.
        Ok(Self(net.as_raw()))
    }
}

impl Drop for Reassembly {
    fn drop(&mut self) {
        // SAFETY: by the invariant.
        unsafe { bindings::l7_defrag_disable(self.0) };
    }
}

/// Hooks that are registered as long as this lives.
///
/// # Invariants
///
/// The first `registered` of `ops` are registered in `net`.
pub(in crate::shell) struct Hooks<T: PacketHook> {
    ops: Pin<KBox<[Opaque<bindings::nf_hook_ops>; 2 * POINTS.len()]>>,
    registered: usize,
    ingress: Option<Ingress>,
    net: *mut bindings::net,
    _target: Arc<T>,
    _reassembly: Reassembly,
}

// SAFETY: the records are the kernel's under its own lock; the target may be used from any CPU.
unsafe impl<T: PacketHook> Send for Hooks<T> {}

impl<T: PacketHook> Hooks<T> {
    /// Registers the hooks of a target in a namespace.
    ///
    /// # Safety
    ///
    /// This is dropped before the namespace is gone.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(in crate::shell) unsafe fn new(net: &Net, target: Arc<T>) -> Result<Self> {
        let pointer = Arc::as_ptr(&target).cast_mut().cast::<c_void>();
        let [in4, out4] = POINTS.map(|point| (point, bindings::NFPROTO_IPV4, ipv4::<T> as Hook));
        let [in6, out6] = POINTS.map(|point| (point, bindings::NFPROTO_IPV6, ipv6::<T> as Hook));
        let ops = [in4, out4, in6, out6].map(|(point, family, hook)| {
            Opaque::new(bindings::nf_hook_ops {
                hook: Some(hook),
                priv_: pointer,
                pf: family.to_le_bytes()[0],
                hooknum: point,
                priority: PRIORITY,
                ..Default::default()
            })
        });
        let mut hooks = Self {
            ops: KBox::pin(ops, GFP_KERNEL_ACCOUNT)?,
            registered: 0,
            ingress: None,
            net: net.as_raw(),
            _target: target,
            // SAFETY: the caller's promise.
            _reassembly: unsafe { Reassembly::new(net) }?,
        };
        for index in 0..hooks.ops.len() {
            let Some(ops) = hooks.ops.get(index) else {
                break;
            };
            // SAFETY: the record stays where it is until it is unregistered in `drop`.
            to_result(unsafe { bindings::nf_register_net_hook(hooks.net, ops.get()) })?;
            hooks.registered = hooks.registered.wrapping_add(1);
        }
        // SAFETY: the caller's promise; `drop` waits for a grace period before the target may go.
        hooks.ingress = Some(unsafe { Ingress::new(net, ingress::<T>, pointer) }?);
        Ok(hooks)
    }
}

impl<T: PacketHook> Drop for Hooks<T> {
    fn drop(&mut self) {
        self.ingress = None;
        for ops in self.ops.iter().take(self.registered) {
            // SAFETY: by the invariant it is registered; the namespace is there by the promise of `new`.
            unsafe { bindings::nf_unregister_net_hook(self.net, ops.get()) };
        }
        // Packets may still be in the hook, and lists of hooks be read.
        rcu::synchronize_rcu();
    }
}
