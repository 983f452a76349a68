// SPDX-License-Identifier: MIT
//! The PROXY protocol's header: read from clients that are proxies, written to servers.

use std::future::poll_fn;
use std::io;
use std::net::Ipv6Addr;
use std::net::SocketAddr;

use l7switch_engine::endpoint::Endpoint;
use l7switch_engine::proxy_header;
use l7switch_engine::proxy_header::HEADER_MAX;
use l7switch_rules::model::ProxyVersion;
use l7switch_rules::model::address_bytes;
use thiserror::Error;
use tokio::io::AsyncReadExt;

use super::stream::SharedStream;

/// Both ends of the connection that a client has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The client's.
    pub source: SocketAddr,
    /// The one that it connected to.
    pub destination: SocketAddr,
}

/// Why no header was read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The connection ended before its first byte, as those of load balancers that only look whether somebody listens.
    #[error("the connection ended before a PROXY header")]
    Nothing,
    /// The connection broke, or ended within the header.
    #[error("{0}")]
    Stream(#[from] io::Error),
    /// What came is none.
    #[error("{0}")]
    Malformed(proxy_header::Error),
}

/// Reads a header and nothing behind it. `None`: it says that the connection's own addresses count.
///
/// # Errors
///
/// See [`ReadError`].
pub async fn read(stream: &mut SharedStream) -> Result<Option<Ends>, ReadError> {
    let mut header = vec![0; HEADER_MAX];
    let mut taken = 0_usize;
    loop {
        let rest = header.get_mut(taken..).unwrap_or_default();
        let length = poll_fn(|cx| stream.poll_peek(cx, rest)).await?;
        if length == 0 {
            return Err(match taken {
                0 => ReadError::Nothing,
                _ => ReadError::Stream(io::ErrorKind::UnexpectedEof.into()),
            });
        }
        let seen = taken.saturating_add(length);
        let start = header.get(..seen).unwrap_or_default();
        let parsed = proxy_header::parse(start).map_err(ReadError::Malformed)?;
        // Until it is whole, all that came belongs to it.
        let end = parsed.map_or(seen, |header| header.len);
        let taking = header.get_mut(taken..end).unwrap_or_default();
        stream.read_exact(taking).await?;
        taken = end;
        if let Some(parsed) = parsed {
            return Ok(parsed.ends.map(|ends| Ends {
                source: address(ends.source),
                destination: address(ends.destination),
            }));
        }
    }
}

fn address(endpoint: Endpoint) -> SocketAddr {
    let address = Ipv6Addr::from(endpoint.address).to_canonical();
    SocketAddr::new(address, endpoint.port)
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint {
        address: address_bytes(address.ip()),
        port: address.port(),
    }
}

/// A header that tells of a client's connection. `None`: the connection is the switch's own.
pub fn write(version: ProxyVersion, ends: Option<Ends>) -> Vec<u8> {
    let ends = ends.map(|ends| proxy_header::Ends {
        source: endpoint(ends.source),
        destination: endpoint(ends.destination),
    });
    let written = proxy_header::write(version, ends.as_ref());
    written.bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio::net::TcpStream;

    const PAIRS: [(&str, &str); 3] = [
        ("192.0.2.1:40000", "10.0.0.1:80"),
        ("[2001:db8::1]:40000", "[2001:db8::2]:80"),
        ("192.0.2.1:40000", "[2001:db8::2]:80"),
    ];

    #[test]
    fn what_is_written_is_read() {
        for version in [ProxyVersion::V1, ProxyVersion::V2] {
            for (source, destination) in PAIRS {
                let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
                let ends = Ends {
                    source,
                    destination,
                };
                let header = write(version, Some(ends));
                let parsed = proxy_header::parse(&header).unwrap().unwrap();
                let read = parsed.ends.unwrap();
                assert_eq!(address(read.source), source);
                assert_eq!(address(read.destination), destination);
                assert_eq!(parsed.len, header.len());
            }
            let own = write(version, None);
            assert_eq!(proxy_header::parse(&own).unwrap().unwrap().ends, None);
        }
    }

    #[tokio::test]
    async fn what_comes_behind_it_is_left_where_it_is() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        for pause in [false, true] {
            for version in [ProxyVersion::V1, ProxyVersion::V2] {
                let mut client = TcpStream::connect(address).await.unwrap();
                let (stream, _) = SharedStream::new(listener.accept().await.unwrap().0);
                let mut stream = stream;
                let (source, destination) = PAIRS[0];
                let ends = Ends {
                    source: source.parse().unwrap(),
                    destination: destination.parse().unwrap(),
                };
                let bytes = [&write(version, Some(ends))[..], b"GET /"].concat();
                let send = async {
                    for piece in bytes.chunks(if pause { 5 } else { bytes.len() }) {
                        client.write_all(piece).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                    client.shutdown().await.unwrap();
                };
                let receive = async {
                    assert_eq!(read(&mut stream).await.unwrap(), Some(ends));
                    let mut rest = Vec::new();
                    stream.read_to_end(&mut rest).await.unwrap();
                    assert_eq!(rest, b"GET /");
                };
                tokio::join!(send, receive);
            }
        }
    }
}
