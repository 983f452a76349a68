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

use super::stream::ServerStream;
use super::tls::ClientTls;
use crate::net::proxy_header;
use crate::net::proxy_header::Ends;
use crate::net::stream::SharedStream;
use crate::observe::reason::Reason;

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
    /// The TLS handshake failed.
    #[error("TLS: {0}")]
    Tls(io::Error),
}

impl ConnectError {
    /// What is said of it in logs and metrics.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Refused(_) => Reason::ConnectFailed,
            Self::Timeout(_) => Reason::ConnectTimeout,
            Self::Tls(_) => Reason::ServerTls,
        }
    }
}

/// What a server is told of the connection by a PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The header's version.
    pub version: ProxyVersion,
    /// The client's connection; absent: it is the switch's own.
    pub ends: Option<Ends>,
}

/// A connection that was made.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) stream: ServerStream,
    /// Whether both sides agreed on HTTP/2 by ALPN.
    pub(super) is_http2: bool,
}

/// Connects within `patience`, tells the server for whom, and shakes hands.
///
/// # Errors
///
/// See [`ConnectError`].
pub(super) async fn connect(
    address: SocketAddr,
    told: Option<Told>,
    tls: Option<&ClientTls>,
    patience: Duration,
) -> Result<Connected, ConnectError> {
    let connecting = async {
        let mut stream = TcpStream::connect(address).await?;
        prepare(&stream)?;
        if let Some(told) = told {
            let header = proxy_header::write(told.version, told.ends);
            stream.write_all(&header).await?;
        }
        let (stream, _) = SharedStream::new(stream);
        match tls {
            None => Ok(Connected {
                stream: ServerStream::clear(stream),
                is_http2: false,
            }),
            Some(tls) => {
                let stream = tls.connect(address, stream).await;
                let stream = stream.map_err(ConnectError::Tls)?;
                Ok(Connected {
                    is_http2: stream.get_ref().1.alpn_protocol() == Some(b"h2"),
                    stream: ServerStream::layered(stream),
                })
            }
        }
    };
    tokio::time::timeout(patience, connecting)
        .await
        .map_err(|_| ConnectError::Timeout(patience))?
}

/// Sets what every connection of the switch has: no Nagle, and probes that find a dead peer.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let probes = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE / 3);
    SockRef::from(stream).set_tcp_keepalive(&probes)
}
