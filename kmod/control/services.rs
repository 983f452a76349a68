// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The virtual services.
#![forbid(unsafe_code)]

use kernel::prelude::*;
use kernel::sync::ArcBorrow;

use l7switch_engine::endpoint::Endpoint;
use l7switch_engine::netlink::Command;
use l7switch_engine::netlink::ServiceAttr;
use l7switch_engine::netlink::TrafficAttr;
use l7switch_engine::table::format::ListenRecord;
use l7switch_engine::table::format::ServiceRecord;

use super::put_endpoint;
use super::RESPONSES;
use crate::namespace::Switch;
use crate::shell::genl::Dump;
use crate::shell::genl::List;
use crate::shell::genl::Message;
use crate::state::ruleset::address;
use crate::state::ruleset::Ruleset;
use crate::state::traffic::TRAFFIC_BYTES;
use crate::state::traffic::TRAFFIC_BYTES_OUT;
use crate::state::traffic::TRAFFIC_CONNECTIONS;
use crate::state::traffic::TRAFFIC_PACKETS;
use crate::state::traffic::TRAFFIC_REQUESTS;
use crate::state::traffic::TRAFFIC_RESPONSES;

/// Most listen addresses of a service that a dump shows: an entry has to fit one buffer.
const LISTENS_SHOWN: u32 = 64;

/// `service-get`.
pub(super) struct Get;

impl List for Get {
    type In = Switch;
    const COMMAND: Command = Command::ServiceGet;

    fn list(switch: ArcBorrow<'_, Switch>, dump: &mut Dump<'_>) -> Result {
        let Some(ruleset) = super::listed(&switch, dump) else {
            return Ok(());
        };
        let count = ruleset.table.count::<ServiceRecord>();
        while let Some(index) = u32::try_from(dump.position()).ok().filter(|&i| i < count) {
            let next = u64::from(index).saturating_add(1);
            if !dump.entry(next, |message| put(&ruleset, index, message))? {
                break;
            }
        }
        Ok(())
    }
}

fn put(ruleset: &Ruleset, index: u32, message: &mut Message) -> Result {
    let service: ServiceRecord = ruleset.table.get(index).ok_or(EINVAL)?;
    message.u32(ServiceAttr::Index.number(), index)?;
    let name = ruleset.table.text(service.name, service.name_len);
    message.text(ServiceAttr::Name.number(), name)?;
    message.u32(ServiceAttr::Protocol.number(), service.protocol)?;
    message.u32(ServiceAttr::Datapath.number(), service.datapath)?;
    let shown = service.listens_len.min(LISTENS_SHOWN);
    for listen in service.listens..service.listens.saturating_add(shown) {
        let listen: ListenRecord = ruleset.table.get(listen).ok_or(EINVAL)?;
        let who = Endpoint {
            address: address([listen.a0, listen.a1, listen.a2, listen.a3]),
            port: u16::try_from(listen.port).unwrap_or(0),
        };
        put_endpoint(message, ServiceAttr::Listen.number(), who)?;
    }
    message.u32(ServiceAttr::Routes.number(), service.routes_len)?;
    let traffic = ruleset.traffic(index).ok_or(EINVAL)?;
    message.nest(ServiceAttr::Traffic.number(), |message| {
        let connections = traffic.sum(TRAFFIC_CONNECTIONS);
        message.uint(TrafficAttr::Connections.number(), connections)?;
        message.uint(TrafficAttr::Packets.number(), traffic.sum(TRAFFIC_PACKETS))?;
        message.uint(TrafficAttr::Bytes.number(), traffic.sum(TRAFFIC_BYTES))?;
        let requests = traffic.sum(TRAFFIC_REQUESTS);
        message.uint(TrafficAttr::Requests.number(), requests)?;
        let out = traffic.sum(TRAFFIC_BYTES_OUT);
        message.uint(TrafficAttr::BytesOut.number(), out)?;
        let mut counter = TRAFFIC_RESPONSES;
        for attribute in RESPONSES {
            message.uint(attribute.number(), traffic.sum(counter))?;
            counter = counter.wrapping_add(1);
        }
        Ok(())
    })
}
