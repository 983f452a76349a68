// SPDX-License-Identifier: MIT
//! How a server is reached: connections of its own for HTTP/1, places on shared ones for HTTP/2.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use arc_swap::ArcSwap;
use l7switch_rules::model::ServerAddress;
use l7switch_rules::model::ServerProtocol;

use super::connect::ConnectError;
use super::connect::Told;
use super::connect::connect;
use super::http2::Connections;
use super::http2::Offer;
use super::http2::Place;
use super::stream::ServerStream;
use super::tls::ClientTls;
use super::tls::Manner;
use crate::observe::log_limit::Logged;

/// How a server is reached.
#[derive(Debug, Default)]
pub(super) struct Reach {
    /// How it is spoken to.
    manner: ArcSwap<Manner>,
    /// Connections of HTTP/2.
    pub(super) shared: Connections,
    /// It has not offered HTTP/2 the last time.
    is_http1: AtomicBool,
    /// When it was logged that it fails.
    pub(super) logged: Arc<Logged>,
}

impl Reach {
    /// A connection of its own, on which HTTP is nobody's affair here.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub(super) async fn connect(
        &self,
        address: &ServerAddress,
        told: Option<Told>,
        patience: Duration,
    ) -> Result<ServerStream, ConnectError> {
        let manner = self.manner.load_full();
        let connected = connect(
            address,
            told,
            manner.tls.as_ref(),
            ServerProtocol::Http1,
            patience,
        )
        .await?;
        Ok(connected.stream)
    }

    /// A connection of its own for HTTP/1.1, whatever HTTP its pool speaks.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub(super) async fn connect_http1(
        &self,
        address: &ServerAddress,
        told: Option<Told>,
        patience: Duration,
    ) -> Result<ServerStream, ConnectError> {
        let manner = self.manner.load_full();
        let tls = manner.tls.as_ref().map(ClientTls::for_http1);
        let http1 = ServerProtocol::Http1;
        let connected = connect(address, told, tls.as_ref(), http1, patience).await?;
        Ok(connected.stream)
    }

    /// A connection that takes a request within `patience`.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub(super) async fn offer(
        &self,
        address: &ServerAddress,
        told: Option<Told>,
        patience: Duration,
    ) -> Result<Offer, ConnectError> {
        let manner = self.manner.load_full();
        if manner.protocol == ServerProtocol::Http1 {
            return self.connect(address, told, patience).await.map(Offer::Own);
        }
        let offered = async {
            let mut turn = None;
            loop {
                match self.shared.free(told) {
                    Place::Free(ticket) => return Ok(Offer::Shared(ticket)),
                    // Who waits for a connection's SETTINGS has a place on it then, or looks again.
                    Place::Soon(mut settled) => {
                        let _ = settled.wait_for(|settled| *settled).await;
                    }
                    // One makes a connection, and those who wait meanwhile have a place on it; each needs its own where the
                    // server speaks HTTP/1, or is told of the client.
                    Place::Nowhere => {
                        let is_alone = self.is_http1.load(Relaxed) || told.is_some();
                        if is_alone || turn.is_some() {
                            break;
                        }
                        turn = Some(self.shared.turn.lock().await);
                    }
                }
            }
            let connected = connect(
                address,
                told,
                manner.tls.as_ref(),
                manner.protocol,
                patience,
            )
            .await?;
            let scheme = match &manner.tls {
                Some(_) => "https",
                None => "http",
            };
            let is_http2 = manner.tls.is_none() || connected.is_http2;
            self.is_http1.store(!is_http2, Relaxed);
            match (is_http2, manner.protocol) {
                (false, ServerProtocol::Auto) => Ok(Offer::Own(connected.stream)),
                (false, _) => Err(ConnectError::Tls(io::Error::other(
                    "the server does not offer HTTP/2 (ALPN)",
                ))),
                (true, _) => {
                    let added =
                        self.shared
                            .add(connected.stream, told, scheme, address, &self.logged);
                    let added = added.await;
                    let ticket = added.map_err(|error| io::Error::other(error.to_string()))?;
                    Ok(Offer::Shared(ticket))
                }
            }
        };
        tokio::time::timeout(patience, offered)
            .await
            .map_err(|_| ConnectError::Timeout(patience))?
    }

    /// How it is spoken to from now on. Whether connections that were made before are of no use.
    pub(super) fn speak(&self, manner: Arc<Manner>) -> bool {
        let before = self.manner.swap(Arc::clone(&manner));
        let is_other = !before.is_like(&manner);
        if is_other {
            self.shared.clear();
        }
        is_other
    }
}
