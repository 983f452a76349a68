// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The PROXY protocol's header, which a proxy writes before a client's first byte to tell whose connection it is.
//!
//! Source: "The PROXY protocol, versions 1 & 2" by Willy Tarreau, in HAProxy's documentation.

use core::fmt;
use core::fmt::Write as _;
use core::net::IpAddr;
use core::net::Ipv4Addr;
use core::net::Ipv6Addr;
use core::str;

use crate::endpoint::is_ipv4;
use crate::endpoint::Endpoint;
use crate::table::codes::ProxyVersion;

/// Longest header that is read, bytes, type-length-values included; nginx takes as much.
pub const HEADER_MAX: usize = 4096;

/// What a header of version 1 begins with.
const V1: &[u8; 6] = b"PROXY ";
/// Longest line of version 1, bytes, with its end.
pub const V1_MAX: usize = 107;
/// What a header of version 2 begins with.
const V2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of version 2 before the addresses.
const V2_FIXED: usize = 16;
/// Version 2, and that the sender itself has connected: the connection is its own.
const V2_LOCAL: u8 = 0x20;
/// Version 2, and that it has connected for a client.
const V2_PROXY: u8 = 0x21;
/// TCP over IPv4.
const V2_TCP4: u8 = 0x11;
/// TCP over IPv6.
const V2_TCP6: u8 = 0x21;
/// Type of the checksum among the type-length-values.
const CRC32C: u8 = 3;

/// Both ends of the connection that the client has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The client's.
    pub source: Endpoint,
    /// The one that it connected to.
    pub destination: Endpoint,
}

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// `None` where the connection is the sender's own, or of no family that TCP has: then the connection's addresses count.
    pub ends: Option<Ends>,
    /// Bytes of the header: the client's own begin there.
    pub len: usize,
}

/// Why there is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The connection does not begin with one.
    None,
    /// It is longer than [`HEADER_MAX`], or than 107 bytes in version 1.
    TooLong,
    /// A version or command that is not known.
    Command,
    /// Its addresses or ports are none.
    Address,
    /// Lengths within it do not fit.
    Length,
    /// Its checksum is wrong.
    Checksum,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "the connection does not begin with a PROXY header",
            Self::TooLong => "the PROXY header is too long",
            Self::Command => "the PROXY header has an unknown version or command",
            Self::Address => "the PROXY header has no valid addresses",
            Self::Length => "the PROXY header's lengths do not fit",
            Self::Checksum => "the PROXY header's checksum is wrong",
        })
    }
}

/// Reads the header with which a connection begins; `start`: every byte of it so far. `Ok(None)`: it is not complete, and all of `start`
/// belongs to it.
///
/// # Errors
///
/// See [`Error`].
pub fn parse(start: &[u8]) -> Result<Option<Header>, Error> {
    if start.starts_with(V2) {
        version2(start)
    } else if start.starts_with(V1) {
        version1(start)
    } else if V1.starts_with(start) || V2.starts_with(start) {
        Ok(None)
    } else {
        Err(Error::None)
    }
}

fn version1(start: &[u8]) -> Result<Option<Header>, Error> {
    let seen = start.get(..V1_MAX).unwrap_or(start);
    let Some(feed) = seen.iter().position(|&byte| byte == b'\n') else {
        return if start.len() >= V1_MAX {
            Err(Error::TooLong)
        } else {
            Ok(None)
        };
    };
    // A line feed alone is no end: others might take it for one.
    let line = seen.get(V1.len()..feed).unwrap_or_default();
    let line = line.strip_suffix(b"\r").ok_or(Error::TooLong)?;
    let len = feed.wrapping_add(1);
    let mut words = line.split(|&byte| byte == b' ');
    let is_ipv4 = match words.next() {
        // What follows is to be ignored.
        Some(b"UNKNOWN") => return Ok(Some(Header { ends: None, len })),
        Some(b"TCP4") => true,
        Some(b"TCP6") => false,
        _ => return Err(Error::Address),
    };
    let mut address = || {
        let address = str::from_utf8(words.next()?).ok()?.parse::<IpAddr>().ok()?;
        (address.is_ipv4() == is_ipv4).then_some(address)
    };
    let (source, destination) = address().zip(address()).ok_or(Error::Address)?;
    let mut port = || number(words.next()?);
    let (source_port, destination_port) = port().zip(port()).ok_or(Error::Address)?;
    if words.next().is_some() {
        return Err(Error::Address);
    }
    let endpoint = |address, port| Endpoint {
        address: match address {
            IpAddr::V4(address) => mapped(address),
            IpAddr::V6(address) => address.octets(),
        },
        port,
    };
    let ends = Some(Ends {
        source: endpoint(source, source_port),
        destination: endpoint(destination, destination_port),
    });
    Ok(Some(Header { ends, len }))
}

/// A port, as numbers are written: no sign, no zero in front.
fn number(word: &[u8]) -> Option<u16> {
    if word.starts_with(b"0") && word.len() > 1 || word.is_empty() {
        return None;
    }
    word.iter().try_fold(0u16, |number, byte| {
        let digit = byte.checked_sub(b'0').filter(|&digit| digit < 10)?;
        number.checked_mul(10)?.checked_add(u16::from(digit))
    })
}

const fn mapped(address: Ipv4Addr) -> [u8; 16] {
    address.to_ipv6_mapped().octets()
}

fn version2(start: &[u8]) -> Result<Option<Header>, Error> {
    let Some(fixed) = start.first_chunk::<V2_FIXED>() else {
        return Ok(None);
    };
    let [.., command, family, high, low] = *fixed;
    if command != V2_LOCAL && command != V2_PROXY {
        return Err(Error::Command);
    }
    let len = usize::from(u16::from_be_bytes([high, low])).wrapping_add(V2_FIXED);
    if len > HEADER_MAX {
        return Err(Error::TooLong);
    }
    let Some(header) = start.get(..len) else {
        return Ok(None);
    };
    let rest = header.get(V2_FIXED..).unwrap_or_default();
    if command == V2_LOCAL {
        return Ok(Some(Header { ends: None, len }));
    }
    let (ends, addresses) = match family {
        V2_TCP4 => {
            let [s0, s1, s2, s3, d0, d1, d2, d3, p0, p1, q0, q1] =
                *rest.first_chunk::<12>().ok_or(Error::Length)?;
            let endpoint = |address: [u8; 4], port| Endpoint {
                address: mapped(Ipv4Addr::from(address)),
                port: u16::from_be_bytes(port),
            };
            let ends = Ends {
                source: endpoint([s0, s1, s2, s3], [p0, p1]),
                destination: endpoint([d0, d1, d2, d3], [q0, q1]),
            };
            (Some(ends), 12)
        }
        V2_TCP6 => {
            let (source, rest) = rest.split_first_chunk::<16>().ok_or(Error::Length)?;
            let (destination, rest) = rest.split_first_chunk::<16>().ok_or(Error::Length)?;
            let [p0, p1, q0, q1] = *rest.first_chunk::<4>().ok_or(Error::Length)?;
            let endpoint = |address: &[u8; 16], port| Endpoint {
                address: *address,
                port: u16::from_be_bytes(port),
            };
            let ends = Ends {
                source: endpoint(source, [p0, p1]),
                destination: endpoint(destination, [q0, q1]),
            };
            (Some(ends), 36)
        }
        // Of datagrams, of Unix sockets (addresses of 216 bytes), or not said.
        0x12 => (None, 12),
        0x22 => (None, 36),
        0x31 | 0x32 => (None, 216),
        _ => (None, rest.len()),
    };
    values(header, rest.get(addresses..).ok_or(Error::Length)?)?;
    Ok(Some(Header { ends, len }))
}

/// Goes over the type-length-values, and compares the checksum if there is one.
fn values(header: &[u8], mut values: &[u8]) -> Result<(), Error> {
    while let Some((&kind, rest)) = values.split_first() {
        let (length, rest) = rest.split_first_chunk::<2>().ok_or(Error::Length)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (value, rest) = rest.split_at_checked(length).ok_or(Error::Length)?;
        if kind == CRC32C {
            let said = value.first_chunk::<4>().ok_or(Error::Length)?;
            let from = header.len().wrapping_sub(rest.len()).wrapping_sub(length);
            if length != 4 || crc32c(header, from) != u32::from_be_bytes(*said) {
                return Err(Error::Checksum);
            }
        }
        values = rest;
    }
    Ok(())
}

/// The checksum of RFC 9260, appendix A, with four bytes from `zero` on taken for zeros.
fn crc32c(bytes: &[u8], zero: usize) -> u32 {
    let mut crc = u32::MAX;
    for (at, byte) in bytes.iter().enumerate() {
        let byte = match at.wrapping_sub(zero) {
            0..4 => 0,
            _ => *byte,
        };
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    !crc
}

/// A header that was written.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    bytes: [u8; V1_MAX],
    len: u8,
}

impl Written {
    const EMPTY: Self = Self {
        bytes: [0; V1_MAX],
        len: 0,
    };

    /// The header.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Its length, bytes.
    pub const fn size(&self) -> u32 {
        self.len as u32
    }

    fn put(&mut self, bytes: &[u8]) {
        let from = usize::from(self.len);
        let place = self
            .bytes
            .get_mut(from..)
            .and_then(|rest| rest.get_mut(..bytes.len()));
        if let Some(place) = place {
            for (place, byte) in place.iter_mut().zip(bytes) {
                *place = *byte;
            }
            self.len = u8::try_from(from.wrapping_add(bytes.len())).unwrap_or(self.len);
        }
    }
}

impl fmt::Write for Written {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.put(text.as_bytes());
        Ok(())
    }
}

/// Writes a header that tells of a client's connection; `None`: the connection is the switch's own. Ends of both families are
/// told as IPv6's, IPv4 as IPv4-mapped.
pub fn write(version: ProxyVersion, ends: Option<&Ends>) -> Written {
    let mut to = Written::EMPTY;
    match (version, ends) {
        (ProxyVersion::V1, None) => to.put(b"PROXY UNKNOWN\r\n"),
        (ProxyVersion::V1, Some(ends)) => {
            // The longest is of 104 bytes, and nothing else can fail.
            let _ = line(&mut to, ends);
        }
        (ProxyVersion::V2, None) => {
            to.put(V2);
            to.put(&[V2_LOCAL, 0, 0, 0]);
        }
        (ProxyVersion::V2, Some(ends)) => {
            let addresses = [&ends.source.address, &ends.destination.address];
            to.put(V2);
            if is_ipv4(addresses[0]) && is_ipv4(addresses[1]) {
                to.put(&[V2_PROXY, V2_TCP4, 0, 12]);
                for address in addresses {
                    to.put(address.last_chunk::<4>().unwrap_or(&[0; 4]));
                }
            } else {
                to.put(&[V2_PROXY, V2_TCP6, 0, 36]);
                for address in addresses {
                    to.put(address);
                }
            }
            to.put(&ends.source.port.to_be_bytes());
            to.put(&ends.destination.port.to_be_bytes());
        }
    }
    to
}

/// Version 1.
fn line(to: &mut Written, ends: &Ends) -> fmt::Result {
    let [source, destination] = [&ends.source, &ends.destination];
    match (ipv4(&source.address), ipv4(&destination.address)) {
        (Some(from), Some(at)) => write!(to, "PROXY TCP4 {from} {at}")?,
        _ => {
            let [from, at] = [source, destination].map(|end| Ipv6Addr::from(end.address));
            write!(to, "PROXY TCP6 {from} {at}")?;
        }
    }
    write!(to, " {} {}\r\n", source.port, destination.port)
}

fn ipv4(address: &[u8; 16]) -> Option<Ipv4Addr> {
    let [.., a, b, c, d] = *address;
    is_ipv4(address).then(|| Ipv4Addr::new(a, b, c, d))
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::format;
    use std::string::String;
    use std::vec::Vec;

    fn source(start: &[u8]) -> Option<(String, u16, usize)> {
        let header = parse(start).unwrap().unwrap();
        let source = header.ends?.source;
        let address = core::net::Ipv6Addr::from(source.address).to_canonical();
        Some((format!("{address}"), source.port, header.len))
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = V2.to_vec();
        bytes.extend([command, family]);
        bytes.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    const TCP4: [u8; 12] = [192, 0, 2, 1, 10, 0, 0, 1, 0x1f, 0x90, 0, 80];

    #[test]
    fn lines_of_version_1_are_read() {
        let line = b"PROXY TCP4 192.0.2.1 10.0.0.1 8080 80\r\nGET";
        assert_eq!(source(line), Some(("192.0.2.1".into(), 8080, 39)));
        let line = b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n";
        assert_eq!(source(line), Some(("2001:db8::1".into(), 1, 36)));
        for line in [&b"PROXY UNKNOWN\r\n"[..], b"PROXY UNKNOWN a b c\r\n"] {
            let header = parse(line).unwrap().unwrap();
            assert_eq!((header.ends, header.len), (None, line.len()));
        }
    }

    #[test]
    fn headers_of_version_2_are_read() {
        assert_eq!(
            source(&v2(0x21, 0x11, &TCP4)),
            Some(("192.0.2.1".into(), 8080, 28))
        );
        let mut six = Vec::from([0; 36]);
        (six[0], six[1], six[15], six[33]) = (0x20, 1, 7, 9);
        assert_eq!(
            source(&v2(0x21, 0x21, &six)),
            Some(("2001::7".into(), 9, 52))
        );
        // A health check of the proxy itself; families without an address of TCP.
        for (command, family, rest) in [
            (0x20, 0, &[][..]),
            (0x20, 0x11, &[1, 2]),
            (0x21, 0, b"anything"),
            (0x21, 0x12, &TCP4),
            (0x21, 0x31, &[0; 216]),
        ] {
            assert_eq!(source(&v2(command, family, rest)), None);
        }
    }

    /// The example has an authority and padding.
    #[test]
    fn values_are_gone_over_and_the_checksum_compared() {
        let mut rest = TCP4.to_vec();
        rest.extend(b"\x02\x00\x0bexample.org\x04\x00\x00\x03\x00\x04");
        let at = rest.len();
        rest.extend([0; 4]);
        let mut whole = v2(0x21, 0x11, &rest);
        let right = crc32c(&whole, whole.len());
        whole.truncate(V2_FIXED + at);
        whole.extend(right.to_be_bytes());
        assert!(source(&whole).is_some());
        whole[20] ^= 1;
        assert_eq!(parse(&whole), Err(Error::Checksum));
        assert_eq!(
            crc32c(b"123456789", 9),
            0xe306_9283,
            "the catalogue's check value"
        );
    }

    #[test]
    fn every_part_of_a_header_waits_for_the_rest() {
        for whole in [
            b"PROXY TCP4 192.0.2.1 10.0.0.1 8080 80\r\n".to_vec(),
            v2(0x21, 0x11, &TCP4),
        ] {
            for end in 0..whole.len() {
                assert_eq!(parse(&whole[..end]), Ok(None), "{end}");
            }
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for (start, error) in [
            (&b"GET / HTTP/1.1\r\n"[..], Error::None),
            (b"PROXX", Error::None),
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 8080\r\n", Error::Address),
            (
                b"PROXY TCP4 192.0.2.1 10.0.0.1 8080 80 x\r\n",
                Error::Address,
            ),
            (b"PROXY TCP4 ::1 ::1 8080 80\r\n", Error::Address),
            (b"PROXY TCP6 192.0.2.1 10.0.0.1 8080 80\r\n", Error::Address),
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 +8 80\r\n", Error::Address),
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 08 80\r\n", Error::Address),
            (
                b"PROXY TCP4 192.0.2.1 10.0.0.1 65536 80\r\n",
                Error::Address,
            ),
            (b"PROXY UDP4 192.0.2.1 10.0.0.1 8 80\r\n", Error::Address),
            (b"PROXY TCP4  192.0.2.1 10.0.0.1 8 80\r\n", Error::Address),
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 8 80\n", Error::TooLong),
            (&[&b"PROXY "[..], &[b'1'; 101]].concat(), Error::TooLong),
            (&v2(0x11, 0x11, &TCP4), Error::Command),
            (&v2(0x22, 0x11, &TCP4), Error::Command),
            (&v2(0x21, 0x11, &TCP4[..11]), Error::Length),
            (&v2(0x21, 0x21, &TCP4), Error::Length),
            (
                &v2(0x21, 0x11, &[&TCP4[..], &[1, 0]].concat()),
                Error::Length,
            ),
            (
                &v2(0x21, 0x11, &[&TCP4[..], &[1, 0, 1]].concat()),
                Error::Length,
            ),
            (&v2(0x21, 0x11, &[0; HEADER_MAX]), Error::TooLong),
        ] {
            assert_eq!(parse(start), Err(error), "{}", start.escape_ascii());
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let v4 = |last, port| Endpoint {
            address: mapped(Ipv4Addr::new(255, 255, 255, last)),
            port,
        };
        let v6 = |last, port| {
            let mut address = [0x11; 16];
            address[15] = last;
            Endpoint { address, port }
        };
        for (source, destination, line) in [
            (
                v4(1, 65535),
                v4(2, 0),
                "PROXY TCP4 255.255.255.1 255.255.255.2 65535 0\r\n",
            ),
            (
                v6(0x12, 65535),
                v6(0x13, 10_000),
                "PROXY TCP6 1111:1111:1111:1111:1111:1111:1111:1112 \
                 1111:1111:1111:1111:1111:1111:1111:1113 65535 10000\r\n",
            ),
            (
                v4(1, 1),
                v6(0x12, 2),
                "PROXY TCP6 ::ffff:255.255.255.1 1111:1111:1111:1111:1111:1111:1111:1112 1 2\r\n",
            ),
        ] {
            let ends = Ends {
                source,
                destination,
            };
            let written = write(ProxyVersion::V1, Some(&ends));
            assert_eq!(str::from_utf8(written.bytes()).unwrap(), line);
            for version in [ProxyVersion::V1, ProxyVersion::V2] {
                let written = write(version, Some(&ends));
                let header = parse(written.bytes()).unwrap().unwrap();
                assert_eq!(header.len, written.bytes().len());
                assert_eq!(header.ends, Some(ends), "{version:?}");
            }
        }
        for version in [ProxyVersion::V1, ProxyVersion::V2] {
            let written = write(version, None);
            let header = parse(written.bytes()).unwrap().unwrap();
            assert_eq!((header.len, header.ends), (written.size() as usize, None));
        }
    }
}
