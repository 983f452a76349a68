// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a namespace keeps besides its connections: the rules in force, with their servers, and what is counted.

pub(crate) mod counters;
pub(crate) mod counts;
pub(crate) mod events;
pub(crate) mod histogram;
pub(crate) mod limits;
pub(crate) mod load;
pub(crate) mod pool;
pub(crate) mod real_server;
pub(crate) mod route_counters;
pub(crate) mod ruleset;
pub(crate) mod traffic;
