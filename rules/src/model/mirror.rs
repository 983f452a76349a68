// SPDX-License-Identifier: MIT
//! Copies of requests.

use serde::Serialize;

/// Another pool that gets copies of a route's requests. Its responses go to nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Mirror {
    /// By the model's number.
    pub pool: usize,
    /// How many of a hundred requests are copied, 1 to 100.
    pub percent: u32,
    /// Longest content of a request that is copied, bytes.
    pub body_limit: u64,
}
