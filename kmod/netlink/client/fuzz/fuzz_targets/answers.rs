// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Whatever the kernel answers, or somebody in its place, is read or is an error. The first byte chooses what it is taken for.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some((&choice, attributes)) = data.split_first() {
        l7switch_netlink::read_any(choice, attributes);
    }
});
