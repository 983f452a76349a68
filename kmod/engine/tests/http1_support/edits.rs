// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Small changes of generated heads: what is nearly right.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// Where, how (replaced, put in, taken out), and by what.
pub(crate) type Edit = (Index, u8, u8);

/// One or two edits.
pub(crate) fn edits() -> impl Strategy<Value = Vec<Edit>> {
    vec((any::<Index>(), 0..3_u8, any::<u8>()), 1..3)
}

/// The text with these edits.
pub(crate) fn edited(mut text: Vec<u8>, edits: Vec<Edit>) -> Vec<u8> {
    for (place, kind, byte) in edits {
        let place = place.index(text.len());
        match kind {
            0 => text[place] = byte,
            1 => text.insert(place, byte),
            _ => drop(text.remove(place)),
        }
    }
    text
}
