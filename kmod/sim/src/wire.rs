// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Packets as they are on the wire: written, read with their checksums, cut, and described in a line.

use std::fmt::Write as _;

use l7switch_engine::endpoint::Endpoint;
use l7switch_engine::endpoint::is_ipv4;
use l7switch_engine::flow::Segment;
use l7switch_engine::flow::TcpFlags;
use l7switch_engine::flow::segment::ACK;
use l7switch_engine::flow::segment::FIN;
use l7switch_engine::flow::segment::PSH;
use l7switch_engine::flow::segment::RST;
use l7switch_engine::flow::segment::SYN;
use l7switch_engine::packet;

/// A packet that has been read.
#[derive(Clone, Copy, Debug)]
pub struct Read {
    /// Its headers.
    pub segment: Segment,
    /// Where the TCP header begins.
    pub tcp: usize,
    /// Where the data begin.
    pub data: usize,
}

fn add(sum: &mut u64, bytes: &[u8]) {
    let mut words = bytes.chunks_exact(2);
    for word in &mut words {
        *sum += u64::from(u16::from_be_bytes([word[0], word[1]]));
    }
    if let [last] = words.remainder() {
        *sum += u64::from(*last) << 8;
    }
}

fn fold(mut sum: u64) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The sum over a packet's TCP segment and pseudo-header; `0xffff` where the checksum in it is right.
fn tcp_sum(packet: &[u8], tcp: usize) -> u16 {
    let mut sum = 6 + (packet.len() - tcp) as u64;
    match packet[0] >> 4 {
        4 => add(&mut sum, &packet[12..20]),
        _ => add(&mut sum, &packet[8..40]),
    }
    add(&mut sum, &packet[tcp..]);
    fold(sum)
}

/// Reads a packet; `None` where a checksum or a length is wrong.
pub fn read(packet: &[u8]) -> Option<Read> {
    let ip = match packet.first()? >> 4 {
        4 => {
            let mut sum = 0;
            add(&mut sum, packet.get(..20)?);
            let total = u16::from_be_bytes([packet[2], packet[3]]);
            if fold(sum) != 0xffff || usize::from(total) != packet.len() {
                return None;
            }
            packet::ipv4(packet.first_chunk()?)?
        }
        6 => {
            let ip = packet::ipv6(packet.first_chunk()?)?;
            let len = u16::from_be_bytes([packet[4], packet[5]]);
            if usize::from(len) + 40 != packet.len() {
                return None;
            }
            ip
        }
        _ => return None,
    };
    let tcp = ip.header_len as usize;
    if ip.protocol != packet::TCP || packet.len() < tcp + 20 || tcp_sum(packet, tcp) != 0xffff {
        return None;
    }
    let data = tcp + usize::from(packet[tcp + 12] >> 4) * 4;
    let header = packet.get(tcp..data)?;
    let payload = (packet.len() - data) as u32;
    let segment = Segment::read(ip.source, ip.destination, header, payload)?;
    Some(Read { segment, tcp, data })
}

/// Sets lengths and checksums of a packet whose TCP header begins at `tcp`.
pub fn finish(packet: &mut [u8], tcp: usize) {
    let len = packet.len();
    if packet[0] >> 4 == 4 {
        packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        packet[10..12].fill(0);
        let mut sum = 0;
        add(&mut sum, &packet[..20]);
        let check = !fold(sum);
        packet[10..12].copy_from_slice(&check.to_be_bytes());
    } else {
        packet[4..6].copy_from_slice(&((len - 40) as u16).to_be_bytes());
    }
    packet[tcp + 16..tcp + 18].fill(0);
    let check = !tcp_sum(packet, tcp);
    packet[tcp + 16..tcp + 18].copy_from_slice(&check.to_be_bytes());
}

/// The packet with only the data from one offset to another.
pub fn cut(packet: &[u8], read: &Read, from: u32, to: u32) -> Vec<u8> {
    let mut part = packet[..read.data].to_vec();
    part.extend_from_slice(&packet[read.data + from as usize..read.data + to as usize]);
    if part.len() != packet.len() {
        finish(&mut part, read.tcp);
    }
    part
}

/// The packet as segments of at most so many bytes of options and data.
pub fn segments(packet: &[u8], read: &Read, most: u16) -> Vec<Vec<u8>> {
    let options = (read.data - read.tcp - 20) as u32;
    let (data, size) = (
        read.segment.payload,
        u32::from(most).saturating_sub(options).max(1),
    );
    if data <= size {
        return vec![packet.to_vec()];
    }
    (0..data.div_ceil(size))
        .map(|number| {
            let (from, to) = (number * size, data.min((number + 1) * size));
            let mut part = cut(packet, read, from, to);
            let seq = read.segment.seq.wrapping_add(from);
            part[read.tcp + 4..read.tcp + 8].copy_from_slice(&seq.to_be_bytes());
            if to < data {
                part[read.tcp + 13] &= !(FIN | PSH).byte();
            }
            finish(&mut part, read.tcp);
            part
        })
        .collect()
}

/// What a segment of a peer of our own says.
#[derive(Clone, Debug)]
pub struct Header {
    /// From.
    pub source: Endpoint,
    /// To.
    pub destination: Endpoint,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement.
    pub ack: u32,
    /// Flags.
    pub flags: TcpFlags,
    /// Window, not scaled.
    pub window: u16,
    /// Options, a multiple of four bytes.
    pub options: Vec<u8>,
}

impl Header {
    /// The packet with these data.
    pub fn packet(&self, data: &[u8]) -> Vec<u8> {
        let mut packet = Vec::with_capacity(100 + data.len());
        if is_ipv4(&self.source.address) {
            packet.extend_from_slice(&[0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0]);
            packet.extend_from_slice(&self.source.address[12..]);
            packet.extend_from_slice(&self.destination.address[12..]);
        } else {
            packet.extend_from_slice(&[0x60, 0, 0, 0, 0, 0, 6, 64]);
            packet.extend_from_slice(&self.source.address);
            packet.extend_from_slice(&self.destination.address);
        }
        let tcp = packet.len();
        packet.extend_from_slice(&self.source.port.to_be_bytes());
        packet.extend_from_slice(&self.destination.port.to_be_bytes());
        packet.extend_from_slice(&self.seq.to_be_bytes());
        packet.extend_from_slice(&self.ack.to_be_bytes());
        packet.push(((20 + self.options.len()) as u8 / 4) << 4);
        packet.push(self.flags.byte());
        packet.extend_from_slice(&self.window.to_be_bytes());
        packet.extend_from_slice(&[0; 4]);
        packet.extend_from_slice(&self.options);
        packet.extend_from_slice(data);
        finish(&mut packet, tcp);
        packet
    }
}

/// The blocks of a SACK option.
pub fn sack_blocks(packet: &[u8], read: &Read) -> Vec<(u32, u32)> {
    let mut options = &packet[read.tcp + 20..read.data];
    let mut blocks = Vec::new();
    while let [kind, rest @ ..] = options {
        match (*kind, rest) {
            (0, _) => break,
            (1, _) => options = rest,
            (kind, [len, ..]) if *len >= 2 && usize::from(*len) <= options.len() => {
                if kind == 5 {
                    for block in options[2..usize::from(*len)].chunks_exact(8) {
                        let number = |at: usize| {
                            u32::from_be_bytes([
                                block[at],
                                block[at + 1],
                                block[at + 2],
                                block[at + 3],
                            ])
                        };
                        blocks.push((number(0), number(4)));
                    }
                }
                options = &options[usize::from(*len)..];
            }
            _ => break,
        }
    }
    blocks
}

/// Flags as a word.
pub fn flags(flags: TcpFlags) -> String {
    [(SYN, 'S'), (FIN, 'F'), (RST, 'R'), (PSH, 'P'), (ACK, '.')]
        .iter()
        .filter(|(flag, _)| flags.intersects(*flag))
        .map(|(_, name)| *name)
        .collect()
}

/// An address and port as people write them.
pub fn name(endpoint: &Endpoint) -> String {
    let [.., a, b, c, d] = endpoint.address;
    if is_ipv4(&endpoint.address) {
        format!("{a}.{b}.{c}.{d}:{}", endpoint.port)
    } else {
        let [.., x, y] = endpoint.address;
        let (net, host) = (endpoint.address[7], u16::from_be_bytes([x, y]));
        format!("[fd::{net:x}:{host:x}]:{}", endpoint.port)
    }
}

/// A packet in a line; `seq0` and `ack0` are what numbers are relative to.
pub fn describe(packet: &[u8], read: &Read, seq0: u32, ack0: u32) -> String {
    let s = &read.segment;
    let mut line = format!(
        "{} > {} {} seq {}({}) len {}",
        name(&s.source),
        name(&s.destination),
        flags(s.flags),
        s.seq.wrapping_sub(seq0),
        s.seq,
        s.payload,
    );
    if s.is(ACK) {
        let _ = write!(line, " ack {}({})", s.ack.wrapping_sub(ack0), s.ack);
    }
    let _ = write!(line, " win {}", s.window);
    if s.is(SYN) {
        let _ = write!(
            line,
            " mss {} ws {:?} sack {}",
            s.offer.mss, s.offer.window_scale, s.offer.sack
        );
    }
    if let Some(t) = s.timestamps {
        let _ = write!(line, " ts {}/{}", t.value, t.echo);
    }
    for (left, right) in sack_blocks(packet, read) {
        let _ = write!(
            line,
            " sack {}-{}",
            left.wrapping_sub(ack0),
            right.wrapping_sub(ack0)
        );
    }
    if s.payload > 0 {
        let data = &packet[read.data..];
        let text: String = data
            .iter()
            .take(40)
            .map(|&b| {
                if (32..127).contains(&b) {
                    char::from(b)
                } else {
                    '·'
                }
            })
            .collect();
        let _ = write!(line, " \"{text}\"");
    }
    line
}
