// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The way of packets: from the hooks to their connections, and on.
#![forbid(unsafe_code)]

mod answered;
pub(crate) mod connection;
mod dispatch;
mod env;
pub(crate) mod flows;
mod hook;
mod icmp;
mod index;
mod open;
mod scratch;
pub(crate) mod segment;
mod timer;
mod transmit;

use kernel::sync::Arc;

use crate::shell::sync::rcu_box::RcuBox;
use crate::state::counts::Counts;
use crate::state::ruleset::Ruleset;
use flows::Flows;

/// What packets need of a namespace.
pub(crate) struct Datapath {
    /// The rules in force.
    pub(crate) ruleset: RcuBox<Arc<Ruleset>>,
    /// Connections followed. There since the first rules: a namespace that switches nothing has no memory for them.
    pub(crate) flows: RcuBox<Flows>,
    /// What is counted.
    pub(crate) counts: Counts,
}

impl Datapath {
    /// Nothing is switched yet.
    pub(crate) fn new(counts: Counts) -> Self {
        Self {
            ruleset: RcuBox::none(),
            flows: RcuBox::none(),
            counts,
        }
    }
}
