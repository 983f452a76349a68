// SPDX-License-Identifier: MIT
//! Fields that belong to one connection, not to the message (RFC 9110, 7.6.1), and the other fields
//! that a proxy has to care for.

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::header;

/// Fields that end at the next connection, whether Connection names them or not.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
    HeaderName::from_static("http2-settings"),
];

/// The members of a list field over all its lines, without empty ones (RFC 9110, 5.6.1). Lines that
/// are not ASCII are passed over. Quoted commas are not known: for lists of tokens.
pub fn tokens(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

/// Whether a list of tokens has this one, in any case.
pub fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|each| each.eq_ignore_ascii_case(token))
}

/// Takes out what belongs to the connection on which the message came.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = tokens(headers, header::CONNECTION)
        .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Whether the sender takes trailer fields (RFC 9110, 10.1.4).
pub fn takes_trailers(headers: &HeaderMap) -> bool {
    tokens(headers, header::TE).any(|coding| {
        let name = coding.split(';').next().unwrap_or(coding);
        name.trim().eq_ignore_ascii_case("trailers")
    })
}

/// The protocol to which a request would change, where that may be passed on (RFC 9110, 7.8): one
/// protocol, and none that replaces the HTTP that the switch itself speaks on the connection. An
/// upgrade to `h2c` would carry requests past the rules.
pub fn upgrade_wanted(headers: &HeaderMap) -> Option<HeaderValue> {
    if !has_token(headers, header::CONNECTION, "upgrade") {
        return None;
    }
    let mut lines = headers.get_all(header::UPGRADE).into_iter();
    let (only, None) = (lines.next()?, lines.next()) else {
        return None;
    };
    let text = only.to_str().ok()?;
    let name = text.split('/').next().unwrap_or(text).trim();
    let passed = !text.contains(',')
        && !name.is_empty()
        && !["h2c", "h2", "http", "tls"]
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known));
    passed.then(|| only.clone())
}

/// Puts a comma-separated member behind those that are there.
pub fn append_to_list(headers: &mut HeaderMap, name: HeaderName, member: &str) {
    let mut list = Vec::new();
    for value in headers.get_all(&name) {
        if !value.is_empty() {
            list.extend_from_slice(value.as_bytes());
            list.extend_from_slice(b", ");
        }
    }
    list.extend_from_slice(member.as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&list) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn what_connection_names_is_removed() {
        let mut headers = map(&[
            ("connection", "close, X-Secret"),
            ("connection", "keep-alive"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("proxy-connection", "close"),
            ("trailer", "x-sum"),
            ("x-other", "2"),
        ]);
        remove_hop_by_hop(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["trailer", "x-other"]);
    }

    #[test]
    fn only_harmless_upgrades_pass() {
        for (upgrade, passes) in [
            ("websocket", true),
            ("h2c", false),
            ("HTTP/2.0", false),
            ("TLS/1.0", false),
            ("websocket, h2c", false),
            ("", false),
        ] {
            let mut headers = map(&[("connection", "Upgrade")]);
            headers.insert(header::UPGRADE, HeaderValue::from_static(upgrade));
            assert_eq!(upgrade_wanted(&headers).is_some(), passes, "{upgrade}");
        }
        assert!(upgrade_wanted(&map(&[("upgrade", "websocket")])).is_none());
    }

    #[test]
    fn trailers_in_te() {
        assert!(takes_trailers(&map(&[("te", "deflate;q=0.5, Trailers")])));
        assert!(!takes_trailers(&map(&[("te", "deflate")])));
    }

    #[test]
    fn lists_grow_at_the_end() {
        let mut headers = map(&[("via", "1.0 a"), ("via", "1.1 b")]);
        append_to_list(&mut headers, header::VIA, "1.1 l7switch");
        assert_eq!(
            headers.get_all(header::VIA).iter().collect::<Vec<_>>(),
            ["1.0 a, 1.1 b, 1.1 l7switch"]
        );
    }
}
