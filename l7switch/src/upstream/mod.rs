// SPDX-License-Identifier: MIT
//! Real servers: pools, the choice among them, connections that are kept alive, and requests sent
//! on them.

mod balance;
mod call;
mod connect;
mod feed;
pub mod health;
mod http2;
mod idle;
mod lease;
mod message;
mod pool;
mod probe;
mod queue;
mod reach;
mod refusals;
mod repeat;
mod response;
mod send;
mod server;
mod stream;
mod tls;

pub use call::Keeps;
pub use call::Nobody;
pub use call::call;
pub use connect::ConnectError;
pub use connect::Told;
pub use feed::Broke;
pub use feed::Feed;
pub use feed::Patience;
pub use feed::WaitsFor;
pub use idle::Ending;
pub use idle::Own;
pub use lease::BROKE_OFF;
pub use lease::Lease;
pub use lease::Outstanding;
pub use message::Lacks;
pub use message::Message;
pub use message::Observer;
pub use pool::Fault;
pub use pool::Pool;
pub use repeat::Repeating;
pub use send::Answered;
pub use send::send;
pub use server::Checked;
pub use server::Memory;
pub use server::RealServer;
pub use server::Standing;
pub use stream::ServerStream;
