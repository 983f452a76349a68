// SPDX-License-Identifier: MIT
//! What was measured on a machine, for people: a page in Markdown.

use std::fmt::Write as _;

use super::Contender;
use super::Findings;
use super::LATENCY_CASE;
use super::encrypted;
use super::latency::Latencies;
use super::latency::Percentiles;
use super::rates::Rates;
use super::rates::Sample;

/// What the front may take of nginx's time, and with TLS of the best one's: the project's goal.
const GOAL: f64 = 0.8;

/// The page; `place` says on what and when it was measured.
#[must_use]
pub(crate) fn page(findings: &Findings, place: &str) -> String {
    let Findings {
        plan,
        idle,
        rates,
        encrypted,
        latencies,
        versions,
    } = findings;
    format!(
        "<!-- SPDX-License-Identifier: MIT -->\n# Measured on a machine\n\n\
         `make bench-host` writes this page; [measurements.md](../measurements.md#on-a-machine) says how.\n\n\
         {place}.\nBefore it, the processors were idle for {:.0} % of the time.\n{}.\n\n\
         ## Requests per second\n\n\
         Medians of {rounds} rounds of {} s each, in turn. In brackets the front's rate by this one: the median of\n\
         each round's ratio.\n\n{}\n\
         ## Processor time of a request\n\n\
         Microseconds that the proxy takes for a request, in user space and in the kernel. In brackets the front's time by this\n\
         one.\n\n{}\n\
         {}\n\n{}\
         ## Latency\n\n\
         Microseconds from when a request of {LATENCY_CASE} is due to the end of its answer, at 25, 50 and 75 % of what the\n\
         slowest proxy does above. Medians of {rounds} rounds of {} s each, in turn.\n\n{}\n\
         At least {:.0} % of each rate were sent. oha sends what is due once in a millisecond, so that requests come in\n\
         groups: a latency includes waiting for the others of the group, *direct* too.\n\n\
         ## What it does not show\n\n\
         Networks and their cards, more than one processor for the proxy, more than {} connections, TLS to the real server:\n\
         client, proxy and real server are one machine's, and speak over its loopback.\n",
        100.0 * idle,
        versions.join(", "),
        plan.seconds,
        table(rates, Contender::ALL.as_slice(), 0, |sample| sample.rate),
        table(rates, Contender::proxies(), 1, |sample| sample.cost),
        goal(rates),
        with_tls(encrypted),
        plan.latency_seconds,
        latency_table(latencies),
        100.0 * kept(latencies),
        rates
            .iter()
            .map(|rates| rates.connections)
            .max()
            .unwrap_or_default(),
        rounds = plan.rounds,
    )
}

/// What was measured with TLS.
fn with_tls(rates: &[Rates]) -> String {
    let cases = encrypted::CASES.iter().fold(String::new(), |text, case| {
        text + &format!("| {} | {} |\n", case.name, case.about)
    });
    let goals = rates.iter().filter_map(|rates| {
        let best = rates.best()?;
        let ratio = rates.ratio(best, |sample| sample.cost);
        let (name, reached) = (best.name(), reached(ratio));
        Some(format!(
            "- {ratio:.2} of {name}'s in {} ({reached})\n",
            rates.name
        ))
    });
    format!(
        "## TLS and HTTP/2\n\n\
         TLS 1.3 with TLS_AES_128_GCM_SHA256, X25519 and an ECDSA certificate (P-256) towards the client, clear text to the real\n\
         server, by HTTP/1.1 except in grpc-unary.\n\n\
         | | |\n|---|---|\n{cases}\n\
         Microseconds of the proxy's processor time for a handshake or a request. In brackets the front's time by this one.\n\n{}\n\
         The goal is that the front takes at most {GOAL} of the best one's time. It takes\n\n{}\n",
        table(rates, Contender::proxies(), 1, |sample| sample.cost),
        goals.collect::<String>(),
    )
}

/// The head of a table with a column for each contender.
fn head(contenders: &[Contender], columns: &str) -> String {
    let names: Vec<&str> = contenders
        .iter()
        .map(|contender| contender.name())
        .collect();
    format!(
        "|{columns} {} |\n|---|{}\n",
        names.join(" | "),
        "---:|".repeat(columns.matches('|').count() - 1 + names.len())
    )
}

/// A row for each case.
fn table(
    rates: &[Rates],
    contenders: &[Contender],
    places: usize,
    what: fn(&Sample) -> f64,
) -> String {
    let mut text = head(contenders, " |");
    for rates in rates {
        let _ = write!(text, "| {} |", rates.name);
        for &contender in contenders {
            let _ = write!(text, " {:.places$}", rates.median(contender, what));
            if !matches!(contender, Contender::Direct | Contender::Front) {
                let _ = write!(text, " ({:.2})", rates.ratio(contender, what));
            }
            text += " |";
        }
        text.push('\n');
    }
    text
}

/// Whether the goal is reached.
fn goal(rates: &[Rates]) -> String {
    let measured: Vec<String> = rates
        .iter()
        .map(|rates| {
            let ratio = rates.ratio(Contender::Nginx, |sample| sample.cost);
            format!("{ratio:.2} in {} ({})", rates.name, reached(ratio))
        })
        .collect();
    format!(
        "The goal is that the front takes at most {GOAL} of nginx's time. It takes\n{}.",
        measured.join(", ")
    )
}

/// Whether a ratio is the goal's.
fn reached(ratio: f64) -> &'static str {
    match ratio <= GOAL {
        true => "reached",
        false => "not reached",
    }
}

/// Three rows for each rate.
fn latency_table(latencies: &[Latencies]) -> String {
    let percentiles: [fn(&Percentiles) -> f64; 3] =
        [|found| found.p50, |found| found.p99, |found| found.p999];
    let mut text = head(&Contender::ALL, " per second | |");
    for latencies in latencies {
        for (name, what) in ["p50", "p99", "p99.9"].into_iter().zip(percentiles) {
            let (rate, share) = (latencies.rate, 100.0 * latencies.share);
            let _ = write!(text, "| {rate} ({share:.0} %) | {name} |");
            for contender in Contender::ALL {
                let _ = write!(text, " {:.0} |", latencies.median(contender, what));
            }
            text.push('\n');
        }
    }
    text
}

/// The least share of a rate that was sent.
fn kept(latencies: &[Latencies]) -> f64 {
    let all = latencies.iter().flat_map(|latencies| {
        Contender::ALL.map(|contender| latencies.median(contender, |sample| sample.kept))
    });
    all.fold(1.0, f64::min)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::Plan;
    use super::*;

    #[test]
    fn the_page_has_all_numbers() {
        let sample = |contender| Sample {
            rate: if contender == Contender::Front {
                20_000.0
            } else {
                25_000.0
            },
            cost: if contender == Contender::Front {
                50.0
            } else {
                40.0
            },
        };
        let percentiles = Percentiles {
            p50: 101.0,
            p99: 202.0,
            p999: 303.0,
            kept: 0.97,
        };
        let samples = || BTreeMap::from(Contender::ALL.map(|of| (of, vec![sample(of)])));
        let findings = Findings {
            plan: Plan {
                rounds: 1,
                seconds: 2,
                latency_seconds: 3,
            },
            idle: 0.991,
            rates: vec![Rates {
                name: LATENCY_CASE,
                connections: 16,
                samples: samples(),
            }],
            encrypted: vec![Rates {
                name: "tls-handshake",
                connections: 4,
                samples: samples(),
            }],
            latencies: vec![Latencies {
                share: 0.25,
                rate: 5000,
                samples: BTreeMap::from(Contender::ALL.map(|of| (of, vec![percentiles]))),
            }],
            versions: vec!["nginx 1.2.3".to_owned(), "oha 4.5.6".to_owned()],
        };
        let page = page(&findings, "Some processor");
        for part in [
            "Some processor.\nBefore it, the processors were idle for 99 % of the time.\nnginx 1.2.3, oha 4.5.6.\n",
            "| | direct | front | HAProxy | nginx | Envoy | Traefik |\n|---|---:|---:|---:|---:|---:|---:|\n",
            "| keepalive-128B | 25000 | 20000 | 25000 (0.80) | 25000 (0.80) | 25000 (0.80) | 25000 (0.80) |\n",
            "| | front | HAProxy | nginx | Envoy | Traefik |\n|---|---:|---:|---:|---:|---:|\n",
            "| keepalive-128B | 50.0 | 40.0 (1.25) |",
            "It takes\n1.25 in keepalive-128B (not reached).",
            "| tls-handshake | full handshakes, no request |\n",
            "| tls-handshake | 50.0 | 40.0 (1.25) | 40.0 (1.25) | 40.0 (1.25) | 40.0 (1.25) |\n",
            "It takes\n\n- 1.25 of HAProxy's in tls-handshake (not reached)\n",
            "more than 16 connections",
            "| per second | | direct | front | HAProxy | nginx | Envoy | Traefik |\n|---|---:|---:|---:|---:|---:|---:|---:|\n",
            "| 5000 (25 %) | p99.9 | 303 | 303 | 303 | 303 | 303 | 303 |\n",
            "At least 97 % of each rate were sent.",
        ] {
            assert!(page.contains(part), "{part}\nis not in\n{page}");
        }
    }
}
