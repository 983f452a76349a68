// SPDX-License-Identifier: MIT
//! Bounds on what clients may do.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use l7switch_engine::limit::Rate;
use serde::Serialize;

/// Bounds on what one client may do to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Longest request head (request line, fields, empty line), bytes. Longer: 431, or 414 when it
    /// is the target alone.
    pub head: usize,
    /// Most field lines in a head. More: 431.
    pub fields: usize,
    /// Time from the first byte of a head (or of a TLS handshake) to its last. Longer: 408.
    pub head_timeout: Duration,
    /// Time that a connection may be silent between requests, or one of a `tcp` or `tls` service in both directions, before it
    /// is closed.
    pub idle_timeout: Duration,
    /// Time that a tunnel (a connection after an upgrade) may be silent in both directions before it is closed; absent: for ever.
    pub tunnel_timeout: Option<Duration>,
    /// Client connections at a time on this service; further ones wait in the listen queue.
    pub connections: usize,
    /// Connections of one client at a time; further ones are closed.
    pub connections_per_source: Option<u32>,
    /// Which clients are one for [`Self::connections_per_source`].
    pub source_prefix: SourcePrefix,
    /// Longest content of a request, bytes. Longer: 413.
    pub body: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: 16 * 1024,
            fields: 100,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            tunnel_timeout: None,
            connections: 65_536,
            connections_per_source: None,
            source_prefix: SourcePrefix::default(),
            body: None,
        }
    }
}

/// How many bits of an address tell clients apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SourcePrefix {
    /// Of an IPv4 address, 1 to 32.
    pub v4: u8,
    /// Of an IPv6 address, 1 to 128.
    pub v6: u8,
}

impl Default for SourcePrefix {
    fn default() -> Self {
        // A site has a /64 at least, and all of it is one client's to use.
        Self { v4: 32, v6: 64 }
    }
}

impl SourcePrefix {
    /// The address without the bits that do not count.
    pub fn of(self, address: IpAddr) -> IpAddr {
        let length = match address {
            IpAddr::V4(_) => self.v4,
            IpAddr::V6(_) => self.v6,
        };
        IpNet::new(address, length).map_or(address, |net| net.network())
    }
}

/// How many requests of a route may come in what time: a token bucket for each key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RateLimit {
    /// Tokens that come in the time of `per`, 1 to 1,000,000.
    pub requests: u32,
    /// The time, not zero.
    pub per: Duration,
    /// Tokens that a bucket holds, 1 to 1,000,000.
    pub burst: u32,
    /// What has a bucket of its own.
    pub key: RateKey,
    /// Which clients are one.
    pub source_prefix: SourcePrefix,
}

impl RateLimit {
    /// The rate, in nanoseconds.
    pub fn rate(&self) -> Rate {
        let per = u64::try_from(self.per.as_nanos()).unwrap_or(u64::MAX);
        Rate::new(self.requests, per, self.burst)
    }

    /// Whether the kernel can apply it: by the client's address or the route.
    pub const fn is_for_kernel(&self) -> bool {
        matches!(self.key, RateKey::Source | RateKey::Route)
    }
}

/// What has a token bucket of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RateKey {
    /// The client's address.
    #[default]
    Source,
    /// The route: all requests share a bucket.
    Route,
    /// A header field's combined value; absent: the source. The name is in lower case.
    Header(String),
    /// A cookie's value; absent: the source.
    Cookie(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_beyond_the_prefix_do_not_count() {
        let of = |prefix: SourcePrefix, text: &str| prefix.of(text.parse().unwrap()).to_string();
        let usual = SourcePrefix::default();
        assert_eq!(of(usual, "192.0.2.7"), "192.0.2.7");
        assert_eq!(of(usual, "2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        let wide = SourcePrefix { v4: 9, v6: 128 };
        assert_eq!(of(wide, "192.255.2.7"), "192.128.0.0");
        assert_eq!(of(wide, "2001:db8::6"), "2001:db8::6");
    }
}
