// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a segment becomes when it goes from one connection of a flow to the other.

use super::checksum::Change;
use super::segment::Walk;
use super::segment::HEADER;
use super::segment::OPTION_SACK;
use super::segment::OPTION_TIMESTAMPS;
use crate::sched::Identity;

/// The headers of a segment after the switch. Numbers are in host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// Who it comes from.
    pub source: Identity,
    /// Who it goes to.
    pub destination: Identity,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement.
    pub ack: u32,
    /// Flags.
    pub flags: u8,
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
}

/// What a packet's TCP checksum field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// The checksum.
    Full,
    /// The sum of the pseudo-header only, since the device adds the rest (CHECKSUM_PARTIAL in include/linux/skbuff.h).
    Partial,
}

/// Where fields of a TCP header are.
const SOURCE_PORT: usize = 0;
const DESTINATION_PORT: usize = 2;
const SEQ: usize = 4;
const ACK: usize = 8;
const FLAGS: usize = 13;
const WINDOW: usize = 14;
const CHECK: usize = 16;

/// A header, and how the changes made so far change its checksum.
struct Patch<'a> {
    bytes: &'a mut [u8],
    change: Change,
}

impl Patch<'_> {
    fn u16(&mut self, at: usize, new: u16) -> Option<()> {
        let place = self.bytes.get_mut(at..)?.first_chunk_mut::<2>()?;
        self.change.word(u16::from_be_bytes(*place), new);
        *place = new.to_be_bytes();
        Some(())
    }

    fn u32(&mut self, at: usize, new: u32) -> Option<()> {
        let place = self.bytes.get_mut(at..)?.first_chunk_mut::<4>()?;
        self.change.double(u32::from_be_bytes(*place), new);
        *place = new.to_be_bytes();
        Some(())
    }

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
        let addresses = match ip.first()? >> 4 {
            4 => self.ipv4(ip)?,
            6 => self.ipv6(ip)?,
            _ => return None,
        };
        let mut patch = Patch {
            bytes: tcp,
            change: Change::default(),
        };
        patch.u16(SOURCE_PORT, self.source.port)?;
        patch.u16(DESTINATION_PORT, self.destination.port)?;
        patch.u32(SEQ, self.seq)?;
        patch.u32(ACK, self.ack)?;
        patch.u8(FLAGS, self.flags)?;
        patch.u16(WINDOW, self.window)?;
        self.options(&mut patch)?;
        let Patch { bytes, change } = patch;
        let field = bytes.get_mut(CHECK..)?.first_chunk_mut::<2>()?;
        let check = u16::from_be_bytes(*field);
        *field = match checksum {
            Checksum::Full => addresses.and(change).of_complement(check),
            Checksum::Partial => addresses.of_sum(check),
        }
        .to_be_bytes();
        Some(())
    }

    /// Gives the change of the pseudo-header.
    fn ipv4(&self, ip: &mut [u8]) -> Option<Change> {
        let header = ip.first_chunk_mut::<20>()?;
        let mut patch = Patch {
            bytes: header,
            change: Change::default(),
        };
        patch.u32(12, v4(&self.source.address))?;
        patch.u32(16, v4(&self.destination.address))?;
        let addresses = patch.change;
        let hops = *patch.bytes.get(8)?;
        if hops < self.hop_limit {
            patch.u8(8, self.hop_limit)?;
        }
        let change = patch.change;
        let field = header.get_mut(10..)?.first_chunk_mut::<2>()?;
        *field = change
            .of_complement(u16::from_be_bytes(*field))
            .to_be_bytes();
        Some(addresses)
    }

    fn ipv6(&self, ip: &mut [u8]) -> Option<Change> {
        let header = ip.first_chunk_mut::<40>()?;
        let mut change = Change::default();
        let pairs = [(8usize, &self.source), (24, &self.destination)];
        for (at, identity) in pairs {
            let place = header.get_mut(at..)?.first_chunk_mut::<16>()?;
            let old = u128::from_be_bytes(*place);
            let new = u128::from_be_bytes(identity.address);
            if old != new {
                for shift in [0u32, 32, 64, 96] {
                    change.double(quarter(old, shift), quarter(new, shift));
                }
                *place = identity.address;
            }
        }
        let hops = header.get_mut(7)?;
        *hops = (*hops).max(self.hop_limit);
        Some(change)
    }

    fn options(&self, patch: &mut Patch<'_>) -> Option<()> {
        let len = usize::from(*patch.bytes.get(12)? >> 4).wrapping_mul(4);
        // NOP, NOP, timestamps, as most segments have it: aligned, and nothing else.
        if len == 32 && patch.bytes.get(HEADER..)?.first_chunk::<4>()? == &[1, 1, 8, 10] {
            for (at, add) in [(24usize, self.clock), (28, self.echo)] {
                let old = u32::from_be_bytes(*patch.bytes.get(at..)?.first_chunk::<4>()?);
                patch.u32(at, old.wrapping_add(add))?;
            }
            return Some(());
        }
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
