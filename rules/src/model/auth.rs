// SPDX-License-Identifier: MIT
//! Who may use a route: users with passwords, and servers that are asked.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

/// Users and passwords that requests must have (RFC 7617).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BasicAuth {
    /// File of users and hashed passwords, a line `user:hash` each. Relative paths were resolved.
    pub file: PathBuf,
    /// What browsers show when they ask for the password.
    pub realm: String,
}

/// Servers that are asked whether a request goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExternalAuth {
    /// Their pool, by the model's number.
    pub pool: usize,
    /// Path of the request that they get, with a query where there is one.
    pub path: String,
    /// Names in lower case of the client's fields that they get; absent: all.
    pub request_headers: Option<Vec<String>>,
    /// Names in lower case of the fields of their response that go on with the request. The client's own of these never do.
    pub response_headers: Vec<String>,
    /// Time for the whole.
    pub timeout: Duration,
}
