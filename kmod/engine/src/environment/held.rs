// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Packets of a client that wait for a server, in the order of their bytes.

use crate::flow::segment::Parsed;
use crate::flow::seq;
use crate::flow::Segment;

/// Most memory that waiting packets of one connection may take, bytes.
pub const HELD_MAX: u32 = 256 * 1024;
/// Most memory that waiting packets and unacknowledged bytes of all connections may take, bytes.
pub const HELD_ALL_MAX: u64 = 64 << 20;

/// A packet in a queue, to be read for as long as the queue is borrowed.
pub trait Peek<'a> {
    /// What its headers say; `None` where they cannot be read.
    fn parsed(&self) -> Option<Parsed>;
    /// Bytes from an offset on, counted from the IP header, as many as lie in one piece.
    fn bytes(&self, offset: u32) -> &'a [u8];
}

/// A queue of packets.
pub trait Queue {
    /// A packet that the queue owns.
    type Packet;
    /// One that is looked at.
    type Peek<'a>: Peek<'a>
    where
        Self: 'a;

    /// Whether there is none.
    fn is_empty(&self) -> bool;
    /// How many there are.
    fn count(&self) -> u32;
    /// Bytes of memory that they take.
    fn memory(&self) -> u32;
    /// Bytes of memory that a packet takes.
    fn memory_of(packet: &Self::Packet) -> u32;
    /// The packets, the first one first.
    fn iter(&self) -> impl Iterator<Item = Self::Peek<'_>>;
    /// Adds one at the end.
    fn push(&mut self, packet: Self::Packet);
    /// Takes the first one.
    fn pop(&mut self) -> Option<Self::Packet>;
    /// A copy of the first one; `None` where memory is short, too.
    fn copy_first(&self) -> Option<Self::Packet>;
}

/// Packets that wait, and which of their bytes still do.
#[derive(Debug, Default)]
pub struct HeldPackets<Q> {
    queue: Q,
    /// Sequence numbers of the first byte that waits and behind the last.
    from: u32,
    end: u32,
}

/// A packet that is let go, or a part of one.
pub(super) struct Released<P> {
    /// The packet; `None` where it could not be read or copied.
    pub(super) packet: Option<(P, Parsed)>,
    /// Which of its data go: offsets, bytes.
    pub(super) data: (u32, u32),
    /// Nothing follows it.
    pub(super) last: bool,
}

impl<Q: Queue> HeldPackets<Q> {
    /// None, in a queue that is empty.
    pub const fn new(queue: Q) -> Self {
        Self {
            queue,
            from: 0,
            end: 0,
        }
    }

    /// Whether none waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many wait.
    pub fn count(&self) -> u32 {
        self.queue.count()
    }

    /// Bytes of memory that they take.
    pub fn memory(&self) -> u32 {
        self.queue.memory()
    }

    /// Sequence number behind the last byte that waits; `None` where none does.
    #[inline]
    pub fn end(&self) -> Option<u32> {
        (!self.is_empty()).then_some(self.end)
    }

    /// Keeps a packet whose data before `from` have gone. `all`: memory that packets of all connections take, bytes. `false`
    /// where there is too much already.
    pub fn hold(&mut self, packet: Q::Packet, segment: &Segment, from: u32, all: u64) -> bool {
        let memory = self.memory().saturating_add(Q::memory_of(&packet));
        if memory > HELD_MAX || all > HELD_ALL_MAX {
            return false;
        }
        if self.is_empty() {
            self.from = from;
        }
        self.end = segment.data_end();
        self.queue.push(packet);
        true
    }

    /// A run of held bytes from a sequence number on; empty where it cannot be read. `None`: none of them has it.
    #[inline(never)]
    pub(super) fn run(&self, at: u32) -> Option<&[u8]> {
        let mut from = self.from;
        for packet in self.queue.iter() {
            let Some(parsed) = packet.parsed() else {
                return Some(&[]);
            };
            let end = parsed.segment.data_end();
            if seq::at_most(from, at) && seq::before(at, end) {
                let offset = at.wrapping_sub(parsed.segment.seq);
                let left = end.wrapping_sub(at) as usize;
                let run = packet.bytes(parsed.payload_at.saturating_add(offset));
                return Some(run.get(..left).unwrap_or(run));
            }
            from = end;
        }
        None
    }

    /// Lets go of the first packet that has bytes before a sequence number, or of as much of it as is before it. `None`: no
    /// packet has.
    pub(super) fn release(&mut self, to: u32) -> Option<Released<Q::Packet>> {
        let Some(parsed) = self.queue.iter().next()?.parsed() else {
            // It was read when it was held: it cannot be.
            self.queue.pop();
            return Some(Released {
                packet: None,
                data: (0, 0),
                last: false,
            });
        };
        let segment = parsed.segment;
        let start = seq::max(self.from, segment.seq);
        let end = segment.data_end();
        // A FIN alone goes with what is before it.
        let alone = start == end && end == to;
        if !seq::before(start, to) && !alone {
            return None;
        }
        let whole = seq::at_most(end, to);
        let until = seq::min(end, to);
        self.from = until;
        let packet = match whole {
            true => self.queue.pop(),
            false => self.queue.copy_first(),
        };
        Some(Released {
            packet: packet.map(|packet| (packet, parsed)),
            data: (
                start.wrapping_sub(segment.seq),
                until.wrapping_sub(segment.seq),
            ),
            last: !whole,
        })
    }

    /// Lets go of the first packet; `false` where there is none.
    pub(super) fn discard(&mut self) -> bool {
        self.queue.pop().is_some()
    }

    /// What must hold between packets: what does not, if something does not.
    pub(super) fn broken(&self) -> Option<&'static str> {
        let mut next = None;
        for packet in self.queue.iter() {
            let Some(parsed) = packet.parsed() else {
                return Some("a held packet cannot be read");
            };
            let (start, end) = (parsed.segment.seq, parsed.segment.data_end());
            match next {
                None if seq::before(self.from, start) || seq::before(end, self.from) => {
                    return Some("what is held does not begin in its first packet");
                }
                Some(next) if seq::before(next, start) || seq::before(end, next) => {
                    return Some("held packets do not follow each other");
                }
                _ => {}
            }
            next = Some(end);
        }
        match next {
            Some(next) if next != self.end => {
                Some("what is held does not end with its last packet")
            }
            _ if self.memory() > HELD_MAX => Some("too much is held"),
            _ => None,
        }
    }
}
