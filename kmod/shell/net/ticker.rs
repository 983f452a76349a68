// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A timer that goes off again and again.
//!
//! C header: include/linux/timer.h

use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::types::Opaque;

use crate::shell::bindings;
use crate::shell::net::Net;

/// What happens at every tick.
pub(crate) trait Tick: Send + Sync {
    /// Milliseconds from the end of one tick to the next, rounded to the kernel's (4 ms at 250 Hz).
    const PERIOD_MS: u32;

    /// Called in softirq context, for a namespace: must not sleep.
    fn tick(&self, net: &Net);
}

/// The kernel's timer with what it is for. The timer comes first, so that its address is that of both.
#[repr(C)]
struct Inner<T> {
    timer: Opaque<bindings::timer_list>,
    target: Arc<T>,
    net: *mut bindings::net,
}

/// Ticks as long as it lives.
pub(in crate::shell) struct Ticker<T: Tick> {
    inner: Pin<KBox<Inner<T>>>,
}

// SAFETY: the timer is the kernel's, which serialises; the target may be used from any CPU.
unsafe impl<T: Tick> Send for Ticker<T> {}

/// # Safety
///
/// For the kernel only, as the function of the timer of an `Inner<T>`.
unsafe extern "C" fn expired<T: Tick>(timer: *mut bindings::timer_list) {
    // SAFETY: the timer is the first field of an `Inner<T>` that lives until `drop` has waited for this.
    let inner = unsafe { &*timer.cast::<Inner<T>>() };
    // SAFETY: `Ticker` ends before the namespace does.
    inner.target.tick(unsafe { Net::from_raw(inner.net) });
    // SAFETY: the timer is set up; one that is being shut down ignores this.
    unsafe { bindings::l7_timer_start(timer, T::PERIOD_MS) };
}

impl<T: Tick> Ticker<T> {
    /// Begins to tick for a namespace.
    ///
    /// # Safety
    ///
    /// This is dropped before the namespace is gone.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(in crate::shell) unsafe fn new(net: &Net, target: Arc<T>) -> Result<Self> {
        let inner = Inner {
            timer: Opaque::uninit(),
            target,
            net: net.as_raw(),
        };
        let inner = KBox::pin(inner, GFP_KERNEL_ACCOUNT)?;
        // SAFETY: the timer stays where it is until it is shut down in `drop`.
        unsafe { bindings::l7_timer_setup(inner.timer.get(), Some(expired::<T>)) };
        // SAFETY: it is set up.
        unsafe { bindings::l7_timer_start(inner.timer.get(), T::PERIOD_MS) };
        Ok(Self { inner })
    }
}

impl<T: Tick> Drop for Ticker<T> {
    fn drop(&mut self) {
        // SAFETY: set up by `new`; waits for a tick that runs, and lets none begin.
        unsafe { bindings::timer_shutdown_sync(self.inner.timer.get()) };
    }
}
