// SPDX-License-Identifier: MIT
//! The module comes and goes, and says what it is.

use l7switch_netlink::Client;
use l7switch_netlink::Error;

use crate::kit::Host;
use crate::kit::Module;
use crate::kit::kib;

pub(super) fn says_what_it_is() {
    assert!(matches!(Client::open(), Err(Error::NotLoaded)));
    let _module = Module::try_load("max_table_len=1000000 max_flows=512").unwrap();
    let module = Client::open().unwrap().module().unwrap();
    assert_eq!(module.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(module.table_layout, l7switch_engine::table::format::VERSION);
    assert_eq!((module.max_table_len, module.max_flows), (1_000_000, 512));
    assert_eq!((module.generation, module.table_len), (0, None));
    assert!(module.counters.iter().all(|counter| counter.value == 0));
}

pub(super) fn l7ctl_says_what_to_do_without_it() {
    let host = Host::new("alone");
    let attempt = host.attempt("l7ctl kernel status");
    assert_eq!(attempt.code(), 2, "{}", attempt.stderr);
    assert!(
        attempt.stderr.contains("modprobe l7switch"),
        "{}",
        attempt.stderr
    );
}

/// What loading takes and going does not give back would add up.
pub(super) fn loads_and_goes_many_times() {
    let round = || {
        for _ in 0..10 {
            Module::load().unload().unwrap();
        }
    };
    // The first rounds fill caches that stay.
    round();
    let before = kib("SUnreclaim") + kib("Percpu") + kib("VmallocUsed");
    round();
    let after = kib("SUnreclaim") + kib("Percpu") + kib("VmallocUsed");
    println!("{before} KiB before, {after} KiB after");
    assert!(
        after < before + 512,
        "{before} KiB before, {after} KiB after"
    );
}
