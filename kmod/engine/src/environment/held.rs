// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Packets of a client that wait for a server, in the order of their bytes.

use crate::flow::segment::Parsed;
use crate::flow::segment::FIN;
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

    /// Takes the bytes before a sequence number for gone; a FIN behind them waits still.
    pub(super) fn skip(&mut self, to: u32) {
        while !self.is_empty() && seq::before(self.from, to) {
            let Some(parsed) = self.queue.iter().next().and_then(|packet| packet.parsed()) else {
                return;
            };
            let segment = parsed.segment;
            let end = segment.data_end();
            if seq::before(to, end) || segment.is(FIN) {
                self.from = seq::min(to, end);
                return;
            }
            self.from = end;
            self.queue.pop();
        }
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

#[cfg(test)]
#[allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "tests compute with numbers that they know"
)]
pub(super) mod tests {
    use super::*;

    use std::collections::VecDeque;
    use std::vec::Vec;

    use crate::endpoint::Endpoint;
    use crate::flow::segment::ACK;
    use crate::flow::Offer;

    /// What every packet's data are from: the byte at a sequence number is that of the number less 1000.
    const DATA: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
    const MEMORY: u32 = 1000;

    /// Packets, each of so much memory.
    #[derive(Default)]
    pub(in crate::environment) struct List(VecDeque<(Segment, u32)>);

    impl<'a> Peek<'a> for Segment {
        fn parsed(&self) -> Option<Parsed> {
            Some(Parsed {
                segment: *self,
                tcp_at: 20,
                payload_at: 40,
            })
        }

        fn bytes(&self, offset: u32) -> &'a [u8] {
            DATA.get((self.seq - 1000 + offset - 40) as usize..)
                .unwrap_or_default()
        }
    }

    impl Queue for List {
        type Packet = (Segment, u32);
        type Peek<'a> = Segment;

        fn is_empty(&self) -> bool {
            self.0.is_empty()
        }

        fn count(&self) -> u32 {
            self.0.len() as u32
        }

        fn memory(&self) -> u32 {
            self.0.iter().map(Self::memory_of).sum()
        }

        fn memory_of(packet: &Self::Packet) -> u32 {
            packet.1
        }

        fn iter(&self) -> impl Iterator<Item = Segment> {
            self.0.iter().map(|packet| packet.0)
        }

        fn push(&mut self, packet: Self::Packet) {
            self.0.push_back(packet);
        }

        fn pop(&mut self) -> Option<Self::Packet> {
            self.0.pop_front()
        }

        fn copy_first(&self) -> Option<Self::Packet> {
            self.0.front().copied()
        }
    }

    fn segment(seq: u32, payload: u32, fin: bool) -> Segment {
        Segment {
            source: Endpoint::default(),
            destination: Endpoint::default(),
            seq,
            ack: 0,
            flags: if fin { FIN | ACK } else { ACK },
            window: 0,
            payload,
            header_len: 20,
            timestamps: None,
            offer: Offer::default(),
            has_sack: false,
        }
    }

    /// Ten bytes of which four have gone, and ten more.
    fn held() -> HeldPackets<List> {
        let mut held = HeldPackets::<List>::default();
        for (seq, from) in [(1000, 1004), (1010, 1010)] {
            let segment = segment(seq, 10, false);
            assert!(held.hold((segment, MEMORY), &segment, from, 0));
        }
        held
    }

    /// What goes before a sequence number: first bytes of packets, which of their data, whether it is the last.
    fn released(held: &mut HeldPackets<List>, to: u32) -> Vec<(u32, (u32, u32), bool)> {
        let parts = core::iter::from_fn(|| held.release(to)).take(9);
        let parts = parts.map(|part| {
            let (_, parsed) = part.packet.unwrap();
            (parsed.segment.seq, part.data, part.last)
        });
        parts.collect()
    }

    #[test]
    fn bytes_are_read_where_they_wait_and_nowhere_else() {
        let held = held();
        assert_eq!((held.count(), held.end()), (2, Some(1020)));
        for (at, run) in [
            (1003, None),
            (1004, Some(&b"efghij"[..])),
            (1009, Some(b"j")),
            (1010, Some(b"klmnopqrst")),
            (1019, Some(b"t")),
            (1020, None),
        ] {
            assert_eq!(held.run(at), run, "{at}");
        }
    }

    #[test]
    fn each_byte_goes_once() {
        let mut held = held();
        assert_eq!(released(&mut held, 1004), []);
        assert_eq!(released(&mut held, 1007), [(1000, (4, 7), true)]);
        assert_eq!(held.run(1006), None);
        assert_eq!(
            released(&mut held, 1013),
            [(1000, (7, 10), false), (1010, (0, 3), true)]
        );
        assert_eq!((held.count(), held.broken()), (1, None));
        assert_eq!(released(&mut held, 1020), [(1010, (3, 10), false)]);
        assert!(held.is_empty() && held.end().is_none());
    }

    #[test]
    fn what_is_skipped_is_gone_and_an_end_behind_it_is_not() {
        let mut held = held();
        held.skip(1003);
        assert_eq!(held.run(1004), Some(&b"efghij"[..]));
        held.skip(1012);
        assert_eq!(
            (held.count(), held.run(1011), held.broken()),
            (1, None, None)
        );
        assert_eq!(released(&mut held, 1014), [(1010, (2, 4), true)]);
        held.skip(1020);
        assert!(held.is_empty());
        let end = segment(1020, 10, true);
        assert!(held.hold((end, MEMORY), &end, 1020, 0));
        held.skip(1030);
        assert_eq!((held.end(), held.broken()), (Some(1030), None));
        assert_eq!(released(&mut held, 1030), [(1020, (10, 10), false)]);
    }

    #[test]
    fn an_end_without_data_goes_with_what_is_before_it() {
        let mut held = held();
        let end = segment(1020, 0, true);
        assert!(held.hold((end, MEMORY), &end, 1020, 0));
        assert_eq!(released(&mut held, 1019).len(), 2);
        assert_eq!(held.count(), 2);
        assert_eq!(
            released(&mut held, 1020),
            [(1010, (9, 10), false), (1020, (0, 0), false)]
        );
    }

    #[test]
    fn what_waits_is_bounded() {
        let segment = segment(1000, 10, false);
        let hold = |memory, all| {
            let mut held = HeldPackets::<List>::default();
            held.hold((segment, 1), &segment, 1000, 0)
                && held.hold((segment, memory), &segment, 1000, all)
        };
        assert!(hold(HELD_MAX - 1, HELD_ALL_MAX));
        assert!(!hold(HELD_MAX, 0), "one connection's");
        assert!(!hold(1, HELD_ALL_MAX + 1), "all connections'");
    }
}
