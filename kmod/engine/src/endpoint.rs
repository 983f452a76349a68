// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Address and port of one end of a connection.

/// One end of a connection, or the address that a server listens at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Address, network order, IPv4 as IPv4-mapped IPv6 (RFC 4291, 2.5.5.2).
    pub address: [u8; 16],
    /// Port, host order.
    pub port: u16,
}

/// Whether an address is IPv4-mapped (RFC 4291, 2.5.5.2).
#[inline]
pub const fn is_ipv4(address: &[u8; 16]) -> bool {
    matches!(address, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ..])
}

/// Whether an address is in 127.0.0.0/8, IPv4-mapped, or ::1.
pub const fn is_loopback(address: &[u8; 16]) -> bool {
    match address {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, ..] => true,
        address => u128::from_be_bytes(*address) == 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(address: [u8; 4]) -> [u8; 16] {
        std::net::Ipv4Addr::from(address).to_ipv6_mapped().octets()
    }

    #[test]
    fn families_and_loopbacks_are_told() {
        let v6 = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
        for (address, ipv4, loopback) in [
            (v4([127, 0, 0, 1]), true, true),
            (v4([127, 255, 255, 254]), true, true),
            (v4([128, 0, 0, 1]), true, false),
            (v4([0, 0, 0, 1]), true, false),
            (v6("::1"), false, true),
            (v6("::"), false, false),
            (v6("::2"), false, false),
            (v6("::127.0.0.1"), false, false),
            (v6("2001:db8::1"), false, false),
        ] {
            assert_eq!((is_ipv4(&address), is_loopback(&address)), (ipv4, loopback));
        }
    }
}
