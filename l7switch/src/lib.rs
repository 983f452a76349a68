// SPDX-License-Identifier: MIT
//! The userspace front of l7switch: a reverse proxy and load balancer that switches by the rules of
//! one rule file.
//!
//! A connection is accepted by [`listen`], served by [`conn`] (HTTP) or [`passthrough`]. A request and its response are an
//! exchange of [`http`]: [`plan`] decides by the rules, a pool of [`upstream`] servers or [`answer`] answers. The rules in
//! force are a [`state::Generation`]; a reload replaces it whole. Where the kernel module is loaded, [`kernel`] gives it the
//! same rules.

pub mod access_log;
pub mod admin;
pub mod answer;
pub mod cli;
pub mod client;
pub mod clock;
pub mod conn;
pub mod demo;
pub mod filters;
pub mod forwarded;
pub mod generation;
pub mod headers;
pub mod health;
pub mod http;
pub mod io;
pub mod kernel;
mod kernel_metrics;
pub mod limit;
pub mod listen;
pub mod metrics;
pub mod passthrough;
pub mod plan;
pub mod reason;
pub mod record;
pub mod routing;
pub mod shutdown;
pub mod splice;
pub mod state;
pub mod stats;
pub mod switch;
pub mod timer;
pub mod tls;
pub mod tunnel;
pub mod upstream;
pub mod watch;

pub use switch::Options;
pub use switch::SetError;
pub use switch::Switch;
