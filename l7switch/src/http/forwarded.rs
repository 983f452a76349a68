// SPDX-License-Identifier: MIT
//! What the switch tells servers about the client: X-Forwarded-*, Forwarded (RFC 7239) and Via
//! (RFC 9110, 7.6.3).
//!
//! Any client can write such fields, so they are believed only from the proxies that the service
//! trusts; what others sent is taken out.

use std::fmt::Write as _;
use std::net::IpAddr;

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Version;
use http::header;
use ipnet::IpNet;

use crate::http::headers::Present;
use crate::http::headers::append_to_list;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What is known about the connection on which a request came.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The client's address.
    pub peer: IpAddr,
    /// The same as text.
    pub peer_text: &'a HeaderValue,
    /// Whether the client is a trusted proxy.
    pub trusted: bool,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Host as the client named it; absent in HTTP/1.0.
    pub host: Option<&'a HeaderValue>,
}

/// Whether the peer is one of the trusted proxies.
pub fn is_trusted(trusted: &[IpNet], peer: IpAddr) -> bool {
    trusted.iter().any(|net| net.contains(&peer))
}

/// Sets the fields of a request that is forwarded, of which these are present.
pub fn apply(headers: &mut HeaderMap, present: Present, facts: &Facts<'_>) {
    if present.has(Present::FORWARDED) {
        if facts.trusted {
            return extend(headers, facts);
        }
        for name in [
            &X_FORWARDED_FOR,
            &X_FORWARDED_PROTO,
            &X_FORWARDED_HOST,
            &header::FORWARDED,
        ] {
            headers.remove(name);
        }
    }
    headers.insert(X_FORWARDED_FOR, facts.peer_text.clone());
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(facts.scheme));
    if let Some(host) = facts.host {
        headers.insert(X_FORWARDED_HOST, host.clone());
    }
}

/// Adds to what a trusted proxy has said.
fn extend(headers: &mut HeaderMap, facts: &Facts<'_>) {
    append_to_list(headers, X_FORWARDED_FOR, facts.peer_text.as_bytes());
    if !headers.contains_key(&X_FORWARDED_PROTO) {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(facts.scheme));
    }
    if let Some(host) = facts.host
        && !headers.contains_key(&X_FORWARDED_HOST)
    {
        headers.insert(X_FORWARDED_HOST, host.clone());
    }
    if headers.contains_key(header::FORWARDED) {
        append_to_list(headers, header::FORWARDED, element(facts).as_bytes());
    }
}

/// Enters the switch in Via: a message of which these fields are present came with this version.
pub fn via(headers: &mut HeaderMap, present: Present, version: Version) {
    let member = match version {
        Version::HTTP_09 => "0.9 l7switch",
        Version::HTTP_10 => "1.0 l7switch",
        Version::HTTP_2 => "2 l7switch",
        Version::HTTP_3 => "3 l7switch",
        _ => "1.1 l7switch",
    };
    if present.has(Present::VIA) {
        append_to_list(headers, header::VIA, member.as_bytes());
    } else {
        headers.insert(header::VIA, HeaderValue::from_static(member));
    }
}

/// The version as the access log names it.
pub const fn version_word(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    }
}

/// An element of Forwarded (RFC 7239, 4).
fn element(facts: &Facts<'_>) -> String {
    let mut out = String::from("for=");
    match facts.peer {
        IpAddr::V4(v4) => {
            let _ = write!(out, "{v4}");
        }
        // Brackets and colons are no token characters (RFC 7239, 6).
        IpAddr::V6(v6) => {
            let _ = write!(out, "\"[{v6}]\"");
        }
    }
    // A host with a quotation mark or backslash was refused by the parser.
    if let Some(host) = facts.host.and_then(|host| host.to_str().ok()) {
        let _ = write!(out, ";host=\"{host}\"");
    }
    let _ = write!(out, ";proto={}", facts.scheme);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(peer: &str, trusted: bool, host: &HeaderValue) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-forwarded-for", "9.9.9.9"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil"),
            ("forwarded", "for=9.9.9.9"),
            ("via", "1.1 front"),
        ] {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        let peer = peer.parse().unwrap();
        let present = Present::FORWARDED.and(Present::VIA);
        apply(
            &mut headers,
            present,
            &Facts {
                peer,
                peer_text: &crate::client::text(peer),
                trusted,
                scheme: "http",
                host: Some(host),
            },
        );
        via(&mut headers, present, Version::HTTP_11);
        headers
    }

    #[test]
    fn a_stranger_is_not_believed() {
        let headers = facts("192.0.2.1", false, &HeaderValue::from_static("a.example"));
        assert_eq!(headers["x-forwarded-for"], "192.0.2.1");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["x-forwarded-host"], "a.example");
        assert!(!headers.contains_key("forwarded"));
        assert_eq!(headers["via"], "1.1 front, 1.1 l7switch");
    }

    #[test]
    fn a_trusted_proxy_is() {
        let headers = facts(
            "2001:db8::1",
            true,
            &HeaderValue::from_static("a.example:81"),
        );
        assert_eq!(headers["x-forwarded-for"], "9.9.9.9, 2001:db8::1");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["x-forwarded-host"], "evil");
        assert_eq!(
            headers["forwarded"],
            "for=9.9.9.9, for=\"[2001:db8::1]\";host=\"a.example:81\";proto=http"
        );
    }

    #[test]
    fn trust_is_by_network() {
        let nets = [
            "10.0.0.0/8".parse().unwrap(),
            "2001:db8::/32".parse().unwrap(),
        ];
        assert!(is_trusted(&nets, "10.1.2.3".parse().unwrap()));
        assert!(is_trusted(&nets, "2001:db8::5".parse().unwrap()));
        assert!(!is_trusted(&nets, "11.1.2.3".parse().unwrap()));
    }
}
