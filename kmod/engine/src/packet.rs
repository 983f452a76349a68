// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Headers of packets: IPv4 (RFC 791), IPv6 (RFC 8200), TCP (RFC 9293).

/// Length of an IPv4 header without options, and of a TCP header without options, bytes.
pub const HEADER: usize = 20;
/// Length of an IPv6 header, bytes.
pub const IPV6_HEADER: usize = 40;

/// What an IP header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip {
    /// Source: 16 bytes, network order, IPv4 as IPv4-mapped IPv6 (RFC 4291, 2.5.5.2).
    pub source: [u8; 16],
    /// Destination, likewise.
    pub destination: [u8; 16],
    /// Bytes from the header's start to what follows it; of IPv6 the fixed header only.
    pub header_len: u32,
    /// What follows.
    pub protocol: u8,
}

/// IPPROTO_TCP.
pub const TCP: u8 = 6;

/// IPv4-mapped IPv6 (RFC 4291, 2.5.5.2). Of words: bytes would be copied one by one.
#[inline]
const fn mapped(address: [u8; 4]) -> [u8; 16] {
    ((u32::from_le_bytes(address) as u128) << 96 | 0xffff << 80).to_le_bytes()
}

/// Reads an IPv4 header. `None` for one that is none, and for a fragment: the kernel puts them together before the hooks.
#[inline]
pub fn ipv4(header: &[u8; HEADER]) -> Option<Ip> {
    let [version_len, _, _, _, _, _, f0, f1, _, protocol, _, _, rest @ ..] = *header;
    let [s0, s1, s2, s3, d0, d1, d2, d3] = rest;
    let header_len = u32::from(version_len & 15).wrapping_mul(4);
    // Its offset, and whether more follow.
    let fragment = u16::from_be_bytes([f0, f1]) & 0x3fff;
    if version_len >> 4 != 4 || header_len < 20 || fragment != 0 {
        return None;
    }
    Some(Ip {
        source: mapped([s0, s1, s2, s3]),
        destination: mapped([d0, d1, d2, d3]),
        header_len,
        protocol,
    })
}

/// Reads an IPv6 header; extension headers are the caller's.
pub fn ipv6(header: &[u8; IPV6_HEADER]) -> Option<Ip> {
    let (fixed, rest) = header.split_first_chunk::<8>()?;
    let (source, destination) = rest.split_first_chunk::<16>()?;
    let [version, _, _, _, _, _, protocol, _] = *fixed;
    if version >> 4 != 6 {
        return None;
    }
    Some(Ip {
        source: *source,
        destination: *destination.first_chunk()?,
        header_len: 40,
        protocol,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read() {
        let mut v4 = [0u8; HEADER];
        v4[0] = 0x46;
        v4[6] = 0x40;
        v4[9] = TCP;
        v4[12..20].copy_from_slice(&[10, 0, 1, 2, 10, 0, 1, 100]);
        let ip = ipv4(&v4).unwrap();
        assert_eq!((ip.header_len, ip.protocol), (24, TCP));
        assert_eq!(ip.source[10..], [0xff, 0xff, 10, 0, 1, 2]);
        assert_eq!(ip.destination[12..], [10, 0, 1, 100]);
        v4[7] = 1;
        assert_eq!(ipv4(&v4), None, "a later fragment");
        v4[7] = 0;
        v4[0] = 0x44;
        assert_eq!(ipv4(&v4), None, "a header that is too short");
        v4[0] = 0x65;
        assert_eq!(ipv4(&v4), None, "not IPv4");

        let mut v6 = [0u8; IPV6_HEADER];
        v6[0] = 0x60;
        v6[6] = TCP;
        v6[23] = 1;
        v6[39] = 2;
        let ip = ipv6(&v6).unwrap();
        assert_eq!(
            (ip.source[15], ip.destination[15], ip.protocol),
            (1, 2, TCP)
        );
        v6[0] = 0x40;
        assert_eq!(ipv6(&v6), None);
    }
}
