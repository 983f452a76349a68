// SPDX-License-Identifier: MIT
//! The front.
fn main() {}
