// SPDX-License-Identifier: MIT
//! Limits on what clients do that last longer than a connection: their rates of requests, and how many connections they have.

pub mod rate;
pub mod sources;
