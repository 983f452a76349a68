// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Tests of the reader that need its inside.

use super::*;

#[test]
fn state_is_at_most_24_bytes() {
    assert!(size_of::<ResponseParser>() <= 24);
    assert!(size_of::<ResponseHead>() <= 24);
    assert!(size_of::<crate::http1::BodyTracker>() <= 16);
}
