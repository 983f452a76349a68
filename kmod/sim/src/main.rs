// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `l7sim`: runs seeds, and shows one.

use std::time::Instant;

use clap::Parser;
use l7switch_sim::generate::Size;
use l7switch_sim::generate::plan;
use l7switch_sim::last_lines;
use l7switch_sim::report::Report;
use l7switch_sim::run_restarting;
use l7switch_sim::world::Restarts;

/// A cookie is met by chance on less than one of so many connections.
const CHANCE: u64 = 100_000;

/// The flow engine between real TCP stacks over a simulated network.
#[derive(Parser)]
struct Args {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seeds, one after the other.
    #[arg(long, default_value_t = 1)]
    runs: u64,
    /// Connections of all runs; goes on with further seeds until there were so many.
    #[arg(long)]
    connections: Option<u64>,
    /// Connections of a run.
    #[arg(long, default_value_t = 20)]
    size: usize,
    /// How much goes wrong: 0 to 2.
    #[arg(long, default_value_t = 2)]
    level: u8,
    /// Of level 2, only seeds whose network is so bad: 0 (clean) to 3.
    #[arg(long, value_parser = clap::value_parser!(u8).range(..=3))]
    grade: Option<u8>,
    /// Without PROXY headers and bounds of servers: the seeds of before there were any.
    #[arg(long)]
    plain: bool,
    /// Prints the plan and every packet.
    #[arg(long)]
    trace: bool,
    /// A successor takes the switch's place before this event, by its number from 1.
    #[arg(long, conflicts_with = "restarts")]
    restart: Option<u64>,
    /// The same before so many of a million events, by chance.
    #[arg(long)]
    restarts: Option<u32>,
    /// The same before each event of each seed, one run for each.
    #[arg(long, conflicts_with_all = ["restart", "restarts"])]
    every: bool,
    /// Goes on after a seed that fails.
    #[arg(long)]
    go_on: bool,
}

/// The successors of a seed's runs, of which there is one where nothing else is said.
fn restarts(args: &Args, seed: u64, size: Size) -> Vec<Restarts> {
    match (args.restart, args.restarts) {
        (Some(event), _) => vec![Restarts::Before(event)],
        (_, Some(ppm)) => vec![Restarts::Often(ppm)],
        _ if args.every => {
            let events = run_restarting(seed, size, Restarts::Never, false).events;
            (1..=events).map(Restarts::Before).collect()
        }
        _ => vec![Restarts::Never],
    }
}

fn main() {
    let args = Args::parse();
    let size = Size {
        connections: args.size,
        level: args.level,
        extras: !args.plain,
    };
    let start = Instant::now();
    let mut total = Report::default();
    let (mut runs, mut points, mut failed) = (0, 0, 0);
    let mut seed = args.seed;
    loop {
        if let Some(grade) = args.grade.filter(|_| args.level >= 2) {
            while plan(seed, size).grade != grade {
                seed += 1;
            }
        }
        runs += 1;
        for restarts in restarts(&args, seed, size) {
            points += 1;
            let report = run_restarting(seed, size, restarts, args.trace);
            if args.trace {
                println!("{:#?}", plan(seed, size));
                for line in &report.trace {
                    println!("{line}");
                }
            }
            total.add(&report);
            if report.chance > 0 {
                println!("seed {seed} ended at a cookie met by chance");
            }
            if !report.errors.is_empty() {
                failed += 1;
                let errors = report.errors.join("\n    ");
                println!("seed {seed}, successors {restarts:?}: {errors}");
                if args.go_on {
                    continue;
                }
                if !args.trace {
                    // It was not kept, since most seeds do not fail.
                    let trace = run_restarting(seed, size, restarts, true).trace;
                    println!("{}", last_lines(&trace));
                }
                break;
            }
        }
        seed += 1;
        let enough = match args.connections {
            Some(connections) => total.connections >= connections,
            None => runs >= args.runs,
        };
        if enough || (failed > 0 && !args.go_on) {
            break;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    total.stats.samples.clear();
    println!("{:#?}", total.stats);
    println!("{:#?}", total.outcomes);
    println!(
        "{} requests had to come to two servers, {} were begun again by late segments, {} runs ended at a cookie met by chance",
        total.twice, total.late, total.chance
    );
    println!(
        "{runs} seeds before {seed}, {points} runs, {failed} failed; {} connections, {} exchanges, {} packets, {} MB in {seconds:.1} s: {:.0} connections/s",
        total.connections,
        total.exchanges,
        total.packets,
        total.bytes / 1_000_000,
        total.connections as f64 / seconds,
    );
    // More are no chance.
    let chances = total.chance > 1 + total.connections / CHANCE;
    if chances {
        println!("cookies are met too often");
    }
    std::process::exit(i32::from(failed > 0 || chances));
}
