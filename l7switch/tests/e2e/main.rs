// SPDX-License-Identifier: MIT
//! The switch as a program, between real programs on both ends: nginx and a Python server behind it,
//! curl, h2load, wrk, openssl and raw sockets before it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod support;

mod admin_api;
mod busy;
mod failure;
mod faults;
mod forwarding;
mod health;
mod large;
mod limits;
mod load;
mod logs;
mod messages;
mod metrics;
mod names;
mod passthrough;
mod proxied;
mod reload;
mod routing;
mod server_http2;
mod server_tls;
mod shutdown;
mod smuggling;
mod soak;
mod start;
mod state_file;
mod successor;
mod systemd;
mod take_over;
mod timeouts;
mod tls;
mod tls_certificates;
mod unix;
mod upgrade;
mod uploads;
