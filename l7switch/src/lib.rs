// SPDX-License-Identifier: MIT
//! The userspace front of l7switch.
pub mod access_log;
pub mod filters;
pub mod forwarded;
pub mod gate;
pub mod headers;
pub mod io;
pub mod reason;
pub mod stats;
