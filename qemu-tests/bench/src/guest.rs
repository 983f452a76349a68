// SPDX-License-Identifier: MIT
//! A measurement, in the guest.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a measurement fails by panicking, as a test does"
)]

use std::fs;
use std::fs::File;
use std::io::Write as _;

use clap::ValueEnum;
use l7switch_mark::mark;
use l7switch_qemu_tests::guest::port;
use l7switch_qemu_tests::kit::Host;
use l7switch_qemu_tests::kit::Network;
use l7switch_qemu_tests::printed::Printed;
use l7switch_qemu_tests::protocol::SYMBOLS;
use serde::Deserialize;
use serde::Serialize;

use super::case::Case;
use super::contender::Contender;
use super::locks;
use super::median::median;
use super::memory;
use super::programs;

/// How long the load runs before it is measured, in virtual seconds.
const WARM_UP: u32 = 1;
/// How long it runs for a profile, in virtual seconds.
const PROFILE: u32 = 3;

/// From this length on an answer is counted by its bytes: else those that are under way at the end would be missed.
const LONG: u32 = 64 << 10;

/// What the host asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    /// Who.
    pub contender: Contender,
    /// The name of the case.
    pub case: String,
    /// What for.
    pub what: What,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// A rate.
    Bench,
    /// Where instructions go: one run, and longer than the one that warms up, which is taken off.
    Profile,
    /// Locks that wait for one another.
    Locks,
    /// What the module's connections take of memory.
    Memory,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// The contender's version.
    pub version: String,
    /// Requests of the run that warms up.
    pub warm_up: u64,
    /// Requests of the measured runs.
    pub requests: u64,
    /// Requests per virtual second, the middle one of the measured runs.
    pub rate: f64,
    /// Part of the time in which the processor had nothing to do: a rate says nothing where it is not near 0.
    pub idle: f64,
}

impl Printed for Measured {
    const PREFIX: &'static str = "MEASURED ";
}

impl Order {
    /// What the host asks the guest to run, in place of a test's name.
    #[must_use]
    pub(crate) fn name(&self) -> String {
        let what = self.what.to_possible_value();
        let what = what.as_ref().map_or("", |what| what.get_name());
        format!("{what} {} {}", self.contender, self.case)
    }

    /// Reads such a name.
    #[must_use]
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let mut words = name.split(' ');
        let what = What::from_str(words.next()?, false).ok()?;
        let contender = Contender::from_str(words.next()?, false).ok()?;
        let case = words.next()?.to_owned();
        Some(Self {
            contender,
            case,
            what,
        })
    }

    /// Measures, and prints what came of it.
    pub(crate) fn run(&self) {
        let case = Case::find(&self.case).expect("the host knows the same cases");
        match self.what {
            What::Bench => self.rate(case, case.runs, case.seconds),
            What::Profile => self.rate(case, 1, PROFILE),
            What::Locks => locks::guest::run(self.contender, case),
            What::Memory => memory::guest::run(case),
        }
    }

    fn rate(&self, case: &Case, runs: u32, seconds: u32) {
        let network = Network::with_servers(1);
        let mut contender = programs::start(self.contender, case, &network);
        let version = programs::version(self.contender, &network.switch);
        let url = contender.url().to_owned();
        let load = |seconds| {
            mark();
            let load = load(&network.client, case, &url, seconds);
            mark();
            load
        };
        let warm_up = load(WARM_UP);
        let idle = idle();
        let loads: Vec<Load> = (0..runs).map(|_| load(seconds)).collect();
        let idle = (self::idle() - idle) / f64::from(runs * seconds);
        let measured = Measured {
            version,
            warm_up: warm_up.requests,
            requests: loads.iter().map(|load| load.requests).sum(),
            // Now and then wrk says that a run took 4 ms more, with no more requests.
            rate: median(loads.iter().map(|load| load.rate(case))),
            idle,
        };
        contender.show();
        measured.print();
        symbols();
    }
}

/// Asks for so many seconds, with a thread for each processor.
pub(super) fn load(client: &Host, case: &Case, url: &str, seconds: u32) -> Load {
    // Processors that run at once do so in real time, which the machine may need for something else.
    let patience = if case.processors > 1 {
        "--timeout 20s "
    } else {
        ""
    };
    let line = format!(
        "wrk {patience}-t{} -c{} -d{seconds}s -s {} {} {url}",
        case.processors,
        case.connections,
        programs::LOAD,
        case.options
    );
    let printed = client.run(&line);
    println!("{printed}");
    Load::find(&printed).unwrap_or_else(|| panic!("{line}: {printed}"))
}

/// What wrk did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Load {
    pub(super) requests: u64,
    bytes: u64,
    micros: u64,
}

impl Load {
    /// Finds what [`programs::LOAD`] prints; none where a request failed.
    pub(super) fn find(printed: &str) -> Option<Self> {
        let line = printed
            .lines()
            .find_map(|line| line.strip_prefix("DONE "))?;
        let numbers: Vec<u64> = line
            .split(' ')
            .map(|number| number.parse().ok())
            .collect::<Option<_>>()?;
        match numbers.as_slice() {
            [requests, bytes, micros, 0] => Some(Self {
                requests: *requests,
                bytes: *bytes,
                micros: *micros,
            }),
            _ => None,
        }
    }

    /// How long it took.
    #[expect(clippy::cast_precision_loss, reason = "less than years")]
    pub(super) fn seconds(self) -> f64 {
        self.micros as f64 / 1e6
    }

    /// Requests per second.
    #[expect(clippy::cast_precision_loss, reason = "quotients of counts")]
    pub(super) fn rate(self, case: &Case) -> f64 {
        let requests = if case.body >= LONG && !case.uploads() {
            self.bytes as f64 / f64::from(case.body)
        } else {
            self.requests as f64
        };
        1e6 * requests / self.micros as f64
    }
}

/// Seconds in which the processor has been idle (proc_uptime(5)).
fn idle() -> f64 {
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    let idle = uptime.split_whitespace().nth(1);
    idle.and_then(|idle| idle.parse().ok())
        .unwrap_or_else(|| panic!("{uptime}"))
}

/// Sends the addresses of the kernel's functions, modules' among them, where the host wants them.
fn symbols() {
    let Some(port) = port::find(SYMBOLS) else {
        return;
    };
    let all = fs::read_to_string("/proc/kallsyms").unwrap();
    let text: String = all
        .lines()
        .filter(|line| matches!(line.split(' ').nth(1), Some("t" | "T" | "w" | "W")))
        .filter(|line| !line.contains(" __pfx_"))
        .fold(String::new(), |text, line| text + line + "\n");
    let mut port = File::options().write(true).open(port).unwrap();
    port.write_all(text.as_bytes()).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_from_its_name() {
        for &what in What::value_variants() {
            let order = Order {
                contender: Contender::ModuleFullnat,
                case: "keepalive-128B".to_owned(),
                what,
            };
            assert_eq!(Order::parse(&order.name()), Some(order));
        }
        assert_eq!(Order::parse("boot::tools_run"), None);
    }

    #[test]
    fn a_load_with_errors_is_none() {
        let load = Load::find("x\nDONE 3 3000 2000000 0\n").unwrap();
        assert_eq!(load.requests, 3);
        assert_eq!(load.rate(Case::find("keepalive-128B").unwrap()), 1.5);
        assert_eq!(Load::find("DONE 3 3000 2000000 1\n"), None);
    }
}
