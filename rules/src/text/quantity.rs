// SPDX-License-Identifier: MIT
//! Durations and sizes.

use std::borrow::Cow;
use std::time::Duration;

use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use schemars::json_schema;
use toml::de::DeValue;

use super::read::Node;
use super::read::Read;
use super::read::Reader;
use super::read::whole;
use super::value::inline_schema;

/// A duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Duration);

inline_schema!(Time, "Time", generator => json_schema!({
    "type": "string",
    "pattern": "^[0-9]+(ms|s|m|h)$",
    "description": "A duration: \"500ms\", \"2s\", \"1m\", \"1h\".",
}));

/// Longest duration, a day: longer ones are mistakes.
const MAX_TIME: Duration = Duration::from_secs(86_400);

/// How durations look.
const TIME_HELP: &str = "write it as \"500ms\", \"2s\", \"1m\" or \"1h\"";

/// What is said to those who want none.
const NO_TIME: &str = "without this key its default holds, which is no limit where the documentation says so; the longest is \"24h\"";

impl Read for Time {
    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        let DeValue::String(text) = node.get_ref() else {
            let help = whole(node).map(|seconds| match seconds {
                0 => NO_TIME.to_owned(),
                _ => format!("write \"{seconds}s\" if these are seconds"),
            });
            reader.expected_as("a duration such as \"2s\"", node, help);
            return None;
        };
        let (number, unit) = parts(text);
        let milliseconds = match unit {
            "ms" => Some(1),
            "s" => Some(1000),
            "m" => Some(60_000),
            "h" => Some(3_600_000),
            _ => None,
        };
        let time = number
            .parse::<u64>()
            .ok()
            .zip(milliseconds)
            .and_then(|(n, ms)| n.checked_mul(ms));
        match time.map(Duration::from_millis) {
            Some(time) if time > MAX_TIME => {
                let help = "the longest is \"24h\"; without this key its default holds";
                reader.invalid(node, "the duration is longer than a day", help);
                None
            }
            Some(Duration::ZERO) => {
                reader.invalid(node, "the duration is zero", NO_TIME);
                None
            }
            Some(time) => Some(Self(time)),
            None => {
                reader.invalid(node, "this is not a duration", &meant_time(text));
                None
            }
        }
    }
}

/// The digits that a text begins with, and what follows them.
fn parts(text: &str) -> (&str, &str) {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(digits)
}

/// Whether a text says that there is to be no limit.
fn is_none(text: &str) -> bool {
    let words = [
        "0",
        "off",
        "none",
        "no",
        "never",
        "infinite",
        "infinity",
        "unlimited",
        "disabled",
        "disable",
        "false",
        "-1",
        "",
    ];
    words.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// How a duration looks that was written in another way.
fn meant_time(text: &str) -> String {
    let text = text.trim();
    if is_none(text) {
        return NO_TIME.to_owned();
    }
    // `1m30s` and `1h 5m` have several parts, `1.5s` has a fraction.
    let mut left = text;
    let mut total: f64 = 0.0;
    while !left.is_empty() {
        let digits = left
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(left.len());
        let (number, rest) = left.split_at(digits);
        let rest = rest.trim_start();
        let letters = rest
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(rest.len());
        let (unit, rest) = rest.split_at(letters);
        let milliseconds = match unit.to_ascii_lowercase().as_str() {
            "ms" | "msec" | "msecs" | "millis" | "milliseconds" => 1.0,
            "" | "s" | "sec" | "secs" | "second" | "seconds" => 1e3,
            "m" | "min" | "mins" | "minute" | "minutes" => 6e4,
            "h" | "hr" | "hrs" | "hour" | "hours" => 36e5,
            "d" | "day" | "days" => 864e5,
            "w" | "week" | "weeks" => 6048e5,
            _ => return TIME_HELP.to_owned(),
        };
        let Ok(number) = number.parse::<f64>() else {
            return TIME_HELP.to_owned();
        };
        total += number * milliseconds;
        left = rest.trim_start();
    }
    if total > 864e5 {
        return "the longest is \"24h\"; without this key its default holds".to_owned();
    }
    let whole = |unit: f64| total % unit == 0.0;
    let (unit, word) = if whole(36e5) {
        (36e5, "h")
    } else if whole(6e4) {
        (6e4, "m")
    } else if whole(1e3) {
        (1e3, "s")
    } else {
        (1.0, "ms")
    };
    match total {
        // Less than the smallest that can be written.
        ..1.0 => TIME_HELP.to_owned(),
        _ => format!("write \"{:.0}{word}\"", total / unit),
    }
}

/// A size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub usize);

inline_schema!(Size, "Size", generator => json_schema!({
    "anyOf": [{ "type": "integer", "minimum": 1 }, { "type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)?$" }],
    "description": "A size in bytes: 16384 or \"16KiB\".",
}));

impl Read for Size {
    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        let mut help = "write it as 16384 or \"16KiB\"".to_owned();
        let size = match node.get_ref() {
            DeValue::Integer(_) => usize::try_from(i64::read(node, reader)?).ok(),
            DeValue::String(text) => {
                let (number, unit) = parts(text);
                let factor = match unit {
                    "" | "B" => Some(1),
                    "KiB" => Some(1 << 10),
                    "MiB" => Some(1 << 20),
                    "GiB" => Some(1 << 30),
                    _ => None,
                };
                help = meant_size(text).unwrap_or(help);
                number
                    .parse::<usize>()
                    .ok()
                    .zip(factor)
                    .and_then(|(n, f)| n.checked_mul(f))
            }
            _ => {
                reader.expected("a size such as \"16KiB\"", node);
                return None;
            }
        };
        if size.is_none() {
            reader.invalid(node, "this is not a size", &help);
        }
        size.map(Self)
    }
}

/// How a size looks that was written in another way.
fn meant_size(text: &str) -> Option<String> {
    let text = text.trim();
    if is_none(text) {
        return Some(
            "without this key its default holds, which is no limit where the documentation says so"
                .to_owned(),
        );
    }
    let (number, unit) = parts(text);
    let unit = match unit.trim().to_ascii_lowercase().as_str() {
        "b" | "byte" | "bytes" => "B",
        "k" | "kb" | "kib" => "KiB",
        "m" | "mb" | "mib" => "MiB",
        "g" | "gb" | "gib" => "GiB",
        _ => return None,
    };
    (!number.is_empty()).then(|| format!("write \"{number}{unit}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_other_programs() {
        for (text, help) in [
            ("60", "write \"1m\""),
            ("1.5s", "write \"1500ms\""),
            ("1m30s", "write \"90s\""),
            ("1h 5m", "write \"65m\""),
            ("5 min", "write \"5m\""),
            ("1d", "write \"24h\""),
            (
                "7d",
                "the longest is \"24h\"; without this key its default holds",
            ),
            ("off", NO_TIME),
            ("0", NO_TIME),
            ("-1", NO_TIME),
            ("soon", TIME_HELP),
            ("1.2.3s", TIME_HELP),
            ("0.1ms", TIME_HELP),
        ] {
            assert_eq!(meant_time(text), help, "{text}");
        }
    }

    #[test]
    fn sizes_of_other_programs() {
        for (text, help) in [
            ("10M", Some("write \"10MiB\"")),
            ("10mb", Some("write \"10MiB\"")),
            ("8 k", Some("write \"8KiB\"")),
            ("1G", Some("write \"1GiB\"")),
            ("M", None),
            ("10T", None),
        ] {
            assert_eq!(meant_size(text).as_deref(), help, "{text}");
        }
        assert!(meant_size("off").is_some());
    }
}
