// SPDX-License-Identifier: MIT
//! Words of other programs, and what they are here: who knows HAProxy, nginx, Envoy, Traefik or Caddy tries theirs first.
//!
//! A place is a table of the language, by the name of its type (`PoolText`); a field of it is `PoolText.servers`. Words are told
//! apart without case, `-` and `_`: `maxConns`, `max-conns` and `max_conns` are one.

mod absent;
mod keys;
mod pools;
mod routes;
mod services;
mod values;
mod words;

use crate::text::language;

/// Words of other programs, with spaces between them, and what is said of them.
type Answers = &'static [(&'static str, &'static str)];

/// Tables that people take for one another, and where they stand.
const HOMES: &[(&[&str], &str)] = &[
    (language::ServiceText::KEYS, "services ([service.NAME])"),
    (language::RouteText::KEYS, "routes ([[service.NAME.route]])"),
    (language::PoolText::KEYS, "pools ([pool.NAME])"),
    (language::LimitsText::KEYS, "a service's `limits`"),
    (language::ServerText::KEYS, "servers (servers = [{ … }])"),
    (language::HealthText::KEYS, "a pool's `health`"),
];

/// What is known of keys at one place only, or otherwise there.
fn of(place: &str) -> Answers {
    match place {
        "RuleFile" => services::TOP,
        "AcmeText" => services::ACME,
        "ServiceText" => services::SERVICE,
        "TlsText" => services::TLS,
        "CertificateText" => services::CERTIFICATE,
        "ClientCertificatesText" => services::CLIENT_CERTIFICATES,
        "LimitsText" => services::LIMITS,
        "MaintenanceText" => services::MAINTENANCE,
        "RouteText" => routes::ROUTE,
        "PathText" => routes::PATH,
        "ValueTable" => routes::VALUE,
        "HeaderEditText" => routes::HEADER_EDIT,
        "RewriteText" => routes::REWRITE,
        "PathRewriteText" => routes::PATH_REWRITE,
        "RedirectText" => routes::REDIRECT,
        "RespondText" | "PageText" => routes::RESPOND,
        "RateLimitText" => routes::RATE_LIMIT,
        "StickyText" => routes::STICKY,
        "ShareText" => routes::SHARE,
        "MirrorText" => routes::MIRROR,
        "BasicAuthText" => routes::BASIC_AUTH,
        "PoolText" => pools::POOL,
        "ServerText" => pools::SERVER,
        "ServerTlsText" => pools::SERVER_TLS,
        "SchedulerText" => pools::SCHEDULER,
        "HealthText" => pools::HEALTH,
        "PassiveText" => pools::PASSIVE,
        "RetriesText" => pools::RETRIES,
        "QueueText" => pools::QUEUE,
        _ => &[],
    }
}

/// What an unknown key of a place is here, as a sentence; `None`: nobody is known to have it.
pub(super) fn key(place: &str, word: &str, known: &[&str]) -> Option<String> {
    answer(of(place), word)
        .or_else(|| answer(absent::KEYS, word))
        .map(str::to_owned)
        .or_else(|| {
            find(keys::KEYS, word, known).map(|ours| format!("the key for this is `{ours}`"))
        })
        .or_else(|| answer(absent::OPTIONS, word).map(str::to_owned))
        .or_else(|| home(word))
}

/// What an unknown value is at a field, as a sentence.
pub(super) fn value(at: &str, word: &str, known: &[&str]) -> Option<String> {
    values::of(at, word)
        .or_else(|| answer(absent::KEYS, word).map(str::to_owned))
        .or_else(|| {
            find(words::WORDS, word, known).map(|ours| format!("the value for this is \"{ours}\""))
        })
}

/// The variable for one of another program.
pub(crate) fn variable(word: &str, known: &[&str]) -> Option<&'static str> {
    find(words::WORDS, word, known)
}

/// What is said of a variable that has no counterpart.
pub(crate) fn no_variable(word: &str) -> Option<&'static str> {
    values::no_variable(word)
}

/// How a text would look that is a variable in another program.
pub(crate) fn foreign_variable(text: &str, known: &[&str]) -> Option<String> {
    values::foreign_variable(text, known)
}

/// What is said of a value of the wrong type at a field.
pub(super) fn form(at: &str) -> Option<&'static str> {
    values::form(at)
}

/// What an address prefix of another program is.
pub(super) fn prefix(at: &str, word: &str) -> Option<&'static str> {
    values::prefix(at, word)
}

/// Where a key of ours stands that is in the wrong table.
fn home(word: &str) -> Option<String> {
    let homes: Vec<&str> = HOMES
        .iter()
        .filter(|(keys, _)| keys.contains(&word))
        .map(|(_, home)| *home)
        .collect();
    (!homes.is_empty()).then(|| format!("`{word}` is a key of {}", homes.join(" and of ")))
}

/// Whether two words are one.
fn same(a: &str, b: &str) -> bool {
    let form = |word: &str| -> Vec<u8> {
        let kept = word.bytes().filter(|byte| !matches!(byte, b'-' | b'_'));
        kept.map(|byte| byte.to_ascii_lowercase()).collect()
    };
    form(a) == form(b)
}

fn answer(answers: Answers, word: &str) -> Option<&'static str> {
    let found = answers
        .iter()
        .find(|(words, _)| words.split_whitespace().any(|theirs| same(theirs, word)));
    found.map(|(_, said)| *said)
}

fn find(table: &[(&str, &[&'static str])], word: &str, known: &[&str]) -> Option<&'static str> {
    let (_, ours) = table.iter().find(|(theirs, _)| same(theirs, word))?;
    // Of `limits.body`, `limits` is what has to be known; `1.3` is one word.
    let is_known = |word: &&&str| {
        let first = word.split('.').next();
        known.contains(*word) || first.is_some_and(|key| known.contains(&key))
    };
    ours.iter().find(is_known).copied()
}

#[cfg(test)]
mod tests;
