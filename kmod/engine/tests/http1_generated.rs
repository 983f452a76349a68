// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Generated heads, right and nearly right: read the same however they are divided, and the same as
//! httparse reads them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

#[path = "http1_support/edits.rs"]
mod edits;
mod http1_support;

use edits::edited;
use edits::edits;
use http1_support::compare_with_httparse;
use http1_support::in_pieces;
use http1_support::read;
use l7switch_engine::http1::Limits;
use proptest::collection::vec;
use proptest::prelude::*;

fn target() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "/[!-~]{0,20}",
        2 => "https?://[a-z.]{1,8}(:[0-9]{0,5})?(/[a-z]{0,5})?(\\?[a-z=&]{0,6})?",
        1 => "[a-z.]{1,5}:[0-9]{1,4}",
        1 => Just(String::from("*")),
        1 => "[ -~]{0,10}",
    ]
}

fn field() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[!-~&&[^:]]{1,12}:[ \t]{0,2}[ -~\t\u{e9}]{0,30}[ \t]{0,2}",
        2 => "[A-Za-z-]{1,20}: [ -~]{0,60}",
        2 => "(Host|host): [a-z.]{0,6}(:[0-9]{1,5})?",
        1 => "Content-Length: [0-9]{1,3}",
        1 => "Transfer-Encoding: (gzip, )?chunked",
        1 => "(Connection|Upgrade|Expect): (close|keep-alive|upgrade|100-continue)(, [a-z]*)?",
        1 => "[ \t:a-z\u{0}\u{7f}]{0,5}",
    ]
}

/// A head of which a few bytes may have been replaced, taken out or put in.
fn head() -> impl Strategy<Value = Vec<u8>> {
    let method = prop_oneof!["GET", "POST", "OPTIONS", "CONNECT", "[A-Z!#-&]{0,9}"];
    let version = prop_oneof![8 => "HTTP/1\\.[01]", 1 => "HTTP/[0-9]\\.[0-9]", 1 => "[ -~]{0,8}"];
    let whole = (
        prop_oneof![9 => Just(""), 1 => Just("\r\n")],
        method,
        target(),
        version,
    );
    let fields = vec(field(), 0..8);
    let edits = prop_oneof![2 => Just(Vec::new()), 1 => edits()];
    (whole, fields, any::<bool>(), edits).prop_map(|(line, fields, host, edits)| {
        let (empty, method, target, version) = line;
        let mut text = format!("{empty}{method} {target} {version}\r\n");
        if host {
            text.push_str("Host: example.com\r\n");
        }
        for field in fields {
            text.push_str(&field);
            text.push_str("\r\n");
        }
        text.push_str("\r\n");
        edited(text.into_bytes(), edits)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn division_does_not_matter(text in head(), mut ends in vec(0_usize..300, 0..6)) {
        ends.sort_unstable();
        for limits in [Limits::default(), Limits { head: 90, target: 12, fields: 3 }] {
            let whole = read(limits, &text);
            prop_assert_eq!(in_pieces(limits, &text, ends.clone()), whole);
        }
    }

    #[test]
    fn httparse_reads_the_same(text in head()) {
        compare_with_httparse(&text);
    }

    #[test]
    fn arbitrary_bytes_are_survived(text in vec(any::<u8>(), 0..200)) {
        let _ = read(Limits::default(), &text);
    }
}

/// The comparison says nothing if nothing is accepted.
#[test]
fn many_of_the_generated_heads_are_accepted() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut tree = || head().new_tree(&mut runner).unwrap().current();
    let accepted = (0..500).filter(|_| compare_with_httparse(&tree())).count();
    assert!((25..475).contains(&accepted), "{accepted} of 500");
}
