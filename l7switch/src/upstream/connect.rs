// SPDX-License-Identifier: MIT
//! Connections to real servers.

use std::io;
use std::net::TcpStream as StdStream;
use std::os::fd::OwnedFd;
use std::time::Duration;

use l7switch_rules::model::ProxyVersion;
use l7switch_rules::model::ServerAddress;
use l7switch_rules::model::ServerProtocol;
use rustix::io::Errno;
use socket2::SockRef;
use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::UnixStream;

use super::stream::ServerStream;
use super::tls::ClientTls;
use crate::net::proxy_header;
use crate::net::proxy_header::Ends;
use crate::net::stream::SharedStream;
use crate::net::stream::probe;
use crate::observe::reason::Reason;
use crate::observe::words;

/// How long what was sent on a connection that requests share may stay unacknowledged (TCP_USER_TIMEOUT, RFC 5482) until the peer
/// counts as gone: TCP alone takes a quarter of an hour. HTTP/2's own pings are no way to find out: servers of gRPC end the
/// connection of a client that sends more than a few in five minutes.
const SHARED_PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// It was refused, or there is no way.
    #[error("{}", words::io_error(.0))]
    Refused(io::Error),
    /// This host has no descriptor or memory for it: no fault of the server.
    #[error("{}, on this host", words::io_error(.0))]
    Here(io::Error),
    /// Nobody answered in time.
    #[error("timed out after {}", words::time(*.0))]
    Timeout(Duration),
    /// The TLS handshake failed.
    #[error("TLS: {}", words::io_error(.0))]
    Tls(io::Error),
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        // Not EADDRNOTAVAIL: another server may be reached where this one has no port left, or no address of this host fits it.
        let here = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
        match Errno::from_io_error(&error) {
            Some(errno) if here.contains(&errno) => Self::Here(error),
            _ => Self::Refused(error),
        }
    }
}

impl ConnectError {
    /// Whether it is no fault of the server.
    pub const fn is_of_this_host(&self) -> bool {
        matches!(self, Self::Here(_))
    }

    /// What is said of it in logs and metrics.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Refused(_) => Reason::ConnectFailed,
            Self::Here(_) => Reason::NoResources,
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
    address: &ServerAddress,
    told: Option<Told>,
    tls: Option<&ClientTls>,
    protocol: ServerProtocol,
    patience: Duration,
) -> Result<Connected, ConnectError> {
    let connecting = async {
        let mut stream = match address {
            ServerAddress::Inet(address) => {
                let stream = TcpStream::connect(address).await?;
                prepare(&stream, protocol)?;
                stream
            }
            ServerAddress::Unix(path) => connect_unix(path).await?,
        };
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

/// Time between two attempts at a Unix socket whose queue is full, which does not tell when there is room.
const UNIX_REST: Duration = Duration::from_millis(5);

/// Connects to a Unix socket. What is read, written and spliced here is the same with every stream socket, so that its
/// descriptor is taken for one of TCP's: whatever only TCP has (options, addresses) is not asked of it.
async fn connect_unix(path: &str) -> io::Result<TcpStream> {
    let stream = loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(UNIX_REST).await;
            }
            connected => break connected?,
        }
    };
    TcpStream::from_std(StdStream::from(OwnedFd::from(stream.into_std()?)))
}

/// Sets what every connection of the switch has: no Nagle, and probes that find a dead peer.
fn prepare(stream: &TcpStream, protocol: ServerProtocol) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if protocol != ServerProtocol::Http1 {
        SockRef::from(stream).set_tcp_user_timeout(Some(SHARED_PATIENCE))?;
    }
    probe(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn connections_that_requests_share_find_a_dead_peer_soon() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        for (protocol, expected) in [
            (ServerProtocol::Http1, None),
            (ServerProtocol::Http2, Some(SHARED_PATIENCE)),
            (ServerProtocol::Auto, Some(SHARED_PATIENCE)),
        ] {
            let stream = TcpStream::connect(address).await.unwrap();
            prepare(&stream, protocol).unwrap();
            assert!(stream.nodelay().unwrap());
            let found = SockRef::from(&stream).tcp_user_timeout().unwrap();
            assert_eq!(found, expected, "{protocol:?}");
        }
    }
}
