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
        let now = milliseconds(clock::now_ns());
        loop {
            let position = dump.position();
            let Some((next, shown)) = switch.next_flow(position, Shown::of) else {
                break;
            };
            if !dump.entry(next, |message| put(ruleset, &shown, now, message))? {
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
    begun: u32,
    seen: u32,
    packets: u64,
    bytes: u64,
}

impl Shown {
    fn of(connection: &Connection) -> Self {
        let flow = &connection.flow;
        Self {
            client: flow.client,
            service: flow.service,
            server: flow.active().and_then(|leg| Some(flow.leg(leg)?.peer)),
            state: connection.shown_state(),
            begun: connection.begun,
            seen: connection.seen,
            packets: connection.packets,
            bytes: connection.bytes,
        }
    }
}

fn put(ruleset: &Ruleset, shown: &Shown, now: u32, message: &mut Message) -> Result {
    let service = ruleset.service_at(shown.service.address, shown.service.port);
    let service: ServiceRecord = service
        .and_then(|service| ruleset.table.get(service))
        .unwrap_or_default();
    let name = ruleset.table.text(service.name, service.name_len);
    message.text(FlowAttr::Service.number(), name)?;
    put_endpoint(message, FlowAttr::Client.number(), shown.client)?;
    put_endpoint(message, FlowAttr::Virtual.number(), shown.service)?;
    message.u32(FlowAttr::State.number(), shown.state.number())?;
    let age = now.wrapping_sub(shown.begun);
    message.uint(FlowAttr::Age.number(), u64::from(age))?;
    let idle = now.wrapping_sub(shown.seen);
    message.uint(FlowAttr::Idle.number(), u64::from(idle))?;
    message.uint(FlowAttr::Packets.number(), shown.packets)?;
    message.uint(FlowAttr::Bytes.number(), shown.bytes)?;
    match shown.server {
        Some(server) => put_endpoint(message, FlowAttr::Server.number(), server),
        None => Ok(()),
    }
}
