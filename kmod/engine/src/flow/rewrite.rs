// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a segment becomes when it goes from one connection of a flow to the other.

use super::checksum::Change;
use super::segment::Walk;
use super::segment::HEADER;
use super::segment::OPTION_SACK;
use super::segment::OPTION_TIMESTAMPS;
use super::segment::URG;
use super::TcpFlags;
use crate::endpoint::Endpoint;

/// The headers of a segment after the switch. Numbers are in host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// Who it comes from.
    pub source: Endpoint,
    /// Who it goes to.
    pub destination: Endpoint,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement.
    pub ack: u32,
    /// Flags. Where the segment had [`URG`] and these have not, its urgent pointer is cleared.
    pub flags: TcpFlags,
    /// Window.
    pub window: u16,
    /// Added to the sender's clock.
    pub clock: u32,
    /// Added to what it echoes.
    pub echo: u32,
    /// Added to the edges of selectively acknowledged blocks.
    pub sack: u32,
    /// Blocks that begin before this number, as the sender counts, are left out.
    pub sack_floor: u32,
    /// Least hop limit that the packet goes on with: a client must not choose which of its packets reach the server.
    pub hop_limit: u8,
    /// Largest segment that who it goes to takes, bytes of data and options of TCP: what is longer is cut into several.
    pub limit: u16,
}

/// What a packet's TCP checksum field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// The checksum.
    Full,
    /// The sum of the pseudo-header only, since the device adds the rest (CHECKSUM_PARTIAL in include/linux/skbuff.h).
    Partial,
}

/// Where the checksum is in a TCP header, and the length of one that has timestamps only.
const CHECK: usize = 16;
const WITH_TIMESTAMPS: usize = 32;

/// A header, and how the changes made so far change its checksum.
struct Patch<'a> {
    bytes: &'a mut [u8],
    change: Change,
}

/// Replaces a number; `SUMS`: the change is counted.
#[inline]
fn replace<const SUMS: bool>(change: &mut Change, place: &mut [u8; 4], new: u32) {
    if SUMS {
        change.double(u32::from_be_bytes(*place), new);
    }
    *place = new.to_be_bytes();
}

/// Clears the urgent pointer.
#[cold]
#[inline(never)]
fn no_pointer<const SUMS: bool>(header: &mut [u8; HEADER], change: &mut Change) -> Option<()> {
    let place = header.last_chunk_mut::<2>()?;
    if SUMS {
        change.word(u16::from_be_bytes(*place), 0);
    }
    *place = [0; 2];
    Some(())
}

impl Patch<'_> {
    fn u8(&mut self, at: usize, new: u8) -> Option<()> {
        let place = self.bytes.get_mut(at)?;
        self.change.byte(at, *place, new);
        *place = new;
        Some(())
    }

    /// Adds to a number wherever it begins.
    fn add(&mut self, at: usize, number: u32) -> Option<()> {
        let old = u32::from_be_bytes(*self.bytes.get(at..)?.first_chunk::<4>()?);
        self.bytes(at, old.wrapping_add(number).to_be_bytes())
    }

    fn bytes<const N: usize>(&mut self, at: usize, new: [u8; N]) -> Option<()> {
        let mut at = at;
        for byte in new {
            self.u8(at, byte)?;
            at = at.wrapping_add(1);
        }
        Some(())
    }
}

impl Rewrite {
    /// Rewrites a packet's headers. `packet` has them whole, from the IP header on; the TCP header begins at `tcp`.
    ///
    /// `None` where they are not what they were taken for; the packet is then not to be sent.
    pub fn apply(&self, packet: &mut [u8], tcp: usize, checksum: Checksum) -> Option<()> {
        let (ip, tcp) = packet.split_at_mut_checked(tcp)?;
        match checksum {
            Checksum::Full => self.apply_to::<true>(ip, tcp),
            Checksum::Partial => self.apply_to::<false>(ip, tcp),
        }
    }

    /// `FULL`: see [`Checksum`].
    #[inline]
    fn apply_to<const FULL: bool>(&self, ip: &mut [u8], tcp: &mut [u8]) -> Option<()> {
        let addresses = match ip.first()? >> 4 {
            4 => self.ipv4(ip)?,
            6 => self.ipv6(ip)?,
            _ => return None,
        };
        let mut change = Change::default();
        let offset = self.fixed::<FULL>(tcp.first_chunk_mut()?, &mut change)?;
        let mut patch = Patch { bytes: tcp, change };
        self.options::<FULL>(&mut patch, usize::from(offset >> 4).wrapping_mul(4))?;
        let Patch { bytes, change } = patch;
        let field = bytes.get_mut(CHECK..)?.first_chunk_mut::<2>()?;
        let check = u16::from_be_bytes(*field);
        let check = if FULL {
            addresses.and(change).of_complement(check)
        } else {
            addresses.of_sum(check)
        };
        *field = check.to_be_bytes();
        Some(())
    }

    /// Gives the byte that has the header's length.
    #[inline]
    fn fixed<const FULL: bool>(
        &self,
        header: &mut [u8; HEADER],
        change: &mut Change,
    ) -> Option<u8> {
        let (ports, rest) = header.split_first_chunk_mut::<4>()?;
        let (seq, rest) = rest.split_first_chunk_mut::<4>()?;
        let (ack, rest) = rest.split_first_chunk_mut::<4>()?;
        let window = rest.first_chunk_mut::<4>()?;
        let both = (u32::from(self.source.port) << 16) | u32::from(self.destination.port);
        replace::<FULL>(change, ports, both);
        replace::<FULL>(change, seq, self.seq);
        replace::<FULL>(change, ack, self.ack);
        let [offset, flags, ..] = *window;
        let [high, low] = self.window.to_be_bytes();
        let new = u32::from_be_bytes([offset, self.flags.byte(), high, low]);
        replace::<FULL>(change, window, new);
        if TcpFlags::of(flags).difference(self.flags).intersects(URG) {
            no_pointer::<FULL>(header, change)?;
        }
        Some(offset)
    }

    /// Gives the change of the pseudo-header.
    #[inline]
    fn ipv4(&self, ip: &mut [u8]) -> Option<Change> {
        let header = ip.first_chunk_mut::<HEADER>()?;
        let [_, _, _, _, _, _, _, _, hops, protocol, c0, c1, addresses @ ..] = header;
        let (source, destination) = addresses.split_first_chunk_mut::<4>()?;
        let mut change = Change::default();
        replace::<true>(&mut change, source, v4(&self.source.address));
        let destination = destination.first_chunk_mut::<4>()?;
        replace::<true>(&mut change, destination, v4(&self.destination.address));
        let pseudo = change;
        if *hops < self.hop_limit {
            let before = u16::from_be_bytes([*hops, *protocol]);
            *hops = self.hop_limit;
            change.word(before, u16::from_be_bytes([*hops, *protocol]));
        }
        let field = change.of_complement(u16::from_be_bytes([*c0, *c1]));
        [*c0, *c1] = field.to_be_bytes();
        Some(pseudo)
    }

    fn ipv6(&self, ip: &mut [u8]) -> Option<Change> {
        let header = ip.first_chunk_mut::<40>()?;
        let mut change = Change::default();
        let pairs = [(8usize, &self.source), (24, &self.destination)];
        for (at, endpoint) in pairs {
            let place = header.get_mut(at..)?.first_chunk_mut::<16>()?;
            let old = u128::from_be_bytes(*place);
            let new = u128::from_be_bytes(endpoint.address);
            if old != new {
                for shift in [0u32, 32, 64, 96] {
                    change.double(quarter(old, shift), quarter(new, shift));
                }
                *place = endpoint.address;
            }
        }
        let hops = header.get_mut(7)?;
        *hops = (*hops).max(self.hop_limit);
        Some(change)
    }

    #[inline]
    fn options<const FULL: bool>(&self, patch: &mut Patch<'_>, len: usize) -> Option<()> {
        // NOP, NOP, timestamps, as most segments have it: aligned, and nothing else.
        if len == WITH_TIMESTAMPS {
            let header = patch.bytes.first_chunk_mut::<WITH_TIMESTAMPS>()?;
            let (_, options) = header.split_first_chunk_mut::<HEADER>()?;
            let (kind, options) = options.split_first_chunk_mut::<4>()?;
            if *kind == [1, 1, 8, 10] {
                let (value, echo) = options.split_first_chunk_mut::<4>()?;
                let echo = echo.first_chunk_mut::<4>()?;
                let clock = u32::from_be_bytes(*value).wrapping_add(self.clock);
                replace::<FULL>(&mut patch.change, value, clock);
                let told = u32::from_be_bytes(*echo).wrapping_add(self.echo);
                replace::<FULL>(&mut patch.change, echo, told);
                return Some(());
            }
        }
        self.other_options(patch, len)
    }

    /// Options that few segments have.
    #[cold]
    #[inline(never)]
    fn other_options(&self, patch: &mut Patch<'_>, len: usize) -> Option<()> {
        let mut at = HEADER;
        while at < len {
            let mut walk = Walk {
                bytes: patch.bytes.get(..len)?,
                at,
            };
            let Some(option) = walk.next() else { break };
            let (kind, start, value) = (option.kind, option.at, option.value?.len());
            at = walk.at;
            match (kind, value) {
                (OPTION_TIMESTAMPS, 8) => {
                    patch.add(start, self.clock)?;
                    patch.add(start.wrapping_add(4), self.echo)?;
                }
                (OPTION_SACK, _) => self.blocks(patch, start, value)?,
                _ => {}
            }
        }
        Some(())
    }

    /// Moves the blocks of a SACK option (RFC 2018, 3). One that is left out is overwritten by the others moving up, and
    /// the room at the end by NOPs.
    fn blocks(&self, patch: &mut Patch<'_>, start: usize, len: usize) -> Option<()> {
        let end = start.wrapping_add(len);
        let (mut from, mut to) = (start, start);
        while from < end {
            let block = *patch.bytes.get(from..end)?.first_chunk::<8>()?;
            let [l0, l1, l2, l3, r0, r1, r2, r3] = block;
            from = from.wrapping_add(8);
            let (left, right) = (
                u32::from_be_bytes([l0, l1, l2, l3]),
                u32::from_be_bytes([r0, r1, r2, r3]),
            );
            if super::seq::before(left, self.sack_floor) {
                continue;
            }
            let (left, right) = (
                left.wrapping_add(self.sack).to_be_bytes(),
                right.wrapping_add(self.sack).to_be_bytes(),
            );
            patch.bytes(to, left)?;
            patch.bytes(to.wrapping_add(4), right)?;
            to = to.wrapping_add(8);
        }
        if to < end {
            // The option's length, or the whole option where no block is left.
            let (kind, length) = (start.wrapping_sub(2), start.wrapping_sub(1));
            let kept = u8::try_from(to.wrapping_sub(kind)).ok()?;
            let pad_from = if to == start {
                kind
            } else {
                patch.u8(length, kept)?;
                to
            };
            for at in pad_from..end {
                patch.u8(at, 1)?;
            }
        }
        Some(())
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a quarter of the number")]
const fn quarter(number: u128, shift: u32) -> u32 {
    number.wrapping_shr(shift) as u32
}

/// The last four bytes of an IPv4-mapped address.
pub(super) const fn v4(address: &[u8; 16]) -> u32 {
    let [.., a, b, c, d] = *address;
    u32::from_be_bytes([a, b, c, d])
}
