// SPDX-License-Identifier: MIT
//! Writing a table: records of each kind are gathered in their sections, then laid out behind the header.

use std::collections::HashMap;

use l7switch_engine::table::format;
use l7switch_engine::table::format::Record;

use super::CompileError;
use super::to_u32;

/// Sections in the making.
pub(super) struct Writer {
    sections: Vec<Vec<u8>>,
    counts: Vec<u32>,
    /// Edges of all tries, in no order: they are placed by hash when all are known.
    pub(super) edges: Vec<format::EdgeRecord>,
    texts: HashMap<Vec<u8>, u32>,
}

impl Default for Writer {
    fn default() -> Self {
        Self {
            sections: vec![Vec::new(); format::SECTIONS],
            counts: vec![0; format::SECTIONS],
            edges: Vec::new(),
            texts: HashMap::new(),
        }
    }
}

/// Seed and probe lengths of the hash tables.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hashing {
    pub(super) seed: u32,
    pub(super) host_probe: u32,
    pub(super) edge_probe: u32,
}

impl Writer {
    /// Records of a kind so far.
    pub(super) fn count<R: Record>(&self) -> u32 {
        self.counts.get(R::SECTION).copied().unwrap_or(0)
    }

    /// Adds a record; returns its index.
    pub(super) fn push<R: Record>(&mut self, record: R) -> u32 {
        let index = self.count::<R>();
        if let Some(section) = self.sections.get_mut(R::SECTION) {
            record.write(&mut |word| section.extend_from_slice(&word.to_le_bytes()));
        }
        if let Some(count) = self.counts.get_mut(R::SECTION) {
            *count = count.saturating_add(1);
        }
        index
    }

    /// Adds records; returns the index of the first.
    pub(super) fn extend<R: Record>(&mut self, records: impl Iterator<Item = R>) -> u32 {
        let first = self.count::<R>();
        for record in records {
            self.push(record);
        }
        first
    }

    /// Reads bytes back.
    pub(super) fn text_at(&self, start: u32, len: u32) -> &[u8] {
        let blob = self
            .sections
            .get(format::BYTES)
            .map_or(&[][..], Vec::as_slice);
        blob.get(start as usize..start as usize + len as usize)
            .unwrap_or(&[])
    }

    /// Adds bytes, or finds them: start and length.
    pub(super) fn text(&mut self, text: &[u8]) -> (u32, u32) {
        let len = to_u32(text.len());
        if text.is_empty() {
            return (0, 0);
        }
        if let Some(&start) = self.texts.get(text) {
            return (start, len);
        }
        let start = self.raw(format::BYTES, text, 1);
        self.texts.insert(text.to_vec(), start);
        (start, len)
    }

    /// Adds transitions; returns the index of the first.
    pub(super) fn transitions(&mut self, states: &[u16]) -> u32 {
        let bytes: Vec<u8> = states.iter().flat_map(|s| s.to_le_bytes()).collect();
        self.raw(format::TRANSITIONS, &bytes, 2)
    }

    fn raw(&mut self, section: usize, bytes: &[u8], size: usize) -> u32 {
        let mut start = 0;
        if let Some(target) = self.sections.get_mut(section) {
            start = to_u32(target.len() / size);
            target.extend_from_slice(bytes);
            if let Some(count) = self.counts.get_mut(section) {
                *count = to_u32(target.len() / size);
            }
        }
        start
    }

    /// Lays the sections out.
    pub(super) fn finish(self, hashing: Hashing) -> Result<Vec<u8>, CompileError> {
        let header = format::HEADER_WORDS * 4;
        let total: usize = header
            + self
                .sections
                .iter()
                .map(|s| s.len().next_multiple_of(4))
                .sum::<usize>();
        let total_word = u32::try_from(total).map_err(|_| CompileError::TooLarge)?;
        let mut table = Vec::with_capacity(total);
        let head = [
            format::MAGIC,
            format::VERSION,
            total_word,
            hashing.seed,
            hashing.host_probe,
            hashing.edge_probe,
        ];
        table.extend(head.iter().flat_map(|w| w.to_le_bytes()));
        let mut offset = header;
        for (section, count) in self.sections.iter().zip(&self.counts) {
            table.extend_from_slice(&to_u32(offset).to_le_bytes());
            table.extend_from_slice(&count.to_le_bytes());
            offset += section.len().next_multiple_of(4);
        }
        for section in self.sections {
            table.extend_from_slice(&section);
            table.resize(table.len().next_multiple_of(4), 0);
        }
        Ok(table)
    }
}
