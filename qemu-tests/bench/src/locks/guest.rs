// SPDX-License-Identifier: MIT
//! The measurement, in the guest: a load on all processors while the kernel's tracer writes down who waits for a lock.
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
use std::path::Path;

use l7switch_qemu_tests::kit::Network;
use l7switch_qemu_tests::printed::Printed as _;

use super::PROCESSORS;
use super::contention::Contention;
use super::contention::Found;
use super::contention::Places;
use super::trace;
use super::trace::Modules;
use super::trace::SLOW_PATH;
use super::trace::SPIN_BEGIN;
use super::trace::SPIN_END;
use crate::case::Case;
use crate::contender::Contender;
use crate::guest::Load;
use crate::guest::load;
use crate::programs;

/// Where the kernel's tracer is.
const TRACER: &str = "/sys/kernel/tracing";
/// Room for events, KiB for each processor: some 100,000 with their stacks.
const ROOM: &str = "65536";
/// Lines of the trace that are printed.
const SHOWN: usize = 300;
/// How long the load runs before it is measured, in seconds.
const WARM_UP: u32 = 1;
/// How long it is measured.
const SECONDS: u32 = 3;

/// Packets that the switch's devices take in, by processor.
const PACKETS: &str = "net/netif_receive_skb";
const BY_PROCESSOR: &str = r#"hist:keys=common_cpu if name == "client" || name == "server1""#;

/// Measures, and prints what came of it.
pub(crate) fn run(who: Contender, case: &Case) {
    let case = &Case {
        processors: PROCESSORS,
        ..*case
    };
    let network = Network::with_servers(1);
    let mut contender = programs::start(who, case, &network);
    // As a network card with several queues: by the packet's ends, so that each direction of a connection has its own.
    for device in ["client", "server1"] {
        let mask = (1 << PROCESSORS) - 1;
        network.switch.run(&format!(
            "ip netns exec switch sh -c 'echo {mask:x} > /sys/class/net/{device}/queues/rx-0/rps_cpus'"
        ));
    }
    let url = contender.url().to_owned();
    let asked = |seconds| load(&network.client, case, &url, seconds);
    set("tracing_on", "0");
    asked(WARM_UP);
    let without = asked(SECONDS);
    begin();
    let before = packets();
    // A stack takes longer than most waits: first without.
    let timed = traced(|| asked(SECONDS));
    let after = packets();
    stacks();
    let placed = traced(|| asked(SECONDS));
    end();
    let module = super::module_of(who);
    let symbols = fs::read_to_string("/proc/kallsyms").unwrap();
    let modules = Modules::parse(&symbols);
    let found = Found {
        version: programs::version(who, &network.switch),
        requests: timed.load.requests,
        seconds: timed.load.seconds(),
        slower: 1.0 - timed.load.rate(case) / without.rate(case),
        packets: after
            .iter()
            .zip(before)
            .map(|(after, before)| after - before)
            .collect(),
        lost: timed.lost + placed.lost,
        contention: Contention::of(&trace::read(&timed.text, &modules), None),
        places: Places {
            requests: placed.load.requests,
            slower: 1.0 - placed.load.rate(case) / without.rate(case),
            contention: Contention::of(&trace::read(&placed.text, &modules), module),
        },
    };
    contender.show();
    // For whoever wants to see what it is made of.
    for line in placed.text.lines().take(SHOWN) {
        println!("{line}");
    }
    found.print();
}

/// A load, and what was written meanwhile.
struct Traced {
    load: Load,
    text: String,
    lost: u64,
}

fn traced(load: impl FnOnce() -> Load) -> Traced {
    // Empties it, and what it has counted.
    set("trace", "");
    set("tracing_on", "1");
    let load = load();
    set("tracing_on", "0");
    let text = fs::read_to_string(Path::new(TRACER).join("trace")).unwrap();
    let lost = (0..PROCESSORS).map(lost).sum();
    Traced { load, text, lost }
}

fn set(setting: &str, value: &str) {
    let path = Path::new(TRACER).join(setting);
    fs::write(&path, value).unwrap_or_else(|error| panic!("{value} > {}: {error}", path.display()));
}

fn add(setting: &str, value: &str) {
    let path = Path::new(TRACER).join(setting);
    let written = File::options()
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(value.as_bytes()));
    written.unwrap_or_else(|error| panic!("{value} >> {}: {error}", path.display()));
}

/// Has the kernel see what is waited for. Nothing is written before `tracing_on`.
fn begin() {
    set("buffer_size_kb", ROOM);
    add(
        "dynamic_events",
        &format!("p:l7/{SPIN_BEGIN} {SLOW_PATH} lock=%di"),
    );
    add("dynamic_events", &format!("r:l7/{SPIN_END} {SLOW_PATH}"));
    set(&format!("events/{PACKETS}/trigger"), BY_PROCESSOR);
    // Ends first: no beginning is without one.
    for event in [
        &format!("l7/{SPIN_END}"),
        &format!("l7/{SPIN_BEGIN}"),
        "lock/contention_end",
        "lock/contention_begin",
    ] {
        set(&format!("events/{event}/enable"), "1");
    }
}

/// Has stacks of calls written from now on.
fn stacks() {
    for event in [&format!("l7/{SPIN_BEGIN}"), "lock/contention_begin"] {
        set(&format!("events/{event}/trigger"), "stacktrace");
    }
}

fn end() {
    for group in ["l7", "lock"] {
        set(&format!("events/{group}/enable"), "0");
    }
}

/// Packets that the switch has taken in, by processor.
fn packets() -> Vec<u64> {
    let path = Path::new(TRACER).join(format!("events/{PACKETS}/hist"));
    super::contention::by_processor(&fs::read_to_string(path).unwrap(), PROCESSORS)
}

/// Events for which a processor had no room, and calls whose return was not seen.
fn lost(processor: u8) -> u64 {
    let path = Path::new(TRACER).join(format!("per_cpu/cpu{processor}/stats"));
    super::contention::lost(&fs::read_to_string(path).unwrap())
}
