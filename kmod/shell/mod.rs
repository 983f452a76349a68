// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The shell: safe abstractions of what the module needs of the kernel and the kernel crate does not offer yet.
//!
//! Three layers, as in the kernel's own Rust: C helpers for inline functions and macros (`helpers.c`), generated
//! bindings, and the types here. Only this folder has `unsafe` code; leaf code calls nothing but what is here and in the
//! kernel crate.

mod bindings;

pub(crate) mod bottom_halves;
pub(crate) mod clock;
pub(crate) mod genl;
mod ingress;
pub(crate) mod memory;
pub(crate) mod net;
pub(crate) mod netfilter;
pub(crate) mod packet;
pub(crate) mod per_cpu;
pub(crate) mod pernet;
pub(crate) mod port_watch;
pub(crate) mod random;
pub(crate) mod rcu_box;
pub(crate) mod route;
pub(crate) mod ticker;
pub(crate) mod try_lock;
pub(crate) mod way;
pub(crate) mod work;
