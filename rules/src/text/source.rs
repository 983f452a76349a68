// SPDX-License-Identifier: MIT
//! Rule files and positions in them.

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use miette::MietteError;
use miette::MietteSpanContents;
use miette::SourceCode;
use miette::SourceSpan;
use miette::SpanContents;

/// A stretch of a rule file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// Number of the file in [`Sources`].
    pub file: u32,
    /// First byte.
    pub start: u32,
    /// Behind the last byte.
    pub end: u32,
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Span,
}

/// A rule file's text, with the starts of its lines.
#[derive(Debug)]
pub struct SourceFile {
    path: PathBuf,
    text: String,
    lines: Vec<usize>,
}

impl SourceFile {
    /// Takes a text as the content of `path`.
    pub fn new(path: impl Into<PathBuf>, text: String) -> Self {
        let starts = text
            .bytes()
            .enumerate()
            .filter(|(_, b)| *b == b'\n')
            .map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(starts).collect();
        Self {
            path: path.into(),
            text,
            lines,
        }
    }

    /// Path as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Line and column (in characters) of a byte, both from 1.
    pub fn position(&self, byte: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|&start| start <= byte).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        let column = self.text.get(start..byte).map_or(0, |t| t.chars().count());
        (line, column + 1)
    }
}

impl SourceCode for SourceFile {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let start = span.offset().min(self.text.len());
        let end = (span.offset() + span.len()).min(self.text.len());
        let first_line = self.lines.partition_point(|&l| l <= start) - 1;
        let last_line = self.lines.partition_point(|&l| l < end.max(start + 1)) - 1;
        let from_line = first_line.saturating_sub(lines_before);
        let from = self.lines.get(from_line).copied().unwrap_or(0);
        let to_line = last_line + lines_after + 1;
        let to = self.lines.get(to_line).copied().unwrap_or(self.text.len());
        let data = self
            .text
            .as_bytes()
            .get(from..to)
            .ok_or(MietteError::OutOfBounds)?;
        let column = if lines_before == 0 { start - from } else { 0 };
        Ok(Box::new(MietteSpanContents::new_named(
            self.path.display().to_string(),
            data,
            SourceSpan::new(from.into(), to - from),
            from_line,
            column,
            to_line.min(self.lines.len()) - from_line,
        )))
    }
}

/// The files of one rule set, in the order in which they are read.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<Arc<SourceFile>>,
}

impl Sources {
    /// Texts that need not be files.
    pub fn new(files: impl IntoIterator<Item = SourceFile>) -> Self {
        Self {
            files: files.into_iter().map(Arc::new).collect(),
        }
    }

    /// Reads a file, or all `*.toml` files of a directory in the order of their names.
    ///
    /// # Errors
    ///
    /// What the system says, with the path; a directory without a rule file; text that is not UTF-8.
    pub fn read(path: &Path) -> io::Result<Self> {
        let named = |error: io::Error, path: &Path| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        };
        let mut paths = Vec::new();
        if path.is_dir() {
            for entry in std::fs::read_dir(path).map_err(|e| named(e, path))? {
                let file = entry.map_err(|e| named(e, path))?.path();
                let hidden = file
                    .file_name()
                    .is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
                if !hidden && file.extension().is_some_and(|e| e == "toml") && file.is_file() {
                    paths.push(file);
                }
            }
            paths.sort();
            if paths.is_empty() {
                let message = format!("{}: contains no rule file (*.toml)", path.display());
                return Err(io::Error::new(io::ErrorKind::NotFound, message));
            }
        } else {
            paths.push(path.to_owned());
        }
        let mut files = Vec::with_capacity(paths.len());
        for path in paths {
            let text = std::fs::read_to_string(&path).map_err(|e| named(e, &path))?;
            if u32::try_from(text.len()).is_err() {
                let message = format!("{}: is over 4 GiB", path.display());
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            files.push(Arc::new(SourceFile::new(path, text)));
        }
        Ok(Self { files })
    }

    /// File by number.
    pub fn file(&self, number: u32) -> Option<&Arc<SourceFile>> {
        self.files.get(number as usize)
    }

    /// All files, with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &SourceFile)> {
        (0u32..).zip(self.files.iter().map(|f| &**f))
    }

    /// `path:line:column` of a span's start.
    pub fn describe(&self, span: Span) -> String {
        match self.file(span.file) {
            Some(file) => {
                let (line, column) = file.position(span.start as usize);
                format!("{}:{line}:{column}", file.path().display())
            }
            None => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions() {
        let file = SourceFile::new("a.toml", "ab\né=1\n".into());
        assert_eq!(file.position(0), (1, 1));
        assert_eq!(file.position(2), (1, 3));
        assert_eq!(file.position(3), (2, 1));
        assert_eq!(file.position(5), (2, 2), "columns count characters");
        assert_eq!(file.position(8), (3, 1));
    }

    #[test]
    fn a_directory_is_read_in_the_order_of_names() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("b.toml", "2"),
            ("a.toml", "1"),
            ("c.txt", "x"),
            (".d.toml", "x"),
        ] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let sources = Sources::read(dir.path()).unwrap();
        assert_eq!(
            sources.iter().map(|(_, f)| f.text()).collect::<String>(),
            "12"
        );
        let empty = tempfile::tempdir().unwrap();
        assert!(
            Sources::read(empty.path())
                .unwrap_err()
                .to_string()
                .contains("no rule file")
        );
        assert!(
            Sources::read(&empty.path().join("x"))
                .unwrap_err()
                .to_string()
                .contains("/x: ")
        );
    }
}
