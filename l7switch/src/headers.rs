// SPDX-License-Identifier: MIT
//! Fields that belong to one connection, not to the message (RFC 9110, 7.6.1), and the other fields
//! that a proxy has to care for.

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::header;

/// Which of the fields that a proxy has to care for a message has. Most messages have few of them: one pass over the
/// names that are there costs less than a search for each that may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Present(u16);

impl Present {
    /// Connection.
    pub const CONNECTION: Self = Self(1);
    /// TE.
    pub const TE: Self = Self(1 << 1);
    /// Transfer-Encoding.
    pub const TRANSFER_ENCODING: Self = Self(1 << 2);
    /// Upgrade.
    pub const UPGRADE: Self = Self(1 << 3);
    /// Others that end at the next connection: see [`OTHERS`].
    const OTHERS: Self = Self(1 << 4);
    /// Any that ends at the next connection, whether Connection names it or not.
    pub const HOP_BY_HOP: Self = Self(
        Self::CONNECTION.0
            | Self::TE.0
            | Self::TRANSFER_ENCODING.0
            | Self::UPGRADE.0
            | Self::OTHERS.0,
    );
    /// Expect.
    pub const EXPECT: Self = Self(1 << 5);
    /// Cookie.
    pub const COOKIE: Self = Self(1 << 6);
    /// Content-Length.
    pub const CONTENT_LENGTH: Self = Self(1 << 7);
    /// Via.
    pub const VIA: Self = Self(1 << 8);
    /// Forwarded or one of X-Forwarded-*.
    pub const FORWARDED: Self = Self(1 << 9);
    /// Host.
    pub const HOST: Self = Self(1 << 10);
    /// Date.
    pub const DATE: Self = Self(1 << 11);
    /// None.
    pub const NONE: Self = Self(0);

    /// Looks at all names.
    pub fn of(headers: &HeaderMap) -> Self {
        headers.keys().fold(Self::NONE, |all, name| {
            all.and(Self::named(name.as_str().as_bytes()))
        })
    }

    /// What a field of this name is, in any case.
    pub fn named(name: &[u8]) -> Self {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match name.len() {
            2 if is(b"te") => Self::TE,
            3 if is(b"via") => Self::VIA,
            4 if is(b"host") => Self::HOST,
            4 if is(b"date") => Self::DATE,
            6 if is(b"expect") => Self::EXPECT,
            6 if is(b"cookie") => Self::COOKIE,
            7 if is(b"upgrade") => Self::UPGRADE,
            9 if is(b"forwarded") => Self::FORWARDED,
            10 if is(b"connection") => Self::CONNECTION,
            10 if is(b"keep-alive") => Self::OTHERS,
            14 if is(b"content-length") => Self::CONTENT_LENGTH,
            14 if is(b"http2-settings") => Self::OTHERS,
            15 if is(b"x-forwarded-for") => Self::FORWARDED,
            16 if is(b"proxy-connection") => Self::OTHERS,
            16 if is(b"x-forwarded-host") => Self::FORWARDED,
            17 if is(b"transfer-encoding") => Self::TRANSFER_ENCODING,
            17 if is(b"x-forwarded-proto") => Self::FORWARDED,
            18 if is(b"proxy-authenticate") => Self::OTHERS,
            _ => Self::NONE,
        }
    }

    /// These and those.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Whether one of these is there.
    pub const fn has(self, fields: Self) -> bool {
        self.0 & fields.0 != 0
    }
}

/// Those that end at the next connection and are not asked for by themselves.
const OTHERS: [HeaderName; 4] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
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
pub fn remove_hop_by_hop(headers: &mut HeaderMap, present: Present) {
    if !present.has(Present::HOP_BY_HOP) {
        return;
    }
    if present.has(Present::CONNECTION) {
        let usual = |name: &str| {
            ["keep-alive", "close", "upgrade", "te"]
                .iter()
                .any(|known| name.eq_ignore_ascii_case(known))
        };
        let named: Vec<HeaderName> = tokens(headers, header::CONNECTION)
            // Those are taken out below, or are no fields.
            .filter(|name| !usual(name))
            .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for (field, name) in [
        (Present::CONNECTION, header::CONNECTION),
        (Present::TE, header::TE),
        (Present::TRANSFER_ENCODING, header::TRANSFER_ENCODING),
        (Present::UPGRADE, header::UPGRADE),
    ] {
        if present.has(field) {
            headers.remove(name);
        }
    }
    if present.has(Present::OTHERS) {
        for name in &OTHERS {
            headers.remove(name);
        }
    }
}

/// Whether a field value neither begins nor ends with white space. HTTP/1 takes it for none of the value, so that who passes
/// it on from HTTP/2 and who reads it there do not mean the same (RFC 9113, 8.2.1).
pub fn is_well_formed(value: &HeaderValue) -> bool {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let bytes = value.as_bytes();
    !is_space(bytes.first()) && !is_space(bytes.last())
}

/// Fields that say how a message is framed, routed, asked for or read, which a trailer section may not have, and which those
/// who merge it into the head would take for the sender's (RFC 9110, 6.5.1).
const NOT_IN_TRAILERS: [HeaderName; 21] = [
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::EXPECT,
    header::FORWARDED,
    header::HOST,
    header::MAX_FORWARDS,
    header::PROXY_AUTHORIZATION,
    header::RANGE,
    header::SET_COOKIE,
    header::TRAILER,
    header::VIA,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
];

/// Takes out of a trailer section what has no business there.
pub fn clean_trailers(trailers: &mut HeaderMap) {
    remove_hop_by_hop(trailers, Present::of(trailers));
    for name in &NOT_IN_TRAILERS {
        trailers.remove(name);
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
pub fn append_to_list(headers: &mut HeaderMap, name: HeaderName, member: &[u8]) {
    let mut list = Vec::new();
    for value in headers.get_all(&name) {
        if !value.is_empty() {
            list.extend_from_slice(value.as_bytes());
            list.extend_from_slice(b", ");
        }
    }
    list.extend_from_slice(member);
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
        let present = Present::of(&headers);
        remove_hop_by_hop(&mut headers, present);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["trailer", "x-other"]);
    }

    #[test]
    fn what_ends_at_the_next_connection_is_removed_by_itself() {
        for name in [
            "connection",
            "keep-alive",
            "proxy-connection",
            "te",
            "transfer-encoding",
            "upgrade",
            "proxy-authenticate",
            "http2-settings",
        ] {
            let mut headers = map(&[(name, "x"), ("x-other", "2")]);
            let present = Present::of(&headers);
            remove_hop_by_hop(&mut headers, present);
            assert_eq!(headers.len(), 1, "{name}");
            assert!(headers.contains_key("x-other"), "{name}");
        }
    }

    #[test]
    fn tokens_that_are_no_fields_take_nothing_with_them() {
        let mut headers = map(&[("connection", "Keep-Alive, TE, Upgrade, close, x-own")]);
        for name in ["te", "upgrade", "keep-alive", "x-own", "x-other"] {
            headers.insert(name, HeaderValue::from_static("1"));
        }
        let present = Present::of(&headers);
        remove_hop_by_hop(&mut headers, present);
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["x-other"]);
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
        append_to_list(&mut headers, header::VIA, b"1.1 l7switch");
        assert_eq!(
            headers.get_all(header::VIA).iter().collect::<Vec<_>>(),
            ["1.0 a, 1.1 b, 1.1 l7switch"]
        );
    }
}
