// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Pure switching logic, shared by the kernel module and the userspace front.
//!
//! Sans-I/O: bytes and time in, decisions out. No allocation, no clock, no socket, no `unsafe`, and
//! no panic: the module's object must not refer to `core::panicking` at all, even where overflow
//! checks are compiled in, so slices are read with `get` and sums are checked or wrapping.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod decide;
pub mod decisions;
pub mod endpoint;
pub mod ends;
pub mod ends_filter;
pub mod environment;
pub mod fingerprint;
pub mod flow;
pub mod form;
pub mod http1;
pub mod limit;
pub mod netlink;
mod numbered;
pub mod packet;
pub mod policy;
#[cfg(no_panic_probe)]
pub mod probe;
pub mod proxy_header;
pub mod record;
pub mod sched;
pub mod siphash;
pub mod slots;
pub mod table;
pub mod tls;
pub mod uri;
pub mod wheel;
