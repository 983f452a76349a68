// SPDX-License-Identifier: GPL-2.0 OR MIT
use super::*;

#[test]
fn a_flow_is_small() {
    assert!(size_of::<Flow>() <= 320, "{} bytes", size_of::<Flow>());
}
