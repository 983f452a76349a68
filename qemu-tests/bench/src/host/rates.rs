// SPDX-License-Identifier: MIT
//! How many requests per second each contender does at most, and what one takes of processor time.

use std::collections::BTreeMap;

use l7switch_qemu_tests::error::Error;
use l7switch_qemu_tests::error::Result;
use l7switch_qemu_tests::host::tool;

use super::super::case::Case;
use super::super::configuration;
use super::super::guest::Load;
use super::CLIENTS;
use super::Contender;
use super::Plan;
use super::Stage;
use super::stage;
use crate::median::median;

/// Seconds of load before what is measured.
pub(super) const WARM_UP: u32 = 1;

/// What is found in one round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// Requests per second.
    pub(super) rate: f64,
    /// The proxy's processor time for a request, in user space and in the kernel, µs.
    pub(super) cost: f64,
}

/// A case, with a sample of each round.
#[derive(Debug)]
pub(super) struct Rates {
    /// The case's name.
    pub(super) name: &'static str,
    /// How many connections the client has.
    pub(super) connections: u32,
    pub(super) samples: BTreeMap<Contender, Vec<Sample>>,
}

impl Rates {
    /// Measures all contenders, in turn.
    pub(super) fn measure(stage: Stage, plan: Plan) -> Result<Self> {
        let case = stage.case;
        let script = stage.write("load.lua", configuration::load(case))?;
        let mut samples: BTreeMap<Contender, Vec<Sample>> = BTreeMap::new();
        for _ in 0..plan.rounds {
            for contender in Contender::ALL {
                let url = stage.url(contender);
                load(case, &script, &url, WARM_UP)?;
                let before = stage.processor_time(contender)?;
                let load = load(case, &script, &url, plan.seconds)?;
                let time = stage.processor_time(contender)? - before;
                let rate = load.rate(case);
                let cost = 1e6 * time / (rate * load.seconds());
                let sample = Sample { rate, cost };
                samples.entry(contender).or_default().push(sample);
            }
        }
        Ok(Self {
            name: case.name,
            connections: case.connections,
            samples,
        })
    }

    /// The median of what is asked for.
    pub(super) fn median(&self, of: Contender, what: fn(&Sample) -> f64) -> f64 {
        let samples = self.samples.get(&of).into_iter().flatten();
        median(samples.map(what))
    }

    /// The median of each round's ratio, the front's by another's.
    pub(super) fn ratio(&self, other: Contender, what: fn(&Sample) -> f64) -> f64 {
        let of = |contender| self.samples.get(&contender).into_iter().flatten().map(what);
        median(
            of(Contender::Front)
                .zip(of(other))
                .map(|(front, other)| front / other),
        )
    }

    /// The proxy beside the front that takes the least processor time.
    pub(super) fn best(&self) -> Option<Contender> {
        let others = self.samples.keys().copied();
        others
            .filter(|of| !matches!(of, Contender::Direct | Contender::Front))
            .min_by(|&one, &other| {
                let cost = |of| self.median(of, |sample| sample.cost);
                cost(one).total_cmp(&cost(other))
            })
    }

    /// The rate of the slowest proxy.
    pub(super) fn slowest(&self) -> f64 {
        let proxies = Contender::ALL
            .into_iter()
            .filter(|&of| of != Contender::Direct);
        let rates = proxies.map(|proxy| self.median(proxy, |sample| sample.rate));
        rates.fold(f64::INFINITY, f64::min)
    }
}

/// Has wrk ask for some seconds.
fn load(case: &Case, script: &str, url: &str, seconds: u32) -> Result<Load> {
    let wrk = format!(
        "exec wrk -t1 -c{} -s {script} {} -d{seconds}s {url}",
        case.connections, case.options
    );
    let line = ["sh", "-c", &wrk].map(str::to_owned);
    let printed = tool::output(&mut stage::on(CLIENTS, &line))?;
    Load::find(&printed).ok_or(Error::Tool {
        tool: wrk,
        output: printed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_each_round() {
        let sample = |rate| Sample {
            rate,
            cost: 1e6 / rate,
        };
        // The machine is half as fast in the second round.
        let rates = Rates {
            name: "keepalive-128B",
            connections: 16,
            samples: BTreeMap::from([
                (Contender::Front, [100.0, 50.0, 120.0].map(sample).to_vec()),
                (Contender::Nginx, [80.0, 40.0, 96.0].map(sample).to_vec()),
                (Contender::Haproxy, [50.0, 25.0, 60.0].map(sample).to_vec()),
            ]),
        };
        assert_eq!(rates.ratio(Contender::Nginx, |sample| sample.rate), 1.25);
        assert_eq!(rates.ratio(Contender::Nginx, |sample| sample.cost), 0.8);
        assert_eq!(rates.median(Contender::Front, |sample| sample.rate), 100.0);
        assert_eq!(rates.best(), Some(Contender::Nginx));
    }
}
