// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Packets as flows see them: in pieces, as in a paged buffer, and in queues.

use std::collections::VecDeque;

use l7switch_engine::environment::Peek;
use l7switch_engine::environment::Queue;
use l7switch_engine::environment::UnackedBytes;
use l7switch_engine::flow::Payload;
use l7switch_engine::flow::segment::Parsed;

use crate::wire::Read;

/// Bytes from an offset on, up to the end of the piece that they lie in.
fn run(data: &[u8], offset: u32, piece: usize) -> &[u8] {
    let offset = offset as usize;
    let end = (offset / piece + 1).saturating_mul(piece);
    data.get(offset..end.min(data.len())).unwrap_or_default()
}

/// A packet that has come.
pub(super) struct Packet<'a> {
    pub(super) bytes: &'a [u8],
    /// Where its data begin.
    pub(super) data: usize,
    /// Data lie in pieces of so many bytes.
    pub(super) piece: usize,
}

impl Payload for Packet<'_> {
    fn run(&self, offset: u32) -> &[u8] {
        run(&self.bytes[self.data..], offset, self.piece)
    }
}

/// A packet of the switch's own.
#[derive(Clone, Debug)]
pub(super) struct Owned {
    pub(super) bytes: Vec<u8>,
    pub(super) read: Read,
    pub(super) piece: usize,
}

impl Owned {
    fn parsed(&self) -> Parsed {
        Parsed {
            segment: self.read.segment,
            tcp_at: self.read.tcp as u32,
            payload_at: self.read.data as u32,
        }
    }
}

impl<'a> Peek<'a> for &'a Owned {
    fn parsed(&self) -> Option<Parsed> {
        Some(Owned::parsed(self))
    }

    fn bytes(&self, offset: u32) -> &'a [u8] {
        run(&self.bytes, offset, self.piece)
    }
}

/// Packets that wait.
#[derive(Debug, Default)]
pub(super) struct Waiting(VecDeque<Owned>);

impl Queue for Waiting {
    type Packet = Owned;
    type Peek<'a> = &'a Owned;

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn count(&self) -> u32 {
        self.0.len() as u32
    }

    fn memory(&self) -> u32 {
        self.0.iter().map(Self::memory_of).sum()
    }

    fn memory_of(packet: &Owned) -> u32 {
        // What an sk_buff takes besides its data, about.
        packet.bytes.len() as u32 + 512
    }

    fn iter(&self) -> impl Iterator<Item = &Owned> {
        self.0.iter()
    }

    fn push(&mut self, packet: Owned) {
        self.0.push_back(packet);
    }

    fn pop(&mut self) -> Option<Owned> {
        self.0.pop_front()
    }

    fn copy_first(&self) -> Option<Owned> {
        self.0.front().cloned()
    }
}

/// What a flow has read, and its server has not acknowledged.
#[derive(Debug, Default)]
pub(super) struct UnackedMemory(Vec<u8>);

impl UnackedBytes for UnackedMemory {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    fn grow(&mut self, len: usize) {
        // What was there before belongs to somebody else.
        self.0.resize(len, 0xaa);
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}
