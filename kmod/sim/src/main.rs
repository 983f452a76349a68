// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `l7sim`: runs seeds, and shows one.

use std::time::Instant;

use clap::Parser;
use l7switch_sim::generate::Size;
use l7switch_sim::generate::plan;
use l7switch_sim::last_lines;
use l7switch_sim::report::Report;
use l7switch_sim::run;

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
    /// Goes on after a seed that fails.
    #[arg(long)]
    go_on: bool,
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
    let (mut runs, mut failed) = (0, 0);
    let mut seed = args.seed;
    loop {
        if let Some(grade) = args.grade.filter(|_| args.level >= 2) {
            while plan(seed, size).grade != grade {
                seed += 1;
            }
        }
        runs += 1;
        let report = run(seed, size, args.trace);
        if args.trace {
            println!("{:#?}", plan(seed, size));
            for line in &report.trace {
                println!("{line}");
            }
        }
        if !report.errors.is_empty() {
            failed += 1;
            println!("seed {seed}: {}", report.errors.join("\n    "));
            if !args.trace && !args.go_on {
                // It was not kept, since most seeds do not fail.
                println!("{}", last_lines(&run(seed, size, true).trace));
            }
        }
        if report.chance > 0 {
            println!("seed {seed} ended at a cookie met by chance");
        }
        total.add(&report);
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
    println!("{:#?}", total.stats);
    println!("{:#?}", total.outcomes);
    println!(
        "{} requests had to come to two servers, {} were begun again by late segments, {} runs ended at a cookie met by chance",
        total.twice, total.late, total.chance
    );
    println!(
        "{runs} seeds before {seed}, {failed} failed; {} connections, {} exchanges, {} packets, {} MB in {seconds:.1} s: {:.0} connections/s",
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
