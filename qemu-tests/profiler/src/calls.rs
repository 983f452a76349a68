// SPDX-License-Identifier: MIT
//! Which instructions of x86-64 call and return.

/// What an instruction does to the stack of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It calls a function.
    Call,
    /// It returns from one.
    Return,
    /// It is a mark.
    Mark,
    /// Anything else.
    Other,
}

/// What an instruction of these bytes is (Intel's manual, volume 2).
pub(crate) fn kind(bytes: &[u8]) -> Kind {
    if bytes == l7switch_mark::BYTES {
        return Kind::Mark;
    }
    // Segments (in front of calls as padding), repetition, size of operands, REX.
    let prefix = |byte: &&u8| matches!(**byte, 0x2e | 0x3e | 0x66 | 0xf2 | 0xf3 | 0x40..=0x4f);
    let prefixes = bytes.iter().take_while(prefix).count();
    match bytes.get(prefixes..).unwrap_or_default() {
        // One that leaps over a trap next to it: it fills the processor's memory of returns, or is half of a jump, where
        // the kernel guards against speculation (arch/x86/include/asm/nospec-branch.h).
        [0xe8, 0..32, 0, 0, 0] => Kind::Other,
        [0xe8, ..] => Kind::Call,
        // The operation is in the middle of the byte behind: 2 is a call.
        [0xff, operation, ..] if operation >> 3 & 7 == 2 => Kind::Call,
        [0xc2 | 0xc3, ..] => Kind::Return,
        _ => Kind::Other,
    }
}
