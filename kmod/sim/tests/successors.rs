// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A successor in the switch's place, that knows of connections what their records say: at every event of some seeds, at many
//! of others, and at those of fresh ones for some seconds (`L7_SIM_SECONDS`, 5). Nothing may be otherwise for clients and
//! servers than without it.

use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use l7switch_engine::environment::Imported;
use l7switch_engine::environment::RECORD_MAX;
use l7switch_engine::flow::Flow;
use l7switch_engine::record::ImportError;
use l7switch_engine::record::Reader;
use l7switch_engine::record::Writer;
use l7switch_sim::generate::Size;
use l7switch_sim::last_lines;
use l7switch_sim::report::Report;
use l7switch_sim::run_restarting;
use l7switch_sim::world::Restarts;

/// Ns, more than any age.
const NOW: u64 = 1 << 62;

fn size(level: u8) -> Size {
    Size {
        connections: 6,
        level,
        extras: true,
    }
}

fn check(level: u8, seed: u64, restarts: Restarts) -> Report {
    let report = run_restarting(seed, size(level), restarts, false);
    if !report.errors.is_empty() {
        let trace = run_restarting(seed, size(level), restarts, true).trace;
        panic!(
            "level {level}, seed {seed}, {restarts:?}: {}\n{}\nl7sim --size 6 --level {level} --seed {seed} and --restart or --restarts shows it",
            report.errors.join("\n"),
            last_lines(&trace)
        );
    }
    report
}

#[test]
fn a_successor_may_come_at_any_event() {
    let mut points = 0;
    let mut total = Report::default();
    // Runs with large bodies have thousands of events, most of them alike.
    for (level, seed, step) in [(0, 1, 1), (0, 2, 1), (1, 1001, 7), (2, 2001, 7)] {
        let events = check(level, seed, Restarts::Never).events;
        assert!(events > 50, "{events}");
        for event in (1..=events).step_by(step) {
            total.add(&check(level, seed, Restarts::Before(event)));
            points += 1;
        }
    }
    assert_eq!(total.stats.verdicts.get("restart"), Some(&points));
    assert!(total.stats.records > points / 2, "{}", total.stats.records);
}

#[test]
fn successors_may_follow_each_other() {
    let mut total = Report::default();
    for level in 0..3 {
        for seed in 1..=60 {
            total.add(&check(level, seed, Restarts::Often(3000)));
        }
    }
    for what in ["Rebind", "Connect", "OutOfOrder", "ToFront"] {
        assert!(total.stats.events.contains_key(what), "no {what}");
    }
    let stats = &total.stats;
    assert!(stats.records > 1000, "{} records", stats.records);
    assert!(stats.longest_record <= RECORD_MAX as u64);
    let mean = stats.record_bytes / stats.records;
    assert!((60..190).contains(&mean), "{mean} bytes");
}

#[test]
fn fresh_seeds_bear_successors() {
    let seconds = std::env::var("L7_SIM_SECONDS").ok();
    let seconds = seconds
        .and_then(|seconds| seconds.parse().ok())
        .unwrap_or(5);
    let end = Instant::now() + Duration::from_secs(seconds);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let mut seed = now.map_or(1, |now| now.as_micros() as u64);
    while Instant::now() < end {
        check((seed % 3) as u8, seed, Restarts::Often(3000));
        seed += 1;
    }
}

/// Of a record that is not as it was written nothing is taken, or what it says.
#[test]
fn a_record_that_is_damaged_is_refused_or_read_as_it_stands() {
    let mut samples = Vec::new();
    for (level, seed) in [(0, 5), (1, 5), (2, 5), (2, 6)] {
        let report = check(level, seed, Restarts::Often(20_000));
        samples.extend(report.stats.samples.into_iter().take(40));
    }
    assert!(samples.len() > 60, "{}", samples.len());
    let (mut refused, mut read) = (0, 0);
    for sample in &samples {
        assert!(Imported::read(sample, NOW).is_ok(), "{sample:02x?}");
        for end in 0..sample.len() {
            assert_eq!(
                Imported::read(&sample[..end], NOW).map(|_| ()),
                Err(ImportError::Short),
                "{end} of {sample:02x?}"
            );
        }
        let longer = [sample, &[0][..]].concat();
        let error = Imported::read(&longer, NOW).map(|_| ());
        assert_eq!(error, Err(ImportError::Long));
        for at in 0..sample.len() {
            for bit in 0..8 {
                let mut other = sample.clone();
                other[at] ^= 1 << bit;
                if Imported::read(&other, NOW).is_err() {
                    refused += 1;
                    continue;
                }
                read += 1;
                let flow = Flow::import(NOW, &mut Reader::new(&other[1..])).unwrap();
                let mut bytes = [0; RECORD_MAX];
                let mut writer = Writer::new(&mut bytes);
                flow.export(NOW, &mut writer);
                let len = writer.finish().unwrap();
                assert_eq!(bytes[..len], other[1..=len], "{at} {bit}: {sample:02x?}");
            }
        }
    }
    assert!(refused > 1000 && read > 1000, "{refused} {read}");
}
