// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the head parser accepts, httparse accepts too, and reads the same in it.
#![no_main]

#[path = "../../tests/http1_support/mod.rs"]
mod http1_support;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    http1_support::compare_with_httparse(data);
});
