// SPDX-License-Identifier: MIT
//! The kernel's log as records arrive (Documentation/ABI/testing/dev-kmsg).

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read as _;
use std::io::Seek as _;
use std::io::SeekFrom;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use rustix::fs::OFlags;

use crate::error::Doing as _;
use crate::error::Result;

const PATH: &str = "/dev/kmsg";

/// A reader of the log.
#[derive(Debug)]
pub struct KernelLog {
    file: File,
}

impl KernelLog {
    /// Reads from the first record that the kernel still has.
    ///
    /// # Errors
    ///
    /// Where the log cannot be opened.
    pub fn from_start() -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(PATH)
            .doing("open the kernel's log")?;
        Ok(Self { file })
    }

    /// Reads what comes from now on.
    ///
    /// # Errors
    ///
    /// Where the log cannot be opened.
    pub fn from_now() -> Result<Self> {
        let mut log = Self::from_start()?;
        log.file
            .seek(SeekFrom::End(0))
            .doing("seek in the kernel's log")?;
        Ok(log)
    }

    /// The lines that came since the last call: "[    1.234567] text".
    pub fn read(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        // A record has at most PRINTKRB_RECORD_MAX + prefix bytes.
        let mut record = [0; 8192];
        loop {
            match self.file.read(&mut record) {
                Ok(0) => return lines,
                Ok(length) => {
                    let text = String::from_utf8_lossy(record.get(..length).unwrap_or_default());
                    lines.extend(parse(&text));
                }
                // The kernel overwrote what was not read yet.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    lines.push("(lines were lost here)".to_owned());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return lines,
            }
        }
    }
}

/// Writes a line into the log, where it can.
pub fn write(line: &str) {
    if let Ok(mut file) = OpenOptions::new().write(true).open(PATH) {
        let _ = file.write_all(format!("<6>{line}").as_bytes());
    }
}

/// A record, "priority,sequence,microseconds,flags;text", as the console shows it.
fn parse(record: &str) -> Option<String> {
    let (head, rest) = record.split_once(';')?;
    let micros: u64 = head.split(',').nth(2)?.parse().ok()?;
    // Further lines are a dictionary.
    let text = rest.lines().next()?;
    Some(format!(
        "[{:5}.{:06}] {text}",
        micros / 1_000_000,
        micros % 1_000_000
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_like_the_console() {
        assert_eq!(
            parse("4,339,5140900,-;WARNING: x;y\n SUBSYSTEM=net\n").as_deref(),
            Some("[    5.140900] WARNING: x;y")
        );
        assert_eq!(parse("nonsense"), None);
        assert_eq!(parse("4,339;text"), None);
    }
}
