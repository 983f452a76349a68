// SPDX-License-Identifier: MIT
//! The front beside other proxies, natively on this machine: client and real server on one processor, the proxy on
//! another, each in turn, several times over.
//!
//! Numbers of a shared machine mean little: their ratios within a round mean more.

mod configuration;
mod contender;
mod encrypted;
mod latency;
mod rates;
mod report;
mod stage;
mod time;

pub(crate) use encrypted::Handshakes;
pub(crate) use report::page;

use l7switch_qemu_tests::error::Error;
use l7switch_qemu_tests::error::Result;
use l7switch_qemu_tests::host::tool;

use super::case::Case;
use contender::Contender;
use contender::Programs;
use latency::Latencies;
use rates::Rates;
use stage::Stage;

/// How often and how long everything is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub(crate) struct Plan {
    /// How often each is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Seconds for which each rate is measured
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    pub seconds: u32,
    /// Seconds for which each latency is measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub latency_seconds: u32,
}

/// What was measured.
#[derive(Debug)]
pub(crate) struct Findings {
    plan: Plan,
    /// The share of time that the processors were idle before all this.
    idle: f64,
    rates: Vec<Rates>,
    /// Of the cases with TLS.
    encrypted: Vec<Rates>,
    latencies: Vec<Latencies>,
    /// Names and versions of all programs.
    versions: Vec<String>,
}

/// The cases, which need no other machine.
const CASES: [&str; 3] = [LATENCY_CASE, "connection-128B", "body-1MiB"];

/// The case in which latency is measured.
const LATENCY_CASE: &str = "keepalive-128B";

/// The processor of client and real server.
const CLIENTS: u8 = 0;
/// The proxies' processor.
const PROXIES: u8 = 1;

/// Measures these cases, or all where none is named.
///
/// # Errors
///
/// Where a case or a program is missing, or a program or a request fails.
pub(crate) fn measure(plan: Plan, cases: &[String]) -> Result<Findings> {
    let encrypted = &encrypted::CASES;
    let known = || {
        CASES
            .into_iter()
            .chain(encrypted.iter().map(|case| case.name))
    };
    if let Some(unknown) = cases
        .iter()
        .find(|&name| known().all(|known| known != name))
    {
        let known = Vec::from_iter(known()).join(", ");
        return Err(Error::Message(format!(
            "no case {unknown}; there are {known}"
        )));
    }
    let wanted = |name: &str| cases.is_empty() || cases.iter().any(|case| case == name);
    let programs = Programs::find()?;
    let versions = programs.versions()?;
    let idle = time::idle()?;
    let mut findings = Findings {
        plan,
        idle,
        rates: Vec::new(),
        encrypted: Vec::new(),
        latencies: Vec::new(),
        versions,
    };
    for name in CASES.into_iter().filter(|name| wanted(name)) {
        tool::say(&format!("rates, {name}"));
        let stage = Stage::new(case(name)?, &programs)?;
        findings.rates.push(Rates::measure(stage, plan)?);
    }
    for case in encrypted.iter().filter(|case| wanted(case.name)) {
        tool::say(&format!("processor time, {}: {}", case.name, case.about));
        let rates = encrypted::measure(case, &programs, plan)?;
        findings.encrypted.push(rates);
    }
    if !wanted(LATENCY_CASE) {
        return Ok(findings);
    }
    let saturated = findings
        .rates
        .iter()
        .find(|rates| rates.name == LATENCY_CASE);
    let slowest = saturated.map_or(0.0, Rates::slowest);
    let stage = Stage::new(case(LATENCY_CASE)?, &programs)?;
    tool::say(&format!(
        "latencies, {LATENCY_CASE}, the slowest does {slowest:.0} per second"
    ));
    findings.latencies = latency::measure(&stage, &programs, slowest, plan)?;
    Ok(findings)
}

fn case(name: &str) -> Result<&'static Case> {
    Case::find(name).ok_or_else(|| Error::Message(format!("no case {name}")))
}

/// The share of time that all processors of this machine are idle in the next second.
pub(super) fn idle() -> Result<f64> {
    time::idle()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_cases_exist() {
        for name in CASES {
            case(name).unwrap();
        }
    }
}
