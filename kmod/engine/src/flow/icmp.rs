// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Errors of ICMP (RFC 792) and ICMPv6 (RFC 4443) about segments that the switch sent: whose they are, and what they look
//! like to that host.

use super::checksum::Change;
use super::rewrite::v4;
use super::Flow;
use super::LegNumber;
use crate::endpoint::Endpoint;

/// What an error becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorRewrite {
    /// Who sent the segment that the error is about, as its sender knows itself: the error goes there.
    pub source: Endpoint,
    /// Where the segment went, as its sender knows it.
    pub destination: Endpoint,
    /// Taken from the segment's sequence number.
    pub seq: u32,
}

impl Flow {
    /// An error about a segment that went to a leg's server is the client's.
    pub fn error_to_client(&self, leg: LegNumber) -> Option<ErrorRewrite> {
        let leg = self.leg(leg)?;
        Some(ErrorRewrite {
            source: self.client,
            destination: self.service,
            seq: leg.to_server,
        })
    }

    /// An error about a segment that went to the client is that of the server in use.
    pub fn error_to_server(&self) -> Option<ErrorRewrite> {
        let leg = self.leg(self.active()?)?;
        Some(ErrorRewrite {
            source: leg.peer,
            destination: leg.local,
            seq: leg.to_client,
        })
    }
}

impl ErrorRewrite {
    /// Rewrites an error: `packet` has it from its IP header on, the segment's IP header begins at `ip`, its ports and
    /// sequence number at `tcp`. The ICMP checksum is the caller's.
    ///
    /// `None` where the packet is not what it was taken for.
    pub fn apply(&self, packet: &mut [u8], ip: usize, tcp: usize) -> Option<()> {
        let version = packet.first()? >> 4;
        let to = &self.source.address;
        match version {
            4 => {
                address_v4(packet.get_mut(..20)?, 16, to)?;
                let inner = packet.get_mut(ip..)?.get_mut(..20)?;
                address_v4(inner, 12, to)?;
                address_v4(inner, 16, &self.destination.address)?;
            }
            6 => {
                let ends = [
                    (24, to),
                    (ip.wrapping_add(8), to),
                    (ip.wrapping_add(24), &self.destination.address),
                ];
                for (at, address) in ends {
                    *packet.get_mut(at..)?.first_chunk_mut::<16>()? = *address;
                }
            }
            _ => return None,
        }
        let segment = packet.get_mut(tcp..)?.first_chunk_mut::<8>()?;
        let [_, _, _, _, q0, q1, q2, q3] = *segment;
        let seq = u32::from_be_bytes([q0, q1, q2, q3]).wrapping_sub(self.seq);
        let [s0, s1] = self.source.port.to_be_bytes();
        let [d0, d1] = self.destination.port.to_be_bytes();
        let [q0, q1, q2, q3] = seq.to_be_bytes();
        *segment = [s0, s1, d0, d1, q0, q1, q2, q3];
        Some(())
    }
}

/// Writes an address into an IPv4 header, whose checksum stays right.
fn address_v4(header: &mut [u8], at: usize, address: &[u8; 16]) -> Option<()> {
    let place = header.get_mut(at..)?.first_chunk_mut::<4>()?;
    let mut change = Change::default();
    change.double(u32::from_be_bytes(*place), v4(address));
    *place = v4(address).to_be_bytes();
    let field = header.get_mut(10..)?.first_chunk_mut::<2>()?;
    *field = change
        .of_complement(u16::from_be_bytes(*field))
        .to_be_bytes();
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::vec::Vec;

    #[test]
    fn an_error_is_told_in_its_receivers_words() {
        let end = |last, port| {
            let mut address = [0; 16];
            address[10..].copy_from_slice(&[0xff, 0xff, 10, 0, 0, last]);
            Endpoint { address, port }
        };
        let error = ErrorRewrite {
            source: end(1, 4000),
            destination: end(100, 80),
            seq: 1000,
        };
        let header = |source: u8, destination: u8| {
            let mut header = [
                0x45,
                0,
                0,
                56,
                0,
                0,
                0,
                0,
                64,
                1,
                0,
                0,
                10,
                0,
                0,
                source,
                10,
                0,
                0,
                destination,
            ];
            let mut sum = super::super::checksum::Sum::default();
            sum.add(&header);
            header[10..12].copy_from_slice(&sum.complement().to_be_bytes());
            header
        };
        let mut packet = Vec::from(header(9, 7));
        packet.extend_from_slice(&[3, 4, 0, 0, 0, 0, 5, 0]);
        packet.extend_from_slice(&header(7, 8));
        packet.extend_from_slice(&[0x30, 0x39, 0x1f, 0x90, 0, 0, 7, 0xd0]);
        error.apply(&mut packet, 28, 48).unwrap();
        assert_eq!(packet[..20], header(9, 1));
        assert_eq!(packet[28..48], header(1, 100));
        assert_eq!(packet[48..], [0x0f, 0xa0, 0, 80, 0, 0, 3, 0xe8]);
        assert_eq!(error.apply(&mut packet[..50], 28, 48), None);
    }
}
