// SPDX-License-Identifier: MIT
//! The rule language: TOML text → checked model → table → match.
#![cfg_attr(not(test), forbid(unsafe_code))]

pub mod model;
