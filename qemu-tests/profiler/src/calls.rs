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
    let mut rest = bytes.iter().skip_while(prefix);
    match rest.next() {
        Some(0xe8) => Kind::Call,
        // The operation is in the middle of the byte behind: 2 is a call.
        Some(0xff) if rest.next().is_some_and(|byte| byte >> 3 & 7 == 2) => Kind::Call,
        Some(0xc2 | 0xc3) => Kind::Return,
        _ => Kind::Other,
    }
}
