// SPDX-License-Identifier: MIT
//! What the switch tells servers about the client: X-Forwarded-*, Forwarded (RFC 7239) and Via
//! (RFC 9110, 7.6.3).
//!
//! Any client can write such fields, so they are believed only from the proxies that the service
//! trusts; what others sent is taken out: Forwarded, X-Forwarded-* and X-Real-IP.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::net::SocketAddr;

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
    /// The proxies that are trusted, if the peer is one.
    pub trusted: Option<&'a [IpNet]>,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Host as the client named it; absent in HTTP/1.0.
    pub host: Option<&'a HeaderValue>,
}

/// Whether the peer is one of the trusted proxies.
pub fn is_trusted(trusted: &[IpNet], peer: IpAddr) -> bool {
    trusted.iter().any(|net| net.contains(&peer))
}

/// The trusted proxies, if the peer is one of them.
pub fn trusting(trusted: &[IpNet], peer: IpAddr) -> Option<&[IpNet]> {
    Some(trusted).filter(|trusted| is_trusted(trusted, peer))
}

/// The client of a request that came from a trusted proxy: the last one in X-Forwarded-For, else in Forwarded, that is none
/// of the trusted proxies. Where all are, it is the first; what stands before one that cannot be read is not believed. Without
/// a port where none is told.
pub fn source(headers: &HeaderMap, trusted: &[IpNet], peer: SocketAddr) -> SocketAddr {
    let list = |name: &HeaderName| {
        let values = headers.get_all(name).iter().map(HeaderValue::as_bytes);
        values.collect::<Vec<_>>().join(&b","[..])
    };
    let (line, is_forwarded) = match headers.contains_key(&X_FORWARDED_FOR) {
        true => (list(&X_FORWARDED_FOR), false),
        false => (list(&header::FORWARDED), true),
    };
    let mut client = peer;
    let elements = match is_forwarded {
        true => members_from_last(&line, b','),
        // It has no quoted strings.
        false => line
            .rsplit(|byte| *byte == b',')
            .map(<[u8]>::trim_ascii)
            .collect(),
    };
    for element in elements.into_iter().filter(|element| !element.is_empty()) {
        if !is_trusted(trusted, client.ip()) {
            break;
        }
        let node = if is_forwarded {
            named(element, b"for=")
        } else {
            Some(element)
        };
        match node.and_then(node_address) {
            Some(before) => client = before,
            None => break,
        }
    }
    client
}

/// The scheme that a client has used, as a trusted proxy says: the last one in X-Forwarded-Proto, else in Forwarded. `None` where
/// it says none that is known here.
pub fn scheme(headers: &HeaderMap) -> Option<&'static str> {
    let last = |name: &HeaderName| headers.get_all(name).iter().next_back();
    let told = match last(&X_FORWARDED_PROTO) {
        Some(line) => {
            let last = line.as_bytes().rsplit(|byte| *byte == b',').next()?;
            last.trim_ascii()
        }
        None => {
            let line = last(&header::FORWARDED)?.as_bytes();
            let element = members_from_last(line, b',').into_iter().next()?;
            let value = named(element, b"proto=")?;
            let bare = value.strip_prefix(b"\"");
            bare.and_then(|value| value.strip_suffix(b"\""))
                .unwrap_or(value)
        }
    };
    ["http", "https"]
        .into_iter()
        .find(|known| told.eq_ignore_ascii_case(known.as_bytes()))
}

/// The parts of a list, the last one first; what separates them may stand in quoted strings (RFC 9110, 5.6.4). Quotation marks are
/// counted from the end: what a trusted proxy has put there is in order, and a client's part before it may be anything.
fn members_from_last(line: &[u8], separator: u8) -> Vec<&[u8]> {
    let mut is_quoted = false;
    line.rsplit(|byte| {
        is_quoted ^= *byte == b'"';
        *byte == separator && !is_quoted
    })
    .map(<[u8]>::trim_ascii)
    .filter(|member| !member.is_empty())
    .collect()
}

/// What an element of Forwarded says with a parameter, whose equals sign belongs to its name here (RFC 7239, 4).
fn named<'a>(element: &'a [u8], parameter: &[u8]) -> Option<&'a [u8]> {
    members_from_last(element, b';')
        .into_iter()
        .rev()
        .find_map(|pair| {
            let (name, value) = pair.split_at_checked(parameter.len())?;
            name.eq_ignore_ascii_case(parameter).then_some(value)
        })
}

/// The address of a node: with or without a port, of IPv6 in brackets or not, in quotation marks or not (RFC 7239, 6; the
/// programs that write X-Forwarded-For differ).
fn node_address(node: &[u8]) -> Option<SocketAddr> {
    let node = std::str::from_utf8(node).ok()?;
    let node = node
        .strip_prefix('"')
        .map_or(Some(node), |rest| rest.strip_suffix('"'))?;
    let bare = node
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let address = match bare.unwrap_or(node).parse::<IpAddr>() {
        Ok(address) => SocketAddr::new(address, 0),
        Err(_) => node.parse().ok()?,
    };
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

/// Sets the fields of a request that is forwarded, of which these are present.
pub fn apply(headers: &mut HeaderMap, present: Present, facts: &Facts<'_>) {
    if present.has(Present::FORWARDED) {
        if let Some(trusted) = facts.trusted {
            return extend(headers, facts, trusted);
        }
        let strangers: Vec<_> = headers
            .keys()
            .filter(|name| Present::named(name.as_str().as_bytes()).has(Present::FORWARDED))
            .cloned()
            .collect();
        for name in strangers {
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
fn extend(headers: &mut HeaderMap, facts: &Facts<'_>, trusted: &[IpNet]) {
    if !headers.contains_key(&X_FORWARDED_FOR) {
        // Forwarded may tell of it.
        let client = source(headers, trusted, SocketAddr::new(facts.peer, 0)).ip();
        if client != facts.peer
            && let Ok(client) = HeaderValue::from_str(&client.to_string())
        {
            headers.insert(X_FORWARDED_FOR, client);
        }
    }
    append_to_list(headers, X_FORWARDED_FOR, facts.peer_text.as_bytes());
    if !headers.contains_key(&X_FORWARDED_PROTO) {
        let scheme = scheme(headers).unwrap_or(facts.scheme);
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
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
            ("x-forwarded-port", "7"),
            ("x-real-ip", "9.9.9.9"),
            ("forwarded", "for=9.9.9.9"),
            ("via", "1.1 front"),
        ] {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        let peer: IpAddr = peer.parse().unwrap();
        let nets = [IpNet::from(peer)];
        let present = Present::FORWARDED.and(Present::VIA);
        apply(
            &mut headers,
            present,
            &Facts {
                peer,
                peer_text: &crate::client::text(peer),
                trusted: trusted.then_some(&nets),
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
        for name in ["forwarded", "x-forwarded-port", "x-real-ip"] {
            assert!(!headers.contains_key(name), "{name}");
        }
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
        assert_eq!(headers["x-forwarded-port"], "7");
        assert_eq!(headers["x-real-ip"], "9.9.9.9");
        assert_eq!(
            headers["forwarded"],
            "for=9.9.9.9, for=\"[2001:db8::1]\";host=\"a.example:81\";proto=http"
        );
    }

    /// Of a proxy that writes only one of the two, the server is told in the other, too, where it is the older one.
    #[test]
    fn what_forwarded_tells_servers_find_in_the_older_fields() {
        let (peer, host) = (IpAddr::from([10, 0, 0, 1]), HeaderValue::from_static("a"));
        let nets = ["10.0.0.0/8".parse().unwrap()];
        let told = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            let facts = Facts {
                peer,
                peer_text: &crate::client::text(peer),
                trusted: Some(&nets),
                scheme: "http",
                host: Some(&host),
            };
            apply(&mut headers, Present::FORWARDED, &facts);
            let told = ["x-forwarded-for", "x-forwarded-proto"].map(|name| headers[name].clone());
            told.map(|value| value.to_str().unwrap().to_owned())
        };
        for (name, value, expected) in [
            (
                "forwarded",
                "for=\"[2001:db8::9]:77\";proto=https",
                ["2001:db8::9, 10.0.0.1", "https"],
            ),
            (
                "forwarded",
                "for=192.0.2.9, for=10.0.0.7",
                ["192.0.2.9, 10.0.0.1", "http"],
            ),
            ("forwarded", "for=unknown", ["10.0.0.1", "http"]),
            (
                "x-forwarded-for",
                "192.0.2.9",
                ["192.0.2.9, 10.0.0.1", "http"],
            ),
            ("x-forwarded-proto", "HTTPS", ["10.0.0.1", "HTTPS"]),
        ] {
            assert_eq!(told(name, value), expected, "{name}: {value}");
        }
    }

    #[test]
    fn the_scheme_is_the_last_one_told() {
        for (name, values, expected) in [
            ("x-forwarded-proto", &["https"][..], Some("https")),
            ("x-forwarded-proto", &["http , HTTPS"], Some("https")),
            ("x-forwarded-proto", &["https", "http"], Some("http")),
            ("x-forwarded-proto", &["wss"], None),
            ("x-forwarded-proto", &[""], None),
            (
                "forwarded",
                &["proto=http", "for=a;Proto=\"https\""],
                Some("https"),
            ),
            ("forwarded", &["for=\"a;proto=https\""], None),
            ("forwarded", &["for=a;proto=https, for=b"], None),
            ("forwarded", &["proto=\"https"], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(name, HeaderValue::from_static(value));
            }
            assert_eq!(scheme(&headers), expected, "{name}: {values:?}");
        }
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

    #[test]
    fn the_client_is_the_last_one_that_is_no_trusted_proxy() {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        for (name, values, expected) in [
            ("x-forwarded-for", &["192.0.2.7"][..], "192.0.2.7:0"),
            ("x-forwarded-for", &["6.6.6.6, 192.0.2.7"], "192.0.2.7:0"),
            ("x-forwarded-for", &["192.0.2.7, 10.1.1.1"], "192.0.2.7:0"),
            ("x-forwarded-for", &["192.0.2.7", "10.1.1.1"], "192.0.2.7:0"),
            ("x-forwarded-for", &["10.2.2.2, 10.1.1.1"], "10.2.2.2:0"),
            ("x-forwarded-for", &["192.0.2.7:4711"], "192.0.2.7:4711"),
            ("x-forwarded-for", &["2001:db8::7"], "[2001:db8::7]:0"),
            (
                "x-forwarded-for",
                &["[2001:db8::7]:9, fd00::1"],
                "[2001:db8::7]:9",
            ),
            ("x-forwarded-for", &["::ffff:192.0.2.7"], "192.0.2.7:0"),
            ("x-forwarded-for", &["192.0.2.7, unknown"], "10.0.0.1:5"),
            (
                "x-forwarded-for",
                &["192.0.2.7, , 10.1.1.1,"],
                "192.0.2.7:0",
            ),
            ("x-forwarded-for", &[""], "10.0.0.1:5"),
            ("forwarded", &["for=192.0.2.7"], "192.0.2.7:0"),
            (
                "forwarded",
                &["host=\"a,for=6.6.6.6\";For=\"[2001:db8::7]:9\", for=10.1.1.1;by=_x"],
                "[2001:db8::7]:9",
            ),
            // A quotation mark of the client's hides nothing of what the proxy has put behind it.
            ("x-forwarded-for", &["\", 192.0.2.7"], "192.0.2.7:0"),
            ("x-forwarded-for", &["\"", "192.0.2.7"], "192.0.2.7:0"),
            (
                "forwarded",
                &["for=6.6.6.6;x=\", for=192.0.2.7"],
                "192.0.2.7:0",
            ),
            ("forwarded", &["x=\"", "for=192.0.2.7"], "192.0.2.7:0"),
            (
                "forwarded",
                &["for=\"6.6.6.6, for=192.0.2.7"],
                "192.0.2.7:0",
            ),
            ("forwarded", &["for=192.0.2.7, for=_hidden"], "10.0.0.1:5"),
            ("forwarded", &["for=192.0.2.7, proto=http"], "10.0.0.1:5"),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                let value = HeaderValue::from_static(value);
                headers.append(HeaderName::from_static(name), value);
            }
            let found = source(&headers, &trusted, "10.0.0.1:5".parse().unwrap());
            assert_eq!(found, expected.parse().unwrap(), "{values:?}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(X_FORWARDED_FOR, HeaderValue::from_static("192.0.2.7"));
        let stranger = "192.0.2.1:5".parse().unwrap();
        assert_eq!(source(&headers, &trusted, stranger), stranger);
    }
}
