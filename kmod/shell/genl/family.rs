// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A family: its commands, who may give them, its events.

use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering;
use kernel::ffi::c_int;

use kernel::error::from_result;
use kernel::error::to_result;
use kernel::prelude::*;
use kernel::sync::rcu;
use kernel::sync::Arc;
use kernel::sync::ArcBorrow;
use kernel::types::Opaque;

use l7switch_engine::netlink::Command;

use super::dump::Dump;
use super::message::Message;
use super::message::Owned;
use super::policy::Policy;
use super::request::Request;
use crate::shell::bindings;
use crate::shell::net::pernet;
use crate::shell::net::pernet::Namespace;
use crate::shell::net::Net;

/// A command that does something or answers once.
pub(crate) trait Act {
    /// What it works on.
    type In: Namespace;
    /// Its number.
    const COMMAND: Command;
    /// What its attributes have to be, indexed by number.
    const POLICY: &'static [Policy];

    /// Does it. May sleep.
    fn act(namespace: ArcBorrow<'_, Self::In>, request: &mut Request<'_>) -> Result;
}

/// A command that lists.
pub(crate) trait List {
    /// What it works on.
    type In: Namespace;
    /// Its number.
    const COMMAND: Command;

    /// Writes entries from [`Dump::position`] on until the buffer is full or there are no more.
    fn list(namespace: ArcBorrow<'_, Self::In>, dump: &mut Dump<'_>) -> Result;
}

/// A command of a family.
#[repr(transparent)]
pub(crate) struct Operation(bindings::genl_split_ops);

// SAFETY: it holds numbers and pointers to functions and statics.
unsafe impl Sync for Operation {}

const fn small(number: kernel::ffi::c_uint) -> u8 {
    number.to_le_bytes()[0]
}

const fn last_of(policy: &[Policy]) -> u16 {
    let len = policy.len().saturating_sub(1).to_le_bytes();
    u16::from_le_bytes([len[0], len[1]])
}

/// # Safety
///
/// For the kernel only, with what `genl_split_ops::doit` is called with.
unsafe extern "C" fn doit<A: Act>(
    _buffer: *mut bindings::sk_buff,
    info: *mut bindings::genl_info,
) -> c_int {
    from_result(|| {
        // SAFETY: the kernel called an operation that was made from `A`.
        let mut request = unsafe { Request::from_raw(info, const { last_of(A::POLICY) }) };
        // SAFETY: `Registration` of the family holds that of the namespaces' data; the client's socket is in a namespace
        // that is beyond its `init` and not at its `exit`.
        let namespace = unsafe { A::In::slot().get(request.net()) }.ok_or(ENODEV)?;
        A::act(namespace, &mut request).map(|()| 0)
    })
}

/// # Safety
///
/// For the kernel only, with what `genl_split_ops::dumpit` is called with.
unsafe extern "C" fn dumpit<L: List>(
    buffer: *mut bindings::sk_buff,
    callback: *mut bindings::netlink_callback,
) -> c_int {
    from_result(|| {
        let buffer = NonNull::new(buffer).ok_or(EINVAL)?;
        // SAFETY: the kernel called an operation that was made from `L`.
        let mut dump = unsafe { Dump::from_raw(buffer, callback, L::COMMAND.number()) };
        // SAFETY: as in `doit`; a dump that goes on holds the module as well.
        let namespace = unsafe { L::In::slot().get(dump.net()) }.ok_or(ENODEV)?;
        L::list(namespace, &mut dump)?;
        Ok(dump.written())
    })
}

impl Operation {
    const fn record(
        command: Command,
        policy: &'static [Policy],
        flags: kernel::ffi::c_uint,
    ) -> bindings::genl_split_ops {
        bindings::genl_split_ops {
            __bindgen_anon_1: bindings::genl_split_ops__bindgen_ty_1 {
                __bindgen_anon_1: bindings::genl_split_ops__bindgen_ty_1__bindgen_ty_1 {
                    pre_doit: None,
                    doit: None,
                    post_doit: None,
                },
            },
            // Without a policy, any attribute is refused.
            policy: if policy.is_empty() {
                core::ptr::null()
            } else {
                policy.as_ptr().cast()
            },
            maxattr: last_of(policy) as kernel::ffi::c_uint,
            cmd: command.number(),
            internal_flags: 0,
            // Who may: CAP_NET_ADMIN in the user namespace that owns the network namespace.
            flags: small(flags | bindings::GENL_UNS_ADMIN_PERM),
            validate: 0,
        }
    }

    /// A command that acts.
    pub(crate) const fn act<A: Act>() -> Self {
        let mut operation = Self::record(A::COMMAND, A::POLICY, bindings::GENL_CMD_CAP_DO);
        operation.__bindgen_anon_1 = bindings::genl_split_ops__bindgen_ty_1 {
            __bindgen_anon_1: bindings::genl_split_ops__bindgen_ty_1__bindgen_ty_1 {
                pre_doit: None,
                doit: Some(doit::<A>),
                post_doit: None,
            },
        };
        Self(operation)
    }

    /// A command that lists; it takes no attributes.
    pub(crate) const fn list<L: List>() -> Self {
        let mut operation = Self::record(L::COMMAND, &[], bindings::GENL_CMD_CAP_DUMP);
        operation.__bindgen_anon_1 = bindings::genl_split_ops__bindgen_ty_1 {
            __bindgen_anon_2: bindings::genl_split_ops__bindgen_ty_1__bindgen_ty_2 {
                start: None,
                dumpit: Some(dumpit::<L>),
                done: None,
            },
        };
        Self(operation)
    }
}

/// A text in a fixed field, NUL behind it.
const fn name<const N: usize>(text: &str) -> [kernel::ffi::c_char; N] {
    let mut field = [0; N];
    let bytes = text.as_bytes();
    let mut index = 0;
    while index < bytes.len() {
        // In a constant: one that is too long does not compile.
        field[index] = bytes[index] as kernel::ffi::c_char;
        index += 1;
    }
    assert!(index < N);
    field
}

/// Of a group: listening needs CAP_NET_ADMIN in the user namespace that owns the network namespace. Groups have flags of
/// their own, other than those of operations. (`GENL_MCAST_CAP_NET_ADMIN`; bindgen does not see it, helpers.c checks it.)
const LISTEN_NEEDS_NET_ADMIN: u8 = 1;

/// A family with one multicast group, to be kept in a static.
pub(crate) struct Family {
    family: Opaque<bindings::genl_family>,
    group: bindings::genl_multicast_group,
    name: [kernel::ffi::c_char; 16],
    version: u8,
    taken: AtomicBool,
    /// Whether events may be told.
    tells: AtomicBool,
}

// SAFETY: the kernel writes `family` under its own lock; the rest does not change.
unsafe impl Sync for Family {}
// SAFETY: as above.
unsafe impl Send for Family {}

impl Family {
    /// A family of this name, with a group.
    pub(crate) const fn new(text: &str, version: u8, group: &str) -> Self {
        Self {
            family: Opaque::uninit(),
            group: bindings::genl_multicast_group {
                name: name(group),
                flags: LISTEN_NEEDS_NET_ADMIN,
            },
            name: name(text),
            version,
            taken: AtomicBool::new(false),
            tells: AtomicBool::new(false),
        }
    }
}

/// The family answers as long as this lives.
pub(crate) struct Registration<T: Namespace> {
    family: &'static Family,
    // Dropped after the family was unregistered below: no command runs without its namespace.
    _namespaces: Arc<pernet::Registration<T>>,
    _type: PhantomData<T>,
}

impl<T: Namespace> Registration<T> {
    /// Registers a family whose commands, in the order of their numbers, work on `T`.
    ///
    /// # Errors
    ///
    /// `EBUSY` where it is registered already; `EEXIST` where another has its name.
    pub(crate) fn new(
        family: &'static Family,
        operations: &'static [Operation],
        module: &'static ThisModule,
        namespaces: Arc<pernet::Registration<T>>,
    ) -> Result<Self> {
        if family.taken.swap(true, Ordering::Acquire) {
            return Err(EBUSY);
        }
        let mut record = bindings::genl_family {
            name: family.name,
            version: u32::from(family.version),
            split_ops: operations.as_ptr().cast(),
            n_split_ops: u8::try_from(operations.len()).map_err(|_| EINVAL)?,
            mcgrps: &family.group,
            n_mcgrps: 1,
            module: module.as_ptr().cast(),
            ..Default::default()
        };
        record.set_netnsok(1);
        // Commands take the locks of their namespace, not the one of all families.
        record.set_parallel_ops(1);
        // SAFETY: `taken` was ours to set, so nobody else uses the record.
        unsafe { family.family.get().write(record) };
        // SAFETY: the record and all that it points to are statics.
        let result = to_result(unsafe { bindings::genl_register_family(family.family.get()) });
        if result.is_err() {
            family.taken.store(false, Ordering::Release);
        } else {
            family.tells.store(true, Ordering::Release);
        }
        result.map(|()| Self {
            family,
            _namespaces: namespaces,
            _type: PhantomData,
        })
    }
}

impl<T: Namespace> Drop for Registration<T> {
    fn drop(&mut self) {
        self.family.tells.store(false, Ordering::Release);
        // Whoever tells something just now does so under RCU.
        rcu::synchronize_rcu();
        // SAFETY: registered by `new`; it waits for commands that run.
        unsafe { bindings::genl_unregister_family(self.family.family.get()) };
        self.family.taken.store(false, Ordering::Release);
    }
}

impl Request<'_> {
    /// Tells all who listen in this namespace; at most `len` bytes of attributes, which `fill` writes. Nobody listening, or
    /// no memory, is no error: who lost an event sees it by the generation.
    pub(crate) fn multicast(
        &self,
        family: &'static Family,
        event: Command,
        len: usize,
        fill: impl FnOnce(&mut Message) -> Result,
    ) {
        // SAFETY: the family is registered, since this request came through it.
        let _ = unsafe { tell(family, self.net(), event, (len, false), fill) };
    }
}

/// Tells all who listen in a namespace; `room`: at most so many bytes of attributes, and whether this must not sleep.
///
/// # Safety
///
/// The family is registered.
unsafe fn tell(
    family: &'static Family,
    net: &Net,
    event: Command,
    (len, atomic): (usize, bool),
    fill: impl FnOnce(&mut Message) -> Result,
) -> Result {
    let mut message = Owned::new(len, atomic)?;
    message.write(family.family.get(), (0, 0, event.number()), fill)?;
    // SAFETY: the caller's promise; the buffer is given away.
    to_result(unsafe {
        bindings::l7_genlmsg_multicast(
            family.family.get(),
            net.as_raw(),
            message.into_raw(),
            0,
            atomic,
        )
    })
}

impl Family {
    /// [`Request::multicast`] without a request, from any context: nothing is told unless the family is registered.
    pub(crate) fn multicast(
        &'static self,
        net: &Net,
        event: Command,
        len: usize,
        fill: impl FnOnce(&mut Message) -> Result,
    ) {
        let _guard = rcu::read_lock();
        if self.tells.load(Ordering::Acquire) {
            // SAFETY: it is registered, and stays so until this is over: see `drop` of its registration.
            let _ = unsafe { tell(self, net, event, (len, true), fill) };
        }
    }
}
