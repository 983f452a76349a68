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

mod acme;
mod admin;
mod admin_api;
mod admin_bounds;
mod auth;
mod bounds;
mod connections;
mod cors;
mod demo;
mod description;
mod exchanges;
mod exposed;
mod exposition;
mod failing;
mod fallbacks;
mod frames;
mod health;
mod http2;
mod kept;
mod latencies;
mod limits;
mod messages;
mod mirror;
mod names;
mod pages;
mod proxied;
mod reload;
mod responses;
mod retries;
mod segments;
mod server_http2;
mod server_tls;
mod server_websocket;
mod slow_start;
mod status_page;
mod statuses;
mod sticky;
mod strict;
mod support;
mod take_over;
mod times;
mod tls;
mod tls_clients;
mod tls_sessions;
#[cfg(feature = "otlp")]
mod traces;
mod unix;
mod variables;
mod watching;
mod websocket;
