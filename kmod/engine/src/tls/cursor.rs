// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A handshake message read across the records that carry it.

use super::HelloError;

/// Bytes of a record header: type, version, length.
pub(super) const RECORD_HEADER: usize = 5;

/// Reads numbers, in network order, and bytes of a message whose records are known to be whole.
///
/// A vector within the message is a cursor too: one that starts where the vector does and has as
/// many bytes left as the vector is long.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    /// From the next byte to be read, or from the header of its record.
    rest: &'a [u8],
    /// What is left of the current record.
    record: usize,
    /// What is left to be read.
    left: usize,
}

impl<'a> Cursor<'a> {
    /// At the header of the first record, with `left` bytes to be read.
    pub(super) const fn new(records: &'a [u8], left: usize) -> Self {
        Self {
            rest: records,
            record: 0,
            left,
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.left == 0
    }

    pub(super) const fn left(&self) -> usize {
        self.left
    }

    /// Gives what of the next `max` bytes is in one piece: at least one byte.
    fn piece(&mut self, max: usize) -> Result<&'a [u8], HelloError> {
        if self.record == 0 {
            let (header, rest) = self
                .rest
                .split_first_chunk::<RECORD_HEADER>()
                .ok_or(HelloError::Length)?;
            let [.., high, low] = *header;
            self.record = usize::from(u16::from_be_bytes([high, low]));
            self.rest = rest;
        }
        let length = max.min(self.record).min(self.left);
        if length == 0 {
            return Err(HelloError::Length);
        }
        let (piece, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(HelloError::Length)?;
        self.rest = rest;
        self.record = self.record.wrapping_sub(length);
        self.left = self.left.wrapping_sub(length);
        Ok(piece)
    }

    pub(super) fn u8(&mut self) -> Result<u8, HelloError> {
        self.piece(1)?.first().copied().ok_or(HelloError::Length)
    }

    pub(super) fn u16(&mut self) -> Result<u16, HelloError> {
        Ok(u16::from_be_bytes([self.u8()?, self.u8()?]))
    }

    pub(super) fn pass(&mut self, mut length: usize) -> Result<(), HelloError> {
        while length > 0 {
            length = length.wrapping_sub(self.piece(length)?.len());
        }
        Ok(())
    }

    /// Goes past `length` bytes, which fails if there are not so many, and gives a cursor over them.
    pub(super) fn take(&mut self, length: usize) -> Result<Self, HelloError> {
        let mut vector = self.clone();
        vector.left = length;
        self.pass(length)?;
        Ok(vector)
    }

    /// A vector with one byte of length before it.
    pub(super) fn vector8(&mut self) -> Result<Self, HelloError> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    /// A vector with two bytes of length before it.
    pub(super) fn vector16(&mut self) -> Result<Self, HelloError> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    /// Fails unless everything was read.
    pub(super) const fn end(&self) -> Result<(), HelloError> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(HelloError::Length)
        }
    }
}

impl Iterator for Cursor<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        self.u8().ok()
    }
}
