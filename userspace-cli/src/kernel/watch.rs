// SPDX-License-Identifier: MIT
//! `l7ctl kernel watch`: the module's events, a line each.

use std::io;
use std::time::Duration;

use l7switch_netlink::Client;
use l7switch_netlink::Event;
use l7switch_netlink::Events;
use serde_json::Value;
use serde_json::json;

use crate::closed;
use crate::print;
use crate::show::printable;

use super::words;

/// How often it is looked whether the module is still there: listeners are not told.
const LOOK: Duration = Duration::from_secs(5);

pub(super) fn run(
    as_json: bool,
    count: Option<u64>,
    out: &mut impl io::Write,
) -> Result<(), String> {
    let mut events = Events::open().map_err(words)?;
    let mut client = Client::open().map_err(words)?;
    let mut shown: u64 = 0;
    while count.is_none_or(|count| shown < count) {
        match events.wait(Some(LOOK)).map_err(words)? {
            Some(event) => {
                let text = if as_json {
                    json_of(&event).to_string()
                } else {
                    line(&event)
                };
                print(out, &format!("{text}\n"))?;
                match out.flush() {
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                    flushed => flushed.or_else(|error| closed(&error))?,
                }
                shown = shown.saturating_add(1);
            }
            None => drop(client.module().map_err(words)?),
        }
    }
    Ok(())
}

fn line(event: &Event) -> String {
    match event {
        Event::TableReplaced {
            generation,
            len,
            by,
        } => format!("table-replaced generation {generation}, {len} bytes, by port {by}"),
        Event::TableUnloaded { generation, by } => {
            format!("table-unloaded generation {generation}, by port {by}")
        }
        Event::ServerChanged {
            pool,
            address,
            weight,
            state,
            by,
        } => format!(
            "server-changed {}/{address} {}, weight {weight}, by port {by}",
            printable(pool),
            state.name()
        ),
        Event::ServerFailing {
            pool,
            address,
            failing,
        } => format!(
            "server-failing {}/{address} {}",
            printable(pool),
            if *failing { "left out" } else { "put back" }
        ),
        Event::FlowsFull { flows, max_flows } => {
            format!("flows-full {flows} of {max_flows} connections: further requests wait")
        }
        Event::CountersCleared { by } => format!("counters-cleared by port {by}"),
        Event::Lost => "lost: some events were lost".to_owned(),
        _ => "an event that this version of l7ctl does not know".to_owned(),
    }
}

fn json_of(event: &Event) -> Value {
    match event {
        Event::TableReplaced {
            generation,
            len,
            by,
        } => json!({ "event": "table-replaced", "generation": generation, "len": len, "by": by }),
        Event::TableUnloaded { generation, by } => {
            json!({ "event": "table-unloaded", "generation": generation, "by": by })
        }
        Event::ServerChanged {
            pool,
            address,
            weight,
            state,
            by,
        } => json!({
            "event": "server-changed",
            "pool": pool,
            "address": address,
            "weight": weight,
            "state": state.name(),
            "by": by,
        }),
        Event::ServerFailing {
            pool,
            address,
            failing,
        } => json!({
            "event": "server-failing",
            "pool": pool,
            "address": address,
            "failing": failing,
        }),
        Event::FlowsFull { flows, max_flows } => {
            json!({ "event": "flows-full", "flows": flows, "max-flows": max_flows })
        }
        Event::CountersCleared { by } => json!({ "event": "counters-cleared", "by": by }),
        Event::Lost => json!({ "event": "lost" }),
        _ => json!({ "event": "unknown" }),
    }
}

#[cfg(test)]
mod tests {
    use l7switch_engine::netlink::ServerState;

    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_its_names_are() {
        let event = Event::ServerChanged {
            pool: "a\nb".to_owned(),
            address: "[::1]:80".parse().unwrap(),
            weight: 3,
            state: ServerState::Down,
            by: 7,
        };
        assert_eq!(
            line(&event),
            "server-changed a\\u{a}b/[::1]:80 down, weight 3, by port 7"
        );
        let json = json_of(&event).to_string();
        assert!(!json.contains('\n') && json.contains("\"state\":\"down\""));
    }
}
