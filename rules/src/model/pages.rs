// SPDX-License-Identifier: MIT
//! Content that the switch itself sends: fixed responses, and pages in place of errors.

use std::path::PathBuf;

use ipnet::IpNet;
use serde::Serialize;

/// Content of a response of the switch's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// In the rule file.
    Text(String),
    /// A file, read when the rules come into force. Relative paths were resolved against the rule file's folder.
    File(PathBuf),
}

/// What is sent in place of an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Page {
    /// Lowest and highest status, 400 to 599.
    pub statuses: (u16, u16),
    /// What is sent.
    pub content: Content,
    /// Content-Type.
    pub content_type: String,
    /// Status that is sent; absent: the error's.
    pub status: Option<u16>,
    /// Whether it also replaces what servers answer; otherwise only errors of the switch's own.
    pub intercept: bool,
}

impl Page {
    /// Whether it stands in for an error of this status.
    pub fn is_for(&self, status: u16) -> bool {
        (self.statuses.0..=self.statuses.1).contains(&status)
    }
}

/// Whether a service is closed for maintenance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Maintenance {
    /// It is not.
    #[default]
    Off,
    /// All requests are refused but those of these clients.
    Except(Vec<IpNet>),
}
