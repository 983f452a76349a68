// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Server names in the form in which they are compared.

use super::HelloError;

/// Longest DNS name in text, without a trailing dot (RFC 1035, 2.3.4).
const NAME_MAX: usize = 253;
/// Longest label.
const LABEL_MAX: usize = 63;

/// A DNS name in lower case without a trailing dot.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServerName {
    bytes: [u8; 255],
    length: u8,
}

impl ServerName {
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.length))
            .unwrap_or_default()
    }

    /// Reads a name of letters, digits, hyphens inside labels, and underscores, which are common in
    /// practice. An address is refused: RFC 6066, 3 does not allow it, and no name ends in a label
    /// of digits only.
    pub(super) fn read(source: impl Iterator<Item = u8>) -> Result<Self, HelloError> {
        let mut name = Self {
            bytes: [0; 255],
            length: 0,
        };
        for byte in source {
            let place = name
                .bytes
                .get_mut(usize::from(name.length))
                .ok_or(HelloError::ServerName)?;
            *place = byte.to_ascii_lowercase();
            name.length = name.length.checked_add(1).ok_or(HelloError::ServerName)?;
        }
        if name.as_bytes().ends_with(b".") {
            name.length = name.length.saturating_sub(1);
        }
        let bytes = name.as_bytes();
        let last = bytes
            .rsplit(|&byte| byte == b'.')
            .next()
            .unwrap_or_default();
        let valid = bytes.len() <= NAME_MAX
            && bytes.split(|&byte| byte == b'.').all(is_label)
            && !last.iter().all(u8::is_ascii_digit);
        if valid {
            Ok(name)
        } else {
            Err(HelloError::ServerName)
        }
    }
}

/// Whether a name may stand in a ClientHello: one that may not is refused before any route is tried.
///
/// # Errors
///
/// [`HelloError::ServerName`].
pub fn check_server_name(name: &[u8]) -> Result<(), HelloError> {
    ServerName::read(name.iter().copied()).map(|_| ())
}

fn is_label(label: &[u8]) -> bool {
    !label.is_empty()
        && label.len() <= LABEL_MAX
        && label
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        && !label.starts_with(b"-")
        && !label.ends_with(b"-")
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    fn read(text: &str) -> Option<std::vec::Vec<u8>> {
        ServerName::read(text.bytes())
            .ok()
            .map(|name| name.as_bytes().to_vec())
    }

    #[test]
    fn names_are_brought_into_one_form() {
        for (sent, compared) in [
            ("example.com", "example.com"),
            ("WWW.Example.COM.", "www.example.com"),
            ("a", "a"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("_srv.a-b--c.1a", "_srv.a-b--c.1a"),
            ("1.2.3.a", "1.2.3.a"),
        ] {
            assert_eq!(read(sent).as_deref(), Some(compared.as_bytes()), "{sent}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for sent in [
            "",
            ".",
            "..",
            ".a",
            "a..b",
            "a..",
            "-a",
            "a-",
            "a.-b",
            "a-.b",
            "a b",
            "a/b",
            "a:443",
            "*.a",
            "a\0",
            "\u{e9}",
            "127.0.0.1",
            "1",
            "a.1",
            "::1",
            "[::1]",
            "a%41",
        ] {
            assert_eq!(read(sent), None, "{sent:?}");
        }
    }

    #[test]
    fn lengths_are_bounded() {
        let label = "a".repeat(63);
        assert!(read(&label).is_some());
        assert!(read(&format!("{label}a")).is_none());
        let longest = format!("{label}.{label}.{label}.{}", "b".repeat(61));
        assert_eq!(longest.len(), 253);
        assert!(read(&longest).is_some());
        assert!(read(&format!("{longest}.")).is_some());
        assert!(read(&format!("{longest}b")).is_none());
        assert!(read(&format!("{longest}b.")).is_none());
        assert!(read(&"a.".repeat(200)).is_none());
    }
}
