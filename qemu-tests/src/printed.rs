// SPDX-License-Identifier: MIT
//! What a guest prints of what it has found, for the host to find among all else.

use serde::Deserialize;
use serde::Serialize;

/// Something that a guest prints, and the host reads.
pub trait Printed: Serialize + for<'a> Deserialize<'a> {
    /// What stands before it: no other line begins so.
    const PREFIX: &'static str;

    /// Prints it.
    fn print(&self) {
        println!("{}", self.line());
    }

    /// Finds it in what was printed.
    #[must_use]
    fn find(printed: &str) -> Option<Self> {
        let line = printed
            .lines()
            .find_map(|line| line.strip_prefix(Self::PREFIX))?;
        serde_json::from_str(line).ok()
    }

    /// As it is printed.
    fn line(&self) -> String {
        let text = serde_json::to_string(self).unwrap_or_default();
        format!("{}{text}", Self::PREFIX)
    }
}
