// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The connections of clients that are followed.
#![forbid(unsafe_code)]

use kernel::prelude::*;
use kernel::sync::ArcBorrow;

use l7switch_engine::netlink::Command;
use l7switch_engine::netlink::FlowAttr;
use l7switch_engine::table::format::ServiceRecord;

use super::put_endpoint;
use crate::shell::genl::Dump;
use crate::shell::genl::List;
use crate::switch::Switch;

/// `flow-get`.
pub(super) struct Get;

impl List for Get {
    type In = Switch;
    const COMMAND: Command = Command::FlowGet;

    fn list(switch: ArcBorrow<'_, Switch>, dump: &mut Dump<'_>) -> Result {
        // Held as long as flows are read, so that none is of another table: where a service stands changes with tables.
        let control = switch.control.lock();
        dump.generation(control.generation);
        let Some(live) = &control.live else {
            return Ok(());
        };
        let now = crate::shell::clock::now_ns();
        while let Some((next, flow)) = switch.next_flow(dump.position()) {
            let full = !dump.entry(next, |message| {
                let service: ServiceRecord = live.table.get(flow.service).unwrap_or_default();
                let name = live.table.text(service.name, service.name_len);
                message.text(FlowAttr::Service.number(), name)?;
                put_endpoint(message, FlowAttr::Client.number(), flow.client)?;
                put_endpoint(message, FlowAttr::Virtual.number(), flow.address)?;
                message.u32(FlowAttr::State.number(), flow.state.number())?;
                let age = now.saturating_sub(flow.begun_ns) / 1_000_000;
                message.uint(FlowAttr::Age.number(), age)?;
                let idle = now.saturating_sub(flow.seen_ns) / 1_000_000;
                message.uint(FlowAttr::Idle.number(), idle)?;
                message.uint(FlowAttr::Packets.number(), flow.packets)?;
                message.uint(FlowAttr::Bytes.number(), flow.bytes)
            })?;
            if full {
                break;
            }
        }
        Ok(())
    }
}
