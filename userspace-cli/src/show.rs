// SPDX-License-Identifier: MIT
//! Answers of a running switch as tables for people.

use std::fmt::Write as _;
use std::time::Duration;
use std::time::SystemTime;

use l7switch_admin_api::KernelState;
use l7switch_admin_api::KernelStatus;
use l7switch_admin_api::Maintenance;
use l7switch_admin_api::ServiceStatus;
use l7switch_admin_api::Status;

mod certificates;
mod events;
mod routes;
mod servers;

pub(crate) use certificates::certificates;
use certificates::expiries;
use certificates::failing;
pub(crate) use events::events;
pub(crate) use routes::routes;
pub(crate) use servers::servers;

/// Columns of a terminal that lines keep within, where columns of a table let them.
const WIDTH: usize = 100;

/// Lines of cells as columns; the first line is the heading, numbers stand to the right.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    table_lines(rows).concat()
}

/// The same, with text below each line.
fn table_with(rows: &[(Vec<String>, String)]) -> String {
    let (cells, below): (Vec<Vec<String>>, Vec<&String>) = rows
        .iter()
        .map(|(cells, below)| (cells.clone(), below))
        .unzip();
    let lines = table_lines(&cells).into_iter().zip(below);
    lines.map(|(line, below)| line + below).collect()
}

/// A text that stands below a line: indented, and wrapped.
fn below(text: &str) -> String {
    const INDENT: &str = "    ";
    let mut lines = String::new();
    let mut line = String::new();
    let room = WIDTH - INDENT.len();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let needed = line.chars().count() + 1 + word.chars().count();
        if !line.is_empty() && needed > room {
            let _ = writeln!(lines, "{INDENT}{line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() {
        let _ = writeln!(lines, "{INDENT}{line}");
    }
    lines
}

fn table_lines(rows: &[Vec<String>]) -> Vec<String> {
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
    let lines = rows.iter().map(|row| {
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
        format!("{}\n", line.trim_end())
    });
    lines.collect()
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

/// Seconds by the unit that tells most.
pub(crate) fn short(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
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

/// The switch; `now` is the Unix time.
pub(crate) fn status(status: &Status, now: u64) -> String {
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
    for list in [routes, refused, expiries(status, now)] {
        if list.len() > 1 {
            let _ = write!(text, "\n{}", table(&list));
        }
    }
    text.push_str(&failing(status));
    text
}

/// A Unix time as a date; what is later than the year 9999 has none in four digits.
fn date(unix: Option<u64>) -> Option<String> {
    let unix = unix.filter(|unix| *unix < 253_402_300_800)?;
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(unix))?;
    Some(humantime::format_rfc3339_seconds(time).to_string())
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

#[cfg(test)]
mod tests {
    use super::*;
    use l7switch_admin_api::PoolStatus;

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
        let times = [59, 60, 3599, 3600, 86_400].map(short);
        assert_eq!(times, ["59 s", "1 min", "59 min", "1 h", "1 d"]);
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
            let of = Status {
                kernel,
                ..Status::default()
            };
            status(&of, 0)
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
        let shown = super::status(&status, 0);
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
        let text = status(&shown, 0);
        assert!(text.contains("the last reload was refused"), "{text}");
        assert!(text.contains("web      host-repeated      2"), "{text}");
    }
}
