// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What is counted of a service.
#![forbid(unsafe_code)]

use crate::shell::sync::per_cpu::Counters;

/// Connections that clients opened.
pub(crate) const TRAFFIC_CONNECTIONS: usize = 0;
/// Packets from clients.
pub(crate) const TRAFFIC_PACKETS: usize = 1;
/// Bytes in them.
pub(crate) const TRAFFIC_BYTES: usize = 2;
/// Requests that were passed on.
pub(crate) const TRAFFIC_REQUESTS: usize = 3;
/// Bytes of packets to clients.
pub(crate) const TRAFFIC_BYTES_OUT: usize = 4;
/// Responses by class, from 1xx on.
pub(crate) const TRAFFIC_RESPONSES: usize = 5;
/// How many counters there are.
const TRAFFIC_COUNTERS: usize = 10;

/// The counters of a service.
pub(crate) type Traffic = Counters<{ TRAFFIC_COUNTERS }>;
