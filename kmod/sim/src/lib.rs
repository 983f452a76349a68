// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The flow engine ([`l7switch_engine::flow`]) between real TCP stacks, over a simulated network that loses, reorders,
//! duplicates, delays and corrupts packets: everything from one seed, so that what has gone wrong once goes wrong again.
//!
//! [`generate`] makes a [`Plan`](plan::Plan) of a seed, [`World`] carries it out and says what was wrong. Every
//! byte that is sent has one owner, told by its value: applications on both ends compare all they get with what
//! they must get.

pub mod client;
mod counted;
pub mod generate;
pub mod header;
pub mod ledger;
pub mod lost;
pub mod net;
pub mod own;
pub mod plan;
pub mod report;
pub mod rng;
pub mod server;
pub mod smol;
pub mod stack;
pub mod switch;
pub mod watch;
pub mod wire;
pub mod world;

use report::Report;
use world::Restarts;
use world::World;

/// The end of a trace: what led to a failure.
pub fn last_lines(trace: &[String]) -> String {
    trace[trace.len().saturating_sub(80)..].join("\n")
}

/// Runs a seed.
pub fn run(seed: u64, size: generate::Size, trace: bool) -> Report {
    run_restarting(seed, size, Restarts::Never, trace)
}

/// Runs a seed, with successors in the switch's place.
pub fn run_restarting(seed: u64, size: generate::Size, restarts: Restarts, trace: bool) -> Report {
    World::new(generate::plan(seed, size), trace)
        .restarting(restarts)
        .run()
}
