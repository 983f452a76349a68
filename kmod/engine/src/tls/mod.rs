// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The TLS ClientHello, read for its server name and ALPN (RFC 8446, 4.1.2).
//!
//! TLS 1.0 to 1.3. The message may be spread over any number of records, which post-quantum key
//! shares make normal, and may arrive in any pieces.

mod cursor;
mod error;
mod hello;
mod name;

pub use error::HelloError;
pub use hello::AlpnIter;
pub use hello::ClientHello;
pub use hello::ClientHelloParser;
pub use hello::ALPN_MAX;
pub use hello::EXTENSIONS_MAX;
pub use hello::MESSAGE_MAX;
pub use name::check_server_name;
