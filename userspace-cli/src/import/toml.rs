// SPDX-License-Identifier: MIT
//! Values of a rule file, written on one line.

use std::fmt;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Toml {
    Text(String),
    Number(i64),
    Bool(bool),
    List(Vec<Self>),
    Table(Vec<(String, Self)>),
}

impl Toml {
    pub(super) fn table<const N: usize>(entries: [(&str, Self); N]) -> Self {
        let entries = entries.map(|(key, value)| (key.to_owned(), value));
        Self::Table(entries.into())
    }

    /// A list; of one text, the text.
    pub(super) fn one_or_many(all: &[String]) -> Self {
        match all {
            [one] => one.as_str().into(),
            all => Self::List(all.iter().map(|text| text.as_str().into()).collect()),
        }
    }

    /// Sets a key of a table.
    pub(super) fn set(&mut self, key: &str, value: Self) {
        if let Self::Table(entries) = self {
            entries.retain(|(known, _)| known != key);
            entries.push((key.to_owned(), value));
        }
    }

    /// A value of a table.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Table(entries) => entries.iter().find(|(k, _)| k == key).map(|(_, v)| v),
            _ => None,
        }
    }
}

impl From<&str> for Toml {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Toml {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// A text in quotes.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A key, in quotes where it needs them.
pub(super) fn key(text: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    match !text.is_empty() && text.bytes().all(bare) {
        true => text.to_owned(),
        false => format!("\"{}\"", text.chars().map(escaped).collect::<String>()),
    }
}

fn escaped(c: char) -> String {
    match c {
        '"' | '\\' => format!("\\{c}"),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        c if c.is_control() => format!("\\u{:04X}", u32::from(c)),
        c => c.to_string(),
    }
}

impl fmt::Display for Toml {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // On one line, whatever it has.
            Self::Text(text) if text.contains(['\n', '\r']) => f.write_str(&format!(
                "\"{}\"",
                text.chars().map(escaped).collect::<String>()
            )),
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::Number(number) => write!(f, "{number}"),
            Self::Bool(is) => write!(f, "{is}"),
            Self::List(all) => {
                let all: Vec<String> = all.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", all.join(", "))
            }
            Self::Table(entries) if entries.is_empty() => f.write_str("{}"),
            Self::Table(entries) => {
                let entries = entries.iter();
                let entries: Vec<String> =
                    entries.map(|(k, v)| format!("{} = {v}", key(k))).collect();
                write!(f, "{{ {} }}", entries.join(", "))
            }
        }
    }
}
