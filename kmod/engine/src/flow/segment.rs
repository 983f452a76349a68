// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A TCP segment, as its header says (RFC 9293, 3.1; options: RFC 7323, RFC 2018).

use super::flags::flags;
use super::Refusal;
use crate::endpoint::Endpoint;
use crate::packet::Ip;

flags! {
    /// The flags of a TCP header.
    pub TcpFlags {
        /// No more data from the sender.
        FIN = 1,
        /// Synchronise sequence numbers.
        SYN = 2,
        /// Reset the connection.
        RST = 4,
        /// Push.
        PSH = 8,
        /// The acknowledgement field is significant.
        ACK = 16,
        /// The urgent pointer is significant.
        URG = 32,
    }
}

impl TcpFlags {
    /// No flag.
    pub const NONE: Self = Self(0);

    /// The flags of a byte of the header.
    #[inline]
    pub const fn of(byte: u8) -> Self {
        Self(byte)
    }

    /// The byte that they are written as.
    #[inline]
    pub const fn byte(self) -> u8 {
        self.0
    }

    /// Those that say what a segment is to a connection: SYN, RST and ACK.
    #[inline]
    pub fn control(self) -> Self {
        self & (SYN | RST | ACK)
    }
}

/// Length of a header without options, bytes.
pub const HEADER: usize = 20;
/// Longest header, bytes.
pub const HEADER_MAX: usize = 60;

const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_MSS: u8 = 2;
const OPTION_WINDOW_SCALE: u8 = 3;
const OPTION_SACK_PERMITTED: u8 = 4;
/// Kind of the option with blocks of bytes that arrived out of order.
pub(super) const OPTION_SACK: u8 = 5;
/// Kind of the option with timestamps.
pub(super) const OPTION_TIMESTAMPS: u8 = 8;
/// Kind of an option for experiments (RFC 4727, 4), told apart by a number of its own (RFC 6994, 3).
pub(super) const OPTION_EXPERIMENT: u8 = 253;

/// The number of the option in the module's SYN to the front that says why it is to refuse the client's requests.
pub(super) const fn experiment(refusal: Refusal) -> [u8; 2] {
    match refusal {
        Refusal::RateLimit => *b"L7",
        Refusal::Full => *b"LF",
    }
}

/// NOP, NOP, timestamps: what most segments have, and nothing else.
const ALIGNED_TIMESTAMPS: [u8; 4] = [OPTION_NOP, OPTION_NOP, OPTION_TIMESTAMPS, 10];
/// The largest shift that may be used (RFC 7323, 2.3).
pub(super) const WINDOW_SCALE_MAX: u8 = 14;
/// What holds where a SYN names no size (RFC 9293, 3.7.1); IPv6 has 1220.
pub const MSS_DEFAULT: u16 = 536;
/// The same with IPv6.
const MSS_DEFAULT_IPV6: u16 = 1220;
/// The least that is believed: with all options there is room for some data (net.ipv4.tcp_min_snd_mss).
pub(super) const MSS_MIN: u16 = 48;

/// The option of RFC 7323, 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamps {
    /// The sender's clock.
    pub value: u32,
    /// What it echoes.
    pub echo: u32,
}

/// What a SYN offers, or the answer to one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// Largest segment that its sender takes, bytes; 0: not said.
    pub mss: u16,
    /// Shift of the windows that its sender advertises; `None`: no scaling in either direction.
    pub window_scale: Option<u8>,
    /// Whether selective acknowledgements are understood.
    pub sack: bool,
}

impl Offer {
    /// The largest segment that its sender takes, bytes of data and options of TCP.
    pub const fn largest(&self, ipv4: bool) -> u16 {
        match (self.mss, ipv4) {
            (0, true) => MSS_DEFAULT,
            (0, false) => MSS_DEFAULT_IPV6,
            (mss, _) if mss < MSS_MIN => MSS_MIN,
            (mss, _) => mss,
        }
    }
}

/// A segment. Numbers are in host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Who sends it.
    pub source: Endpoint,
    /// To whom.
    pub destination: Endpoint,
    /// Sequence number of its first byte, or of its SYN.
    pub seq: u32,
    /// What is expected next, if [`ACK`] is set.
    pub ack: u32,
    /// Flags.
    pub flags: TcpFlags,
    /// Window, not scaled.
    pub window: u16,
    /// Bytes of data.
    pub payload: u32,
    /// Bytes of the TCP header.
    pub header_len: u8,
    /// The timestamps option.
    pub timestamps: Option<Timestamps>,
    /// Other options, of a SYN only.
    pub offer: Offer,
    /// Whether there is a block of selective acknowledgement.
    pub has_sack: bool,
}

/// A segment in a packet. Offsets are bytes from the start of the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// What the headers say.
    pub segment: Segment,
    /// Where the TCP header is.
    pub tcp_at: u32,
    /// Where its data are.
    pub payload_at: u32,
}

impl Parsed {
    /// Reads the TCP header of a packet of `len` bytes, of which `start` is what it begins with in one piece. `None` where it
    /// is none, or not in that piece.
    #[inline(always)]
    pub fn read(start: &[u8], len: u32, ip: &Ip, tcp_at: u32) -> Option<Self> {
        let rest = start.get(tcp_at as usize..)?;
        let header_len = header_len(rest.first_chunk()?)?;
        let header = rest.get(..usize::from(header_len))?;
        let payload_at = tcp_at.checked_add(u32::from(header_len))?;
        let payload = len.checked_sub(payload_at)?;
        let segment = Segment::read(ip.source, ip.destination, header, payload)?;
        Some(Self {
            segment,
            tcp_at,
            payload_at,
        })
    }

    /// Bytes of the packet.
    #[inline]
    pub fn packet_len(&self) -> u64 {
        u64::from(self.payload_at.wrapping_add(self.segment.payload))
    }
}

/// What the options of a header say.
#[derive(Default)]
struct Rest {
    timestamps: Option<Timestamps>,
    offer: Offer,
    has_sack: bool,
}

impl Rest {
    fn read(options: &[u8], syn: bool) -> Option<Self> {
        let mut rest = Self::default();
        for option in Options(options) {
            match (option.kind, option.value?) {
                (OPTION_MSS, &[a, b]) if syn => {
                    rest.offer.mss = u16::from_be_bytes([a, b]);
                }
                (OPTION_WINDOW_SCALE, &[shift]) if syn => {
                    rest.offer.window_scale = Some(shift.min(WINDOW_SCALE_MAX));
                }
                (OPTION_SACK_PERMITTED, []) if syn => rest.offer.sack = true,
                (OPTION_SACK, [_, ..]) => rest.has_sack = true,
                (OPTION_TIMESTAMPS, &[v0, v1, v2, v3, e0, e1, e2, e3]) => {
                    rest.timestamps = Some(Timestamps {
                        value: u32::from_be_bytes([v0, v1, v2, v3]),
                        echo: u32::from_be_bytes([e0, e1, e2, e3]),
                    });
                }
                _ => {}
            }
        }
        Some(rest)
    }
}

/// Length of the TCP header whose first bytes these are; `None` where it is less than the fixed part.
#[inline]
pub fn header_len(first: &[u8; HEADER]) -> Option<u8> {
    let [.., offset, _, _, _, _, _, _, _] = *first;
    let len = (offset >> 4).wrapping_mul(4);
    (usize::from(len) >= HEADER).then_some(len)
}

impl Segment {
    /// Reads a header with its options, and nothing behind them. `payload`: bytes of data behind it.
    ///
    /// `None` where an option does not fit: two readers might then see two segments.
    // Of its numbers nothing is copied.
    #[inline(always)]
    pub fn read(
        source: [u8; 16],
        destination: [u8; 16],
        header: &[u8],
        payload: u32,
    ) -> Option<Self> {
        let (fixed, options) = header.split_first_chunk::<HEADER>()?;
        let [s0, s1, d0, d1, q0, q1, q2, q3, a0, a1, a2, a3, offset, flags, w0, w1, _, _, _, _] =
            *fixed;
        let flags = TcpFlags::of(flags);
        let mut rest = Rest::default();
        match options.first_chunk::<12>() {
            Some(&[o0, o1, o2, o3, v0, v1, v2, v3, e0, e1, e2, e3])
                if options.len() == 12 && [o0, o1, o2, o3] == ALIGNED_TIMESTAMPS =>
            {
                rest.timestamps = Some(Timestamps {
                    value: u32::from_be_bytes([v0, v1, v2, v3]),
                    echo: u32::from_be_bytes([e0, e1, e2, e3]),
                });
            }
            _ => rest = Rest::read(options, flags.intersects(SYN))?,
        }
        // Made where it stays, and not copied.
        Some(Self {
            source: Endpoint {
                address: source,
                port: u16::from_be_bytes([s0, s1]),
            },
            destination: Endpoint {
                address: destination,
                port: u16::from_be_bytes([d0, d1]),
            },
            seq: u32::from_be_bytes([q0, q1, q2, q3]),
            ack: u32::from_be_bytes([a0, a1, a2, a3]),
            flags,
            window: u16::from_be_bytes([w0, w1]),
            payload,
            header_len: (offset >> 4).wrapping_mul(4),
            timestamps: rest.timestamps,
            offer: rest.offer,
            has_sack: rest.has_sack,
        })
    }

    /// Whether a flag is set.
    #[inline]
    pub const fn is(&self, flag: TcpFlags) -> bool {
        self.flags.intersects(flag)
    }

    /// Sequence number behind its data.
    #[inline]
    pub const fn data_end(&self) -> u32 {
        self.seq.wrapping_add(self.payload)
    }

    /// Sequence numbers that it takes, SYN and FIN counted.
    #[inline]
    pub fn len(&self) -> u32 {
        self.payload
            .wrapping_add(u32::from(self.is(SYN)))
            .wrapping_add(u32::from(self.is(FIN)))
    }

    /// Whether it takes no sequence number.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An option in a header.
pub(super) struct TcpOption<'a> {
    /// Its kind.
    pub(super) kind: u8,
    /// Where its value begins, from the first option.
    pub(super) at: usize,
    /// Its value; `None` where it does not fit into the header: the last one that is given.
    pub(super) value: Option<&'a [u8]>,
}

/// Why the requests of a SYN's client are to be refused, as its options say: an experimental option (RFC 6994) that the module
/// gives its SYNs to the front. `None`: they are not.
pub fn refusal(options: &[u8]) -> Option<Refusal> {
    Options(options)
        .filter(|option| option.kind == OPTION_EXPERIMENT)
        .find_map(|option| {
            let is = |refusal: &Refusal| option.value == Some(&experiment(*refusal));
            [Refusal::RateLimit, Refusal::Full].into_iter().find(is)
        })
}

/// Goes over the options of a header, NOPs left out.
struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = TcpOption<'a>;

    fn next(&mut self) -> Option<TcpOption<'a>> {
        let mut walk = Walk {
            bytes: self.0,
            at: 0,
        };
        let option = walk.next()?;
        self.0 = self.0.get(walk.at..).unwrap_or_default();
        Some(option)
    }
}

/// Goes over the options of a header, with their places.
pub(super) struct Walk<'a> {
    /// The options.
    pub(super) bytes: &'a [u8],
    /// Where to go on.
    pub(super) at: usize,
}

impl<'a> Iterator for Walk<'a> {
    type Item = TcpOption<'a>;

    fn next(&mut self) -> Option<TcpOption<'a>> {
        loop {
            let kind = *self.bytes.get(self.at)?;
            match kind {
                OPTION_END => return None,
                OPTION_NOP => self.at = self.at.wrapping_add(1),
                _ => break,
            }
        }
        let kind = *self.bytes.get(self.at)?;
        let len = usize::from(*self.bytes.get(self.at.wrapping_add(1)).unwrap_or(&0));
        let start = self.at.wrapping_add(2);
        let end = self.at.wrapping_add(len);
        let value = self.bytes.get(start..end);
        self.at = if value.is_some() {
            end
        } else {
            self.bytes.len()
        };
        Some(TcpOption {
            kind,
            at: start,
            value,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::vec::Vec;

    fn header(flags: TcpFlags, options: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::from([
            0x1f,
            0x90,
            0,
            80,
            0,
            0,
            0,
            7,
            0,
            0,
            0,
            9,
            0,
            flags.byte(),
            1,
            0,
            0,
            0,
            0,
            0,
        ]);
        bytes.extend_from_slice(options);
        bytes[12] = u8::try_from(bytes.len() / 4).unwrap() << 4;
        bytes
    }

    fn read(flags: TcpFlags, options: &[u8]) -> Option<Segment> {
        Segment::read([1; 16], [2; 16], &header(flags, options), 5)
    }

    #[test]
    fn a_segment_is_read() {
        let mut options = Vec::from([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
        let segment = read(ACK | FIN, &options).unwrap();
        assert_eq!((segment.source.port, segment.destination.port), (8080, 80));
        assert_eq!((segment.seq, segment.ack, segment.window), (7, 9, 256));
        assert_eq!((segment.data_end(), segment.len()), (12, 6));
        let timestamps = Some(Timestamps { value: 1, echo: 2 });
        assert_eq!(segment.timestamps, timestamps);
        options.extend_from_slice(&[1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
        let segment = read(ACK, &options).unwrap();
        assert!(segment.has_sack && segment.timestamps == timestamps);
    }

    #[test]
    fn a_syns_options_are_read_in_any_order() {
        let offer = [3, 3, 9, 4, 2, 2, 4, 5, 0xb4, 1, 0, 0];
        let segment = read(SYN, &offer).unwrap();
        assert_eq!(segment.offer.mss, 1460);
        assert_eq!(segment.offer.window_scale, Some(9));
        assert!(segment.offer.sack);
        assert_eq!(read(ACK, &offer).unwrap().offer, Offer::default());
        let wide = read(SYN, &[3, 3, 200, 0]).unwrap();
        assert_eq!(wide.offer.window_scale, Some(14), "RFC 7323, 2.3");
    }

    #[test]
    fn options_that_do_not_fit_are_no_segment() {
        for options in [
            &[8, 10, 0, 0][..],
            &[5, 0, 1, 1],
            &[9, 1, 0, 0],
            &[1, 1, 1, 8],
        ] {
            assert_eq!(read(ACK, options), None, "{options:?}");
        }
        assert!(read(ACK, &[0, 7, 7, 7]).is_some(), "behind the end");
        assert!(Segment::read([0; 16], [0; 16], &[0; 19], 0).is_none());
    }
}
