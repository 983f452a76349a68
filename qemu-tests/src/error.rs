// SPDX-License-Identifier: MIT
//! What can go wrong in the harness itself. What a test finds wrong is not an error here but its result.

use std::io;
use std::path::Path;
use std::path::PathBuf;

/// Why the harness cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused something.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was tried.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// A tool that the harness calls (cargo, a script, QEMU) failed.
    #[error("{tool} failed\n{output}")]
    Tool {
        /// The tool, with its arguments.
        tool: String,
        /// What it printed.
        output: String,
    },
    /// The guest did not come up, fell silent, or ended by itself.
    #[error("{what}\n{detail}\nThe whole console is in {}", console.display())]
    Guest {
        /// What happened.
        what: String,
        /// The kernel's complaints and the end of the console.
        detail: String,
        /// The file with all that the guest's console printed.
        console: PathBuf,
    },
    /// The other side sent something that is no message.
    #[error("not a message: {0}")]
    Message(String),
}

/// A result of the harness.
pub type Result<T> = std::result::Result<T, Error>;

/// Says what was tried when the system refuses it.
pub trait Doing<T> {
    /// Turns the system's error into one that says `doing`: "read the list", say.
    ///
    /// # Errors
    ///
    /// The system's, with the words.
    fn doing(self, doing: impl Into<String>) -> Result<T>;

    /// The same, for something done with a file.
    ///
    /// # Errors
    ///
    /// The system's, with the words and the path.
    fn doing_with(self, doing: &str, path: &Path) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, doing: impl Into<String>) -> Result<T> {
        self.map_err(|source| Error::Io {
            doing: doing.into(),
            source: source.into(),
        })
    }

    fn doing_with(self, doing: &str, path: &Path) -> Result<T> {
        self.doing(format!("{doing} {}", path.display()))
    }
}
