// SPDX-License-Identifier: MIT
//! l7ctl.
fn main() {}
