// SPDX-License-Identifier: MIT
//! How a switch is set up, and what comes of rules that are put in force.

use std::io;
use std::net::SocketAddr;

use l7switch_rules::text::diagnostic::Report;
use thiserror::Error;

use crate::accept::listen::Sharing;
use crate::observe::access_log;
use crate::observe::spans;
use crate::ruleset::build::BuildError;

/// How a switch is set up besides its rules.
#[derive(Clone, Debug)]
pub struct Options {
    /// The access log.
    pub access_log: access_log::Config,
    /// Traces.
    pub spans: spans::Config,
    /// The name server that names of servers are asked of; absent: as the system is configured.
    pub name_server: Option<SocketAddr>,
    /// Whether others may listen on the same addresses.
    pub sharing: Sharing,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            access_log: access_log::Config::default(),
            spans: spans::Config::default(),
            name_server: None,
            sharing: Sharing::Alone,
        }
    }
}

/// Why rules were not put in force. The rules before stay in force.
#[derive(Debug, Error)]
pub enum SetError {
    /// The rule file is wrong.
    #[error("{}", .0.render(false))]
    Rules(Box<Report>),
    /// The rule file is right, but what it needs is not.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// An address cannot be listened on.
    #[error("service `{service}` cannot listen on {address}: {error}")]
    Bind {
        /// The service.
        service: String,
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The access log cannot be opened.
    #[error("the access log cannot be opened: {0}")]
    AccessLog(io::Error),
    /// Traces cannot be sent.
    #[error("traces cannot be sent: {0}")]
    Spans(String),
    /// There is no rule file to load: the switch was started with rules from elsewhere.
    #[error("the switch has no rule file to reload")]
    NoFile,
    /// The switch is about to end.
    #[error("the switch is about to end")]
    Draining,
}

/// What is known of reloads.
#[derive(Clone, Debug, Default)]
pub struct ReloadStatus {
    /// Successful ones.
    pub succeeded: u64,
    /// Refused ones.
    pub refused: u64,
    /// Why the last was refused; absent when it succeeded.
    pub last_error: Option<String>,
}
