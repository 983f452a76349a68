// SPDX-License-Identifier: MIT
//! What tests are written with: hosts and networks, programs on them, the module, what the kernel says and holds.
//!
//! Everything here panics where it cannot do what is asked, since that is how a test fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what a test calls fails by panicking"
)]

pub mod group;
pub mod http;
pub(crate) mod links;
pub mod memory;
pub mod module;
pub mod netlink;
pub mod network;
pub mod origin;
pub mod process;
pub mod programs;
pub mod wait;

pub use crate::guest::kernel_log::KernelLog;
pub use group::Group;
pub use http::read_head;
pub use memory::count_free_pages;
pub use memory::kib;
pub use memory::leaks;
pub use memory::shrink_slabs;
pub use memory::slab;
pub use memory::taken;
pub use module::Module;
pub use network::Host;
pub use network::Network;
pub use process::Attempt;
pub use process::Process;
pub use programs::Nginx;
pub use programs::Origin;
pub use wait::limit;
pub use wait::wait_until;
