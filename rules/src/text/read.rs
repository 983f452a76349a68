// SPDX-License-Identifier: MIT
//! Reading TOML values with their places, noting every mistake and going on.

use std::fmt;

use toml::Spanned;
use toml::de::DeTable;
use toml::de::DeValue;

use super::diagnostic::Diagnostic;
use super::guesses;
use super::source::At;
use super::source::Span;

/// A TOML value and its place.
pub(crate) type Node<'i> = Spanned<DeValue<'i>>;

/// What reading leaves behind besides values.
pub(crate) struct Reader<'d> {
    pub(crate) file: u32,
    /// The field that is being read: its table's type and its name, `PoolText.servers`; empty at the top.
    pub(crate) at: &'static str,
    pub(crate) diagnostics: &'d mut Vec<Diagnostic>,
}

/// A type of the language that can be read from a TOML value. `None`: it could not, and why was noted.
pub(crate) trait Read: Sized {
    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self>;
}

/// The known word nearest to a mistyped one, when it is near enough to be meant.
pub(crate) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let lower = word.to_lowercase();
    known
        .into_iter()
        .map(|k| (strsim::osa_distance(&lower, &k.to_lowercase()), k))
        .filter(|(distance, k)| *distance <= k.len().max(word.len()).div_ceil(4))
        // Of several the first of the alphabet: the same each time, in whatever order they come.
        .min_by_key(|(distance, k)| (*distance, *k))
        .map(|(_, k)| k)
}

/// Words for a list: `a, b or c`.
pub(crate) fn choices<'k>(known: impl IntoIterator<Item = &'k str>) -> String {
    let words: Vec<&str> = known.into_iter().collect();
    match words.split_last() {
        None => String::new(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

/// What kind of value it is, for messages.
fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a floating-point number",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

impl Reader<'_> {
    pub(crate) fn span<T>(&self, at: &Spanned<T>) -> Span {
        let range = at.span();
        // Files over 4 GiB are refused when they are read.
        let word = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Span {
            file: self.file,
            start: word(range.start),
            end: word(range.end),
        }
    }

    pub(crate) fn note(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Notes that a value is of the wrong kind.
    pub(crate) fn expected(&mut self, what: &str, node: &Node<'_>) {
        let help = guesses::form(self.at).map(str::to_owned);
        self.expected_as(what, node, help);
    }

    /// The same, with what was meant.
    pub(crate) fn expected_as(&mut self, what: &str, node: &Node<'_>, help: Option<String>) {
        let found = kind(node.get_ref());
        let diagnostic =
            Diagnostic::error("wrong-type", self.span(node), format!("expected {what}"))
                .label(format!("this is {found}"));
        self.note(match help {
            Some(help) => diagnostic.help(help),
            None => diagnostic,
        });
    }

    /// Notes that a value cannot be what it should be, and how it would look.
    pub(crate) fn invalid(&mut self, node: &Node<'_>, message: impl fmt::Display, help: &str) {
        let diagnostic = Diagnostic::error("bad-value", self.span(node), message.to_string());
        self.note(if help.is_empty() {
            diagnostic
        } else {
            diagnostic.help(help)
        });
    }

    /// Notes a key that a table of the language, by its type's name, does not have.
    pub(crate) fn unknown_key(
        &mut self,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        table: &str,
        known: &[&str],
    ) {
        let word = key.get_ref().as_ref();
        let help = guesses::key(table, word, known).unwrap_or_else(|| {
            match nearest(word, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known keys: {}", choices(known.iter().copied())),
            }
        });
        let message = format!("unknown key `{word}`");
        self.note(
            Diagnostic::error("unknown-key", self.span(key), message)
                .label("unknown")
                .help(help),
        );
    }

    pub(crate) fn table<'n, 'i>(
        &mut self,
        node: &'n Node<'i>,
        what: &str,
    ) -> Option<&'n DeTable<'i>> {
        match node.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => {
                self.expected(what, node);
                None
            }
        }
    }

    pub(crate) fn string<'n>(&mut self, node: &'n Node<'_>, what: &str) -> Option<&'n str> {
        match node.get_ref() {
            DeValue::String(text) => Some(text),
            _ => {
                self.expected(what, node);
                None
            }
        }
    }

    /// Reads one of a set of words.
    pub(crate) fn word<T: Copy>(&mut self, node: &Node<'_>, words: &[(&str, T)]) -> Option<T> {
        let known = || words.iter().map(|(w, _)| *w);
        let text = self.string(node, &choices(known()))?;
        if let Some((_, value)) = words.iter().find(|(w, _)| *w == text) {
            return Some(*value);
        }
        let all: Vec<&str> = known().collect();
        let help =
            guesses::value(self.at, text, &all).unwrap_or_else(|| match nearest(text, known()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("known values: {}", choices(known())),
            });
        self.note(
            Diagnostic::error(
                "unknown-word",
                self.span(node),
                format!("unknown value \"{text}\""),
            )
            .label("unknown")
            .help(help),
        );
        None
    }
}

impl Read for String {
    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        reader.string(node, "a string").map(str::to_owned)
    }
}

impl Read for bool {
    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        match node.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            _ => {
                reader.expected("true or false", node);
                None
            }
        }
    }
}

impl Read for i64 {
    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        let DeValue::Integer(integer) = node.get_ref() else {
            reader.expected("an integer", node);
            return None;
        };
        match Self::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(value) => Some(value),
            Err(_) => {
                reader.invalid(node, "the number is too large", "");
                None
            }
        }
    }
}

/// A whole number, where there is one; nothing is noted.
pub(crate) fn whole(node: &Node<'_>) -> Option<i64> {
    let DeValue::Integer(integer) = node.get_ref() else {
        return None;
    };
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

impl<T: Read> Read for At<T> {
    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        let span = reader.span(node);
        T::read(node, reader).map(|value| Self { value, span })
    }
}

impl<T: Read> Read for Box<T> {
    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        T::read(node, reader).map(Self::new)
    }
}

impl<T: Read> Read for Vec<T> {
    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        match node.get_ref() {
            DeValue::Array(items) => Some(
                items
                    .iter()
                    .filter_map(|item| T::read(item, reader))
                    .collect(),
            ),
            _ => {
                reader.expected("a list", node);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_words_that_are_as_near_the_first_of_the_alphabet_is_meant() {
        let words = ["v3", "v2", "v10", "v1", "web"];
        for turn in 0..words.len() {
            let mut words = words;
            words.rotate_left(turn);
            assert_eq!(nearest("v4", words), Some("v1"));
            assert_eq!(nearest("wep", words), Some("web"));
        }
        assert_eq!(nearest("route", ["pool", "listen"]), None);
    }
}
