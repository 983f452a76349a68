// SPDX-License-Identifier: MIT
//! What stands for a server's address where only an IP address and a port can stand.

use l7switch_engine::endpoint::Endpoint;
use l7switch_engine::siphash::siphash13;
use l7switch_rules::model::ServerAddress;
use l7switch_rules::model::address_bytes;

/// The Host field of a request that names no host: the address. A Unix socket has none, and is of this host.
pub(super) fn host(address: &ServerAddress) -> String {
    match address {
        ServerAddress::Inet(address) => address.to_string(),
        ServerAddress::Unix(_) => "localhost".to_owned(),
    }
}

/// What stands for a server in the schedulers, some of which go by a hash of it.
pub(super) fn endpoint(address: &ServerAddress) -> Endpoint {
    match address {
        ServerAddress::Inet(address) => Endpoint {
            address: address_bytes(address.ip()),
            port: address.port(),
        },
        // The same in every process, so that switches beside one another choose alike.
        ServerAddress::Unix(path) => {
            let half = |number| siphash13([number, 0], path.as_bytes());
            Endpoint {
                address: (u128::from(half(0)) << 64 | u128::from(half(1))).to_be_bytes(),
                port: 0,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Schedulers that hash would otherwise give two sockets the same keys.
    #[test]
    fn unix_sockets_are_told_apart() {
        let of = |path: &str| endpoint(&ServerAddress::Unix(path.into()));
        assert_ne!(of("/run/a.sock"), of("/run/b.sock"));
        assert_eq!(of("/run/a.sock"), of("/run/a.sock"));
    }
}
