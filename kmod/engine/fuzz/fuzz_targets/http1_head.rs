// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A request head is read the same however it is divided. The first three bytes set the limits and
//! the length of the pieces.
#![no_main]

#[path = "../../tests/http1_support/mod.rs"]
mod http1_support;

use http1_support::in_pieces;
use http1_support::read;
use l7switch_engine::http1::Limits;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&[target, fields, piece], text)) = data.split_first_chunk::<3>() else {
        return;
    };
    let limits = Limits {
        head: 4096,
        target: usize::from(target),
        fields: usize::from(fields),
    };
    let whole = read(limits, text);
    let step = usize::from(piece).max(1);
    assert_eq!(
        in_pieces(limits, text, (0..text.len()).step_by(step)),
        whole
    );
});
