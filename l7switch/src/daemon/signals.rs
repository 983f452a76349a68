// SPDX-License-Identifier: MIT
//! Signals.

use std::io;

use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

/// What the process may be told.
pub(crate) struct Signals {
    pub(crate) reload: Signal,
    pub(crate) reopen: Signal,
    pub(crate) succeed: Signal,
    pub(crate) end: End,
}

/// SIGTERM or SIGINT.
pub(crate) struct End {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes all of them.
    ///
    /// # Errors
    ///
    /// As the kernel says.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            reload: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined1())?,
            succeed: signal(SignalKind::user_defined2())?,
            end: End {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            },
        })
    }
}

impl End {
    /// Waits for one of the two.
    pub(crate) async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => (),
            _ = self.interrupt.recv() => (),
        }
    }
}
