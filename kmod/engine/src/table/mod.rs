// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The compiled rule table: one flat, versioned, position-independent byte buffer, its verification
//! and its matching.

mod request;

pub use request::Fields;
pub use request::Request;
