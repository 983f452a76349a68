// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the module is, and its counters.
#![forbid(unsafe_code)]

use kernel::prelude::*;
use kernel::sync::ArcBorrow;

use l7switch_engine::netlink::ClassAttr;
use l7switch_engine::netlink::Command;
use l7switch_engine::netlink::CounterAttr;
use l7switch_engine::netlink::FlowCountAttr;
use l7switch_engine::netlink::FlowState;
use l7switch_engine::netlink::HistogramAttr;
use l7switch_engine::netlink::ModuleAttr;
use l7switch_engine::netlink::TableAttr;
use l7switch_engine::netlink::MAX_ATTRIBUTE;
use l7switch_engine::table::format;
use l7switch_engine::table::format::PoolRecord;
use l7switch_engine::table::format::RouteRecord;
use l7switch_engine::table::format::ServerRecord;
use l7switch_engine::table::format::ServiceRecord;

use crate::namespace::Switch;
use crate::shell::genl::Act;
use crate::shell::genl::Policy;
use crate::shell::genl::Request;
use crate::state::counters::Counter;
use crate::state::events::room;
use crate::state::events::FAMILY;
use crate::state::histogram::Histogram;
use crate::state::histogram::CLASSES;
use crate::VERSION;

/// `module-get`.
pub(super) struct Get;

impl Act for Get {
    type In = Switch;
    const COMMAND: Command = Command::ModuleGet;
    const POLICY: &'static [Policy] = &[];

    fn act(switch: ArcBorrow<'_, Switch>, request: &mut Request<'_>) -> Result {
        let (ruleset, generation, loading) = {
            let control = switch.control.lock();
            let loading = control.load.as_ref().map(|load| load.transaction);
            (control.ruleset.clone(), control.generation, loading)
        };
        let counters = Counter::COUNT.saturating_mul(room(0) + room(32) + room(8));
        let histogram = CLASSES.saturating_mul(room(0) + 2 * room(8));
        let flows = FlowState::ALL.len().saturating_mul(room(0) + 2 * room(4));
        let len = counters
            .saturating_add(histogram)
            .saturating_add(flows)
            .saturating_add(22 * room(8));
        let states = switch.flow_states();
        request.reply(len, |message| {
            message.text(ModuleAttr::Version.number(), VERSION.as_bytes())?;
            message.u32(ModuleAttr::TableLayout.number(), format::VERSION)?;
            message.uint(ModuleAttr::Generation.number(), generation)?;
            if let Some(ruleset) = &ruleset {
                let table = &ruleset.table;
                let len = u32::try_from(table.as_bytes().len()).unwrap_or(u32::MAX);
                message.u32(ModuleAttr::TableLen.number(), len)?;
                message.u32(
                    ModuleAttr::Services.number(),
                    table.count::<ServiceRecord>(),
                )?;
                message.u32(ModuleAttr::Routes.number(), table.count::<RouteRecord>())?;
                message.u32(ModuleAttr::Pools.number(), table.count::<PoolRecord>())?;
                message.u32(ModuleAttr::Servers.number(), table.count::<ServerRecord>())?;
            }
            if let Some(transaction) = loading {
                message.u32(ModuleAttr::Loading.number(), transaction)?;
            }
            message.u32(ModuleAttr::MaxTableLen.number(), crate::max_table_len())?;
            let chunk = u32::try_from(MAX_ATTRIBUTE).unwrap_or(0);
            message.u32(ModuleAttr::MaxChunkLen.number(), chunk)?;
            message.u32(ModuleAttr::Flows.number(), switch.flow_count())?;
            message.u32(ModuleAttr::MaxFlows.number(), crate::max_flows())?;
            for counter in Counter::ALL {
                message.nest(ModuleAttr::Counter.number(), |message| {
                    message.text(CounterAttr::Name.number(), counter.name().as_bytes())?;
                    let value = switch.datapath.counts.counters.sum(counter.index());
                    message.uint(CounterAttr::Value.number(), value)
                })?;
            }
            message.nest(ModuleAttr::FirstByte.number(), |message| {
                for (class, below) in Histogram::classes() {
                    message.nest(HistogramAttr::Class.number(), |message| {
                        if let Some(below) = below {
                            message.uint(ClassAttr::Below.number(), below)?;
                        }
                        let count = switch.datapath.counts.responses.class(class);
                        message.uint(ClassAttr::Count.number(), count)
                    })?;
                }
                message.uint(
                    HistogramAttr::Sum.number(),
                    switch.datapath.counts.responses.sum(),
                )
            })?;
            for (state, count) in FlowState::ALL.iter().zip(states) {
                message.nest(ModuleAttr::FlowCount.number(), |message| {
                    message.u32(FlowCountAttr::State.number(), state.number())?;
                    message.u32(FlowCountAttr::Count.number(), count)
                })?;
            }
            Ok(())
        })
    }
}

/// `counters-reset`.
pub(super) struct Reset;

impl Act for Reset {
    type In = Switch;
    const COMMAND: Command = Command::CountersReset;
    const POLICY: &'static [Policy] = &[];

    fn act(switch: ArcBorrow<'_, Switch>, request: &mut Request<'_>) -> Result {
        switch.reset_counters();
        let by = request.port();
        request.multicast(&FAMILY, Command::CountersCleared, room(4), |message| {
            message.u32(TableAttr::By.number(), by)
        });
        Ok(())
    }
}
