// SPDX-License-Identifier: MIT
//! What has happened that an operator wants to know.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

/// Answer to `GET /v1/events`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Events {
    /// Those that are kept, the newest first.
    pub events: Vec<Event>,
    /// How many were forgotten since the start, for newer ones.
    pub lost: u64,
}

/// Something that has happened once or, with the same words, several times.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Its number; 1 is the first since the start. One that happens again keeps it.
    pub number: u64,
    /// When it happened first, Unix time in seconds.
    pub first: u64,
    /// When it happened last, Unix time in seconds.
    pub last: u64,
    /// How often it happened.
    pub count: u64,
    /// What it is, in one word.
    pub kind: String,
    /// How bad it is.
    pub level: Level,
    /// The pool that it is about; null: none.
    pub pool: Option<String>,
    /// The server that it is about; null: none.
    pub server: Option<String>,
    /// What has happened, for people.
    pub text: String,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing has to be done.
    #[default]
    Info,
    /// Something serves worse than it could.
    Warning,
    /// Something that was wanted was not done.
    Error,
}

impl Level {
    /// The word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}
