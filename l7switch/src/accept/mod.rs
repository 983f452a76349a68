// SPDX-License-Identifier: MIT
//! Clients' connections, from the listener to the choice of protocol.

pub mod connection;
mod handshake;
mod http2;
pub mod listen;
pub mod proxied;
