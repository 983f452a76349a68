// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Seeds that have failed, and fresh ones for some seconds (`L7_SIM_SECONDS`, 5).

use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use l7switch_sim::generate::Size;
use l7switch_sim::run;
use l7switch_sim::world::Report;

fn size(level: u8) -> Size {
    Size {
        connections: 20,
        level,
    }
}

fn check(level: u8, seed: u64) -> Report {
    let report = run(seed, size(level), false);
    if !report.errors.is_empty() {
        let trace = run(seed, size(level), true).trace;
        let tail = &trace[trace.len().saturating_sub(60)..];
        panic!(
            "level {level}, seed {seed}: {}\n{}\nl7sim --level {level} --seed {seed} --trace shows all of it",
            report.errors.join("\n"),
            tail.join("\n")
        );
    }
    report
}

/// What a run of these seeds has found is said in the history; the generator has changed since, so that they are here for
/// being many.
#[test]
fn seeds_that_were_run_before() {
    let mut total = Report::default();
    for level in 0..3 {
        for seed in [
            1, 2, 3, 4, 10, 13, 18, 19, 27, 28, 31, 42, 43, 51, 84, 96, 116, 128, 139, 156, 231,
            243, 265, 312, 349, 393, 455, 560,
        ] {
            total.add(&check(level, seed));
        }
    }
    // A simulation in which nothing happens finds nothing.
    assert!(total.exchanges > 1_000, "{} exchanges", total.exchanges);
    for what in [
        "Rebind",
        "Replay",
        "Unsolicited",
        "OutOfOrder",
        "OutOfWindow",
        "NoFront",
    ] {
        assert!(total.stats.events.contains_key(what), "no {what}");
    }
    for verdict in [
        "open",
        "hold",
        "part-hold",
        "reopen",
        "pass",
        "server-part",
        "taken",
        "no-port",
    ] {
        assert!(total.stats.verdicts.contains_key(verdict), "no {verdict}");
    }
}

#[test]
fn fresh_seeds() {
    let seconds = std::env::var("L7_SIM_SECONDS")
        .ok()
        .and_then(|seconds| seconds.parse().ok())
        .unwrap_or(5);
    let base = SystemTime::UNIX_EPOCH
        .elapsed()
        .map_or(1, |time| time.as_nanos() as u64 >> 10);
    println!("base seed {base}");
    let start = Instant::now();
    let mut total = Report::default();
    let mut seed = base;
    while start.elapsed() < Duration::from_secs(seconds) {
        for level in [0, 1, 2, 2, 2] {
            total.add(&check(level, seed));
            seed += 1;
        }
    }
    println!(
        "{} seeds, {} connections, {} exchanges",
        seed - base,
        total.connections,
        total.exchanges
    );
}

#[test]
fn a_seed_is_the_same_every_time() {
    let once = run(7, size(2), true);
    let again = run(7, size(2), true);
    assert_eq!(once.trace, again.trace);
    assert!(once.trace.len() > 100);
}
