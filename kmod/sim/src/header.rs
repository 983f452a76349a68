// SPDX-License-Identifier: GPL-2.0 OR MIT
//! PROXY headers: those that clients send, and those that servers must get; written from the specification, apart from the engine's.
//!
//! Source: "The PROXY protocol, versions 1 & 2" by Willy Tarreau, in HAProxy's documentation.

use std::net::IpAddr;
use std::net::Ipv6Addr;

use l7switch_engine::endpoint::Endpoint;
use l7switch_engine::proxy_header::Ends;
use l7switch_engine::table::codes::ProxyVersion;

use crate::plan::body;

/// What version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of version 2 before the addresses.
const FIXED: usize = 16;
/// Longest line of version 1, bytes.
const LINE_MAX: usize = 107;
/// Type of a value that is a checksum.
const CRC32C: u8 = 3;
/// Type of a value that means nothing.
const NOOP: u8 = 4;
/// Type of a value that says whose header it is: one for private use.
const WHOSE: u8 = 0xe0;

/// The header that a client sends first, for it is a proxy.
#[derive(Clone, Debug)]
pub struct ClientHeader {
    /// Its version.
    pub version: ProxyVersion,
    /// The ends that it tells of; `None`: the connection is the sender's own.
    pub ends: Option<Ends>,
    /// Of version 2: the bytes of a value that means nothing.
    pub padding: Option<u16>,
    /// Of version 2: with a checksum.
    pub checked: bool,
    /// It goes as soon as the connection is there, and not with what follows.
    pub apart: bool,
}

impl ClientHeader {
    /// The header of a connection. No other connection's is the same: it has a value of its own, or ends.
    pub fn bytes(&self, conn: u32) -> Vec<u8> {
        let Some(ends) = &self.ends else {
            return match self.version {
                ProxyVersion::V1 => format!("PROXY UNKNOWN c{conn:08}\r\n").into_bytes(),
                ProxyVersion::V2 => self.binary(0x20, 0, Vec::new(), conn),
            };
        };
        match self.version {
            ProxyVersion::V1 => line(ends),
            ProxyVersion::V2 => {
                let (family, addresses) = addresses(ends);
                self.binary(0x21, family, addresses, conn)
            }
        }
    }

    fn binary(&self, command: u8, family: u8, addresses: Vec<u8>, conn: u32) -> Vec<u8> {
        let mut rest = addresses;
        let mut value = |kind: u8, value: &[u8]| {
            rest.push(kind);
            rest.extend_from_slice(&(value.len() as u16).to_be_bytes());
            rest.extend_from_slice(value);
        };
        if self.ends.is_none() {
            value(WHOSE, &conn.to_be_bytes());
        }
        if let Some(len) = self.padding {
            value(NOOP, &body(conn, 5, 204, usize::from(len)));
        }
        if self.checked {
            value(CRC32C, &[0; 4]);
        }
        let mut out = whole(command, family, &rest);
        if self.checked {
            let sum = crc32c(&out);
            let at = out.len() - 4;
            out[at..].copy_from_slice(&sum.to_be_bytes());
        }
        out
    }
}

/// The header of a version that a server must get of a connection.
pub fn written(version: ProxyVersion, ends: &Ends) -> Vec<u8> {
    match version {
        ProxyVersion::V1 => line(ends),
        ProxyVersion::V2 => {
            let (family, addresses) = addresses(ends);
            whole(0x21, family, &addresses)
        }
    }
}

/// Bytes of the header that is at the beginning; `None` where more has to come. What is none has none.
pub fn len(start: &[u8]) -> Option<usize> {
    if start.starts_with(SIGNATURE) {
        let fixed = start.get(..FIXED)?;
        let len = FIXED + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
        (start.len() >= len).then_some(len)
    } else if start.len() >= SIGNATURE.len() || !SIGNATURE.starts_with(start) {
        let line = &start[..start.len().min(LINE_MAX)];
        match line.windows(2).position(|end| end == b"\r\n") {
            _ if !line.starts_with(&b"PROXY "[..line.len().min(6)]) => Some(0),
            Some(at) => Some(at + 2),
            None => (line.len() == LINE_MAX).then_some(0),
        }
    } else {
        None
    }
}

fn whole(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut out = SIGNATURE.to_vec();
    out.extend_from_slice(&[command, family]);
    out.extend_from_slice(&(rest.len() as u16).to_be_bytes());
    out.extend_from_slice(rest);
    out
}

/// The address as it is, not IPv4 as IPv6, where both ends are of one family.
fn plain(ends: &Ends) -> (IpAddr, IpAddr) {
    let v6 = |end: &Endpoint| IpAddr::V6(Ipv6Addr::from(end.address));
    let (source, destination) = (v6(&ends.source), v6(&ends.destination));
    match (source.to_canonical(), destination.to_canonical()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => (source.into(), destination.into()),
        _ => (source, destination),
    }
}

fn line(ends: &Ends) -> Vec<u8> {
    let (source, destination) = plain(ends);
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (ends.source.port, ends.destination.port);
    format!("PROXY {family} {source} {destination} {from} {to}\r\n").into_bytes()
}

fn addresses(ends: &Ends) -> (u8, Vec<u8>) {
    let mut out = Vec::new();
    let (source, destination) = plain(ends);
    for address in [source, destination] {
        match address {
            IpAddr::V4(address) => out.extend_from_slice(&address.octets()),
            IpAddr::V6(address) => out.extend_from_slice(&address.octets()),
        }
    }
    for end in [&ends.source, &ends.destination] {
        out.extend_from_slice(&end.port.to_be_bytes());
    }
    (if source.is_ipv4() { 0x11 } else { 0x21 }, out)
}

/// RFC 9260, appendix A.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use l7switch_engine::proxy_header::parse;

    fn end(last: u8, v6: bool) -> Endpoint {
        let mut address = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, last];
        if v6 {
            address[0] = 0xfd;
        }
        Endpoint {
            address,
            port: 100 + u16::from(last),
        }
    }

    #[test]
    fn a_checksum_is_the_one_of_rfc_3720() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn what_is_written_is_read_again_and_its_length_shows_when_it_is_whole() {
        let both = |v6| Ends {
            source: end(1, v6),
            destination: end(2, v6),
        };
        for version in [ProxyVersion::V1, ProxyVersion::V2] {
            for ends in [None, Some(both(false)), Some(both(true))] {
                for (padding, checked) in [(None, false), (Some(0), true), (Some(3000), true)] {
                    let header = ClientHeader {
                        version,
                        ends,
                        padding,
                        checked,
                        apart: false,
                    };
                    let mut bytes = header.bytes(7);
                    let read = parse(&bytes).unwrap().unwrap();
                    assert_eq!((read.ends, read.len), (ends, bytes.len()));
                    for cut in 0..bytes.len() {
                        assert_eq!(len(&bytes[..cut]), None, "{cut}");
                    }
                    bytes.extend_from_slice(b"GET");
                    assert_eq!(len(&bytes), Some(bytes.len() - 3));
                }
            }
        }
        for none in ["GET / HTTP/1.1\r\n", "\r\n\r\nGET / HTTP/1.1", "PROXX "] {
            assert_eq!(len(none.as_bytes()), Some(0), "{none}");
        }
    }
}
