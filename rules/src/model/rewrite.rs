// SPDX-License-Identifier: MIT
//! New paths.

use std::fmt;

use serde::Serialize;
use serde::Serializer;

/// A new path; the first two as in the Gateway API's HTTPPathModifier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PathRewrite {
    /// The whole path; the query stays.
    ReplaceFull(String),
    /// The matched prefix; only on routes whose paths are all prefixes.
    ReplacePrefix(String),
    /// What a regular expression finds first in the path.
    ReplaceRegex(RegexRewrite),
}

/// What a regular expression finds, and what stands in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RegexRewrite {
    /// The expression.
    pub pattern: String,
    /// What stands in the place of what it finds.
    #[serde(serialize_with = "as_text")]
    pub with: Vec<Substitute>,
}

/// A piece of what stands in the place of a match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Substitute {
    /// As it stands.
    Text(String),
    /// What a group has found, by its number; 0: the whole match.
    Group(usize),
}

impl fmt::Display for RegexRewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with.iter().try_for_each(|piece| match piece {
            Substitute::Text(text) => f.write_str(&text.replace('$', "$$")),
            Substitute::Group(number) => write!(f, "${{{number}}}"),
        })
    }
}

fn as_text<S: Serializer>(with: &[Substitute], to: S) -> Result<S::Ok, S::Error> {
    let rewrite = RegexRewrite {
        pattern: String::new(),
        with: with.to_vec(),
    };
    to.collect_str(&rewrite)
}
