// SPDX-License-Identifier: MIT
//! A plugin of QEMU's that counts the guest's instructions by call stack: `-plugin libl7switch_profiler.so,out=FILE`.
//!
//! It counts by phase: a program of the guest executes a *mark* (`l7switch_mark`) where one begins, and
//! counted are the odd ones: 0 is the boot, 2 is between two loads.
//!
//! The file has a line for each call site and for each place that was executed:
//!
//! ```text
//! N 17 3 ffffffff81234567        node 17: called from this instruction, which itself ran below node 3
//! C 1 17 ffffffff81000000 4711   in phase 1, below node 17, the block at this address took 4711 instructions
//! ```
//!
//! Node 0 is the bottom of every stack. Programs of the guest are one place, address 0: this is about its kernel.

mod calls;
mod count;
mod qemu;
