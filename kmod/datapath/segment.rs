// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A packet as the engine sees it.
#![forbid(unsafe_code)]

use l7switch_engine::endpoint::Endpoint;
use l7switch_engine::flow::segment::Parsed;
use l7switch_engine::flow::Payload;
use l7switch_engine::flow::TcpFlags;
use l7switch_engine::packet;
use l7switch_engine::packet::Ip;
use l7switch_engine::packet::HEADER;
use l7switch_engine::packet::IPV6_HEADER;

use crate::shell::packet::Buffer;
use crate::shell::packet::Packet;

/// Where a packet's IP header leads.
pub(super) struct Outer {
    /// The header.
    pub(super) ip: Ip,
    /// Where the transport header is, if it is TCP's.
    pub(super) tcp_at: Option<u32>,
}

/// Reads the IP header of a packet; `start`: what it begins with in one piece.
// Of its two numbers of 16 bytes each nothing is copied.
#[inline(always)]
pub(super) fn outer<B: Buffer>(buffer: &B, start: &[u8]) -> Option<Outer> {
    let ip = match start.first()? >> 4 {
        4 => packet::ipv4(start.first_chunk::<HEADER>()?)?,
        6 => packet::ipv6(start.first_chunk::<IPV6_HEADER>()?)?,
        _ => return None,
    };
    let tcp_at = if ip.protocol == packet::TCP {
        Some(ip.header_len)
    } else if start.first()? >> 4 == 6 {
        buffer.ipv6_tcp_offset()
    } else {
        None
    };
    Some(Outer { ip, tcp_at })
}

/// The first byte of an IPv4 header without options.
const NO_OPTIONS: u8 = 0x45;
/// Bytes of a TCP header up to its flags.
const TCP_START: usize = 14;

/// The IP header of a TCP segment, and what TCP's, right behind it, begins with.
pub(crate) struct Headers {
    pub(super) ip: Ip,
    source: u16,
    destination: u16,
    /// As in [`Segment::flags`](l7switch_engine::flow::Segment::flags).
    pub(super) flags: TcpFlags,
}

impl Headers {
    /// The end that the packet comes from.
    #[inline(always)]
    pub(super) fn source(&self) -> Endpoint {
        Endpoint {
            address: self.ip.source,
            port: self.source,
        }
    }

    /// The end that it goes to.
    #[inline(always)]
    pub(super) fn destination(&self) -> Endpoint {
        Endpoint {
            address: self.ip.destination,
            port: self.destination,
        }
    }
}

/// Reads the headers of a packet that begins with them; `None` where it is no TCP segment, or there is something between them.
#[inline(always)]
pub(super) fn plain(start: &[u8]) -> Option<Headers> {
    // One look at how much there is, and at the first byte.
    let (ip, tcp) = match *start.first()? {
        NO_OPTIONS => {
            let (header, rest) = start
                .first_chunk::<{ HEADER + TCP_START }>()?
                .split_first_chunk::<HEADER>()?;
            (packet::ipv4(header)?, rest)
        }
        0x60..=0x6f => {
            let (header, rest) = start
                .first_chunk::<{ IPV6_HEADER + TCP_START }>()?
                .split_first_chunk::<IPV6_HEADER>()?;
            (packet::ipv6(header)?, rest)
        }
        _ => return None,
    };
    let [s0, s1, d0, d1, .., flags] = *tcp.first_chunk::<TCP_START>()?;
    (ip.protocol == packet::TCP).then_some(Headers {
        ip,
        source: u16::from_be_bytes([s0, s1]),
        destination: u16::from_be_bytes([d0, d1]),
        flags: TcpFlags::of(flags),
    })
}

/// Reads all headers of a packet that has been read before.
pub(super) fn parse_again<B: Buffer>(buffer: &B) -> Option<Parsed> {
    let (start, len) = buffer.start();
    let outer = outer(buffer, start)?;
    Parsed::read(start, len, &outer.ip, outer.tcp_at?)
}

/// A packet's data.
#[derive(Clone, Copy)]
pub(super) struct View<'p> {
    packet: &'p Packet<'p>,
    /// Where its data are.
    payload_at: u32,
    /// What they begin with in one piece.
    start: &'p [u8],
}

impl<'p> View<'p> {
    /// Whether its data do not lie in one piece.
    #[inline(always)]
    pub(super) fn is_scattered(&self, parsed: &Parsed) -> bool {
        (self.start.len() as u64) < u64::from(parsed.segment.payload)
    }

    /// What its data begin with in one piece.
    pub(super) const fn start(&self) -> &'p [u8] {
        self.start
    }

    /// Of a packet that has been read.
    pub(super) fn new(packet: &'p Packet<'p>, parsed: &Parsed) -> Self {
        let start = match parsed.segment.payload {
            0 => &[],
            _ => packet.run(parsed.payload_at),
        };
        Self {
            packet,
            payload_at: parsed.payload_at,
            start,
        }
    }
}

impl Payload for View<'_> {
    fn run(&self, offset: u32) -> &[u8] {
        match self.start.get(offset as usize..) {
            Some(run) if !run.is_empty() => run,
            _ => self.packet.run(self.payload_at.saturating_add(offset)),
        }
    }
}
