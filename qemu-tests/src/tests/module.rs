// SPDX-License-Identifier: MIT
//! The module comes and goes, and says what it is.

use l7switch_netlink::Client;
use l7switch_netlink::Error;

use super::requests::RULES;
use super::requests::rules;
use crate::kit::Host;
use crate::kit::Module;
use crate::kit::kib;
use crate::kit::shrink_slabs;
use crate::kit::taken;

pub(super) fn says_what_it_is() {
    assert!(matches!(Client::open(), Err(Error::NotLoaded)));
    let _module = Module::try_load("max_table_len=1000000 max_flows=512").unwrap();
    let module = Client::open().unwrap().module().unwrap();
    assert_eq!(module.version, env!("CARGO_PKG_VERSION"));
    let told = std::fs::read_to_string("/sys/module/l7switch/version").unwrap();
    assert_eq!(told.trim_end(), module.version);
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
    let held = || {
        shrink_slabs();
        kib("SUnreclaim") + kib("Percpu") + kib("VmallocUsed")
    };
    // The first ones fill caches that stay.
    for _ in 0..5 {
        Module::load().unload().unwrap();
    }
    let before = held();
    for _ in 0..10 {
        Module::load().unload().unwrap();
    }
    let after = held();
    println!("{before} KiB before, {after} KiB after");
    assert!(
        after < before + 256,
        "{before} KiB before, {after} KiB after"
    );
}

pub(super) fn parameters_at_their_limits_do_no_harm() {
    for bad in ["max_flows=many", "max_flows=-1", "max_table_len=4294967296"] {
        assert!(Module::try_load(bad).is_err(), "{bad}");
    }
    let module = Module::try_load("max_table_len=0 max_flows=0").unwrap();
    let mut client = Client::open().unwrap();
    assert_eq!(client.module().unwrap().max_table_len, 0);
    let error = client.begin(1000).unwrap_err();
    assert!(error.to_string().contains("max_table_len"), "{error}");
    drop(client);
    module.unload().unwrap();

    // Memory for a million flows at most.
    let module = Module::try_load("max_flows=4294967295 max_table_len=4294967295").unwrap();
    let mut client = Client::open().unwrap();
    let table = rules(RULES).table;
    let (bytes, _) = taken(|| client.load(table.as_bytes()).unwrap());
    let each = bytes / (1 << 20);
    println!("{each} bytes for a flow");
    // With KASAN an eighth more is taken, for its shadow.
    assert!((400..=800).contains(&each), "{each} bytes");
    let shown = client.module().unwrap();
    assert_eq!((shown.max_flows, shown.flows), (1 << 20, 0));
    match client.begin(u32::MAX) {
        Err(Error::Refused(refusal)) => println!("{refusal}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(client.module().unwrap().loading, None);
    client.unload().unwrap();
    module.unload().unwrap();
}
