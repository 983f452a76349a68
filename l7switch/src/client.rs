// SPDX-License-Identifier: MIT
//! A client's connection, as the handler of its requests knows it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::clock::now_ns;
use crate::gate;
use crate::shutdown::Busy;
use crate::state::Core;
use crate::stats::Connected;
use crate::stats::ServiceStats;

/// A client's connection to a virtual service.
#[derive(Debug)]
pub struct Client {
    /// The switch.
    pub core: Arc<Core>,
    /// The virtual service, by name: a reload may give it another number.
    pub service: Arc<str>,
    /// The service's counts.
    pub stats: Arc<ServiceStats>,
    /// The client, an IPv4-mapped address as IPv4.
    pub peer: SocketAddr,
    /// `http` or `https`.
    pub scheme: &'static str,
    gate: Option<Arc<gate::Shared>>,
    requests: AtomicUsize,
    quiet_since: AtomicU64,
    _connected: Connected,
    _busy: Busy,
}

impl Client {
    /// A connection that has just been accepted.
    pub fn new(
        core: Arc<Core>,
        service: Arc<str>,
        stats: Arc<ServiceStats>,
        peer: SocketAddr,
        scheme: &'static str,
    ) -> Self {
        Self {
            gate: None,
            requests: AtomicUsize::new(0),
            quiet_since: AtomicU64::new(now_ns()),
            _connected: stats.connected(),
            _busy: core.shutdown.busy(),
            core,
            service,
            stats,
            peer: SocketAddr::new(peer.ip().to_canonical(), peer.port()),
            scheme,
        }
    }

    /// The same behind a gate.
    #[must_use]
    pub fn behind(mut self, gate: Arc<gate::Shared>) -> Self {
        self.gate = Some(gate);
        self
    }

    /// The gate, in HTTP/1.
    pub fn gate(&self) -> Option<&gate::Shared> {
        self.gate.as_deref()
    }

    /// For HTTP/2, where no gate tells: how long there has been no request in progress.
    pub fn quiet_for(&self) -> Duration {
        if self.requests.load(Relaxed) > 0 {
            return Duration::ZERO;
        }
        Duration::from_nanos(now_ns().saturating_sub(self.quiet_since.load(Relaxed)))
    }

    /// Counts a request in progress until the guard is dropped.
    pub fn working(self: &Arc<Self>) -> Working {
        self.requests.fetch_add(1, Relaxed);
        Working(Arc::clone(self))
    }
}

/// A request in progress.
#[derive(Debug)]
pub struct Working(Arc<Client>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.quiet_since.store(now_ns(), Relaxed);
        self.0.requests.fetch_sub(1, Relaxed);
    }
}
