// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Exchanges, packet in and packets out, by topic. Every bug that the simulation (kmod/sim) found is one of them.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::string_slice,
    reason = "tests compute with numbers that they know"
)]

mod binding;
mod closing;
mod environment;
mod heads;
mod opening;
mod proxy_headers_lost;
mod proxying;
mod rebinding;
mod receivers;
mod resets;
mod rewriting;
mod script;
mod times;

use super::*;

#[test]
fn a_flow_is_small() {
    assert!(size_of::<Flow>() <= 328, "{} bytes", size_of::<Flow>());
}
