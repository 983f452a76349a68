// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What time brings to connections, and their end with the switch.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;

use kernel::sync::rcu;

use l7switch_engine::flow::milliseconds;

use super::platform::check;
use super::platform::is_dead;
use super::connection::Connection;
use super::flows::Flows;
use super::flows::Location;
use super::path::Case;
use super::sending::Out;
use super::Live;
use super::Switch;
use crate::shell::bottom_halves;
use crate::shell::clock;
use crate::shell::net::Net;
use crate::shell::ticker::Tick;

impl Tick for Switch {
    const PERIOD_MS: u32 = l7switch_engine::wheel::NEAR_MS;

    fn tick(&self, net: &Net) {
        let guard = rcu::read_lock();
        let (Some(live), Some(flows)) = (self.live.read(&guard), self.flows.read(&guard)) else {
            return;
        };
        let now = clock::now_ns();
        if self.failing() {
            self.recover(live, net, now);
        }
        if self.full.load(Relaxed) && flows.has_room() {
            self.full.store(false, Relaxed);
        }
        flows.look_for_any();
        let case = Case {
            guard: &guard,
            switch: self,
            live,
            flows,
            net,
            now,
        };
        for number in Flows::shards() {
            case.turn(number);
        }
    }
}

impl<'g> Case<'g> {
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
pub(super) fn abort(switch: &Switch, live: &Live, flows: &Flows, net: &Net) {
    for number in Flows::shards() {
        let mut slot = 0u32;
        loop {
            let guard = rcu::read_lock();
            let case = Case {
                guard: &guard,
                switch,
                live,
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
                    let mut env = case.env(location, flow, state, &mut out);
                    flow.abort(&mut env);
                }
                flows.remove(&mut shard, location, true);
            }
            out.send(net);
        }
    }
}
