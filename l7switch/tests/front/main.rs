// SPDX-License-Identifier: MIT
//! The front in process, over raw sockets, byte by byte.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "tests"
)]

mod admin;
mod connections;
mod demo;
mod exchanges;
mod failing;
mod fallbacks;
mod frames;
mod http2;
mod kept;
mod limits;
mod messages;
mod names;
mod pages;
mod proxied;
mod reload;
mod responses;
mod segments;
mod server_http2;
mod strict;
mod support;
mod times;
mod tls;
mod variables;
mod watching;
