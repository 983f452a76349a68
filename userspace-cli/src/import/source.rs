// SPDX-License-Identifier: MIT
//! The files that are imported: reading them, bounds, and mistakes with their places.

use std::fmt;
use std::path::Path;

/// Longest file.
const LONGEST: u64 = 4 << 20;

/// Why a file cannot be read as the language that it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(super) file: String,
    /// From 1; 0: the file as a whole.
    pub(super) line: usize,
    /// In characters, from 1.
    pub(super) column: usize,
    pub(super) why: String,
}

impl Wrong {
    pub(super) fn at(file: &str, line: usize, column: usize, why: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line,
            column,
            why: why.into(),
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.escape_debug();
        let why: String = self
            .why
            .chars()
            .flat_map(|c| match c.is_control() {
                true => c.escape_debug().collect::<Vec<_>>(),
                false => vec![c],
            })
            .collect();
        match self.line {
            0 => write!(f, "{file}: {why}"),
            line => write!(f, "{file}:{line}:{}: {why}", self.column),
        }
    }
}

/// Reads a file as text.
///
/// # Errors
///
/// [`Wrong`]: it cannot be read, is longer than 4 MiB, or is not UTF-8.
pub(super) fn read(path: &Path) -> Result<String, Wrong> {
    let file = path.display().to_string();
    let whole = |why: String| Wrong::at(&file, 0, 0, why);
    let meta = std::fs::metadata(path).map_err(|error| whole(error.to_string()))?;
    if !meta.is_file() {
        return Err(whole("not a regular file".to_owned()));
    }
    if meta.len() > LONGEST {
        return Err(whole("longer than 4 MiB".to_owned()));
    }
    let bytes = std::fs::read(path).map_err(|error| whole(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let before = error.as_bytes().get(..good).unwrap_or_default();
        let before = String::from_utf8_lossy(before);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        Wrong::at(&file, line, column, "not UTF-8")
    })
}

/// Refuses control characters, which neither language has.
///
/// # Errors
///
/// [`Wrong`] at the first one.
pub(super) fn checked(file: &str, text: &str) -> Result<(), Wrong> {
    for (index, line) in text.split('\n').enumerate() {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if let Some(at) = line.chars().position(|c| c.is_control() && c != '\t') {
            return Err(Wrong::at(file, index + 1, at + 1, "a control character"));
        }
    }
    Ok(())
}

/// The last part of a path, by which messages name a file.
pub(super) fn short(path: &Path) -> String {
    match path.file_name() {
        Some(name) => name.to_string_lossy().into_owned(),
        None => path.display().to_string(),
    }
}
