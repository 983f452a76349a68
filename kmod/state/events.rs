// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The generic netlink family, and what is told to who listens without having asked. From any context.
#![forbid(unsafe_code)]

use kernel::prelude::*;

use l7switch_engine::endpoint::Endpoint;
use l7switch_engine::netlink;
use l7switch_engine::netlink::Command;
use l7switch_engine::netlink::ModuleAttr;
use l7switch_engine::netlink::ServerAttr;

use super::pool::Pool;
use super::real_server::Member;
use super::ruleset::Ruleset;
use crate::shell::genl::Family;
use crate::shell::genl::Message;
use crate::shell::net::Net;

/// The family; its commands are in `control/`.
pub(crate) static FAMILY: Family = Family::new(netlink::FAMILY, netlink::VERSION, netlink::EVENTS);

/// Bytes of an attribute with so much content, at most: header and padding included.
pub(crate) const fn room(content: usize) -> usize {
    content.saturating_add(8)
}

/// Puts a server's name: pool, address and port.
pub(crate) fn put_name(
    ruleset: &Ruleset,
    pool: &Pool,
    who: Endpoint,
    message: &mut Message,
) -> Result {
    message.text(ServerAttr::Pool.number(), ruleset.name_of(&pool.record))?;
    message.bytes(ServerAttr::Address.number(), &who.address)?;
    message.u16(ServerAttr::Port.number(), who.port)
}

/// There is no room for further connections.
pub(super) fn flows_full(net: &Net, flows: u32) {
    FAMILY.multicast(net, Command::FlowsFull, 2 * room(4), |message| {
        message.u32(ModuleAttr::Flows.number(), flows)?;
        message.u32(ModuleAttr::MaxFlows.number(), crate::max_flows())
    });
}

/// A server is left out because it failed, or put back.
pub(super) fn server_failing(
    net: &Net,
    ruleset: &Ruleset,
    pool: &Pool,
    member: &Member,
    failing: bool,
) {
    let len = 3 * room(16) + room(256);
    FAMILY.multicast(net, Command::ServerFailing, len, |message| {
        put_name(ruleset, pool, member.endpoint(), message)?;
        if failing {
            message.flag(ServerAttr::Failing.number())?;
        }
        Ok(())
    });
}
