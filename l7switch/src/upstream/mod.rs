// SPDX-License-Identifier: MIT
//! Real servers: pools, the choice among them, connections that are kept alive, and requests sent
//! on them.

mod balance;
mod connect;
mod idle;
mod lease;
mod pool;
mod relayed;
mod send;
mod server;

pub use connect::ConnectError;
pub use connect::connect_tcp;
pub use connect::handshake;
pub use idle::Ending;
pub use idle::Own;
pub use lease::Lease;
pub use lease::Outstanding;
pub use pool::Fault;
pub use pool::Pool;
pub use relayed::Answered;
pub use relayed::Message;
pub use relayed::StreamLease;
pub use relayed::relay;
pub use send::Failure;
pub use send::Patience;
pub use send::Sent;
pub use send::is_safe;
pub use send::send;
pub use server::RealServer;
pub use server::Standing;
