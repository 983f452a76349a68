// SPDX-License-Identifier: MIT
//! What is counted and logged. Nothing here knows who does it.

pub mod access_log;
pub mod events;
pub mod exposition;
pub mod histogram;
pub mod log_limit;
pub mod metrics;
pub mod process;
pub mod reason;
pub mod spans;
pub mod stats;
pub mod words;
