// SPDX-License-Identifier: MIT
//! The module as a module: it loads, it goes.

use crate::kit::Module;
use crate::kit::kib;
use crate::kit::module;

pub(super) fn loads_and_goes() {
    assert_eq!(module::users(module::NAME), None);
    let module = Module::load();
    assert_eq!(module.users(), Some(0));
    module.unload().unwrap();
    assert_eq!(module::users(module::NAME), None);
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
