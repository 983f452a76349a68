// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What would become of a request: the answer that packets would get, and why.
#![forbid(unsafe_code)]

use kernel::prelude::*;
use kernel::sync::ArcBorrow;

use l7switch_engine::decide::decide;
use l7switch_engine::decide::Decision;
use l7switch_engine::decide::ToFront;
use l7switch_engine::decide::Verdict;
use l7switch_engine::form::Buffers;
use l7switch_engine::netlink::Command;
use l7switch_engine::netlink::MatchAttr;
use l7switch_engine::netlink::Outcome;
use l7switch_engine::netlink::ShareAttr;
use l7switch_engine::netlink::MAX_ATTRIBUTE;
use l7switch_engine::policy::Key;
use l7switch_engine::sched::Ask;
use l7switch_engine::sched::Cursor;
use l7switch_engine::table::format::RouteRecord;
use l7switch_engine::table::format::ServiceRecord;
use l7switch_engine::table::format::ShareRecord;
use l7switch_engine::uri::MAX_HOST;

use super::endpoint;
use super::put_endpoint;
use super::ENDPOINT;
use super::ENDPOINT_ROOM;
use crate::namespace::Switch;
use crate::shell::genl::table;
use crate::shell::genl::Act;
use crate::shell::genl::Message;
use crate::shell::genl::Policy;
use crate::shell::genl::Request;
use crate::state::counters::Counter;
use crate::state::events::room;
use crate::state::ruleset::Ruleset;

/// Most pools of a route that an answer shows.
const SHARES_SHOWN: u32 = 64;

static MATCH: [Policy; MatchAttr::Request.number() as usize + 1] = table(&[
    (MatchAttr::Service.number(), Policy::text(255)),
    (MatchAttr::Virtual.number(), Policy::nested(&ENDPOINT)),
    (MatchAttr::Source.number(), Policy::exact_bytes(16)),
    (
        MatchAttr::Request.number(),
        Policy::bytes(MAX_ATTRIBUTE as u16),
    ),
]);

/// `request-match`.
pub(super) struct Match;

impl Act for Match {
    type In = Switch;
    const COMMAND: Command = Command::RequestMatch;
    const POLICY: &'static [Policy] = &MATCH;

    fn act(switch: ArcBorrow<'_, Switch>, request: &mut Request<'_>) -> Result {
        let bytes = request.wanted(MatchAttr::Request.number())?.bytes();
        let source: [u8; 16] = request
            .attribute(MatchAttr::Source.number())
            .and_then(|source| source.array())
            .unwrap_or_default();
        let Some(ruleset) = switch.table() else {
            switch.count(Counter::CommandsRefused);
            return request.refuse(ENOENT, None, format_args!("no table is in force"));
        };
        let service = service(&switch, &ruleset, request)?;
        switch.count(Counter::MatchesAsked);
        let mut host = KBox::new([0u8; MAX_HOST], GFP_KERNEL)?;
        let mut path = KVVec::from_elem(0u8, bytes.len(), GFP_KERNEL)?;
        let buffers = Buffers {
            host: &mut host,
            path: &mut path,
        };
        let decision = decide(&ruleset.table, service, source, bytes, buffers);
        let shares =
            (SHARES_SHOWN as usize).saturating_mul(3 * room(0) + room(256) + ENDPOINT_ROOM);
        let len = shares
            .saturating_add(decision.host.len())
            .saturating_add(decision.path.len())
            .saturating_add(16 * room(16) + 3 * room(256));
        request.reply(len, |message| {
            put(&ruleset, service, &decision, source, message)
        })
    }
}

/// The service that is asked: by name, or by the address that a client connected to.
fn service(switch: &Switch, ruleset: &Ruleset, request: &Request<'_>) -> Result<u32> {
    let name = request.attribute(MatchAttr::Service.number());
    let address = request.attribute(MatchAttr::Virtual.number());
    let found = match (name, address) {
        (Some(name), _) => ruleset.service_named(name.text()),
        (None, Some(address)) => {
            let Some(who) = endpoint(address) else {
                switch.count(Counter::CommandsRefused);
                return request.refuse(
                    EINVAL,
                    Some(address),
                    format_args!("give an address and a port"),
                );
            };
            ruleset.service_at(who.address, who.port)
        }
        (None, None) => {
            switch.count(Counter::CommandsRefused);
            return request.refuse(
                EINVAL,
                None,
                format_args!(
                    "the service is missing: give its name or an address that it listens on"
                ),
            );
        }
    };
    if let Some(found) = found {
        return Ok(found);
    }
    switch.count(Counter::CommandsRefused);
    request.refuse(
        ENOENT,
        name.or(address),
        format_args!("the table in force has no such service"),
    )
}

fn put(
    ruleset: &Ruleset,
    service: u32,
    decision: &Decision<'_>,
    source: [u8; 16],
    message: &mut Message,
) -> Result {
    let table = &ruleset.table;
    let record: ServiceRecord = table.get(service).ok_or(EINVAL)?;
    let name = table.text(record.name, record.name_len);
    message.text(MatchAttr::Service.number(), name)?;
    message.uint(MatchAttr::Generation.number(), ruleset.generation)?;
    if !decision.host.is_empty() {
        message.bytes(MatchAttr::Host.number(), decision.host)?;
    }
    if !decision.path.is_empty() {
        message.bytes(MatchAttr::Path.number(), decision.path)?;
    }
    let outcome = match decision.verdict {
        Verdict::Route(_) => Outcome::Route,
        Verdict::NoRoute => Outcome::NoRoute,
        Verdict::Incomplete => Outcome::Incomplete,
        Verdict::Refused(_) => Outcome::Refused,
        Verdict::Front(ToFront::OverBudget) => Outcome::OverBudget,
        Verdict::Front(_) => Outcome::Front,
    };
    message.u32(MatchAttr::Outcome.number(), outcome.number())?;
    let why = MatchAttr::Why.number();
    match decision.verdict {
        Verdict::NoRoute => message.text(why, b"no route matches"),
        Verdict::Incomplete => message.text(why, b"waiting for more bytes"),
        Verdict::Refused(refusal) => {
            message.text(MatchAttr::Reason.number(), refusal.name().as_bytes())?;
            message.display(why, refusal)
        }
        Verdict::Front(to_front) => message.display(why, to_front),
        Verdict::Route(winner) => {
            let route = record.routes.saturating_add(winner.position);
            let route: RouteRecord = table.get(route).ok_or(EINVAL)?;
            message.u32(MatchAttr::Route.number(), winner.position)?;
            message.display(why, winner)?;
            if route.name_len != 0 {
                let name = table.text(route.name, route.name_len);
                message.text(MatchAttr::RouteName.number(), name)?;
            }
            message.u32(MatchAttr::Action.number(), route.action)?;
            let shown = route.shares_len.min(SHARES_SHOWN);
            for share in route.shares..route.shares.saturating_add(shown) {
                let share: ShareRecord = table.get(share).ok_or(EINVAL)?;
                message.nest(MatchAttr::Share.number(), |message| {
                    put_share(ruleset, &share, decision, source, message)
                })?;
            }
            Ok(())
        }
    }
}

fn put_share(
    ruleset: &Ruleset,
    share: &ShareRecord,
    decision: &Decision<'_>,
    source: [u8; 16],
    message: &mut Message,
) -> Result {
    let pool = ruleset.pools().get(share.pool as usize).ok_or(EINVAL)?;
    message.text(ShareAttr::Pool.number(), ruleset.name_of(&pool.record))?;
    message.u32(ShareAttr::Weight.number(), share.weight)?;
    // A question does not move the pool's own cursor.
    let cursor = Cursor::new();
    let key = Key::of(&ruleset.table, &pool.record).ok_or(EINVAL)?;
    let ask = Ask {
        hash: key.hash(&decision.request(source)),
        random: 0,
        now_ns: 0,
    };
    let members = ruleset.members_of(&pool.record);
    let picked = pool.pick(members, &cursor, &ask, |_| false);
    match picked.and_then(|index| members.get(index)) {
        Some(member) => put_endpoint(message, ShareAttr::Server.number(), member.endpoint()),
        None => Ok(()),
    }
}
