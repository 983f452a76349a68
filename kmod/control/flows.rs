// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The connections of clients that are followed.
#![forbid(unsafe_code)]

use kernel::prelude::*;
use kernel::sync::ArcBorrow;

use l7switch_engine::endpoint::Endpoint;
use l7switch_engine::flow::milliseconds;
use l7switch_engine::netlink::Command;
use l7switch_engine::netlink::FlowAttr;
use l7switch_engine::netlink::FlowState;
use l7switch_engine::table::format::ServiceRecord;

use super::put_endpoint;
use crate::datapath::connection::Connection;
use crate::namespace::Switch;
use crate::shell::clock;
use crate::shell::genl::Dump;
use crate::shell::genl::List;
use crate::shell::genl::Message;
use crate::state::ruleset::Ruleset;

/// `flow-get`.
pub(super) struct Get;

impl List for Get {
    type In = Switch;
    const COMMAND: Command = Command::FlowGet;

    fn list(switch: ArcBorrow<'_, Switch>, dump: &mut Dump<'_>) -> Result {
        // Held as long as flows are read, so that none is of another table: where a service stands changes with tables.
        let control = switch.control.lock();
        dump.generation(control.generation);
        let Some(ruleset) = &control.ruleset else {
            return Ok(());
        };
        loop {
            let position = dump.position();
            let Some((next, shown)) = switch.next_flow(position, Shown::of) else {
                break;
            };
            if !dump.entry(next, |message| put(ruleset, &shown, message))? {
                break;
            }
        }
        Ok(())
    }
}

/// What is shown of a connection.
struct Shown {
    client: Endpoint,
    service: Endpoint,
    server: Option<Endpoint>,
    state: FlowState,
    /// How long it has been there, and how long nothing has come, ms.
    age: u32,
    idle: u32,
    packets: u64,
    bytes: u64,
}

impl Shown {
    /// With its lock held: the time is read then, so that no packet was seen later.
    fn of(connection: &Connection) -> Self {
        let now = milliseconds(clock::now_ns());
        let flow = &connection.flow;
        Self {
            client: flow.client,
            service: flow.service,
            server: flow.active().and_then(|leg| Some(flow.leg(leg)?.peer)),
            state: connection.shown_state(),
            age: now.wrapping_sub(connection.begun),
            idle: now.wrapping_sub(connection.seen),
            packets: connection.packets,
            bytes: connection.bytes,
        }
    }
}

fn put(ruleset: &Ruleset, shown: &Shown, message: &mut Message) -> Result {
    let service = ruleset.service_at(shown.service.address, shown.service.port);
    let service: ServiceRecord = service
        .and_then(|service| ruleset.table.get(service))
        .unwrap_or_default();
    let name = ruleset.table.text(service.name, service.name_len);
    message.text(FlowAttr::Service.number(), name)?;
    put_endpoint(message, FlowAttr::Client.number(), shown.client)?;
    put_endpoint(message, FlowAttr::Virtual.number(), shown.service)?;
    message.u32(FlowAttr::State.number(), shown.state.number())?;
    message.uint(FlowAttr::Age.number(), u64::from(shown.age))?;
    message.uint(FlowAttr::Idle.number(), u64::from(shown.idle))?;
    message.uint(FlowAttr::Packets.number(), shown.packets)?;
    message.uint(FlowAttr::Bytes.number(), shown.bytes)?;
    match shown.server {
        Some(server) => put_endpoint(message, FlowAttr::Server.number(), server),
        None => Ok(()),
    }
}
