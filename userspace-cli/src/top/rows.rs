// SPDX-License-Identifier: MIT
//! Two readings of a switch as tables: rates and times of what came between them, front and kernel module together.

use std::collections::BTreeMap;
use std::time::Instant;

use l7switch_admin_api::KernelNumbers;
use l7switch_admin_api::KernelServer;
use l7switch_admin_api::Routes;
use l7switch_admin_api::Servers;
use l7switch_admin_api::Status;
use l7switch_admin_api::Times;

use crate::show::bytes;
use crate::show::printable;
use crate::show::short;

/// What a switch said at a time.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) status: Status,
    pub(crate) routes: Routes,
    pub(crate) servers: Servers,
    pub(crate) kernel: KernelNumbers,
    pub(crate) at: Instant,
    /// Unix time in seconds.
    pub(crate) now: u64,
}

/// What a table is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Services,
    Routes,
    Servers,
}

impl Subject {
    pub(super) const ALL: [Self; 3] = [Self::Services, Self::Routes, Self::Servers];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Services => "services",
            Self::Routes => "routes",
            Self::Servers => "servers",
        }
    }

    /// The heads of its columns.
    pub(super) const fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Services => &[
                "SERVICE", "REQ/S", "KERNEL/S", "2XX/S", "3XX/S", "4XX/S", "5XX/S", "P50", "P99",
                "OPEN", "IN/S", "OUT/S",
            ],
            Self::Routes => &[
                "SERVICE", "ROUTE", "REQ/S", "KERNEL/S", "2XX/S", "3XX/S", "4XX/S", "5XX/S", "P50",
                "P99", "ACTION",
            ],
            Self::Servers => &[
                "POOL", "SERVER", "STATE", "FOR", "WEIGHT", "ACTIVE", "REQ/S", "KERNEL/S",
                "FAILED/S", "P50", "P99", "WHY",
            ],
        }
    }

    /// The column that tables are sorted by at first: requests.
    pub(super) const fn first_order(self) -> usize {
        match self {
            Self::Services => 1,
            Self::Routes => 2,
            Self::Servers => 6,
        }
    }
}

/// A cell, and what it is sorted by.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Text(String),
    /// A number, as it is shown, and whether there is one.
    Number(String, Option<f64>),
}

impl Cell {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Number(text, _) => text,
        }
    }

    /// Numbers by their value, none last; texts by the alphabet.
    pub(super) fn compare(&self, other: &Self) -> std::cmp::Ordering {
        match (self, other) {
            (Self::Number(_, one), Self::Number(_, other)) => {
                let value = |number: &Option<f64>| number.unwrap_or(f64::NEG_INFINITY);
                value(one).total_cmp(&value(other))
            }
            (one, other) => one.text().cmp(other.text()),
        }
    }

    fn name(text: &str) -> Self {
        Self::Text(printable(text))
    }

    /// Nothing is known.
    fn none() -> Self {
        Self::Number("-".to_owned(), None)
    }

    fn count(count: u64) -> Self {
        Self::Number(count.to_string(), Some(real(count)))
    }

    /// A quantile of times, milliseconds.
    fn time(times: &Times, ms: Option<f64>) -> Self {
        match ms.filter(|_| times.count > 0) {
            Some(ms) if ms < 10.0 => Self::Number(format!("{ms:.2} ms"), Some(ms)),
            Some(ms) => Self::Number(format!("{ms:.0} ms"), Some(ms)),
            None => Self::none(),
        }
    }
}

/// A row. A server's is what it is named by on the command line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) key: String,
    pub(super) cells: Vec<Cell>,
    /// Whether something is wrong.
    pub(super) is_bad: bool,
}

/// Exact up to 2⁵³.
#[expect(clippy::cast_precision_loss, reason = "it is shown by few digits")]
const fn real(count: u64) -> f64 {
    count as f64
}

/// How often a second something happened that is counted. A counting that began anew says nothing.
#[derive(Clone, Copy)]
struct Rate(f64);

impl Rate {
    fn of(self, now: u64, was: Option<u64>) -> Option<f64> {
        let more = now.checked_sub(was?)?;
        (self.0 > 0.0).then(|| real(more) / self.0)
    }

    fn cell(self, now: u64, was: Option<u64>) -> Cell {
        match self.of(now, was) {
            Some(rate) if rate < 10.0 => Cell::Number(format!("{rate:.1}"), Some(rate)),
            Some(rate) => Cell::Number(format!("{rate:.0}"), Some(rate)),
            None => Cell::none(),
        }
    }

    fn bytes(self, now: u64, was: Option<u64>) -> Cell {
        match self.of(now, was) {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a rate is not negative"
            )]
            Some(rate) => Cell::Number(bytes(rate as u64), Some(rate)),
            None => Cell::none(),
        }
    }
}

const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

type ByClass = BTreeMap<String, u64>;

/// Both data paths together.
fn sum(front: &ByClass, kernel: Option<&ByClass>, class: &str) -> u64 {
    let of = |counts: &ByClass| counts.get(class).copied().unwrap_or(0);
    of(front).saturating_add(kernel.map_or(0, of))
}

/// Times of what came since.
fn since(now: Option<&Times>, was: Option<&Times>) -> Times {
    match (now, was) {
        (Some(now), Some(was)) => now.since(was),
        _ => Times::default(),
    }
}

/// The rows about a subject: what has come from `was` to `now`.
pub(super) fn rows(subject: Subject, was: &Reading, now: &Reading) -> Vec<Row> {
    let rate = Rate(now.at.saturating_duration_since(was.at).as_secs_f64());
    match subject {
        Subject::Services => services(rate, was, now),
        Subject::Routes => routes(rate, was, now),
        Subject::Servers => servers(rate, was, now),
    }
}

fn services(rate: Rate, was: &Reading, now: &Reading) -> Vec<Row> {
    let of_kernel = |reading: &'_ Reading, name: &str| {
        let counted = reading.kernel.counted.as_ref()?;
        counted.services.get(name).cloned()
    };
    let of = |(name, service): (&String, &l7switch_admin_api::ServiceStatus)| {
        let before = was.status.services.get(name);
        let (kernel, kernel_before) = (of_kernel(now, name), of_kernel(was, name));
        let both = |front: u64, kernel: Option<u64>| front.saturating_add(kernel.unwrap_or(0));
        let requests = both(service.requests, kernel.as_ref().map(|k| k.requests));
        let requests_before =
            before.map(|b| both(b.requests, kernel_before.as_ref().map(|k| k.requests)));
        let mut cells = vec![
            Cell::name(name),
            rate.cell(requests, requests_before),
            match &kernel {
                Some(kernel) => {
                    rate.cell(kernel.requests, kernel_before.as_ref().map(|k| k.requests))
                }
                None => Cell::none(),
            },
        ];
        let mut fails = false;
        for class in CLASSES {
            let count = sum(
                &service.responses,
                kernel.as_ref().map(|k| &k.responses),
                class,
            );
            let earlier = before.map(|b| {
                sum(
                    &b.responses,
                    kernel_before.as_ref().map(|k| &k.responses),
                    class,
                )
            });
            fails |= class == "5xx" && rate.of(count, earlier).is_some_and(|rate| rate > 0.0);
            cells.push(rate.cell(count, earlier));
        }
        let times = since(Some(&service.first_byte), before.map(|b| &b.first_byte));
        let (read, sent) = (
            both(service.bytes_in, kernel.as_ref().map(|k| k.bytes_in)),
            both(service.bytes_out, kernel.as_ref().map(|k| k.bytes_out)),
        );
        let (read_before, sent_before) = (
            before.map(|b| both(b.bytes_in, kernel_before.as_ref().map(|k| k.bytes_in))),
            before.map(|b| both(b.bytes_out, kernel_before.as_ref().map(|k| k.bytes_out))),
        );
        cells.extend([
            Cell::time(&times, times.p50_ms),
            Cell::time(&times, times.p99_ms),
            Cell::count(service.active),
            rate.bytes(read, read_before),
            rate.bytes(sent, sent_before),
        ]);
        Row {
            key: name.clone(),
            cells,
            is_bad: fails,
        }
    };
    now.status.services.iter().map(of).collect()
}

fn routes(rate: Rate, was: &Reading, now: &Reading) -> Vec<Row> {
    let before: BTreeMap<(&str, &str), _> = (was.routes.routes.iter())
        .map(|route| ((&*route.service, &*route.route), route))
        .collect();
    let of = |route: &l7switch_admin_api::RouteStatus| {
        let before = before.get(&(&*route.service, &*route.route)).copied();
        let kernel = route.kernel.as_ref();
        let kernel_before = before.and_then(|b| b.kernel.as_ref());
        let both = |front: u64, kernel: Option<u64>| front.saturating_add(kernel.unwrap_or(0));
        let mut cells = vec![
            Cell::name(&route.service),
            Cell::name(&route.route),
            rate.cell(
                both(route.requests, kernel.map(|k| k.requests)),
                before.map(|b| both(b.requests, kernel_before.map(|k| k.requests))),
            ),
            match kernel {
                Some(kernel) => rate.cell(kernel.requests, kernel_before.map(|k| k.requests)),
                None => Cell::none(),
            },
        ];
        let mut fails = false;
        for class in CLASSES {
            let count = sum(&route.responses, kernel.map(|k| &k.responses), class);
            let earlier =
                before.map(|b| sum(&b.responses, kernel_before.map(|k| &k.responses), class));
            fails |= class == "5xx" && rate.of(count, earlier).is_some_and(|rate| rate > 0.0);
            cells.push(rate.cell(count, earlier));
        }
        let times = since(
            route.first_byte.as_ref(),
            before.and_then(|b| b.first_byte.as_ref()),
        );
        cells.extend([
            Cell::time(&times, times.p50_ms),
            Cell::time(&times, times.p99_ms),
            Cell::name(&route.action),
        ]);
        Row {
            key: format!("{}/{}", route.service, route.route),
            cells,
            is_bad: fails,
        }
    };
    now.routes.routes.iter().map(of).collect()
}

fn servers(rate: Rate, was: &Reading, now: &Reading) -> Vec<Row> {
    let before: BTreeMap<(&str, &str), _> = (was.servers.servers.iter())
        .map(|server| ((&*server.pool, &*server.address), server))
        .collect();
    let of_kernel = |reading: &Reading| -> BTreeMap<(String, String), KernelServer> {
        let counted = reading.kernel.counted.iter();
        let all = counted.flat_map(|counted| &counted.servers);
        all.map(|server| {
            (
                (server.pool.clone(), server.address.clone()),
                server.clone(),
            )
        })
        .collect()
    };
    let (kernel_now, kernel_was) = (of_kernel(now), of_kernel(was));
    let of = |server: &l7switch_admin_api::ServerStatus| {
        let before = before.get(&(&*server.pool, &*server.address)).copied();
        let key = (server.pool.clone(), server.address.clone());
        let (kernel, kernel_before) = (kernel_now.get(&key), kernel_was.get(&key));
        let both = |front: u64, kernel: Option<u64>| front.saturating_add(kernel.unwrap_or(0));
        let times = since(
            server.first_byte.as_ref(),
            before.and_then(|b| b.first_byte.as_ref()),
        );
        let state = match server.backup {
            true => format!("{} (backup)", server.state.as_str()),
            false => server.state.as_str().to_owned(),
        };
        let cells = vec![
            Cell::name(&server.pool),
            Cell::name(&server.address),
            Cell::Text(state),
            Cell::Number(
                short(now.now.saturating_sub(server.since)),
                Some(-real(server.since)),
            ),
            Cell::count(server.effective_weight.into()),
            Cell::count(both(server.active, kernel.map(|k| k.active))),
            rate.cell(
                both(server.total, kernel.map(|k| k.requests)),
                before.map(|b| both(b.total, kernel_before.map(|k| k.requests))),
            ),
            match kernel {
                Some(kernel) => rate.cell(kernel.requests, kernel_before.map(|k| k.requests)),
                None => Cell::none(),
            },
            rate.cell(
                both(server.failures, kernel.map(|k| k.failures)),
                before.map(|b| both(b.failures, kernel_before.map(|k| k.failures))),
            ),
            Cell::time(&times, times.p50_ms),
            Cell::time(&times, times.p99_ms),
            Cell::name(server.why.as_deref().unwrap_or_default()),
        ];
        Row {
            key: format!("{}/{}", server.pool, server.address),
            cells,
            is_bad: server.state != l7switch_admin_api::ServerState::Up,
        }
    };
    now.servers.servers.iter().map(of).collect()
}
