// SPDX-License-Identifier: MIT
//! The tables are whole: no word has two answers, no answer is for a key that is ours, and what they propose is there.

use std::collections::HashMap;

use super::*;

/// Tables of the language with answers of their own, and their keys.
const PLACES: &[(&str, &[&str])] = &[
    ("RuleFile", language::RuleFile::KEYS),
    ("AcmeText", language::AcmeText::KEYS),
    ("ServiceText", language::ServiceText::KEYS),
    ("TlsText", language::TlsText::KEYS),
    ("CertificateText", language::CertificateText::KEYS),
    (
        "ClientCertificatesText",
        language::ClientCertificatesText::KEYS,
    ),
    ("LimitsText", language::LimitsText::KEYS),
    ("MaintenanceText", language::MaintenanceText::KEYS),
    ("RouteText", language::RouteText::KEYS),
    ("PathText", language::PathText::KEYS),
    ("ValueTable", language::ValueTable::KEYS),
    ("HeaderEditText", language::HeaderEditText::KEYS),
    ("RewriteText", language::RewriteText::KEYS),
    ("PathRewriteText", language::PathRewriteText::KEYS),
    ("RedirectText", language::RedirectText::KEYS),
    ("RespondText", language::RespondText::KEYS),
    ("RateLimitText", language::RateLimitText::KEYS),
    ("StickyText", language::StickyText::KEYS),
    ("ShareText", language::ShareText::KEYS),
    ("MirrorText", language::MirrorText::KEYS),
    ("BasicAuthText", language::BasicAuthText::KEYS),
    ("PoolText", language::PoolText::KEYS),
    ("ServerText", language::ServerText::KEYS),
    ("ServerTlsText", language::ServerTlsText::KEYS),
    ("SchedulerText", language::SchedulerText::KEYS),
    ("HealthText", language::HealthText::KEYS),
    ("PassiveText", language::PassiveText::KEYS),
    ("RetriesText", language::RetriesText::KEYS),
    ("QueueText", language::QueueText::KEYS),
];

fn form(word: &str) -> String {
    word.to_ascii_lowercase().replace(['-', '_'], "")
}

/// Words with two answers in a table.
fn twice<'w>(words: impl Iterator<Item = &'w str>) -> Vec<String> {
    let mut seen = HashMap::<String, u32>::new();
    for word in words {
        *seen.entry(form(word)).or_default() += 1;
    }
    seen.retain(|_, times| *times > 1);
    seen.into_keys().collect()
}

#[test]
fn no_word_has_two_answers() {
    let none: Vec<String> = Vec::new();
    let words = |answers: Answers| {
        answers
            .iter()
            .flat_map(|(words, _)| words.split_whitespace())
    };
    for (place, _) in PLACES {
        assert_eq!(twice(words(of(place))), none, "{place}");
    }
    assert_eq!(twice(words(absent::KEYS)), none);
    assert_eq!(twice(words(absent::OPTIONS)), none);
    assert_eq!(twice(keys::KEYS.iter().map(|(word, _)| *word)), none);
    assert_eq!(twice(words::WORDS.iter().map(|(word, _)| *word)), none);
}

#[test]
fn keys_of_ours_are_no_guesses_at_their_place() {
    for (place, known) in PLACES {
        assert!(!of(place).is_empty(), "{place}");
        for (words, said) in of(place) {
            for word in words.split_whitespace() {
                assert!(!known.contains(&word), "{place}.{word}: {said}");
            }
            // A proposal to take another key of the table names one that is there.
            if let Some(rest) = said.strip_prefix("the key for this is `") {
                let ours = rest.split('`').next().unwrap();
                assert!(known.contains(&ours), "{place}: {said}");
            }
        }
    }
}

#[test]
fn words_are_told_apart_without_case_and_separators() {
    for word in ["maxConns", "max-conns", "MAX_CONNS", "maxconns"] {
        let said = key("ServiceText", word, language::ServiceText::KEYS).unwrap();
        assert!(said.contains("connections = 10000"), "{word}: {said}");
    }
}

#[test]
fn keys_in_the_wrong_table_are_sent_home() {
    assert_eq!(
        key("RouteText", "connect_timeout", language::RouteText::KEYS).unwrap(),
        "`connect_timeout` is a key of pools ([pool.NAME])"
    );
    assert_eq!(
        key(
            "ServiceText",
            "response_timeout",
            language::ServiceText::KEYS
        )
        .unwrap(),
        "`response_timeout` is a key of routes ([[service.NAME.route]]) and of pools ([pool.NAME])"
    );
}
