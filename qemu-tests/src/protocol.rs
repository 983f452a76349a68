// SPDX-License-Identifier: MIT
//! What host and guest say to each other over the results port: one JSON object a line.

use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;

/// The name of the virtio port on which they speak.
pub const PORT: &str = "l7.results";

/// The name of the virtio port that takes the kernel's symbols, where a profile is wanted.
pub const SYMBOLS: &str = "l7.symbols";

/// What the host asks of the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Run a test and answer with [`Reply::Result`].
    Run {
        /// A name of the list.
        name: String,
        /// How long it may take, in seconds of the guest's clock.
        timeout_seconds: u64,
    },
    /// Look for what only shows at the end (leaks), answer with [`Reply::Finished`] and power off.
    Finish,
}

/// What the guest says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// It is up and waits for requests.
    Ready {
        /// The running kernel's, as `uname -r` says it.
        release: String,
        /// Time since the kernel started.
        uptime_millis: u64,
        /// What the kernel complained of while it booted.
        kernel: Vec<String>,
    },
    /// How a test ended.
    Result(TestResult),
    /// How the guest as a whole ended.
    Finished {
        /// What the kernel complained of since the last test, leaks included.
        kernel: Vec<String>,
    },
}

/// How a test ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestResult {
    /// Which test.
    pub name: String,
    /// What its function did.
    pub outcome: Outcome,
    /// What it and its programs printed.
    pub output: String,
    /// What the kernel complained of meanwhile.
    pub kernel: Vec<String>,
    /// What is left behind that spoils the guest for other tests: a module that does not unload.
    pub left_behind: Option<String>,
    /// How long it took, by the guest's clock.
    pub millis: u64,
}

/// What a test's function did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It returned.
    Passed,
    /// It panicked, or its process died: how.
    Failed(String),
    /// It did neither in time.
    TimedOut,
}

impl TestResult {
    /// Whether all is well: the function returned and the kernel has nothing to complain of.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.outcome == Outcome::Passed && self.kernel.is_empty() && self.left_behind.is_none()
    }
}

/// A message as a line, with its end.
///
/// # Errors
///
/// Does not fail for the messages of this module.
pub fn encode(message: &impl Serialize) -> Result<String, Error> {
    let mut line =
        serde_json::to_string(message).map_err(|error| Error::Message(error.to_string()))?;
    line.push('\n');
    Ok(line)
}

/// Reads a line as a message.
///
/// # Errors
///
/// [`Error::Message`] with the line, where it is none.
pub fn decode<T: DeserializeOwned>(line: &str) -> Result<T, Error> {
    serde_json::from_str(line.trim_end())
        .map_err(|error| Error::Message(format!("{error}: {line:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result() -> TestResult {
        TestResult {
            name: "boot::x".to_owned(),
            outcome: Outcome::Failed("exit status: 101".to_owned()),
            output: "two\nlines, \"quoted\" \u{1b}[0m".to_owned(),
            kernel: vec!["BUG: x".to_owned()],
            left_behind: None,
            millis: 12,
        }
    }

    #[test]
    fn what_is_encoded_is_one_line_and_decodes_to_itself() {
        for reply in [
            Reply::Result(result()),
            Reply::Finished { kernel: vec![] },
            Reply::Ready {
                release: "7.3".to_owned(),
                uptime_millis: 1,
                kernel: vec![],
            },
        ] {
            let line = encode(&reply).unwrap();
            assert_eq!(line.matches('\n').count(), 1);
            assert_eq!(decode::<Reply>(&line).unwrap(), reply);
        }
        let request = Request::Run {
            name: "a::b".to_owned(),
            timeout_seconds: 3,
        };
        assert_eq!(
            decode::<Request>(&encode(&request).unwrap()).unwrap(),
            request
        );
    }

    #[test]
    fn what_is_no_message_is_an_error_that_shows_it() {
        for line in [
            "",
            "{",
            "[    1.0] kernel log",
            "{\"result\":{}}",
            "{\"no\":1}",
        ] {
            let error = decode::<Reply>(line).unwrap_err().to_string();
            assert!(error.contains(&format!("{line:?}")), "{error}");
        }
    }

    #[test]
    fn a_test_is_good_only_if_function_and_kernel_are() {
        let good = TestResult {
            outcome: Outcome::Passed,
            kernel: vec![],
            ..result()
        };
        assert!(good.is_good());
        assert!(!result().is_good());
        assert!(
            !TestResult {
                kernel: vec!["WARNING:".to_owned()],
                ..good.clone()
            }
            .is_good()
        );
        assert!(
            !TestResult {
                left_behind: Some("l7switch".to_owned()),
                ..good.clone()
            }
            .is_good()
        );
        assert!(
            !TestResult {
                outcome: Outcome::TimedOut,
                ..good
            }
            .is_good()
        );
    }
}
