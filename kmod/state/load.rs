// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A table on its way into the kernel.
#![forbid(unsafe_code)]

use kernel::prelude::*;

use crate::shell::memory;

/// A load between begin and commit.
pub(crate) struct Load {
    /// Its number.
    pub(crate) transaction: u32,
    /// Netlink port of the socket that it belongs to.
    pub(crate) port: u32,
    /// Bytes that have come.
    there: usize,
    /// As long as the table will be.
    bytes: KVVec<u8>,
}

/// Why a chunk is not taken.
pub(crate) enum ChunkError {
    /// It does not begin where the last one ended: that place.
    Order(usize),
    /// It goes beyond the length that was announced: that length.
    Length(usize),
}

impl Load {
    /// Makes room for a table of `len` bytes. It counts as memory of whoever loads.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(transaction: u32, port: u32, len: usize) -> Result<Self> {
        Ok(Self {
            transaction,
            port,
            there: 0,
            bytes: memory::zeroed(len)?,
        })
    }

    /// Takes the next bytes.
    pub(crate) fn chunk(&mut self, offset: usize, data: &[u8]) -> Result<(), ChunkError> {
        if offset != self.there {
            return Err(ChunkError::Order(self.there));
        }
        let len = self.bytes.len();
        let end = self.there.saturating_add(data.len());
        let place = self.bytes.get_mut(self.there..end);
        let place = place.ok_or(ChunkError::Length(len))?;
        for (place, &byte) in place.iter_mut().zip(data) {
            *place = byte;
        }
        self.there = end;
        Ok(())
    }

    /// Bytes that have come, and that were announced.
    pub(crate) fn progress(&self) -> (usize, usize) {
        (self.there, self.bytes.len())
    }

    /// The table's bytes.
    pub(crate) fn into_bytes(self) -> KVVec<u8> {
        self.bytes
    }
}
