// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Loading a table in a transaction, and taking it away.
#![forbid(unsafe_code)]

use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::sync::ArcBorrow;

use l7switch_engine::netlink::Command;
use l7switch_engine::netlink::TableAttr;
use l7switch_engine::netlink::MAX_ATTRIBUTE;
use l7switch_engine::table::format::HEADER_WORDS;
use l7switch_engine::table::Table;

use crate::namespace::Control;
use crate::namespace::Switch;
use crate::shell::genl::table;
use crate::shell::genl::Act;
use crate::shell::genl::Policy;
use crate::shell::genl::Request;
use crate::state::counters::Counter;
use crate::state::events::room;
use crate::state::events::FAMILY;
use crate::state::load::ChunkError;
use crate::state::load::Load;
use crate::state::ruleset::Ruleset;
use crate::state::ruleset::LISTENS_MAX;
use crate::state::ruleset::SERVICES_MAX;

const LAST: usize = TableAttr::Data.number() as usize;

static BEGIN: [Policy; LAST + 1] = table(&[(TableAttr::Len.number(), Policy::U32)]);

static CHUNK: [Policy; LAST + 1] = table(&[
    (TableAttr::Transaction.number(), Policy::U32),
    (TableAttr::Offset.number(), Policy::U32),
    (
        TableAttr::Data.number(),
        Policy::bytes(MAX_ATTRIBUTE as u16),
    ),
]);

static TRANSACTION: [Policy; LAST + 1] = table(&[(TableAttr::Transaction.number(), Policy::U32)]);

fn refused<T>(
    switch: &Switch,
    request: &Request<'_>,
    error: Error,
    attribute: TableAttr,
    words: core::fmt::Arguments<'_>,
) -> Result<T> {
    switch.count(Counter::CommandsRefused);
    request.refuse(error, request.attribute(attribute.number()), words)
}

fn number(request: &Request<'_>, attribute: TableAttr) -> Result<u32> {
    request.wanted(attribute.number())?.u32().ok_or(EINVAL)
}

/// `table-begin`.
pub(super) struct Begin;

impl Act for Begin {
    type In = Switch;
    const COMMAND: Command = Command::TableBegin;
    const POLICY: &'static [Policy] = &BEGIN;

    fn act(switch: ArcBorrow<'_, Switch>, request: &mut Request<'_>) -> Result {
        let len = number(request, TableAttr::Len)?;
        let most = crate::max_table_len();
        if len > most {
            return refused(
                &switch,
                request,
                EFBIG,
                TableAttr::Len,
                format_args!("the table has {len} bytes, max_table_len is {most}"),
            );
        }
        let least = HEADER_WORDS * 4;
        if (len as usize) < least {
            return refused(
                &switch,
                request,
                EINVAL,
                TableAttr::Len,
                format_args!("a table has at least {least} bytes"),
            );
        }
        let port = request.port();
        let transaction = {
            let mut control = switch.control.lock();
            if let Some(load) = &control.load {
                let other = load.port;
                return refused(
                    &switch,
                    request,
                    EBUSY,
                    TableAttr::Len,
                    format_args!("netlink port {other} is loading a table"),
                );
            }
            // 0 is never a transaction.
            control.transaction = control.transaction.checked_add(1).unwrap_or(1);
            let transaction = control.transaction;
            control.load = match Load::new(transaction, port, len as usize) {
                Ok(load) => Some(load),
                Err(error) => {
                    return refused(
                        &switch,
                        request,
                        error,
                        TableAttr::Len,
                        format_args!("not enough memory for {len} bytes"),
                    )
                }
            };
            transaction
        };
        let result = request.reply(room(4), |message| {
            message.u32(TableAttr::Transaction.number(), transaction)
        });
        if result.is_err() {
            // The client does not know its number.
            switch.control.lock().load = None;
        }
        result
    }
}

/// Refuses where there is no such load of this client.
fn own_load(switch: &Switch, control: &Control, request: &Request<'_>) -> Result {
    let transaction = number(request, TableAttr::Transaction)?;
    match &control.load {
        Some(load) if load.transaction == transaction && load.port == request.port() => Ok(()),
        Some(load) if load.transaction == transaction => refused(
            switch,
            request,
            EPERM,
            TableAttr::Transaction,
            format_args!("this load belongs to netlink port {}", load.port),
        ),
        _ => refused(
            switch,
            request,
            ENOENT,
            TableAttr::Transaction,
            format_args!("there is no load {transaction}: table-begin gives a number"),
        ),
    }
}

/// `table-chunk`.
pub(super) struct Chunk;

impl Act for Chunk {
    type In = Switch;
    const COMMAND: Command = Command::TableChunk;
    const POLICY: &'static [Policy] = &CHUNK;

    fn act(switch: ArcBorrow<'_, Switch>, request: &mut Request<'_>) -> Result {
        let mut control = switch.control.lock();
        own_load(&switch, &control, request)?;
        let offset = number(request, TableAttr::Offset)?;
        let data = request.wanted(TableAttr::Data.number())?.bytes();
        let load = control.load.as_mut().ok_or(ENOENT)?;
        match load.chunk(offset as usize, data) {
            Ok(()) => Ok(()),
            Err(ChunkError::Order(there)) => refused(
                &switch,
                request,
                EINVAL,
                TableAttr::Offset,
                format_args!(
                    "out of order: {there} bytes were received, this chunk begins at {offset}"
                ),
            ),
            Err(ChunkError::Length(len)) => refused(
                &switch,
                request,
                EINVAL,
                TableAttr::Data,
                format_args!("this goes beyond the {len} bytes that table-begin announced"),
            ),
        }
    }
}

/// `table-commit`.
pub(super) struct Commit;

impl Act for Commit {
    type In = Switch;
    const COMMAND: Command = Command::TableCommit;
    const POLICY: &'static [Policy] = &TRANSACTION;

    fn act(switch: ArcBorrow<'_, Switch>, request: &mut Request<'_>) -> Result {
        let mut control = switch.control.lock();
        own_load(&switch, &control, request)?;
        let load = control.load.take().ok_or(ENOENT)?;
        let (there, wanted) = load.progress();
        let say = |error, words: core::fmt::Arguments<'_>| {
            switch.count(Counter::TablesRefused);
            request.refuse(error, None, words)
        };
        if there != wanted {
            return say(
                EINVAL,
                format_args!("the table is incomplete: {there} of {wanted} bytes were received"),
            );
        }
        let table = match Table::verify(load.into_bytes()) {
            Ok(table) => table,
            Err(error) => return say(EINVAL, format_args!("{error}")),
        };
        let generation = control.generation.wrapping_add(1);
        let made =
            Ruleset::new(table, generation, control.ruleset.as_deref()).and_then(|mut ruleset| {
                ruleset.settle()?;
                let ruleset = Arc::new(ruleset, GFP_KERNEL_ACCOUNT)?;
                Ok(KBox::new(ruleset, GFP_KERNEL_ACCOUNT)?)
            });
        let made = made.inspect_err(|_| {
            if let Some(ruleset) = &control.ruleset {
                ruleset.follow_table();
            }
        });
        let ruleset = match made {
            Ok(ruleset) => ruleset,
            Err(error) if error == ENOSPC => {
                return say(
                    error,
                    format_args!("the schedulers' tables would take over 256 MiB"),
                )
            }
            Err(error) if error == E2BIG => {
                return say(
                    error,
                    format_args!("more than {SERVICES_MAX} services or {LISTENS_MAX} addresses"),
                )
            }
            Err(error) => return say(error, format_args!("not enough memory for the servers")),
        };
        let len = u32::try_from(wanted).unwrap_or(u32::MAX);
        if let Err(error) = Switch::publish(switch, &mut control, ruleset) {
            return say(error, format_args!("the table cannot be put in force"));
        }
        switch.count(Counter::TablesLoaded);
        let by = request.port();
        // Under the lock, so that events come in the order of their generations.
        request.multicast(&FAMILY, Command::TableReplaced, 3 * room(8), |message| {
            message.uint(TableAttr::Generation.number(), generation)?;
            message.u32(TableAttr::Len.number(), len)?;
            message.u32(TableAttr::By.number(), by)
        });
        drop(control);
        request.reply(room(8), |message| {
            message.uint(TableAttr::Generation.number(), generation)
        })
    }
}

/// `table-abort`.
pub(super) struct Abort;

impl Act for Abort {
    type In = Switch;
    const COMMAND: Command = Command::TableAbort;
    const POLICY: &'static [Policy] = &TRANSACTION;

    fn act(switch: ArcBorrow<'_, Switch>, request: &mut Request<'_>) -> Result {
        let mut control = switch.control.lock();
        own_load(&switch, &control, request)?;
        control.load = None;
        Ok(())
    }
}

/// `table-unload`.
pub(super) struct Unload;

impl Act for Unload {
    type In = Switch;
    const COMMAND: Command = Command::TableUnload;
    const POLICY: &'static [Policy] = &[];

    fn act(switch: ArcBorrow<'_, Switch>, request: &mut Request<'_>) -> Result {
        let generation = {
            let mut control = switch.control.lock();
            if control.ruleset.is_none() {
                switch.count(Counter::CommandsRefused);
                return request.refuse(ENOENT, None, format_args!("no table is in force"));
            }
            switch.unpublish(&mut control);
            let generation = control.generation;
            let by = request.port();
            request.multicast(&FAMILY, Command::TableUnloaded, 2 * room(8), |message| {
                message.uint(TableAttr::Generation.number(), generation)?;
                message.u32(TableAttr::By.number(), by)
            });
            generation
        };
        request.reply(room(8), |message| {
            message.uint(TableAttr::Generation.number(), generation)
        })
    }
}
