// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Segments that the switch itself sends: it opens, acknowledges, ends and resets connections. Of data it sends no more than PROXY
//! headers.

use super::checksum::Sum;
use super::segment::experiment;
use super::segment::Offer;
use super::segment::TcpFlags;
use super::segment::Timestamps;
use super::segment::OPTION_EXPERIMENT;
use super::segment::SYN;
use super::Refusal;
use crate::endpoint::is_ipv4;
use crate::endpoint::Endpoint;
use crate::proxy_header;

/// Longest packet that is built, bytes: IPv6 and TCP with the options of a SYN.
pub const LEN_MAX: usize = 40 + 20 + 28;
/// The same with a PROXY header, of a segment without SYN.
pub const LEN_WITH_HEADER: usize = 40 + 20 + 12 + proxy_header::V1_MAX;
/// Hop limit of what the switch sends (RFC 1700's default).
const HOP_LIMIT: u8 = 64;

/// A segment. Numbers are in host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Build {
    /// Who it comes from.
    pub source: Endpoint,
    /// Who it goes to.
    pub destination: Endpoint,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement.
    pub ack: u32,
    /// Flags.
    pub flags: TcpFlags,
    /// Window.
    pub window: u16,
    /// Timestamps, if the connection uses them.
    pub timestamps: Option<Timestamps>,
    /// Other options of a SYN or of the answer to one; not written without that flag. A size of 0 is not written.
    pub offer: Offer,
    /// Of a SYN to the front: why it is to refuse the client's requests. An experimental option (RFC 6994), see
    /// [`super::segment::refusal`].
    pub refusal: Option<Refusal>,
}

/// Bytes of a packet, written one after the other.
struct Writer<'a, const MAX: usize> {
    to: &'a mut [u8; MAX],
    len: usize,
}

impl<const MAX: usize> Writer<'_, MAX> {
    #[inline(always)]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        let rest = self.to.get_mut(self.len..);
        if let Some(place) = rest.and_then(<[u8]>::first_chunk_mut) {
            *place = bytes;
            self.len = self.len.wrapping_add(N);
        }
    }

    #[inline(always)]
    fn put_all(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let rest = self.to.get_mut(self.len..);
        if let Some(place) = rest.and_then(|rest| rest.get_mut(..bytes.len())) {
            for (place, byte) in place.iter_mut().zip(bytes) {
                *place = *byte;
            }
            self.len = self.len.wrapping_add(bytes.len());
        }
    }
}

/// Bytes of a packet that was written.
fn written<const MAX: usize>(packet: &[u8; MAX], from: usize, to: usize) -> &[u8] {
    packet.get(from..to).unwrap_or_default()
}

fn set<const MAX: usize>(packet: &mut [u8; MAX], at: usize, value: u16) {
    let place = packet.get_mut(at..).and_then(<[u8]>::first_chunk_mut);
    if let Some(place) = place {
        *place = value.to_be_bytes();
    }
}

impl Build {
    /// Writes the packet with its data, IP header and checksums included, and gives its length in bytes.
    pub fn write<const MAX: usize>(&self, data: &[u8], to: &mut [u8; MAX]) -> usize {
        let len = self.write_unsummed(data, to);
        let (tcp_at, addresses) = if is_ipv4(&self.source.address) {
            let mut sum = Sum::default();
            sum.add(written(to, 0, 20));
            set(to, 10, sum.complement());
            (20, 12)
        } else {
            (40, 8)
        };
        let mut sum = Sum::default();
        sum.number(6);
        sum.number(u32::try_from(len.wrapping_sub(tcp_at)).unwrap_or(0));
        // The addresses are the last of the IP header.
        sum.add(written(to, addresses, len));
        set(to, tcp_at.wrapping_add(16), sum.complement());
        len
    }

    /// The same without checksums: their fields are 0.
    #[inline]
    pub fn write_unsummed<const MAX: usize>(&self, data: &[u8], to: &mut [u8; MAX]) -> usize {
        let header_len = 20usize.wrapping_add(self.options_len());
        let tcp_len = header_len.wrapping_add(data.len());
        let mut writer = Writer { to, len: 0 };
        let (source, destination) = (&self.source.address, &self.destination.address);
        if is_ipv4(source) {
            let total = u16::try_from(tcp_len.wrapping_add(20)).unwrap_or(0);
            // Version and length; total length; no identification, since "don't fragment" is set (RFC 6864).
            let [t0, t1] = total.to_be_bytes();
            writer.put([0x45, 0, t0, t1, 0, 0, 0x40, 0, HOP_LIMIT, 6, 0, 0]);
            for address in [source, destination] {
                let [.., a, b, c, d] = *address;
                writer.put([a, b, c, d]);
            }
        } else {
            let [l0, l1] = u16::try_from(tcp_len).unwrap_or(0).to_be_bytes();
            writer.put([0x60, 0, 0, 0, l0, l1, 6, HOP_LIMIT]);
            writer.put(*source);
            writer.put(*destination);
        }
        self.tcp(&mut writer, header_len);
        writer.put_all(data);
        writer.len
    }

    #[inline(always)]
    fn tcp<const MAX: usize>(&self, writer: &mut Writer<'_, MAX>, len: usize) {
        writer.put(self.source.port.to_be_bytes());
        writer.put(self.destination.port.to_be_bytes());
        writer.put(self.seq.to_be_bytes());
        writer.put(self.ack.to_be_bytes());
        let offset = u8::try_from(len >> 2).unwrap_or(5);
        writer.put([offset << 4, self.flags.byte()]);
        writer.put(self.window.to_be_bytes());
        writer.put([0; 4]);
        if self.flags.intersects(SYN) {
            if self.offer.mss != 0 {
                let [a, b] = self.offer.mss.to_be_bytes();
                writer.put([2, 4, a, b]);
            }
            if let Some(scale) = self.offer.window_scale {
                writer.put([1, 3, 3, scale]);
            }
            if self.offer.sack {
                writer.put([1, 1, 4, 2]);
            }
            if let Some(refusal) = self.refusal {
                let [a, b] = experiment(refusal);
                writer.put([OPTION_EXPERIMENT, 4, a, b]);
            }
        }
        if let Some(timestamps) = self.timestamps {
            writer.put([1, 1, 8, 10]);
            writer.put(timestamps.value.to_be_bytes());
            writer.put(timestamps.echo.to_be_bytes());
        }
    }

    fn options_len(&self) -> usize {
        let syn = self.flags.intersects(SYN);
        let options = [
            (syn && self.offer.mss != 0, 4usize),
            (syn && self.offer.window_scale.is_some(), 4),
            (syn && self.offer.sack, 4),
            (syn && self.refusal.is_some(), 4),
            (self.timestamps.is_some(), 12),
        ];
        options
            .iter()
            .filter(|(there, _)| *there)
            .fold(0, |sum, (_, len)| len.wrapping_add(sum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::flow::segment::Segment;
    use crate::flow::segment::ACK;

    /// The sum over a packet's TCP part and its pseudo-header, which is 0xffff where the checksum is right.
    fn checks(packet: &[u8], addresses: core::ops::Range<usize>, tcp: usize) -> bool {
        let mut sum = Sum::default();
        sum.number(6);
        sum.number(u32::try_from(packet.len().wrapping_sub(tcp)).unwrap());
        sum.add(&packet[addresses]);
        sum.add(&packet[tcp..]);
        sum.complement() == 0
    }

    #[test]
    fn the_longest_packets_are_whole() {
        let mut ipv4 = [0; 16];
        ipv4[10..].copy_from_slice(&[0xff, 0xff, 10, 0, 0, 1]);
        for (address, addresses, tcp) in [(ipv4, 12..20, 20), ([0xfd; 16], 8..40, 40)] {
            let end = |port| Endpoint { address, port };
            let build = Build {
                source: end(80),
                destination: end(40_000),
                seq: 1,
                ack: 2,
                flags: SYN | ACK,
                window: 3,
                timestamps: Some(Timestamps { value: 4, echo: 5 }),
                offer: Offer {
                    mss: 1460,
                    window_scale: Some(7),
                    sack: true,
                },
                refusal: Some(Refusal::Full),
            };
            let mut bytes = [0; LEN_MAX];
            let len = build.write(&[], &mut bytes);
            assert_eq!(len, tcp + 20 + 28);
            assert!(checks(&bytes[..len], addresses, tcp));
            let segment = Segment::read(address, address, &bytes[tcp..len], 0).unwrap();
            assert_eq!(segment.offer, build.offer);
            assert_eq!(segment.timestamps, build.timestamps);
        }
    }
}
