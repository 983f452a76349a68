// SPDX-License-Identifier: MIT
//! Fields that belong to one connection, not to the message (RFC 9110, 7.6.1), and the other fields
//! that a proxy has to care for.

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;

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
    /// Others that end at the next connection: Keep-Alive, Proxy-Connection, Proxy-Authenticate, HTTP2-Settings.
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
    /// Forwarded, X-Real-IP or one of X-Forwarded-*.
    pub const FORWARDED: Self = Self(1 << 9);
    /// Host.
    pub const HOST: Self = Self(1 << 10);
    /// Date.
    pub const DATE: Self = Self(1 << 11);
    /// Max-Forwards.
    pub const MAX_FORWARDS: Self = Self(1 << 12);
    /// Traceparent.
    pub const TRACEPARENT: Self = Self(1 << 13);
    /// Tracestate.
    pub const TRACESTATE: Self = Self(1 << 14);
    /// None.
    pub const NONE: Self = Self(0);

    /// What a field of this name is, in any case.
    pub fn named(name: &[u8]) -> Self {
        match name.len() {
            2 if is_word(name, b"te") => Self::TE,
            3 if is_word(name, b"via") => Self::VIA,
            4 if is_word(name, b"host") => Self::HOST,
            4 if is_word(name, b"date") => Self::DATE,
            6 if is_word(name, b"expect") => Self::EXPECT,
            6 if is_word(name, b"cookie") => Self::COOKIE,
            7 if is_word(name, b"upgrade") => Self::UPGRADE,
            9 if is_word(name, b"forwarded") => Self::FORWARDED,
            9 if is_word(name, b"x-real-ip") => Self::FORWARDED,
            10 if is_word(name, b"connection") => Self::CONNECTION,
            10 if is_word(name, b"keep-alive") => Self::OTHERS,
            10 if is_word(name, b"tracestate") => Self::TRACESTATE,
            11 if is_word(name, b"traceparent") => Self::TRACEPARENT,
            12 if is_word(name, b"max-forwards") => Self::MAX_FORWARDS,
            14 if is_word(name, b"content-length") => Self::CONTENT_LENGTH,
            14 if is_word(name, b"http2-settings") => Self::OTHERS,
            16 if is_word(name, b"proxy-connection") => Self::OTHERS,
            17 if is_word(name, b"transfer-encoding") => Self::TRANSFER_ENCODING,
            18 if is_word(name, b"proxy-authenticate") => Self::OTHERS,
            13.. if name.first_chunk().is_some_and(is_forwarded) => Self::FORWARDED,
            9.. if matches!(name, [b'x' | b'X', ..]) && is_forwarded_with_underscores(name) => {
                Self::FORWARDED
            }
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

/// Whether a name that begins so is one of X-Forwarded-*.
#[inline]
fn is_forwarded(start: &[u8; 12]) -> bool {
    is_word(start, b"x-forwarded-")
}

/// Whether a name is read as X-Real-IP or one of X-Forwarded-* by programs that take `_` for `-` (RFC 3875, 4.1.18).
fn is_forwarded_with_underscores(name: &[u8]) -> bool {
    const START: &[u8] = b"x-forwarded-";
    name.contains(&b'_')
        && (is_read_as(name, b"x-real-ip")
            || name
                .get(..START.len())
                .is_some_and(|start| is_read_as(start, START)))
}

/// Whether two names are the same for programs that take `_` for `-`, such as those behind CGI (RFC 3875, 4.1.18): the case of letters
/// does not count either.
pub fn is_read_as(one: &[u8], other: &[u8]) -> bool {
    let form = |byte: &u8| match byte {
        b'_' => b'-',
        byte => byte.to_ascii_lowercase(),
    };
    one.len() == other.len() && one.iter().map(form).eq(other.iter().map(form))
}

/// Whether a name, which is a token, is this word in any case. The word has no letters but lower case ones.
#[inline]
fn is_word<const LENGTH: usize>(name: &[u8], word: &[u8; LENGTH]) -> bool {
    /// The bit that tells a lower case letter from an upper case one. No two token characters beside letters differ in it
    /// alone, but `^` and `~`, which no word has.
    const CASE: u64 = 0x2020_2020_2020_2020;
    let (Some(first), Some(last)) = (name.first_chunk::<8>(), name.last_chunk::<8>()) else {
        return name.eq_ignore_ascii_case(word);
    };
    let (Some(word_first), Some(word_last)) = (word.first_chunk(), word.last_chunk()) else {
        return false;
    };
    let is_same =
        |a: &[u8; 8], b: &[u8; 8]| u64::from_le_bytes(*a) | CASE == u64::from_le_bytes(*b) | CASE;
    // Words are of 16 bytes or fewer but for three, whose middle is looked at too.
    is_same(first, word_first)
        && is_same(last, word_last)
        && (LENGTH <= 16 || name.eq_ignore_ascii_case(word))
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
const NOT_IN_TRAILERS: [&str; 21] = [
    "authorization",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "max-forwards",
    "proxy-authorization",
    "range",
    "set-cookie",
    "trailer",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
];

/// Writes those lines of a trailer section that may go on.
pub fn clean_trailer_lines(lines: &[u8], out: &mut Vec<u8>) {
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        let is_barred = NOT_IN_TRAILERS
            .iter()
            .any(|barred| name.eq_ignore_ascii_case(barred.as_bytes()));
        if !is_barred && !Present::named(name).has(Present::HOP_BY_HOP.and(Present::FORWARDED)) {
            out.extend_from_slice(line);
        }
    }
}

/// Whether a value of TE says that its sender takes trailer fields (RFC 9110, 10.1.4).
pub fn takes_trailers(value: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|coding| {
        let name = coding.split(|byte| *byte == b';').next().unwrap_or(coding);
        name.trim_ascii().eq_ignore_ascii_case(b"trailers")
    })
}

/// Whether a protocol to which a request would change may be passed on (RFC 9110, 7.8): one
/// protocol, and none that replaces the HTTP that the switch itself speaks on the connection. An
/// upgrade to `h2c` would carry requests past the rules.
pub fn is_harmless_upgrade(protocol: &[u8]) -> bool {
    let name = protocol.split(|byte| *byte == b'/').next();
    let name = name.unwrap_or(protocol).trim_ascii();
    !protocol.contains(&b',')
        && !name.is_empty()
        && ![&b"h2c"[..], b"h2", b"http", b"tls"]
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known))
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

    #[test]
    fn what_ends_at_the_next_connection_is_known() {
        for name in [
            "connection",
            "Keep-Alive",
            "proxy-connection",
            "TE",
            "transfer-encoding",
            "upgrade",
            "proxy-authenticate",
            "http2-settings",
        ] {
            assert!(
                Present::named(name.as_bytes()).has(Present::HOP_BY_HOP),
                "{name}"
            );
        }
        for name in ["trailer", "x-other", "host", "te2"] {
            assert!(
                !Present::named(name.as_bytes()).has(Present::HOP_BY_HOP),
                "{name}"
            );
        }
    }

    #[test]
    fn trailers_that_could_be_taken_for_the_head_stay_here() {
        let lines =
            b"X-A: 1\r\nHost: b\r\nX-Forwarded-For:c\r\nX-Forwarded-User: d\r\nConnection: x\r\ngrpc-status: 0\r\n";
        let mut out = Vec::new();
        clean_trailer_lines(lines, &mut out);
        assert_eq!(out, b"X-A: 1\r\ngrpc-status: 0\r\n");
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
            assert_eq!(is_harmless_upgrade(upgrade.as_bytes()), passes, "{upgrade}");
        }
    }

    #[test]
    fn trailers_in_te() {
        assert!(takes_trailers(b"deflate;q=0.5, Trailers"));
        assert!(!takes_trailers(b"deflate"));
    }

    #[test]
    fn lists_grow_at_the_end() {
        let mut headers = HeaderMap::new();
        for value in ["1.0 a", "1.1 b"] {
            headers.append(http::header::VIA, HeaderValue::from_static(value));
        }
        append_to_list(&mut headers, http::header::VIA, b"1.1 l7switch");
        assert_eq!(
            headers.get_all("via").iter().collect::<Vec<_>>(),
            ["1.0 a, 1.1 b, 1.1 l7switch"]
        );
    }
}
