// SPDX-License-Identifier: MIT
//! What the kernel answers, for people. Names come from rule files that anyone may have written.

use std::fmt::Write as _;
use std::net::SocketAddr;

use l7switch_engine::netlink::Action;
use l7switch_engine::netlink::Outcome;
use l7switch_netlink::Class;
use l7switch_netlink::Flow;
use l7switch_netlink::Histogram;
use l7switch_netlink::Match;
use l7switch_netlink::Module;
use l7switch_netlink::Route;
use l7switch_netlink::Server;
use l7switch_netlink::Service;

use crate::show::bytes;
use crate::show::cells;
use crate::show::printable;
use crate::show::table;

pub(super) fn status(module: &Module, services: &[Service]) -> String {
    let mut text = format!(
        "l7switch.ko {}, table layout {}\ngeneration {}, ",
        printable(&module.version),
        module.table_layout,
        module.generation
    );
    // Writing to a String does not fail.
    let _ = match module.table_len {
        Some(len) => writeln!(
            text,
            "table of {len} bytes: {} services, {} routes, {} pools, {} servers",
            module.services, module.routes, module.pools, module.servers
        ),
        None => writeln!(text, "no table: the kernel switches nothing"),
    };
    let states: Vec<String> = module
        .flow_counts
        .iter()
        .filter(|flows| flows.count > 0)
        .map(|flows| format!("{} {}", flows.count, flows.state.name()))
        .collect();
    let states = if states.is_empty() {
        String::new()
    } else {
        format!(" ({})", states.join(", "))
    };
    let _ = writeln!(
        text,
        "{} of {} connections{states}; a table may have {} bytes",
        module.flows, module.max_flows, module.max_table_len
    );
    if let Some(transaction) = module.loading {
        let _ = writeln!(text, "a table is being loaded, transaction {transaction}");
    }
    if !services.is_empty() {
        let _ = write!(text, "\n{}", services_table(services));
    }
    let times = &module.first_byte;
    if times.classes.iter().any(|class| class.count > 0) {
        let _ = write!(text, "\n{}", histogram(times));
    }
    let mut counters = vec![cells(["COUNTER", "VALUE"])];
    counters.extend(
        module
            .counters
            .iter()
            .map(|counter| vec![printable(&counter.name), counter.value.to_string()]),
    );
    if counters.len() > 1 {
        let _ = write!(text, "\n{}", table(&counters));
    }
    for concern in module.concerns() {
        let _ = write!(text, "\n{}: {}\n", concern.counter, concern.text);
    }
    text
}

/// The classes from the first to the last one that has something.
fn histogram(times: &Histogram) -> String {
    let mut rows = vec![cells(["FIRST BYTE BELOW", "RESPONSES"])];
    let used = |class: &&Class| class.count > 0;
    let first = times.classes.iter().position(|class| used(&class));
    let last = times.classes.iter().rposition(|class| used(&class));
    if let (Some(first), Some(last)) = (first, last) {
        let shown = times.classes.get(first..=last).unwrap_or_default();
        rows.extend(shown.iter().map(|class| {
            let below = class.below.map_or_else(
                || "more".to_owned(),
                |ns| format!("{}.{:03} ms", ns / 1_000_000, ns / 1_000 % 1_000),
            );
            vec![below, class.count.to_string()]
        }));
    }
    table(&rows)
}

fn services_table(services: &[Service]) -> String {
    let mut rows = vec![cells([
        "SERVICE",
        "PROTOCOL",
        "DATAPATH",
        "LISTEN",
        "ROUTES",
        "CONNECTIONS",
        "REQUESTS",
        "2XX",
        "4XX",
        "5XX",
        "BYTES IN",
        "BYTES OUT",
    ])];
    rows.extend(services.iter().map(|service| {
        let listen: Vec<String> = service.listen.iter().map(SocketAddr::to_string).collect();
        vec![
            printable(&service.name),
            service.protocol.name().to_owned(),
            service.datapath.name().to_owned(),
            listen.join(","),
            service.routes.to_string(),
            service.traffic.connections.to_string(),
            service.traffic.requests.to_string(),
            service.traffic.responses[1].to_string(),
            service.traffic.responses[3].to_string(),
            service.traffic.responses[4].to_string(),
            bytes(service.traffic.bytes),
            bytes(service.traffic.bytes_out),
        ]
    }));
    table(&rows)
}

pub(super) fn servers(servers: &[Server]) -> String {
    let mut rows = vec![cells([
        "POOL",
        "SERVER",
        "STATE",
        "WEIGHT",
        "ACTIVE",
        "REQUESTS",
        "FAILURES",
        "SCHEDULER",
    ])];
    rows.extend(servers.iter().map(|server| {
        let weight = if server.weight == server.table_weight {
            server.weight.to_string()
        } else {
            format!("{} ({})", server.weight, server.table_weight)
        };
        vec![
            printable(&server.pool),
            server.address.to_string(),
            if server.failing {
                format!("{}, failing", server.state.name())
            } else {
                server.state.name().to_owned()
            },
            weight,
            server.active.to_string(),
            server.requests.to_string(),
            server.failures.to_string(),
            printable(&server.scheduler),
        ]
    }));
    table(&rows)
}

pub(super) fn routes(routes: &[Route]) -> String {
    let mut rows = vec![cells([
        "SERVICE", "ROUTE", "ACTION", "REQUESTS", "1XX", "2XX", "3XX", "4XX", "5XX",
    ])];
    rows.extend(routes.iter().map(|route| {
        let named = [
            printable(&route.service),
            printable(&route.label()),
            route.action.name().to_owned(),
            route.requests.to_string(),
        ];
        let responses = route.responses.iter().map(u64::to_string);
        named.into_iter().chain(responses).collect()
    }));
    table(&rows)
}

pub(super) fn flows(flows: &[Flow]) -> String {
    let mut rows = vec![cells([
        "SERVICE", "CLIENT", "VIRTUAL", "SERVER", "STATE", "AGE", "IDLE", "PACKETS", "BYTES",
    ])];
    rows.extend(flows.iter().map(|flow| {
        vec![
            printable(&flow.service),
            flow.client.to_string(),
            flow.destination.to_string(),
            flow.server
                .map_or_else(|| "-".to_owned(), |server| server.to_string()),
            flow.state.name().to_owned(),
            seconds(flow.age),
            seconds(flow.idle),
            flow.packets.to_string(),
            bytes(flow.bytes),
        ]
    }));
    table(&rows)
}

/// Milliseconds as seconds.
fn seconds(ms: u64) -> String {
    format!("{}.{:03} s", ms / 1000, ms % 1000)
}

/// A match, laid out as `l7ctl explain` does. `why`: how the service was found.
pub(super) fn matched(found: &Match, why: &str, method: Option<&str>) -> String {
    let mut text = format!("service  {}  ({why})\n", printable(&found.service));
    let compared = [&found.host, &found.path];
    let compared = compared.into_iter().flatten();
    let compared = compared.map(|part| printable(&String::from_utf8_lossy(part)));
    let request: Vec<String> = method
        .map(printable)
        .into_iter()
        .chain(compared)
        .filter(|part| !part.is_empty())
        .collect();
    if !request.is_empty() {
        let _ = writeln!(text, "request  {}", request.join(" "));
    }
    let route = match (&found.route_name, found.route) {
        (Some(name), _) => printable(name),
        (None, Some(position)) => format!("#{}", u64::from(position) + 1),
        (None, None) => "none".to_owned(),
    };
    let _ = writeln!(text, "route    {route}");
    // Of a route the kernel says no more than that it takes the request.
    if !found.why.is_empty() {
        let _ = writeln!(text, "why      {}", printable(&found.why));
    }
    let total: u64 = found.shares.iter().map(|s| u64::from(s.weight)).sum();
    for share in &found.shares {
        let _ = write!(text, "pool     {}", printable(&share.pool));
        if found.shares.len() > 1 {
            let _ = write!(text, "  {} of {total} requests", share.weight);
        }
        let _ = match share.server {
            Some(server) => writeln!(text, "  a new scheduler chooses {server}"),
            None => writeln!(text, "  no server is available"),
        };
    }
    let action = match (found.outcome, found.action) {
        (Outcome::Route, Some(Action::Answer)) => Some("the front answers"),
        (Outcome::Route, Some(Action::Filter)) => Some("the front changes and forwards it"),
        (Outcome::NoRoute, _) => Some("no route: the front answers 404, or closes the connection"),
        (Outcome::Refused, _) => Some("refused"),
        (Outcome::Incomplete, _) => Some("waiting for more bytes"),
        (Outcome::OverBudget | Outcome::Front, _) => Some("the front decides"),
        (Outcome::Route, Some(Action::Forward) | None) => None,
    };
    if let Some(action) = action {
        let _ = write!(text, "action   {action}");
        if let Some(reason) = &found.reason {
            let _ = write!(text, ": {}", printable(reason));
        }
        text.push('\n');
    }
    let _ = writeln!(text, "table    generation {}", found.generation);
    text
}

#[cfg(test)]
mod tests {
    use l7switch_engine::netlink::FlowState;
    use l7switch_netlink::Counter;
    use l7switch_netlink::FlowCount;
    use l7switch_netlink::Share;

    use super::*;

    fn found() -> Match {
        Match {
            service: "web".to_owned(),
            outcome: Outcome::Route,
            why: "host a.example\u{1b}".to_owned(),
            reason: None,
            host: Some(b"a.example".to_vec()),
            path: Some(b"/\xff".to_vec()),
            route: Some(2),
            route_name: None,
            action: Some(Action::Forward),
            shares: vec![
                Share {
                    pool: "v1".to_owned(),
                    weight: 9,
                    server: "10.0.0.1:80".parse().ok(),
                },
                Share {
                    pool: "v2".to_owned(),
                    weight: 1,
                    server: None,
                },
            ],
            generation: 4,
        }
    }

    #[test]
    fn a_match_reads_like_an_explanation() {
        let text = matched(&found(), "named", Some("GET"));
        let wanted = "service  web  (named)\n\
                      request  GET a.example /\u{fffd}\n\
                      route    #3\n\
                      why      host a.example\\u{1b}\n\
                      pool     v1  9 of 10 requests  a new scheduler chooses 10.0.0.1:80\n\
                      pool     v2  1 of 10 requests  no server is available\n\
                      table    generation 4\n";
        assert_eq!(text, wanted);
    }

    #[test]
    fn a_refusal_says_its_reason() {
        let refused = Match {
            outcome: Outcome::Refused,
            reason: Some("bad_path".to_owned()),
            route: None,
            action: None,
            shares: Vec::new(),
            ..found()
        };
        let text = matched(&refused, "named", None);
        assert!(text.contains("route    none\n"), "{text}");
        assert!(text.contains("action   refused: bad_path\n"), "{text}");
    }

    #[test]
    fn a_status_without_a_table_says_so() {
        let module = Module {
            version: "0.1.0".to_owned(),
            table_layout: 1,
            generation: 0,
            table_len: None,
            services: 0,
            routes: 0,
            pools: 0,
            servers: 0,
            loading: Some(3),
            max_table_len: 100,
            max_chunk_len: 10,
            flows: 0,
            max_flows: 5,
            first_byte: Histogram::default(),
            flow_counts: Vec::new(),
            counters: Vec::new(),
        };
        let text = status(&module, &[]);
        assert!(text.contains("generation 0, no table"), "{text}");
        assert!(text.contains("transaction 3"), "{text}");
        assert!(text.contains("0 of 5 connections;"), "{text}");

        assert!(!text.contains("netfilter"), "{text}");

        let count = |state, count| FlowCount { state, count };
        let module = Module {
            counters: vec![Counter {
                name: "filtered_behind".to_owned(),
                value: 2,
            }],
            flows: 4,
            flow_counts: vec![
                count(FlowState::Open, 3),
                count(FlowState::Closing, 0),
                count(FlowState::Reading, 1),
            ],
            ..module
        };
        let text = status(&module, &[]);
        let wanted = "4 of 5 connections (3 open, 1 reading); a table";
        assert!(text.contains(wanted), "{text}");
        assert!(text.contains("filtered_behind: netfilter rules"), "{text}");
    }

    #[test]
    fn routes_have_the_labels_of_logs() {
        let route = |position, name: Option<&str>, action| Route {
            service: "web".to_owned(),
            position,
            name: name.map(str::to_owned),
            action,
            requests: 12,
            responses: [0, 10, 0, 1, 0],
        };
        let text = routes(&[
            route(0, Some("images\u{1b}"), Action::Forward),
            route(1, None, Action::Answer),
        ]);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        let numbers = ["12", "0", "10", "0", "1", "0"];
        let named = [&["web", "images\\u{1b}", "forward"][..], &numbers].concat();
        let unnamed = [&["web", "#2", "answer"][..], &numbers].concat();
        assert_eq!(lines[1..], [named, unnamed], "{text}");
        assert_eq!(lines[0][..4], ["SERVICE", "ROUTE", "ACTION", "REQUESTS"]);
    }
}
