// SPDX-License-Identifier: MIT
//! The host's side: builds what the guest needs, boots it, and asks it for tests.

pub mod artifacts;
pub mod cpio;
pub mod guest;
pub mod initramfs;
pub mod kernel;
pub mod qemu;
pub mod runs;
pub mod session;
pub mod shell;
pub mod suite;
pub mod tool;
