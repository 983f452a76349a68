// SPDX-License-Identifier: MIT
//! How long answers take at rates that all contenders can do, coordinated omission corrected: a request's time begins
//! when it is due, not when a connection is free for it.

use std::collections::BTreeMap;

use l7switch_qemu_tests::error::Error;
use l7switch_qemu_tests::error::Result;
use l7switch_qemu_tests::host::tool;

use super::CLIENTS;
use super::Contender;
use super::Plan;
use super::Programs;
use super::Stage;
use super::stage;
use crate::median::median;

/// The rates, by the slowest proxy's highest.
const SHARES: [f64; 3] = [0.25, 0.5, 0.75];

/// Seconds of load before what is measured, in which connections are made.
const WARM_UP: u32 = 1;

/// Of all requests in a round, µs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Percentiles {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
    /// Requests per second that were sent, by those that were due.
    pub(super) kept: f64,
}

/// A rate, with what is found in each round.
#[derive(Debug)]
pub(super) struct Latencies {
    /// The rate, by the slowest proxy's highest.
    pub(super) share: f64,
    /// Requests per second.
    pub(super) rate: u32,
    pub(super) samples: BTreeMap<Contender, Vec<Percentiles>>,
}

impl Latencies {
    /// The median of what is asked for.
    pub(super) fn median(&self, of: Contender, what: fn(&Percentiles) -> f64) -> f64 {
        let samples = self.samples.get(&of).into_iter().flatten();
        median(samples.map(what))
    }
}

/// Measures all contenders at all rates, in turn; `slowest` is the slowest proxy's highest rate.
pub(super) fn measure(
    stage: &Stage,
    programs: &Programs,
    slowest: f64,
    plan: Plan,
) -> Result<Vec<Latencies>> {
    let at = |share: f64| Latencies {
        share,
        rate: round(slowest * share),
        samples: BTreeMap::new(),
    };
    let mut all = SHARES.map(at);
    for _ in 0..plan.rounds {
        for Latencies { rate, samples, .. } in &mut all {
            for contender in Contender::ALL {
                let found = load(stage, programs, contender, *rate, plan.latency_seconds)?;
                samples.entry(contender).or_default().push(found);
            }
        }
    }
    Ok(all.into())
}

/// Whole tens of requests per second, at least ten.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a positive number that is far below the bound"
)]
fn round(rate: f64) -> u32 {
    (rate / 10.0).clamp(1.0, 1e6) as u32 * 10
}

/// Has oha ask at a rate.
fn load(
    stage: &Stage,
    programs: &Programs,
    contender: Contender,
    rate: u32,
    seconds: u32,
) -> Result<Percentiles> {
    let count = rate * (WARM_UP + seconds);
    let oha = programs.oha.display();
    let line = format!(
        "{oha} --no-tui --output-format csv --latency-correction -q {rate} -n {count} -c {} {}",
        stage.case.connections,
        stage.url(contender)
    );
    let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let printed = tool::output(&mut stage::on(CLIENTS, &words))?;
    let requests = requests(&printed).filter(|requests| requests.len() == count as usize);
    let found = requests.and_then(|requests| percentiles(&requests, f64::from(rate)));
    found.ok_or_else(|| Error::Tool {
        tool: line,
        output: format!("(not {count} good answers)"),
    })
}

/// A request that oha has made.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Request {
    /// When it was sent, seconds since the beginning.
    sent: f64,
    /// How long after it was due it was answered, seconds.
    took: f64,
}

/// Finds all in oha's CSV, which has the good ones only; none where an answer is no good. Its JSON has percentiles, but of
/// all requests: those that make a connection would be among the slowest.
fn requests(printed: &str) -> Option<Vec<Request>> {
    let mut lines = printed.lines();
    let names: Vec<&str> = lines.next()?.split(',').collect();
    let column = |name| names.iter().position(|&named| named == name);
    let (sent, took) = (column("request-start")?, column("request-duration")?);
    let status = column("status")?;
    let request = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        let number = |column: usize| fields.get(column)?.parse().ok();
        (number(status)? == 200.0).then_some(Request {
            sent: number(sent)?,
            took: number(took)?,
        })
    };
    lines.map(request).collect()
}

/// Of those sent after warming up; none where there are none.
fn percentiles(requests: &[Request], rate: f64) -> Option<Percentiles> {
    let last = requests
        .iter()
        .map(|request| request.sent)
        .reduce(f64::max)?;
    let measured = requests
        .iter()
        .filter(|request| request.sent >= f64::from(WARM_UP));
    let mut micros: Vec<f64> = measured.map(|request| 1e6 * request.took).collect();
    micros.sort_by(f64::total_cmp);
    let count = u32::try_from(requests.len()).ok()?;
    // The least that so many thousandths do not exceed.
    let at = |thousandths: usize| {
        let rank = (micros.len() * thousandths).div_ceil(1000);
        micros.get(rank.saturating_sub(1)).copied()
    };
    Some(Percentiles {
        p50: at(500)?,
        p99: at(990)?,
        p999: at(999)?,
        // The first is due at once.
        kept: f64::from(count.saturating_sub(1)) / (rate * last),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "request-start,DNS,DNS+dialup,Response-delay,request-duration,bytes,status";

    #[test]
    fn requests_are_found_in_what_oha_prints() {
        let first = "0.000951557,0.000000671,0.000090312,0.000341,0.00040106,128,200";
        let printed = format!("{HEAD}\n{first}\n1.25,0,0,0.0001,0.0002,128,200\n");
        let requests = requests(&printed).unwrap();
        assert_eq!(
            requests,
            [(0.000951557, 0.00040106), (1.25, 0.0002)].map(|(sent, took)| Request { sent, took })
        );
    }

    #[test]
    fn what_went_wrong_is_no_measurement() {
        for line in ["1,0,0,0.1,0.2,9,404", "1,0,0,0.1", "1,0,0,0.1,soon,128,200"] {
            assert_eq!(requests(&format!("{HEAD}\n{line}\n")), None);
        }
        assert_eq!(requests("something else\n1,2\n"), None);
        assert_eq!(requests(""), None);
        assert_eq!(percentiles(&[], 1.0), None);
    }

    #[test]
    fn percentiles_leave_warming_up_out() {
        // 1000 a second for two seconds; those of the first are slow.
        let requests: Vec<Request> = (0..2000)
            .map(|number| Request {
                sent: f64::from(number) / 1000.0,
                took: match number {
                    ..1000 => 1.0,
                    _ => f64::from(number - 999) / 1e6,
                },
            })
            .collect();
        let found = percentiles(&requests, 1000.0).unwrap();
        let rounded = [found.p50, found.p99, found.p999].map(f64::round);
        assert_eq!(rounded, [500.0, 990.0, 999.0]);
        assert!((found.kept - 1.0).abs() < 1e-9, "{found:?}");
        let behind = percentiles(&requests, 2000.0).unwrap();
        assert!((behind.kept - 0.5).abs() < 1e-9, "{behind:?}");
    }

    #[test]
    fn rates_are_whole_tens() {
        assert_eq!(round(1234.5), 1230);
        assert_eq!(round(3.0), 10);
        assert_eq!(round(f64::INFINITY), 10_000_000);
    }
}
