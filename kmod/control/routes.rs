// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The routes, with what was counted of each.
#![forbid(unsafe_code)]

use kernel::prelude::*;
use kernel::sync::ArcBorrow;

use l7switch_engine::netlink::Action;
use l7switch_engine::netlink::Command;
use l7switch_engine::netlink::RouteAttr;
use l7switch_engine::netlink::TrafficAttr;
use l7switch_engine::table::format::RouteRecord;
use l7switch_engine::table::format::ServiceRecord;

use super::RESPONSES;
use crate::namespace::Switch;
use crate::shell::genl::Dump;
use crate::shell::genl::List;
use crate::shell::genl::Message;
use crate::state::route_counters::ROUTE_REQUESTS;
use crate::state::route_counters::ROUTE_RESPONSES;
use crate::state::ruleset::Ruleset;

/// `route-get`.
pub(super) struct Get;

impl List for Get {
    type In = Switch;
    const COMMAND: Command = Command::RouteGet;

    /// The position is a service's in the upper half, a route's of it in the lower.
    fn list(switch: ArcBorrow<'_, Switch>, dump: &mut Dump<'_>) -> Result {
        let Some(ruleset) = super::listed(&switch, dump) else {
            return Ok(());
        };
        loop {
            let place = dump.position();
            let number = (place >> 32) as u32;
            let Some(service) = ruleset.table.get::<ServiceRecord>(number) else {
                return Ok(());
            };
            let position = place as u32;
            if position >= service.routes_len {
                dump.go_on_at(u64::from(number.wrapping_add(1)) << 32);
                continue;
            }
            let next = place.wrapping_add(1);
            if !dump.entry(next, |message| put(&ruleset, &service, position, message))? {
                return Ok(());
            }
        }
    }
}

fn put(ruleset: &Ruleset, service: &ServiceRecord, position: u32, message: &mut Message) -> Result {
    let number = service.routes.saturating_add(position);
    let route: RouteRecord = ruleset.table.get(number).ok_or(EINVAL)?;
    let name = ruleset.table.text(service.name, service.name_len);
    message.text(RouteAttr::Service.number(), name)?;
    message.u32(RouteAttr::Position.number(), position)?;
    if route.name_len > 0 {
        let name = ruleset.table.text(route.name, route.name_len);
        message.text(RouteAttr::Name.number(), name)?;
    }
    let action = Action::from_number(route.action).unwrap_or(Action::Forward);
    message.u32(RouteAttr::Action.number(), action.number())?;
    let counters = ruleset.routes().counters(number);
    let counter = |at: usize| counters.get(at).copied().unwrap_or_default();
    message.nest(RouteAttr::Traffic.number(), |message| {
        message.uint(TrafficAttr::Requests.number(), counter(ROUTE_REQUESTS))?;
        let mut at = ROUTE_RESPONSES;
        for attribute in RESPONSES {
            message.uint(attribute.number(), counter(at))?;
            at = at.wrapping_add(1);
        }
        Ok(())
    })
}
