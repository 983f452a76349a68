// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A response head is read the same however it is divided, and as a plain reader reads it. The first
//! byte is the length of the pieces.
#![no_main]

#[path = "../../tests/http1_support/responses.rs"]
mod responses;

use libfuzzer_sys::fuzz_target;
use responses::in_pieces;
use responses::plain;
use responses::Plain;

fuzz_target!(|data: &[u8]| {
    let Some((&piece, text)) = data.split_first() else {
        return;
    };
    let whole = in_pieces(text, []);
    assert_eq!(in_pieces(text, 1..text.len()), whole);
    let step = usize::from(piece).max(1);
    let ends = (0..text.len()).step_by(step);
    assert_eq!(in_pieces(text, ends), whole);
    assert_eq!(Plain::of(whole), plain(text));
});
