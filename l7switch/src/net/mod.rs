// SPDX-License-Identifier: MIT
//! Streams, times, and the end: what everything above stands on.

pub mod clock;
pub mod content;
pub(crate) mod outgoing;
pub mod proxy_header;
pub mod room;
pub mod saved_syn;
pub mod shown;
pub mod shutdown;
pub mod splice;
pub mod stream;
pub mod ticket_keys;
pub mod tickets;
pub mod timer;
pub mod tls;
pub mod tunnel;
pub mod websocket;
