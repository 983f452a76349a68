// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The shell: safe abstractions of what the module needs of the kernel and the kernel crate does not offer yet.
//!
//! Three layers, as in the kernel's own Rust: C helpers for inline functions and macros (`helpers.c`), generated
//! bindings, and the types here. Only this folder has `unsafe` code; leaf code calls nothing but what is here and in the
//! kernel crate.

mod bindings;

pub(crate) mod clock;
pub(crate) mod genl;
pub(crate) mod memory;
pub(crate) mod net;
pub(crate) mod packet;
pub(crate) mod random;
pub(crate) mod sync;
