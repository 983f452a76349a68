// SPDX-License-Identifier: MIT
//! Cross-origin requests (the Fetch standard's CORS protocol).

use std::time::Duration;

use serde::Serialize;

/// Which other origins' pages may send requests, and read the responses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cors {
    /// Alternatives; not empty.
    pub origins: Vec<OriginMatch>,
    /// Methods that a page may use beside those that need no permission.
    pub methods: Vec<String>,
    /// Names of header fields that a page may set beside those that need no permission; absent: all.
    pub headers: Option<Vec<String>>,
    /// Names of header fields of responses that a page may read beside those that need no permission.
    pub expose: Vec<String>,
    /// Whether requests may have cookies and other credentials.
    pub credentials: bool,
    /// How long a browser remembers the answer.
    pub max_age: Option<Duration>,
}

/// Origins (RFC 6454, 6.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OriginMatch {
    /// All of them.
    Any,
    /// This one.
    Exact(String),
    /// Those that begin and end so, with one or more labels between.
    Between(String, String),
}

impl OriginMatch {
    /// Whether an origin, as browsers send it, is one of them.
    pub fn is_for(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(own) => own == origin,
            Self::Between(start, end) => origin
                .strip_prefix(start.as_str())
                .and_then(|rest| rest.strip_suffix(end.as_str()))
                .is_some_and(|labels| {
                    let is_label = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
                    !labels.is_empty() && !labels.starts_with('.') && labels.bytes().all(is_label)
                }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_stand_between() {
        let between = OriginMatch::Between("https://".to_owned(), ".example.com".to_owned());
        for (origin, expected) in [
            ("https://a.example.com", true),
            ("https://a.b.example.com", true),
            ("https://example.com", false),
            ("https://.example.com", false),
            ("http://a.example.com", false),
            ("https://a.example.com:8443", false),
            ("https://evil.net/a.example.com", false),
            ("https://evil.net:1.example.com", false),
            ("https://a.example.com.evil.net", false),
            ("null", false),
        ] {
            assert_eq!(between.is_for(origin), expected, "{origin}");
        }
    }
}
