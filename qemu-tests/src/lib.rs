// SPDX-License-Identifier: MIT
//! Tests of l7switch in kernels that QEMU boots.
//!
//! One executable plays both sides. On the host it builds what the guest needs, boots it and asks it for one test
//! after the other ([`host`]); in the guest it is the first process and runs them ([`guest`]). Both sides speak in
//! lines of JSON ([`protocol`]), and know the same list of tests ([`tests`]). What measures in such guests is a crate of its
//! own, `l7switch-bench`.
#![forbid(unsafe_code)]

pub mod complaints;
pub mod crossing;
pub mod error;
pub mod guest;
pub mod host;
pub mod kit;
pub mod printed;
pub mod programs;
pub mod protocol;
pub mod test;
pub mod tests;
