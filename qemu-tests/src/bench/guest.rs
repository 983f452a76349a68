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

use l7switch_mark::mark;
use serde::Deserialize;
use serde::Serialize;

use super::case::Case;
use super::contender::Contender;
use super::programs;
use crate::guest::port;
use crate::kit::Network;

/// The name of the virtio port that takes the kernel's symbols, where a profile is wanted.
pub const SYMBOLS: &str = "l7.symbols";

/// How long the load runs before it is measured.
const WARM_UP: u32 = 1;

/// What the host asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Who.
    pub contender: Contender,
    /// The name of the case.
    pub case: String,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The contender's version.
    pub version: String,
    /// Requests of the run that warms up.
    pub warm_up: u64,
    /// Requests of the measured run.
    pub requests: u64,
    /// Requests per virtual second.
    pub rate: f64,
    /// Part of the time in which the processor had nothing to do: a rate says nothing where it is not near 0.
    pub idle: f64,
}

/// What stands before what a measurement prints of itself.
const PREFIX: &str = "MEASURED ";

impl Order {
    /// What the host asks the guest to run, in place of a test's name.
    #[must_use]
    pub fn name(&self) -> String {
        format!("bench {} {}", self.contender, self.case)
    }

    /// Reads such a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let mut words = name.strip_prefix("bench ")?.split(' ');
        let contender = clap::ValueEnum::from_str(words.next()?, false).ok()?;
        let case = words.next()?.to_owned();
        Some(Self { contender, case })
    }

    /// Measures, and prints what came of it.
    pub(crate) fn run(&self) {
        let case = Case::find(&self.case).expect("the host knows the same cases");
        let network = Network::with_servers(1);
        let mut contender = programs::start(self.contender, case, &network);
        let url = contender.url().to_owned();
        let load = |seconds| {
            mark();
            let line = format!("wrk -t1 -c16 -d{seconds}s {} {url}", case.options);
            let printed = network.client.run(&line);
            mark();
            assert!(
                !printed.contains("Non-2xx") && !printed.contains("Socket errors"),
                "{printed}"
            );
            printed
        };
        let warm_up = requests(&load(WARM_UP));
        let idle = idle();
        let printed = load(case.seconds);
        let idle = (self::idle() - idle) / f64::from(case.seconds);
        let measured = Measured {
            version: programs::version(self.contender, &network.switch),
            warm_up,
            requests: requests(&printed),
            rate: rate(&printed),
            idle,
        };
        println!("{printed}");
        contender.show();
        println!("{PREFIX}{}", serde_json::to_string(&measured).unwrap());
        symbols();
    }
}

impl Measured {
    /// Finds it in what a measurement prints.
    #[must_use]
    pub fn find(printed: &str) -> Option<Self> {
        let line = printed.lines().find_map(|line| line.strip_prefix(PREFIX))?;
        serde_json::from_str(line).ok()
    }
}

/// "  9000 requests in 2.00s, 3.00MB read"
fn requests(printed: &str) -> u64 {
    let line = printed.lines().find(|line| line.contains(" requests in "));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or_else(|| panic!("{printed}"))
}

fn rate(printed: &str) -> f64 {
    let rate = printed
        .lines()
        .find_map(|line| line.strip_prefix("Requests/sec:"));
    let rate = rate.and_then(|rate| rate.trim().parse().ok());
    rate.unwrap_or_else(|| panic!("{printed}"))
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
