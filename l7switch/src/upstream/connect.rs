// SPDX-License-Identifier: MIT
//! Connections to real servers.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use l7switch_rules::model::ProxyVersion;
use socket2::SockRef;
use socket2::TcpKeepalive;
use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::net::proxy_header;
use crate::net::proxy_header::Ends;

/// How long a peer may leave a silent connection's probes unanswered until it counts as gone.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// It was refused, or there is no way.
    #[error("{0}")]
    Refused(#[from] io::Error),
    /// Nobody answered in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// What a server is told of the connection by a PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The header's version.
    pub version: ProxyVersion,
    /// The client's connection; absent: it is the switch's own.
    pub ends: Option<Ends>,
}

/// Connects within `patience`, and tells the server for whom.
///
/// # Errors
///
/// See [`ConnectError`].
pub async fn connect_tcp(
    address: SocketAddr,
    told: Option<Told>,
    patience: Duration,
) -> Result<TcpStream, ConnectError> {
    let mut stream = tokio::time::timeout(patience, TcpStream::connect(address))
        .await
        .map_err(|_| ConnectError::Timeout(patience))??;
    prepare(&stream)?;
    if let Some(told) = told {
        // A fresh socket's buffer has room for it.
        let header = proxy_header::write(told.version, told.ends);
        stream.write_all(&header).await?;
    }
    Ok(stream)
}

/// Sets what every connection of the switch has: no Nagle, and probes that find a dead peer.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let probes = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE / 3);
    SockRef::from(stream).set_tcp_keepalive(&probes)
}
