// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Data of the module's in every network namespace.
//!
//! C header: include/net/net_namespace.h (`struct pernet_operations`), include/net/netns/generic.h

use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering;

use kernel::error::from_result;
use kernel::error::to_result;
use kernel::ffi::c_int;
use kernel::ffi::c_uint;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::sync::ArcBorrow;
use kernel::types::Opaque;

use crate::shell::bindings;
use crate::shell::net::netfilter::PacketHook;
use crate::shell::net::ticker::Tick;
use crate::shell::net::work::Work;
use crate::shell::net::Net;

/// What the module keeps in a namespace.
pub(crate) trait Namespace: PacketHook + Tick + Sized + 'static {
    /// Where the kernel's record of the type is. There is one for each type.
    fn slot() -> &'static Slot<Self>;

    /// Makes the data of a namespace that begins. What it does in the namespace besides answering, it does by `work`, which
    /// ends before the namespace does.
    fn new(work: Arc<Work<Self>>) -> Result<Arc<Self>>;
}

/// What the kernel's place in a namespace points to.
struct Entry<T: Namespace> {
    data: Arc<T>,
    work: Arc<Work<T>>,
}

/// The kernel's record of one type of data.
pub(crate) struct Slot<T> {
    taken: AtomicBool,
    id: UnsafeCell<c_uint>,
    ops: Opaque<bindings::pernet_operations>,
    _type: PhantomData<fn() -> T>,
}

// SAFETY: `id` is written by the kernel during registration only, which `taken` makes exclusive, and read between
// registration and its end; `ops` is the kernel's, behind its own lock.
unsafe impl<T> Sync for Slot<T> {}

impl<T: Namespace> Slot<T> {
    /// An unused one.
    pub(crate) const fn new() -> Self {
        Self {
            taken: AtomicBool::new(false),
            id: UnsafeCell::new(0),
            ops: Opaque::uninit(),
            _type: PhantomData,
        }
    }

    /// Where the pointer to a namespace's data is.
    ///
    /// # Safety
    ///
    /// The type is registered, or just being registered or unregistered by the kernel for this namespace.
    unsafe fn place(&self, net: &Net) -> *mut *mut Entry<T> {
        // SAFETY: the kernel wrote `id` before it called anything that leads here, and does not write it again before
        // the registration has ended.
        let id = unsafe { *self.id.get() };
        // SAFETY: `id` is that of the registration, whose size is that of a pointer.
        unsafe { bindings::l7_net_generic(net.as_raw(), id) }.cast()
    }

    /// The data of a namespace.
    ///
    /// # Safety
    ///
    /// The type is registered during `'n`, and the namespace is beyond its `init` and before its `exit`.
    pub(in crate::shell) unsafe fn get<'n>(&self, net: &'n Net) -> Option<ArcBorrow<'n, T>> {
        // SAFETY: the caller's promise.
        let place = unsafe { self.place(net) };
        // SAFETY: `init` stored a pointer from a box there, or nothing, and `exit` alone takes it away.
        let entry = unsafe { (*place).as_ref() };
        entry.map(|entry| entry.data.as_arc_borrow())
    }
}

/// Called by the kernel for every namespace, those that are there at registration too. Returns 0 or a negative errno.
///
/// # Safety
///
/// For the kernel only, as `pernet_operations::init`.
unsafe extern "C" fn init<T: Namespace>(net: *mut bindings::net) -> c_int {
    from_result(|| {
        // SAFETY: the kernel gives a namespace that lives through the call.
        let net = unsafe { Net::from_raw(net) };
        // SAFETY: `pre_exit` closes the work, which the kernel calls before the namespace is gone.
        let work = unsafe { Work::new(net) }?;
        let data = T::new(work.clone())?;
        let entry = KBox::into_raw(KBox::new(Entry { data, work }, GFP_KERNEL_ACCOUNT)?);
        // SAFETY: called during registration; the place is the namespace's own and nobody else writes it now.
        unsafe { *T::slot().place(net) = entry };
        Ok(0)
    })
}

/// Called before a grace period that the kernel waits for.
///
/// # Safety
///
/// For the kernel only, as `pernet_operations::pre_exit`.
unsafe extern "C" fn pre_exit<T: Namespace>(net: *mut bindings::net) {
    // SAFETY: the kernel gives a namespace that lives through the call.
    let net = unsafe { Net::from_raw(net) };
    // SAFETY: the kernel calls this between registration and its end.
    let place = unsafe { T::slot().place(net) };
    // SAFETY: `init` stored a pointer from a box there, or nothing, and `exit` alone takes it away.
    if let Some(entry) = unsafe { (*place).as_ref() } {
        entry.work.close();
    }
}

/// Called after that grace period.
///
/// # Safety
///
/// For the kernel only, as `pernet_operations::exit`.
unsafe extern "C" fn exit<T: Namespace>(net: *mut bindings::net) {
    // SAFETY: the kernel gives a namespace that lives through the call.
    let net = unsafe { Net::from_raw(net) };
    // SAFETY: the kernel calls this between registration and its end.
    let place = unsafe { T::slot().place(net) };
    // SAFETY: nobody else uses the place any more.
    let entry = unsafe { core::ptr::replace(place, core::ptr::null_mut()) };
    if !entry.is_null() {
        // SAFETY: the pointer came from `KBox::into_raw` in `init` and is taken back once.
        drop(unsafe { KBox::from_raw(entry) });
    }
}

/// Every namespace has the data as long as this lives.
pub(crate) struct Registration<T: Namespace>(PhantomData<T>);

impl<T: Namespace> Registration<T> {
    /// Makes the data in every namespace that is there, and in those that come.
    ///
    /// # Errors
    ///
    /// `EBUSY` where there is a registration of the type already; what [`Namespace::new`] gives.
    pub(crate) fn new() -> Result<Self> {
        let slot = T::slot();
        if slot.taken.swap(true, Ordering::Acquire) {
            return Err(EBUSY);
        }
        let ops = bindings::pernet_operations {
            init: Some(init::<T>),
            pre_exit: Some(pre_exit::<T>),
            exit: Some(exit::<T>),
            id: slot.id.get(),
            size: core::mem::size_of::<*mut Entry<T>>(),
            ..Default::default()
        };
        // SAFETY: `taken` was ours to set, so nobody else uses the record.
        unsafe { slot.ops.get().write(ops) };
        // SAFETY: the record is a static, so it stays where it is until it is unregistered.
        let result = to_result(unsafe { bindings::register_pernet_subsys(slot.ops.get()) });
        if result.is_err() {
            slot.taken.store(false, Ordering::Release);
        }
        result.map(|()| Self(PhantomData))
    }
}

impl<T: Namespace> Drop for Registration<T> {
    fn drop(&mut self) {
        let slot = T::slot();
        // SAFETY: it was registered by `new`, and is unregistered once.
        unsafe { bindings::unregister_pernet_subsys(slot.ops.get()) };
        slot.taken.store(false, Ordering::Release);
    }
}
