// SPDX-License-Identifier: MIT
//! The service manager: sockets that it has opened or kept, and what it is told (sd_notify(3), sd_listen_fds(3)).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use sd_notify::NotifyState;
use tokio::net::TcpListener;

use crate::handover::sockets::Listening;
use crate::handover::sockets::Sockets;

/// Begins the name of a socket that is kept.
pub const PREFIX: &str = "l7switch-";

/// The sockets that the service manager has given this process, with its names of them; `None`: it has given none, or what it says is
/// wrong.
///
/// To be called once, before the process opens anything.
pub fn given() -> Vec<(OwnedFd, String)> {
    let given = match sd_notify::listen_fds_with_names() {
        Ok(given) => given,
        Err(error) => {
            tracing::warn!(%error, "the sockets of the service manager are not used");
            return Vec::new();
        }
    };
    given
        .map(|(descriptor, name)| {
            // SAFETY: the service manager says by LISTEN_PID that this process has got the descriptor, which was open when
            // `listen_fds_with_names` changed its flags; nobody else here knows of it, as this is called once and first.
            let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
            (descriptor, name)
        })
        .collect()
}

/// Looks at what the service manager has given. What is no listening socket for TCP is closed, with a line in the log; a second one for
/// an address is the first one again, from its store.
pub fn sockets(given: Vec<(OwnedFd, String)>) -> Sockets {
    let mut all = Sockets::default();
    for (descriptor, name) in given {
        match Listening::look(descriptor) {
            Ok(Listening::Tcp(descriptor, bound)) => {
                let mut one = Sockets::default();
                // Its own address is what it is asked for by.
                let _ = one.add(descriptor, bound, None, Some(name));
                all.join(one);
            }
            Ok(Listening::Unix(_, path)) => tracing::warn!(
                name,
                "the service manager's socket {} is closed: no service listens on Unix sockets",
                path.display()
            ),
            Err(why) => tracing::warn!(name, "the service manager's socket is closed: {why}"),
        }
    }
    all
}

/// The name by which the service manager keeps a socket: no colon may be in it.
fn name(address: SocketAddr) -> String {
    format!("{PREFIX}{address}").replace(':', "_")
}

/// Where the service manager is told.
#[derive(Debug)]
pub struct Manager {
    /// The names of sockets that it keeps for this process.
    kept: Mutex<BTreeSet<String>>,
    /// Addresses whose sockets are units of its own, which it keeps anyway.
    of_units: BTreeSet<SocketAddr>,
    has_failed: AtomicBool,
}

/// Told to the service manager when it is dropped: a reload is over.
#[derive(Debug)]
pub struct Reloading<'a>(&'a Manager);

impl Drop for Reloading<'_> {
    fn drop(&mut self) {
        self.0.notify(&[NotifyState::Ready]);
    }
}

impl Manager {
    /// The service manager of this process, which has sockets of its own for these addresses. `None`: it wants to be told nothing.
    pub fn find(of_units: BTreeSet<SocketAddr>) -> Option<Self> {
        std::env::var_os("NOTIFY_SOCKET").map(|_| Self {
            kept: Mutex::default(),
            of_units,
            has_failed: AtomicBool::new(false),
        })
    }

    /// It serves: this process is the service's, whoever was before.
    pub fn ready(&self) {
        let own = NotifyState::MainPid(std::process::id());
        self.notify(&[own, NotifyState::Ready]);
    }

    /// A reload begins, and lasts as long as what this gives.
    pub fn reloading(&self) -> Reloading<'_> {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.notify(&[NotifyState::Reloading, now]),
            Err(error) => tracing::debug!(%error, "no monotonic time"),
        }
        Reloading(self)
    }

    /// The end begins.
    pub fn stopping(&self) {
        self.notify(&[NotifyState::Stopping]);
    }

    /// Another process is the service's.
    pub fn main_process(&self, pid: u32) {
        self.notify(&[NotifyState::MainPid(pid)]);
    }

    /// Says at the pace that the service manager wants that the process lives, for as long as the future is polled.
    pub async fn watched(&self) {
        let time = sd_notify::watchdog_enabled().filter(|time| time.as_millis() > 1);
        let Some(time) = time else {
            return std::future::pending().await;
        };
        let mut ticks = tokio::time::interval(time / 2);
        loop {
            ticks.tick().await;
            self.notify(&[NotifyState::Watchdog]);
        }
    }

    /// Has these sockets kept, and no others of those that were.
    pub fn store(&self, sockets: &[(SocketAddr, Arc<TcpListener>)]) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now = BTreeSet::new();
        for (_, socket) in sockets {
            let Ok(bound) = socket.local_addr() else {
                continue;
            };
            if self.of_units.contains(&bound) {
                continue;
            }
            let name = name(bound);
            if !kept.contains(&name) {
                let states = [NotifyState::FdStore, NotifyState::FdName(&name)];
                self.said(sd_notify::notify_with_fds(&states, &[socket.as_fd()]));
            }
            now.insert(name);
        }
        for name in kept.difference(&now) {
            self.forget(name);
        }
        *kept = now;
    }

    /// Has a socket not kept any more.
    pub fn forget(&self, name: &str) {
        self.notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)]);
    }

    /// Has a socket not kept any more that the process before had.
    pub fn forget_address(&self, address: SocketAddr) {
        self.forget(&name(address));
    }

    fn notify(&self, states: &[NotifyState<'_>]) {
        self.said(sd_notify::notify(states));
    }

    /// Says once that nobody listens.
    fn said(&self, result: std::io::Result<()>) {
        if let Err(error) = result
            && !self.has_failed.swap(true, Relaxed)
        {
            tracing::warn!(%error, "the service manager cannot be told");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_a_service_manager_takes() {
        for (address, expected) in [
            ("127.0.0.1:80", "l7switch-127.0.0.1_80"),
            ("[::1]:443", "l7switch-[__1]_443"),
        ] {
            assert_eq!(name(address.parse().unwrap()), expected);
        }
    }

    #[tokio::test]
    async fn what_is_no_socket_of_a_service_is_closed() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let unix = std::os::unix::net::UnixListener::bind(folder.path().join("s")).unwrap();
        let given: Vec<(OwnedFd, String)> = vec![
            (file.into(), "file".to_owned()),
            (unix.into(), "unix".to_owned()),
            (listener.into(), "web".to_owned()),
        ];
        let mut sockets = sockets(given);
        assert_eq!(sockets.len(), 1);
        assert!(sockets.take(address).unwrap().is_some());
    }
}
