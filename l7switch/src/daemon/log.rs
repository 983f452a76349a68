// SPDX-License-Identifier: MIT
//! The log.

use std::io;
use std::io::IsTerminal;

use l7switch::cli::Cli;
use l7switch::cli::ErrorLogFormat;
use tracing_subscriber::EnvFilter;

/// Begins the log, on standard error.
pub(crate) fn start(cli: &Cli) {
    let wanted = cli
        .log_level
        .clone()
        .or_else(|| std::env::var(EnvFilter::DEFAULT_ENV).ok())
        .unwrap_or_else(|| "info".to_owned());
    // The HTTP/2 library warns of each wrong frame of a client, as often as it comes. The switch says the same by itself,
    // once a second and with the client's address.
    // The resolver warns of odd lines in /etc/hosts, as often as it reads the file.
    let mut quiet = wanted;
    for library in ["h2", "hickory_resolver"] {
        if !quiet.contains(&format!("{library}=")) {
            quiet = format!("{quiet},{library}=error");
        }
    }
    let usual = || EnvFilter::new("info,h2=error,hickory_resolver=error");
    let filter = EnvFilter::try_new(&quiet).unwrap_or_else(|_| usual());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    match cli.error_log_format {
        ErrorLogFormat::Text => log.with_ansi(io::stderr().is_terminal()).init(),
        ErrorLogFormat::Json => log.json().flatten_event(true).init(),
    }
}
