// SPDX-License-Identifier: MIT
//! How a real server is named on the command line.

use std::net::SocketAddr;

/// A real server, in one pool or in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerName {
    /// The pool; absent: all.
    pub(crate) pool: Option<String>,
    /// The address.
    pub(crate) address: SocketAddr,
}

impl ServerName {
    /// Reads `ADDRESS:PORT` or `POOL/ADDRESS:PORT`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (pool, address) = match text.rsplit_once('/') {
            Some((pool, address)) => (Some(pool), address),
            None => (None, text),
        };
        let address = address.parse().map_err(|_| {
            format!("`{address}` is not a server: write ADDRESS:PORT or POOL/ADDRESS:PORT")
        })?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        match pool {
            Some(pool) if pool.is_empty() || !pool.bytes().all(plain) => {
                Err(format!("`{pool}` is not a pool name"))
            }
            _ => Ok(Self {
                pool: pool.map(str::to_owned),
                address,
            }),
        }
    }
}
