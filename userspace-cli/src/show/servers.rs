// SPDX-License-Identifier: MIT
//! Real servers.

use l7switch_admin_api::ServerStatus;
use l7switch_admin_api::Servers;

use super::below;
use super::cells;
use super::printable;
use super::short;
use super::table_with;
use crate::watch::Before;

/// Servers, a line each; why one is out stands below it. What has changed since `before` is marked.
pub(crate) fn servers(servers: &Servers, before: Option<&Before<Servers>>, now: u64) -> String {
    let requests = match before {
        Some(_) => "REQ/S",
        None => "TOTAL",
    };
    let heading = [
        "", "POOL", "SERVER", "STATE", "FOR", "WEIGHT", "ACTIVE", requests, "5XX", "FAILED",
        "1ST BYTE", "CHECKED",
    ];
    let mut rows = vec![(cells(heading), String::new())];
    for server in &servers.servers {
        let was = before.map(|before| {
            let mut all = before.was.servers.iter();
            let same =
                |was: &&ServerStatus| was.pool == server.pool && was.address == server.address;
            all.find(same)
        });
        let is_changed = match was {
            None => false,
            Some(None) => true,
            Some(Some(was)) => {
                let of =
                    |server: &ServerStatus| (server.state, server.effective_weight, server.since);
                of(was) != of(server)
            }
        };
        let weight = if server.weight == server.effective_weight {
            server.weight.to_string()
        } else {
            format!("{} ({})", server.effective_weight, server.weight)
        };
        let total = match (before, was.flatten()) {
            (Some(before), Some(was)) => before.rate(server.total, was.total),
            (Some(_), None) => "-".to_owned(),
            (None, _) => server.total.to_string(),
        };
        let row = vec![
            if is_changed { "*" } else { "" }.to_owned(),
            printable(&server.pool),
            printable(&server.address),
            match server.backup {
                true => format!("{} (backup)", server.state.as_str()),
                false => server.state.as_str().to_owned(),
            },
            short(now.saturating_sub(server.since)),
            weight,
            server.active.to_string(),
            total,
            server
                .responses
                .get("5xx")
                .copied()
                .unwrap_or_default()
                .to_string(),
            server.failures.to_string(),
            format!("{:.1} ms", server.ewma_ms),
            match &server.last_check {
                Some(check) => format!("{} ago", short(now.saturating_sub(check.at))),
                None => "-".to_owned(),
            },
        ];
        rows.push((row, told(server, now)));
    }
    table_with(&rows)
}

/// What stands below a server: its name, and why it is not up.
fn told(server: &ServerStatus, now: u64) -> String {
    let mut parts = Vec::new();
    parts.extend(server.name.as_deref().map(printable));
    parts.extend(server.why.as_deref().map(printable));
    if let Some(back) = server.back {
        parts.push(format!("back in {}", short(back.saturating_sub(now))));
    }
    let failed = server
        .last_check
        .as_ref()
        .and_then(|check| check.error.as_deref());
    if let Some(error) = failed
        && server.why.as_deref() != Some(error)
    {
        parts.push(format!("last check: {}", printable(error)));
    }
    below(&parts.join("; "))
}

#[cfg(test)]
mod tests {
    use l7switch_admin_api::Health;
    use l7switch_admin_api::LastCheck;
    use l7switch_admin_api::ServerState;

    use super::*;

    fn server(address: &str, state: ServerState, why: Option<&str>) -> ServerStatus {
        ServerStatus {
            pool: "api".to_owned(),
            address: address.to_owned(),
            name: None,
            weight: 1,
            effective_weight: 1,
            backup: false,
            state,
            since: 1000,
            why: why.map(str::to_owned),
            back: None,
            health: Some(Health::Up),
            last_check: Some(LastCheck {
                at: 1055,
                took_ms: 0.5,
                error: why.map(str::to_owned),
            }),
            active: 3,
            total: 123_456_789,
            failures: 12,
            responses: std::collections::BTreeMap::new(),
            surplus: 0,
            idle: 4,
            ewma_ms: 12.34,
            first_byte: None,
        }
    }

    #[test]
    fn why_stands_below_and_lines_stay_within_a_hundred_columns() {
        let long = format!("connection refused\u{1b} {}", "by all means ".repeat(20));
        let mut ejected = server("192.0.2.255:8080", ServerState::Ejected, Some("2 failures"));
        ejected.back = Some(1070);
        ejected.last_check = None;
        let all = Servers {
            servers: vec![
                server("192.0.2.1:8080", ServerState::Up, None),
                server("192.0.2.2:8080", ServerState::Down, Some(&long)),
                ejected,
            ],
        };
        let text = servers(&all, None, 1060);
        assert!(
            text.lines().all(|line| line.chars().count() <= 100),
            "{text}"
        );
        assert!(
            text.contains("\n    connection refused\\u{1b} by all means"),
            "{text}"
        );
        assert!(text.contains("\n    2 failures; back in 10 s\n"), "{text}");
        assert!(
            text.contains("  5 s ago\n") && !text.contains("last check"),
            "{text}"
        );
    }

    #[test]
    fn changes_are_marked_and_rates_shown() {
        let was = Servers {
            servers: vec![
                server("192.0.2.1:80", ServerState::Up, None),
                server("192.0.2.2:80", ServerState::Up, None),
            ],
        };
        let mut is = was.clone();
        is.servers[0].total += 5;
        is.servers[1].state = ServerState::Draining;
        is.servers
            .push(server("192.0.2.3:80", ServerState::Up, None));
        let before = Before { was, seconds: 2.0 };
        let text = servers(&is, Some(&before), 1060);
        let marks: Vec<bool> = text.lines().map(|line| line.starts_with('*')).collect();
        assert_eq!(marks, [false, false, true, true], "{text}");
        assert!(text.contains("REQ/S") && text.contains(" 2.5 "), "{text}");
    }
}
