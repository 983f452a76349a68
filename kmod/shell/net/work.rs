// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the module does in a namespace by itself: hooks and a ticker, which end before the namespace does.

use kernel::new_mutex;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::sync::Mutex;

use crate::shell::bindings;
use crate::shell::net::netfilter::Hooks;
use crate::shell::net::netfilter::PacketHook;
use crate::shell::net::ticker::Tick;
use crate::shell::net::ticker::Ticker;
use crate::shell::net::Net;

enum State<T: PacketHook + Tick> {
    /// Nothing is done.
    Idle,
    /// Hooks and ticker, in this order dropped, and whose they are.
    Busy(Hooks<T>, Ticker<T>, Arc<T>),
    /// The namespace ends: nothing is begun any more.
    Closed,
}

/// The work of a namespace.
#[pin_data]
pub(crate) struct Work<T: PacketHook + Tick> {
    #[pin]
    state: Mutex<State<T>>,
    net: *mut bindings::net,
}

// SAFETY: the namespace's pointer is used under the mutex only, and not after `close`.
unsafe impl<T: PacketHook + Tick> Send for Work<T> {}
// SAFETY: as above.
unsafe impl<T: PacketHook + Tick> Sync for Work<T> {}

impl<T: PacketHook + Tick> Work<T> {
    /// No work yet.
    ///
    /// # Safety
    ///
    /// [`Work::close`] is called before the namespace is gone.
    pub(in crate::shell) unsafe fn new(net: &Net) -> Result<Arc<Self>> {
        let net = net.as_raw();
        Arc::pin_init(
            pin_init!(Self {
                state <- new_mutex!(State::Idle),
                net,
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Begins: packets and ticks come to `target`. It may have begun already. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `ESHUTDOWN` where the namespace ends.
    pub(crate) fn begin(&self, target: Arc<T>) -> Result {
        let mut state = self.state.lock();
        match *state {
            State::Idle => {}
            State::Busy(..) => return Ok(()),
            State::Closed => return Err(ESHUTDOWN),
        }
        // SAFETY: the namespace is there, since the work is not closed.
        let net = unsafe { Net::from_raw(self.net) };
        // SAFETY: it is dropped when the work is closed, at the latest.
        let ticker = unsafe { Ticker::new(net, target.clone()) }?;
        // SAFETY: they are dropped when the work is closed, at the latest.
        let hooks = unsafe { Hooks::new(net, target.clone()) }?;
        *state = State::Busy(hooks, ticker, target);
        Ok(())
    }

    /// Ends: when it returns, no packet and no tick comes any more, and [`PacketHook::farewell`] has been called. Sleeps for a grace
    /// period.
    pub(crate) fn end(&self) {
        let mut state = self.state.lock();
        if let State::Busy(..) = *state {
            self.leave(&mut state, State::Idle);
        }
    }

    /// Ends for good.
    pub(in crate::shell) fn close(&self) {
        self.leave(&mut self.state.lock(), State::Closed);
    }

    fn leave(&self, state: &mut State<T>, to: State<T>) {
        let before = core::mem::replace(state, to);
        if let State::Busy(hooks, ticker, target) = before {
            drop(hooks);
            drop(ticker);
            // SAFETY: the work has not been closed before, so the namespace is there.
            target.farewell(unsafe { Net::from_raw(self.net) });
        }
    }
}
