// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What time brings to connections, and their end with the switch.
#![forbid(unsafe_code)]

use kernel::sync::rcu;

use l7switch_engine::flow::milliseconds;

use super::connection::Connection;
use super::dispatch::PacketContext;
use super::env::check;
use super::env::is_dead;
use super::flows::Flows;
use super::flows::Location;
use super::transmit::Out;
use super::Datapath;
use crate::shell::clock;
use crate::shell::net::Net;
use crate::shell::sync::bottom_halves;
use crate::state::counts::Counts;
use crate::state::ruleset::Ruleset;

impl Datapath {
    /// Does what time has come for.
    pub(crate) fn tick(&self, net: &Net) {
        let guard = rcu::read_lock();
        let (Some(ruleset), Some(flows)) = (self.ruleset.read(&guard), self.flows.read(&guard))
        else {
            return;
        };
        let now = clock::now_ns();
        self.counts.recover(ruleset, net, now);
        if flows.has_room() {
            self.counts.has_room();
        }
        let context = PacketContext {
            guard: &guard,
            counts: &self.counts,
            ruleset,
            flows,
            net,
            now,
        };
        for number in Flows::shards() {
            context.turn(number);
        }
    }

    /// Ends every connection, since the switch goes away.
    pub(crate) fn abort(&self, net: &Net) {
        let guard = rcu::read_lock();
        if let (Some(ruleset), Some(flows)) = (self.ruleset.read(&guard), self.flows.read(&guard)) {
            abort(&self.counts, ruleset, flows, net);
        }
    }
}

impl<'g> PacketContext<'g> {
    /// Looks at the connections of a shard whose time has come.
    fn turn(&self, number: usize) {
        let now = milliseconds(self.now);
        loop {
            let mut out = Out::new();
            {
                let Some(mut shard) = self.flows.lock(number) else {
                    return;
                };
                let Some(slot) = shard.turn(now) else {
                    return;
                };
                let location = Location::of(number, slot);
                let Some(connection) = shard.get(slot) else {
                    continue;
                };
                let Connection { flow, state, .. } = connection;
                let before = state.memory();
                let mut env = self.env(location, flow, state, &mut out);
                flow.tick(&mut env);
                check(flow, state);
                let due = flow.due(!state.held.is_empty());
                self.flows.held_changed(before, state.memory());
                if is_dead(flow) {
                    self.flows.remove(&mut shard, location, false);
                } else {
                    shard.wait(slot, due);
                }
            }
            self.send(&mut out);
        }
    }
}

/// Ends every connection, since the switch goes away: both sides are told.
fn abort(counts: &Counts, ruleset: &Ruleset, flows: &Flows, net: &Net) {
    for number in Flows::shards() {
        let mut slot = 0u32;
        loop {
            let guard = rcu::read_lock();
            let context = PacketContext {
                guard: &guard,
                counts,
                ruleset,
                flows,
                net,
                now: clock::now_ns(),
            };
            let mut out = Out::new();
            let _softirqs = bottom_halves::Disabled::new();
            {
                let Some(mut shard) = flows.lock(number) else {
                    break;
                };
                let Some(found) = shard.next_used(slot) else {
                    break;
                };
                slot = found;
                let location = Location::of(number, slot);
                if let Some(connection) = shard.get(slot) {
                    let Connection { flow, state, .. } = connection;
                    let mut env = context.env(location, flow, state, &mut out);
                    flow.abort(&mut env);
                }
                flows.remove(&mut shard, location, true);
            }
            out.send(net, counts);
        }
    }
}
