// SPDX-License-Identifier: MIT
//! Answers of a running switch as tables for people.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;
use std::time::SystemTime;

use l7switch_admin_api::Health;
use l7switch_admin_api::KernelState;
use l7switch_admin_api::KernelStatus;
use l7switch_admin_api::Maintenance;
use l7switch_admin_api::Servers;
use l7switch_admin_api::ServiceStatus;
use l7switch_admin_api::Status;

/// Lines of cells as columns; the first line is the heading, numbers stand to the right.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let is_number =
        |cell: &String| cell.chars().all(|c| c.is_ascii_digit() || c == '.') && !cell.is_empty();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            let right = rows
                .iter()
                .skip(1)
                .filter_map(|r| r.get(column))
                .all(is_number);
            // Writing to a String does not fail.
            let _ = if right {
                write!(line, "{cell:>width$}  ")
            } else {
                write!(line, "{cell:<width$}  ")
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Words as the cells of a line.
pub(crate) fn cells<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.into_iter().map(str::to_owned).collect()
}

/// Bytes with a unit.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    for (unit, shift) in UNITS {
        if n >> shift > 0 {
            let tenths = (n >> (shift - 10)).saturating_mul(10) >> 10;
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{n} B")
}

/// A text from elsewhere, with whatever could act on a terminal or deceive its reader written as `\u{…}`.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        // Marks that turn the direction of writing (Unicode Standard Annex 9, 2).
        let turns = matches!(character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if character.is_control() || turns {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    out
}

fn duration(time: Duration) -> String {
    let s = time.as_secs();
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        3600..86_400 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}

/// That a service is closed for maintenance, if it is, or that an administrator has opened it.
pub(crate) fn maintenance(service: &ServiceStatus) -> Option<String> {
    let by = if service.maintenance_told {
        " by an administrator"
    } else {
        ""
    };
    match &service.maintenance {
        None if service.maintenance_told => Some("opened by an administrator".to_owned()),
        None | Some(Maintenance::Closed(false)) => None,
        Some(Maintenance::Closed(true)) => Some(format!("closed for maintenance{by}")),
        Some(Maintenance::Except { except }) => {
            let except = printable(&except.join(", "));
            Some(format!("closed for maintenance{by}, but to {except}"))
        }
    }
}

pub(crate) fn status(status: &Status) -> String {
    let mut text = String::new();
    let up = Duration::try_from_secs_f64(status.uptime).unwrap_or_default();
    let _ = write!(
        text,
        "l7switch {}, process {}, up {}",
        status.version,
        status.pid,
        duration(up)
    );
    text.push_str(if status.draining {
        ", draining\n"
    } else {
        "\n"
    });
    if let Some(rules) = &status.rules {
        let _ = write!(text, "rules {}, ", rules.display());
    }
    let _ = writeln!(
        text,
        "generation {}, {} reloads, {} refused",
        status.generation, status.reloads, status.reload_failures
    );
    if let Some(error) = &status.last_error {
        let _ = writeln!(
            text,
            "the last reload was refused; the previous rules are in force:\n{error}"
        );
    }
    for (name, of) in &status.names {
        if let Some(error) = &of.error {
            let (name, error, kept) = (printable(name), printable(error), of.addresses);
            let _ = writeln!(
                text,
                "name {name}: not resolved: {error}; {kept} addresses are kept"
            );
        }
    }
    for (name, pool) in status.pools.iter().filter(|(_, pool)| pool.queued > 0) {
        let (name, queued) = (printable(name), pool.queued);
        let _ = writeln!(text, "pool {name}: {queued} wait for a server");
    }
    for (name, service) in &status.services {
        if let Some(line) = maintenance(service) {
            let _ = writeln!(text, "service {}: {line}", printable(name));
        }
    }
    text.push_str(&kernel(&status.kernel));
    let heading = cells([
        "SERVICE",
        "PROTOCOL",
        "LISTEN",
        "ACTIVE",
        "CONNECTIONS",
        "REQUESTS",
        "IN",
        "OUT",
        "2xx",
        "3xx",
        "4xx",
        "5xx",
    ]);
    let mut rows = vec![heading];
    for (name, service) in &status.services {
        let listen: Vec<String> = service.listen.iter().map(ToString::to_string).collect();
        let class = |c: &str| service.responses.get(c).copied().unwrap_or(0).to_string();
        rows.push(vec![
            name.clone(),
            service.protocol.clone(),
            listen.join(","),
            service.active.to_string(),
            service.connections.to_string(),
            service.requests.to_string(),
            bytes(service.bytes_in),
            bytes(service.bytes_out),
            class("2xx"),
            class("3xx"),
            class("4xx"),
            class("5xx"),
        ]);
    }
    let _ = write!(text, "\n{}", table(&rows));
    let mut routes = vec![cells(["SERVICE", "ROUTE", "REQUESTS"])];
    let mut refused = vec![cells(["SERVICE", "REFUSED", "COUNT"])];
    for (name, service) in &status.services {
        for (list, counts) in [
            (&mut routes, &service.routes),
            (&mut refused, &service.refused),
        ] {
            list.extend(
                counts
                    .iter()
                    .map(|(what, n)| vec![name.clone(), what.clone(), n.to_string()]),
            );
        }
    }
    for list in [routes, refused, certificates(status)] {
        if list.len() > 1 {
            let _ = write!(text, "\n{}", table(&list));
        }
    }
    text.push_str(&failing(status));
    text
}

/// Certificates whose last order has failed, a line each.
fn failing(status: &Status) -> String {
    let all = status
        .services
        .values()
        .flat_map(|service| &service.certificates);
    let lines: BTreeSet<String> = all
        .filter_map(|certificate| {
            let order = certificate.order.as_ref()?;
            let error = order.error.as_deref()?;
            let next = date(Some(order.next)).unwrap_or_else(|| "-".to_owned());
            let name = printable(&certificate.name);
            Some(format!(
                "no new certificate for {name}, next order {next}: {}\n",
                printable(error)
            ))
        })
        .collect();
    match lines.is_empty() {
        true => String::new(),
        false => format!("\n{}", lines.into_iter().collect::<String>()),
    }
}

/// A Unix time as a date; what is later than the year 9999 has none in four digits.
fn date(unix: Option<u64>) -> Option<String> {
    let unix = unix.filter(|unix| *unix < 253_402_300_800)?;
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(unix))?;
    Some(humantime::format_rfc3339_seconds(time).to_string())
}

/// The certificates of services, and when they expire.
fn certificates(status: &Status) -> Vec<Vec<String>> {
    let mut rows = vec![cells(["SERVICE", "CERTIFICATE", "EXPIRES"])];
    for (name, service) in &status.services {
        rows.extend(service.certificates.iter().map(|certificate| {
            let none = match certificate.order {
                Some(_) => "ordered",
                None => "-",
            };
            let end = date(certificate.not_after).unwrap_or_else(|| none.to_owned());
            vec![name.clone(), printable(&certificate.name), end]
        }));
    }
    rows
}

/// The kernel module, as the front knows it.
fn kernel(kernel: &KernelStatus) -> String {
    let why = kernel.why.as_deref().map(printable).unwrap_or_default();
    let generation = kernel
        .generation
        .map_or_else(String::new, |n| format!(" generation {n}"));
    match kernel.state {
        KernelState::Off => "kernel: off\n".to_owned(),
        KernelState::Absent => "kernel: not loaded\n".to_owned(),
        KernelState::NotPermitted => format!("kernel: not permitted: {why}\n"),
        KernelState::Loaded => format!("kernel: loaded{generation}\n"),
        KernelState::Refused => format!("kernel: refused: {why}\n"),
        KernelState::Replaced => {
            format!(
                "kernel: replaced,{generation}: {why}; reload to load this switch's rules again\n"
            )
        }
        KernelState::Unloaded => {
            format!("kernel: unloaded: {why}; reload to load the rules again\n")
        }
        KernelState::Failed => format!("kernel: failed: {why}\n"),
    }
}

pub(crate) fn servers(servers: &Servers) -> String {
    let heading = cells([
        "POOL",
        "SERVER",
        "STATE",
        "HEALTH",
        "WEIGHT",
        "ACTIVE",
        "TOTAL",
        "FAILURES",
        "IDLE",
        "FIRST BYTE",
    ]);
    let mut rows = vec![heading];
    let has_names = servers.servers.iter().any(|server| server.name.is_some());
    if let (true, Some(heading)) = (has_names, rows.first_mut()) {
        heading.push("NAME".to_owned());
    }
    for server in &servers.servers {
        let weight = if server.weight == server.effective_weight {
            server.weight.to_string()
        } else {
            format!("{} ({})", server.effective_weight, server.weight)
        };
        let health = match server.health {
            Some(Health::Up) => "up",
            Some(Health::Down) => "down",
            None => "-",
        };
        rows.push(vec![
            server.pool.clone(),
            server.address.to_string(),
            match server.backup {
                true => format!("{} (backup)", server.state.as_str()),
                false => server.state.as_str().to_owned(),
            },
            health.to_owned(),
            weight,
            server.active.to_string(),
            server.total.to_string(),
            server.failures.to_string(),
            server.idle.to_string(),
            format!("{:.1} ms", server.ewma_ms),
        ]);
        if let (true, Some(row)) = (has_names, rows.last_mut()) {
            let name = server.name.as_deref().unwrap_or("-");
            row.push(printable(name));
        }
    }
    table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use l7switch_admin_api::PoolStatus;

    #[test]
    fn certificates_have_the_day_they_expire() {
        use l7switch_admin_api::CertificateStatus;
        use l7switch_admin_api::ServiceStatus;
        let ends = [Some(0), Some(253_402_300_799), Some(253_402_300_800), None];
        let certificates = ends.map(|not_after| CertificateStatus {
            name: "a\u{1b}.example".to_owned(),
            not_after,
            ..CertificateStatus::default()
        });
        let service = ServiceStatus {
            certificates: certificates.into(),
            ..ServiceStatus::default()
        };
        let status = Status {
            services: [("web".to_owned(), service)].into(),
            ..Status::default()
        };
        let rows = super::certificates(&status);
        let ends: Vec<&str> = rows.iter().map(|row| row[2].as_str()).collect();
        let expected = [
            "EXPIRES",
            "1970-01-01T00:00:00Z",
            "9999-12-31T23:59:59Z",
            "-",
            "-",
        ];
        assert_eq!(ends, expected);
        assert_eq!(rows[1][1], "a\\u{1b}.example");
        assert!(super::status(&status).contains("CERTIFICATE"));
    }

    #[test]
    fn orders_that_have_failed_are_told_once() {
        use l7switch_admin_api::CertificateStatus;
        use l7switch_admin_api::OrderStatus;
        use l7switch_admin_api::ServiceStatus;
        let certificate = |name: &str, error: Option<&str>| CertificateStatus {
            name: name.to_owned(),
            order: Some(OrderStatus {
                next: 60,
                error: error.map(str::to_owned),
                ..OrderStatus::default()
            }),
            ..CertificateStatus::default()
        };
        let service = ServiceStatus {
            certificates: vec![
                certificate("a.example", Some("no\u{1b}")),
                certificate("b.example", None),
            ],
            ..ServiceStatus::default()
        };
        let services = ["one", "two"].map(|name| (name.to_owned(), service.clone()));
        let status = Status {
            services: services.into(),
            ..Status::default()
        };
        let line =
            "\nno new certificate for a.example, next order 1970-01-01T00:01:00Z: no\\u{1b}\n";
        assert_eq!(super::failing(&status), line);
        assert!(super::status(&status).ends_with(line));
        assert_eq!(super::certificates(&status)[1][2], "ordered");
        assert_eq!(super::failing(&Status::default()), "");
    }

    #[test]
    fn columns_line_up() {
        let rows = [
            cells(["NAME", "N"]),
            cells(["a", "5"]),
            cells(["long", "123"]),
        ];
        assert_eq!(table(&rows), "NAME    N\na       5\nlong  123\n");
    }

    #[test]
    fn what_acts_on_a_terminal_is_written_out() {
        assert_eq!(
            printable("a\u{1b}[2J\u{202e}b\nü"),
            "a\\u{1b}[2J\\u{202e}b\\u{a}ü"
        );
    }

    #[test]
    fn units() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(u64::MAX), "16777215.9 TiB");
        assert_eq!(duration(Duration::from_secs(3_700)), "1 h 1 min");
    }

    #[test]
    fn a_status_shows_how_the_kernel_stands() {
        let text = |state, generation, why: Option<&str>| {
            let kernel = KernelStatus {
                state,
                generation,
                why: why.map(str::to_owned),
                ..KernelStatus::default()
            };
            status(&Status {
                kernel,
                ..Status::default()
            })
        };
        let loaded = text(KernelState::Loaded, Some(4), None);
        assert!(loaded.contains("kernel: loaded generation 4\n"), "{loaded}");
        let absent = text(KernelState::Absent, None, None);
        assert!(absent.contains("kernel: not loaded\n"), "{absent}");
        let refused = text(KernelState::Refused, None, Some("too long\u{1b}"));
        assert!(refused.contains("kernel: refused: too long\\u{1b}\n"));
    }

    #[test]
    fn a_status_shows_who_waits() {
        let mut status = Status::default();
        let mut pool = PoolStatus::default();
        status.pools.insert("idle".to_owned(), pool);
        pool.queued = 3;
        status.pools.insert("busy".to_owned(), pool);
        let shown = super::status(&status);
        assert!(
            shown.contains("pool busy: 3 wait for a server\n"),
            "{shown}"
        );
        assert!(!shown.contains("idle"), "{shown}");
    }

    #[test]
    fn a_status_shows_what_was_refused() {
        let mut shown = Status {
            version: "1".into(),
            last_error: Some("bad".into()),
            ..Status::default()
        };
        let mut service = l7switch_admin_api::ServiceStatus {
            protocol: "http".into(),
            ..Default::default()
        };
        service.refused.insert("host-repeated".into(), 2);
        shown.services.insert("web".into(), service);
        let text = status(&shown);
        assert!(text.contains("the last reload was refused"), "{text}");
        assert!(text.contains("web      host-repeated      2"), "{text}");
    }
}
