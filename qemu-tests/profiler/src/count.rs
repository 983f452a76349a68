// SPDX-License-Identifier: MIT
//! The counts: by phase, stack of calls, and block of instructions.
//!
//! Stacks are told from one another by where the stack pointer was: a call writes there, a return reads there. The
//! kernel's stacks are 16 KiB each and aligned. A stack that a call finds empty was switched to in passing, for an
//! interrupt: it grows on the one before.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::hash::Hasher;
use std::io;
use std::io::Write;

/// Addresses below are programs'.
const KERNEL: u64 = 1 << 63;
/// log2 of the size of the kernel's stacks (arch/x86/include/asm/page_64_types.h).
const STACK: u32 = 14;

/// A block of instructions without a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Block {
    /// Where it begins; 0 for a program's.
    address: u64,
    instructions: u64,
}

/// A call on a stack.
#[derive(Debug)]
struct Frame {
    /// Where the return address lies.
    pointer: u64,
    node: u32,
}

/// A place in the tree of calls.
#[derive(Debug)]
struct Node {
    parent: u32,
    /// The address of the instruction that called.
    call: u64,
}

/// Mixes numbers: the maps here are looked up a hundred million times, and nobody chooses their keys.
#[derive(Debug, Default)]
pub(crate) struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        let mixed = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ mixed >> 32;
    }
}

type Map<K, V> = HashMap<K, V, BuildHasherDefault<Mixer>>;

/// All that is counted.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    phase: u32,
    /// The node under which the block is that runs.
    node: u32,
    in_program: bool,
    stacks: Map<u64, Vec<Frame>>,
    nodes: Vec<Node>,
    children: Map<(u32, u64), u32>,
    blocks: Vec<Block>,
    numbers: Map<(u64, u64), u32>,
    executed: Map<(u32, u32), u64>,
    /// Of phases that ended.
    ended: Vec<Map<(u32, u32), u64>>,
}

impl Counts {
    /// The number of a block, for [`Self::execute`].
    pub(crate) fn block(&mut self, address: u64, instructions: u64) -> u32 {
        let address = if address < KERNEL { 0 } else { address };
        let next = u32::try_from(self.blocks.len()).unwrap_or(u32::MAX);
        *self
            .numbers
            .entry((address, instructions))
            .or_insert_with(|| {
                self.blocks.push(Block {
                    address,
                    instructions,
                });
                next
            })
    }

    /// A block runs.
    pub(crate) fn execute(&mut self, block: u32, in_program: bool) {
        if in_program != self.in_program {
            // Into the kernel or out of it: the next call tells which stack that is.
            self.in_program = in_program;
            self.node = 0;
        }
        // What is between two loads is nobody's.
        if self.phase % 2 == 1 {
            *self.executed.entry((self.node, block)).or_default() += 1;
        }
    }

    /// The instruction at `site` calls; the return address lies at `pointer`.
    pub(crate) fn call(&mut self, site: u64, pointer: u64) {
        let stack = self.stacks.entry(pointer >> STACK).or_default();
        while stack.pop_if(|frame| frame.pointer <= pointer).is_some() {}
        let parent = stack.last().map_or(self.node, |frame| frame.node);
        let nodes = &mut self.nodes;
        let node = *self.children.entry((parent, site)).or_insert_with(|| {
            nodes.push(Node { parent, call: site });
            u32::try_from(nodes.len()).unwrap_or(u32::MAX)
        });
        stack.push(Frame { pointer, node });
        self.node = node;
    }

    /// A function returns by the address at `pointer`.
    pub(crate) fn ret(&mut self, pointer: u64) {
        let stack = self.stacks.entry(pointer >> STACK).or_default();
        let mut ended = None;
        while let Some(frame) = stack.pop_if(|frame| frame.pointer <= pointer) {
            ended = Some(frame.node);
        }
        let above = match ended {
            Some(node) => self
                .nodes
                .get(node.wrapping_sub(1) as usize)
                .map(|node| node.parent),
            None => stack.last().map(|frame| frame.node),
        };
        self.node = above.unwrap_or(0);
    }

    /// The next phase begins.
    pub(crate) fn mark(&mut self) {
        self.phase += 1;
        self.ended.push(std::mem::take(&mut self.executed));
    }

    /// Writes all of it.
    ///
    /// # Errors
    ///
    /// Those of writing.
    pub(crate) fn write(&mut self, to: &mut impl Write) -> io::Result<()> {
        self.mark();
        for (number, node) in (1u32..).zip(&self.nodes) {
            writeln!(to, "N {number} {} {:x}", node.parent, node.call)?;
        }
        for (phase, counts) in self.ended.iter().enumerate() {
            for ((node, block), times) in counts {
                if let Some(block) = self.blocks.get(*block as usize) {
                    writeln!(
                        to,
                        "C {phase} {node} {:x} {}",
                        block.address,
                        times * block.instructions
                    )?;
                }
            }
        }
        to.flush()
    }
}
