// SPDX-License-Identifier: MIT
//! Certificates, and the orders of them.

use std::collections::BTreeSet;

use l7switch_admin_api::CertificateStatus;
use l7switch_admin_api::Status;

use super::below;
use super::cells;
use super::date;
use super::printable;
use super::short;
use super::table_with;

const DAY: u64 = 86_400;

/// Time before a certificate expires from which it is marked.
const SOON: u64 = 14 * DAY;

/// What is to be said of when a certificate expires, if anything is.
pub(super) fn mark(certificate: &CertificateStatus, now: u64) -> &'static str {
    match certificate.not_after {
        Some(end) if end <= now => "EXPIRED",
        Some(end) if end - now < SOON => "soon",
        Some(_) => "",
        None if certificate.order.is_some() => "ordered",
        None => "-",
    }
}

/// All certificates of services, the first to expire first; names and orders stand below.
pub(crate) fn certificates(status: &Status, now: u64) -> String {
    let mut all: Vec<(&String, &CertificateStatus)> = Vec::new();
    for (service, of) in &status.services {
        all.extend(of.certificates.iter().map(|one| (service, one)));
    }
    if all.is_empty() {
        return "no service has a certificate\n".to_owned();
    }
    all.sort_by_key(|(_, certificate)| certificate.not_after.unwrap_or(0));
    let heading = ["CERTIFICATE", "SERVICE", "EXPIRES", "LEFT", "", "FROM"];
    let mut rows = vec![(cells(heading), String::new())];
    for (service, certificate) in all {
        let left = certificate.not_after.map(|end| match end.checked_sub(now) {
            Some(left) => format!("{} d", left / DAY),
            None => "-".to_owned(),
        });
        let from = match &certificate.order {
            Some(_) => "ACME".to_owned(),
            None => printable(&certificate.file.to_string_lossy()),
        };
        let row = vec![
            printable(&certificate.name),
            printable(service),
            date(certificate.not_after).unwrap_or_else(|| "-".to_owned()),
            left.unwrap_or_else(|| "-".to_owned()),
            mark(certificate, now).to_owned(),
            from,
        ];
        rows.push((row, told(certificate, now)));
    }
    table_with(&rows)
}

/// What stands below a certificate: its other names, and how its orders go.
fn told(certificate: &CertificateStatus, now: u64) -> String {
    let names = certificate.names.iter();
    let others: Vec<String> = names
        .filter(|name| **name != certificate.name)
        .map(|name| printable(name))
        .collect();
    let mut text = below(&others.join(", "));
    if let Some(order) = &certificate.order {
        let next = match order.next.checked_sub(now) {
            Some(wait) if wait > 0 => format!("in {}", short(wait)),
            _ => "at once".to_owned(),
        };
        let (orders, failures) = (order.orders, order.failures);
        let line = format!("{orders} ordered, {failures} failed, next order {next}");
        text += &below(&line);
        if let Some(error) = &order.error {
            text += &below(&format!("the last order failed: {}", printable(error)));
        }
    }
    text
}

/// Certificates whose last order has failed, a line each.
pub(super) fn failing(status: &Status) -> String {
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

/// The certificates of services, and when they expire.
pub(super) fn expiries(status: &Status, now: u64) -> Vec<Vec<String>> {
    let mut rows = vec![cells(["SERVICE", "CERTIFICATE", "EXPIRES", ""])];
    for (name, service) in &status.services {
        rows.extend(service.certificates.iter().map(|certificate| {
            let end = date(certificate.not_after).unwrap_or_else(|| "-".to_owned());
            let mark = mark(certificate, now).to_owned();
            vec![printable(name), printable(&certificate.name), end, mark]
        }));
    }
    rows
}

#[cfg(test)]
mod tests {
    use l7switch_admin_api::OrderStatus;
    use l7switch_admin_api::ServiceStatus;

    use super::*;

    fn with(certificates: Vec<CertificateStatus>) -> Status {
        let service = ServiceStatus {
            certificates,
            ..ServiceStatus::default()
        };
        Status {
            services: [("web".to_owned(), service)].into(),
            ..Status::default()
        }
    }

    #[test]
    fn certificates_have_the_day_they_expire_and_a_mark() {
        let ends = [
            Some(0),
            Some(1_001_000),
            Some(253_402_300_799),
            Some(253_402_300_800),
            None,
        ];
        let certificates = ends.map(|not_after| CertificateStatus {
            name: "a\u{1b}.example".to_owned(),
            not_after,
            ..CertificateStatus::default()
        });
        let status = with(certificates.into());
        let rows = expiries(&status, 1_000_000);
        let ends: Vec<(&str, &str)> = rows.iter().map(|row| (&*row[2], &*row[3])).collect();
        let expected = [
            ("EXPIRES", ""),
            ("1970-01-01T00:00:00Z", "EXPIRED"),
            ("1970-01-12T14:03:20Z", "soon"),
            ("9999-12-31T23:59:59Z", ""),
            ("-", ""),
            ("-", "-"),
        ];
        assert_eq!(ends, expected);
        assert_eq!(rows[1][1], "a\\u{1b}.example");
    }

    #[test]
    fn all_of_a_certificate_is_told() {
        let mut status = with(vec![
            CertificateStatus {
                name: "b.example".to_owned(),
                names: vec!["b.example".to_owned(), "www.b.example".to_owned()],
                file: "/etc/b.pem".into(),
                not_after: Some(100 * DAY),
                ..CertificateStatus::default()
            },
            CertificateStatus {
                name: "a.example".to_owned(),
                order: Some(OrderStatus {
                    failures: 2,
                    next: DAY + 60,
                    error: Some("no\u{1b}".to_owned()),
                    ..OrderStatus::default()
                }),
                ..CertificateStatus::default()
            },
        ]);
        let text = certificates(&status, DAY);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[1].starts_with("a.example    web      -") && lines[1].ends_with("ordered  ACME"),
            "{text}"
        );
        assert_eq!(lines[2], "    0 ordered, 2 failed, next order in 1 min");
        assert_eq!(lines[3], "    the last order failed: no\\u{1b}");
        assert!(
            lines[4].contains("99 d") && lines[4].ends_with("/etc/b.pem"),
            "{text}"
        );
        assert_eq!(lines[5], "    www.b.example");
        status.services.clear();
        assert_eq!(certificates(&status, 0), "no service has a certificate\n");
    }

    #[test]
    fn orders_that_have_failed_are_told_once() {
        let certificate = |name: &str, error: Option<&str>| CertificateStatus {
            name: name.to_owned(),
            order: Some(OrderStatus {
                next: 60,
                error: error.map(str::to_owned),
                ..OrderStatus::default()
            }),
            ..CertificateStatus::default()
        };
        let mut status = with(vec![
            certificate("a.example", Some("no\u{1b}")),
            certificate("b.example", None),
        ]);
        let same = status.services["web"].clone();
        status.services.insert("two".to_owned(), same);
        let line =
            "\nno new certificate for a.example, next order 1970-01-01T00:01:00Z: no\\u{1b}\n";
        assert_eq!(failing(&status), line);
        assert!(crate::show::status(&status, 0).ends_with(line));
        assert_eq!(failing(&Status::default()), "");
    }
}
