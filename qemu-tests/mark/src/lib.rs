// SPDX-License-Identifier: MIT
//! An instruction that does nothing, by which a program of the guest tells the profiler that a phase begins.

use std::arch::asm;

/// Its bytes: a `nop` with an address that nothing else has (Intel's manual, volume 2, NOP).
pub const BYTES: [u8; 7] = [0x0f, 0x1f, 0x80, b'L', b'7', b'S', b'W'];

/// Executes it.
#[inline(never)]
pub fn mark() {
    // SAFETY: a `nop` reads no memory, whatever its address, and changes nothing.
    unsafe {
        asm!(
            ".byte 0x0f, 0x1f, 0x80, 0x4c, 0x37, 0x53, 0x57",
            options(nomem, nostack, preserves_flags)
        );
    }
}
