// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the switch must have counted when everything is over, by what clients and servers have seen.

use std::collections::BTreeMap;

use l7switch_engine::endpoint::Endpoint;

use crate::ledger::Ledger;
use crate::plan::Conn;
use crate::plan::FRONT;
use crate::plan::LIMITED;
use crate::plan::What;
use crate::switch::Switch;

/// What applications have seen of the connections between two ends: a client's ports are used again.
#[derive(Default)]
struct Seen {
    /// Responses that clients have whole.
    answered: u64,
    /// Requests whose heads real servers have whole.
    had: u64,
}

/// What is not counted, of requests that were read.
pub(crate) fn wrong(
    ledger: &Ledger,
    switch: &Switch,
    ends: impl Fn(&Conn) -> (Endpoint, Endpoint),
) -> Vec<String> {
    let mut errors = Vec::new();
    let mut by_ends: BTreeMap<_, Seen> = BTreeMap::new();
    let mut by_server = BTreeMap::new();
    for (conn, stream) in ledger.plan.conns.iter().zip(&ledger.streams) {
        by_ends.entry(ends(conn)).or_default().answered += stream.answered;
    }
    for (&(conn, _), delivery) in &ledger.deliveries {
        let ends = ends(&ledger.plan.conns[conn as usize]);
        if switch.counted(ends.0, ends.1).unread {
            continue;
        }
        for &server in delivery.heads.iter().filter(|&&server| server != FRONT) {
            by_ends.entry(ends).or_default().had += 1;
            *by_server.entry(server).or_default() += 1u64;
        }
    }
    for ((client, service), seen) in by_ends {
        let counted = switch.counted(client, service);
        if counted.unread {
            continue;
        }
        if counted.requests.min(counted.responses) < seen.answered {
            errors.push(format!(
                "{} responses of {service:?} to {client:?}, but {counted:?}",
                seen.answered
            ));
        }
        // Where rules are replaced before a request is passed on, its route is not known any more.
        if ledger.plan.rules.reloads.is_empty() && counted.routed < seen.had {
            errors.push(format!(
                "servers had {} requests of {client:?} to {service:?}, but {counted:?}",
                seen.had
            ));
        }
    }
    errors.extend(over_limit(ledger));
    for (server, had) in by_server {
        let counted = switch.requests(server);
        if counted < had {
            errors.push(format!(
                "s{server:02} had {had} requests, but {counted} are counted"
            ));
        }
    }
    errors
}

/// Routes with a rate limit of which real servers had more requests than that allows.
fn over_limit(ledger: &Ledger) -> Vec<String> {
    let Some(limit) = ledger.plan.rules.limit else {
        return Vec::new();
    };
    let mut by_bucket: BTreeMap<_, u32> = BTreeMap::new();
    for (&(conn, index), delivery) in &ledger.deliveries {
        let conn = &ledger.plan.conns[conn as usize];
        let What::Http(list, _) = &conn.what else {
            continue;
        };
        let pool = list[index as usize].pool;
        let is_limited = pool == LIMITED && !ledger.plan.leads_elsewhere(conn);
        if is_limited && delivery.heads.iter().any(|&server| server != FRONT) {
            let client = limit
                .by_source
                .then(|| ledger.plan.told(conn).source.address);
            *by_bucket.entry((conn.service, client)).or_default() += 1;
        }
    }
    by_bucket
        .into_iter()
        .filter(|(_, had)| *had > limit.burst)
        .map(|(bucket, had)| format!("servers had {had} requests of {bucket:?}, {limit:?}"))
        .collect()
}
