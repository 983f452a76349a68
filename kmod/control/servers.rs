// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The real servers: listed, and their weight and state set.
#![forbid(unsafe_code)]

use kernel::prelude::*;
use kernel::sync::ArcBorrow;

use l7switch_engine::endpoint::Endpoint;
use l7switch_engine::netlink::Command;
use l7switch_engine::netlink::ServerAttr;
use l7switch_engine::netlink::ServerState;

use crate::namespace::Switch;
use crate::shell::genl::table;
use crate::shell::genl::Act;
use crate::shell::genl::Dump;
use crate::shell::genl::List;
use crate::shell::genl::Message;
use crate::shell::genl::Policy;
use crate::shell::genl::Range;
use crate::shell::genl::Request;
use crate::state::counters::Counter;
use crate::state::events::put_name;
use crate::state::events::room;
use crate::state::events::FAMILY;
use crate::state::pool::Pool;
use crate::state::real_server::Member;
use crate::state::ruleset::Ruleset;

static WEIGHT: Range = Range::new(0, 65_535);
static STATE: Range = Range::new(0, ServerState::ALL.len() as u64 - 1);

static SET: [Policy; ServerAttr::ResetWeight.number() as usize + 1] = table(&[
    (ServerAttr::Pool.number(), Policy::text(255)),
    (ServerAttr::Address.number(), Policy::exact_bytes(16)),
    (ServerAttr::Port.number(), Policy::U16),
    (ServerAttr::Weight.number(), Policy::u32_in(&WEIGHT)),
    (ServerAttr::State.number(), Policy::u32_in(&STATE)),
    (ServerAttr::ResetWeight.number(), Policy::FLAG),
]);

/// `server-get`.
pub(super) struct Get;

impl List for Get {
    type In = Switch;
    const COMMAND: Command = Command::ServerGet;

    /// The position is a pool's in the upper half, a server's of it in the lower.
    fn list(switch: ArcBorrow<'_, Switch>, dump: &mut Dump<'_>) -> Result {
        let Some(ruleset) = super::listed(&switch, dump) else {
            return Ok(());
        };
        loop {
            let position = dump.position();
            let Some(pool) = usize::try_from(position >> 32)
                .ok()
                .and_then(|pool| ruleset.pools().get(pool))
            else {
                return Ok(());
            };
            let members = ruleset.members_of(&pool.record);
            let Some(member) = usize::try_from(position & u64::from(u32::MAX))
                .ok()
                .and_then(|member| members.get(member))
            else {
                dump.go_on_at((position >> 32).wrapping_add(1) << 32);
                continue;
            };
            let next = position.wrapping_add(1);
            if !dump.entry(next, |message| put(&ruleset, pool, member, message))? {
                return Ok(());
            }
        }
    }
}

fn put(ruleset: &Ruleset, pool: &Pool, member: &Member, message: &mut Message) -> Result {
    put_name(ruleset, pool, member.endpoint(), message)?;
    message.u32(ServerAttr::Weight.number(), member.weight())?;
    message.u32(ServerAttr::State.number(), member.state().number())?;
    message.u32(ServerAttr::TableWeight.number(), member.table_weight)?;
    message.text(
        ServerAttr::Scheduler.number(),
        pool.kind.as_str().as_bytes(),
    )?;
    message.u32(ServerAttr::Active.number(), member.active())?;
    if member.failing() {
        message.flag(ServerAttr::Failing.number())?;
    }
    message.uint(ServerAttr::Requests.number(), member.requests())?;
    message.uint(ServerAttr::Failures.number(), member.failures())
}

/// `server-set`.
pub(super) struct Set;

impl Act for Set {
    type In = Switch;
    const COMMAND: Command = Command::ServerSet;
    const POLICY: &'static [Policy] = &SET;

    fn act(switch: ArcBorrow<'_, Switch>, request: &mut Request<'_>) -> Result {
        let who = Endpoint {
            address: request
                .wanted(ServerAttr::Address.number())?
                .array()
                .ok_or(EINVAL)?,
            port: request
                .wanted(ServerAttr::Port.number())?
                .u16()
                .ok_or(EINVAL)?,
        };
        let pool = request.attribute(ServerAttr::Pool.number());
        let number = |attribute: ServerAttr| {
            let attribute = request.attribute(attribute.number());
            attribute.and_then(|attribute| attribute.u32())
        };
        let reset = request.attribute(ServerAttr::ResetWeight.number());
        let weight = match (number(ServerAttr::Weight), reset) {
            (Some(_), Some(reset)) => {
                switch.count(Counter::CommandsRefused);
                return request.refuse(
                    EINVAL,
                    Some(reset),
                    format_args!("set or reset the weight, not both"),
                );
            }
            (Some(weight), None) => Some(Some(weight)),
            (None, Some(_)) => Some(None),
            (None, None) => None,
        };
        let state = number(ServerAttr::State).and_then(ServerState::from_number);
        if weight.is_none() && state.is_none() {
            switch.count(Counter::CommandsRefused);
            return request.refuse(
                EINVAL,
                None,
                format_args!("nothing to set: give a weight or a state"),
            );
        }
        // Under the lock, so that no other table is put in force meanwhile, and events come in order.
        let control = switch.control.lock();
        let Some(ruleset) = control.ruleset.clone() else {
            switch.count(Counter::CommandsRefused);
            return request.refuse(ENOENT, None, format_args!("no table is in force"));
        };
        let named = || ruleset.named(pool.map(|pool| pool.text()), who);
        if let Some(weight) = weight {
            set_weights(&ruleset, weight, named)?;
        }
        let mut changed = 0u32;
        for (pool, member) in named() {
            if let Some(state) = state {
                member.set_state(state);
            }
            changed = changed.saturating_add(1);
            let by = request.port();
            let len = 6 * room(16) + room(256);
            request.multicast(&FAMILY, Command::ServerChanged, len, |message| {
                put_name(&ruleset, pool, who, message)?;
                message.u32(ServerAttr::Weight.number(), member.weight())?;
                message.u32(ServerAttr::State.number(), member.state().number())?;
                message.u32(ServerAttr::By.number(), by)
            });
        }
        drop(control);
        if changed == 0 {
            switch.count(Counter::CommandsRefused);
            return request.refuse(
                ENOENT,
                request.attribute(ServerAttr::Address.number()),
                format_args!("the table in force has no such server"),
            );
        }
        let count = u64::from(changed);
        switch
            .datapath
            .counts
            .counters
            .add(Counter::ServersSet.index(), count);
        request.reply(room(4), |message| {
            message.u32(ServerAttr::Changed.number(), changed)
        })
    }
}

/// Sets the weights of servers, and what their pools' schedulers make of them: all, or where memory is short none.
///
/// # Errors
///
/// `ENOMEM`.
fn set_weights<'a, I>(ruleset: &'a Ruleset, weight: Option<u32>, named: impl Fn() -> I) -> Result
where
    I: Iterator<Item = (&'a Pool, &'a Member)>,
{
    let count = named().fold(0usize, |count, _| count.saturating_add(1));
    let mut before = KVVec::with_capacity(count, GFP_KERNEL_ACCOUNT)?;
    let mut layouts = KVVec::with_capacity(count, GFP_KERNEL_ACCOUNT)?;
    for (_, member) in named() {
        let was = member.set_weight(weight);
        // There is room for all.
        let _ = before.push_within_capacity(was);
    }
    for (pool, _) in named() {
        match pool.lay_out(ruleset.members_of(&pool.record)) {
            Ok(layout) => {
                let _ = layouts.push_within_capacity(layout);
            }
            Err(error) => {
                for ((_, member), before) in named().zip(before) {
                    member.restore_weight(before);
                }
                return Err(error);
            }
        }
    }
    for ((pool, _), layout) in named().zip(layouts) {
        pool.look_up_in(layout);
    }
    Ok(())
}
