// SPDX-License-Identifier: MIT
//! Files that rules name.

use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Longest file of certificates, keys or revocation lists, bytes.
pub const MOST_PEM: u64 = 64 * 1024 * 1024;

/// Reads a file of at most so many bytes. Nobody is waited for: what is no regular file (a FIFO, a device, a folder) is an error.
///
/// # Errors
///
/// [`io::ErrorKind::FileTooLarge`]: it is longer. Others as the kernel says.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nonblock)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= most => Ok(bytes),
        _ => Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("more than {most} bytes"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_read_and_not_too_long_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "1234").unwrap();
        assert_eq!(read(&path, 4).unwrap(), b"1234");
        let error = read(&path, 3).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        let fifo = folder.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status();
        assert!(made.unwrap().success());
        for other in [fifo.as_path(), folder.path(), Path::new("/dev/zero")] {
            let error = read(other, 3).unwrap_err().to_string();
            assert_eq!(error, "not a regular file", "{}", other.display());
        }
        assert!(read(&folder.path().join("none"), 3).is_err());
    }
}
