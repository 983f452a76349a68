// SPDX-License-Identifier: MIT
//! The userspace front of l7switch: a reverse proxy and load balancer that switches by the rules of
//! one rule file.
//!
//! | Folder | Has |
//! |---|---|
//! | [`accept`] | listeners, and clients' connections up to the choice of protocol |
//! | [`acme`] | certificates that are ordered of an authority |
//! | [`http`] | an exchange: one request and its response |
//! | [`passthrough`] | connections that are joined unopened |
//! | [`upstream`] | pools of real servers, and their health |
//! | [`limit`] | limits that last longer than a connection |
//! | [`ruleset`] | the rules in force; a reload replaces them whole |
//! | [`kernel`] | the kernel module, which is given the same rules where it is loaded |
//! | [`handover`] | the place of a front, given to its successor |
//! | [`observe`] | counters and logs |
//! | [`net`] | streams, times and the end |

pub mod accept;
pub mod acme;
pub mod admin;
pub mod cli;
pub mod client;
mod control;
pub mod demo;
pub mod exposed;
pub mod handover;
pub mod http;
pub mod kernel;
pub mod limit;
mod names;
pub mod net;
pub mod observe;
pub mod passthrough;
pub mod record;
pub mod ruleset;
pub mod secrets;
pub mod state_file;
pub mod switch;
pub mod systemd;
pub mod upstream;
pub mod watch;

pub use switch::Options;
pub use switch::SetError;
pub use switch::Switch;
