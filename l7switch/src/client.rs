// SPDX-License-Identifier: MIT
//! A client's connection, as the handler of its requests knows it.

use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderValue;

use crate::forwarded;
use crate::shutdown::Busy;
use crate::state::Core;
use crate::stats::Connected;
use crate::stats::ServiceStats;
use crate::upstream::Own;

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
}
