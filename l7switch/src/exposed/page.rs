// SPDX-License-Identifier: MIT
//! The status page: one file that loads nothing but the documents below `/v1/`. It has no numbers itself, so that everybody may have it.

use std::sync::LazyLock;

use aws_lc_rs::digest::SHA256;
use aws_lc_rs::digest::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderValue;
use http::StatusCode;
use http::header;

use crate::admin;
use crate::admin::Answer;

const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");
const FRAME: &str = include_str!("page/page.html");

/// Fields of all answers: a state of now, which no cache may say later; for this origin, and nothing else than it says it is.
pub(super) const HEADERS: [(&str, &str); 4] = [
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    ("cross-origin-resource-policy", "same-origin"),
    ("referrer-policy", "no-referrer"),
];

/// The page, and its policy (Content Security Policy Level 3): its own script and style, by their digests, the documents of this
/// listener, and nothing else.
static PAGE: LazyLock<(Bytes, String)> = LazyLock::new(|| {
    let page = FRAME
        .replace("/* page.css */", STYLE)
        .replace("/* page.js */", SCRIPT);
    let (style, script) = (digest_of(STYLE), digest_of(SCRIPT));
    let policy = format!(
        "default-src 'none'; script-src '{script}'; style-src '{style}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    );
    (page.into(), policy)
});

fn digest_of(text: &str) -> String {
    let digest = digest(&SHA256, text.as_bytes());
    format!("sha256-{}", STANDARD.encode(digest.as_ref()))
}

/// The page.
pub(super) fn answer() -> Answer {
    let (page, policy) = &*PAGE;
    let mut answer = admin::answer(StatusCode::OK, "text/html; charset=utf-8", page.clone());
    if let Ok(policy) = HeaderValue::from_str(policy) {
        answer
            .headers_mut()
            .insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_one_file_that_writes_text_as_text() {
        let (page, policy) = &*PAGE;
        let page = std::str::from_utf8(page).unwrap();
        let inside = |open: &str, close: &str| {
            let (_, rest) = page.split_once(open).unwrap();
            rest.split_once(close).unwrap().0
        };
        // What a browser takes the digest of is what stands between the tags.
        assert!(policy.contains(&digest_of(inside("<style>", "</style>"))));
        assert!(policy.contains(&digest_of(inside("<script>", "</script>"))));
        for forbidden in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "localStorage",
            "sessionStorage",
            "document.cookie",
            "http://",
            "https://",
            "src=",
            "@import",
            "url(",
            " style=",
            " onclick=",
        ] {
            let found = page.replace("http://www.w3.org/2000/svg", "");
            assert!(!found.contains(forbidden), "{forbidden}");
        }
        assert!(page.len() < 64 * 1024, "{}", page.len());
    }
}
