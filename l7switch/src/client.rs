// SPDX-License-Identifier: MIT
//! A client's connection, as the handler of its requests knows it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use http::HeaderValue;

use crate::clock::now_ns;
use crate::forwarded;
use crate::gate;
use crate::response_body::ResponseBody;
use crate::response_body::Watched;
use crate::shutdown::Busy;
use crate::state::Core;
use crate::stats::Connected;
use crate::stats::ServiceStats;
use crate::upstream::Own;

/// Watched responses after which those that are over are taken out: more than a connection may have at a time.
const MANY: usize = 256;

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
    /// Its address as text.
    pub peer_text: HeaderValue,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The connections to servers that it has left free.
    pub own: Arc<Own>,
    gate: Option<Arc<gate::Shared>>,
    /// Responses on their way, where no gate sees whether the client takes them.
    watched: Mutex<Vec<Weak<Watched>>>,
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
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        Self {
            own: Arc::default(),
            gate: None,
            watched: Mutex::new(Vec::new()),
            requests: AtomicUsize::new(0),
            quiet_since: AtomicU64::new(now_ns()),
            _connected: stats.connected(),
            _busy: core.shutdown.busy(),
            core,
            service,
            stats,
            peer,
            peer_text: forwarded::text(peer.ip()),
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

    /// A response's content, watched where no gate does so.
    pub fn watch(&self, body: ResponseBody) -> ResponseBody {
        if self.gate.is_some() {
            return body;
        }
        let (body, watched) = body.watched();
        if let Some(watched) = watched {
            let mut list = self.watched_list();
            if list.len() >= MANY {
                list.retain(|response| response.strong_count() > 0);
            }
            list.push(Arc::downgrade(&watched));
        }
        body
    }

    /// Gives up the responses of which the client has taken nothing for this long.
    pub fn give_up_after(&self, patience: Duration) {
        self.watched_list().retain(|response| {
            let response = response.upgrade();
            response.inspect(|r| r.give_up_after(patience)).is_some()
        });
    }

    fn watched_list(&self) -> MutexGuard<'_, Vec<Weak<Watched>>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
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
