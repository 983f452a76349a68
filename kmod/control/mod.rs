// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The commands of the generic netlink family, a file for each subject. `kmod/netlink/l7switch.yaml` is the contract.
#![forbid(unsafe_code)]

mod flows;
mod matching;
mod module;
mod routes;
mod servers;
mod services;
mod table;

use kernel::prelude::*;
use kernel::sync::Arc;

use l7switch_engine::endpoint::Endpoint;
use l7switch_engine::netlink::EndpointAttr;
use l7switch_engine::netlink::TrafficAttr;

use crate::namespace::Switch;
use crate::shell::genl::Attribute;
use crate::shell::genl::Dump;
use crate::shell::genl::Message;
use crate::shell::genl::Operation;
use crate::shell::genl::Policy;
use crate::state::events::room;
use crate::state::ruleset::Ruleset;

/// The commands, in the order of their numbers.
pub(crate) static OPERATIONS: [Operation; 13] = [
    Operation::act::<module::Get>(),
    Operation::act::<table::Begin>(),
    Operation::act::<table::Chunk>(),
    Operation::act::<table::Commit>(),
    Operation::act::<table::Abort>(),
    Operation::act::<table::Unload>(),
    Operation::list::<services::Get>(),
    Operation::list::<servers::Get>(),
    Operation::act::<servers::Set>(),
    Operation::list::<flows::Get>(),
    Operation::act::<module::Reset>(),
    Operation::act::<matching::Match>(),
    Operation::list::<routes::Get>(),
];

/// An address and a port.
static ENDPOINT: [Policy; EndpointAttr::Port.number() as usize + 1] = crate::shell::genl::table(&[
    (EndpointAttr::Address.number(), Policy::exact_bytes(16)),
    (EndpointAttr::Port.number(), Policy::U16),
]);

/// Responses by class.
const RESPONSES: [TrafficAttr; 5] = [
    TrafficAttr::Responses1xx,
    TrafficAttr::Responses2xx,
    TrafficAttr::Responses3xx,
    TrafficAttr::Responses4xx,
    TrafficAttr::Responses5xx,
];

/// The table whose parts are listed; of one that was taken away meanwhile, too, what is listed is not whole.
fn listed(switch: &Switch, dump: &mut Dump<'_>) -> Option<Arc<Ruleset>> {
    let (ruleset, generation) = switch.table_of_generation();
    dump.generation(generation);
    ruleset
}

/// Puts an address and a port as a nested set.
fn put_endpoint(message: &mut Message, number: u16, who: Endpoint) -> Result {
    message.nest(number, |message| {
        message.bytes(EndpointAttr::Address.number(), &who.address)?;
        message.u16(EndpointAttr::Port.number(), who.port)
    })
}

/// Bytes that [`put_endpoint`] takes.
const ENDPOINT_ROOM: usize = room(0) + room(16) + room(2);

/// Reads an address and a port from a nested set.
fn endpoint(attribute: Attribute<'_>) -> Option<Endpoint> {
    let address = attribute.nested(EndpointAttr::Address.number())?;
    let port = attribute.nested(EndpointAttr::Port.number())?;
    Some(Endpoint {
        address: *address.first_chunk()?,
        port: u16::from_ne_bytes(*port.first_chunk()?),
    })
}
