// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The compiled rule table: one flat, versioned, position-independent byte buffer, its verification
//! and its matching.
//!
//! Userspace compiles a table (crate `l7switch-rules`), front and kernel verify it once
//! ([`Table::verify`]) and then match requests against it. A match looks up the host by hash, walks
//! a trie of path segments and automata of regular expressions, and so costs about the same however many
//! routes there are; only routes that differ in nothing but fields, queries, cookies and sources are
//! tried one by one.

mod automaton;
mod budget;
pub mod codes;
mod conditions;
pub mod format;
mod matching;
mod request;
mod verify;

use core::ops::Deref;

use budget::Budget;
pub use budget::OverBudget;
pub use conditions::cookie;
pub use matching::ByHost;
pub use matching::ByPath;
pub use matching::Winner;
pub use request::Fields;
pub use request::Request;
pub use verify::TableError;

use format::Record;
use format::SECTIONS;

/// Methods that have a bit of their own in [`format::RouteRecord::methods`]: RFC 9110, 9.3 and RFC 5789.
pub const METHODS: [&[u8]; 9] = [
    b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH",
];

/// Where a section lies: offset in bytes, count in records.
#[derive(Clone, Copy, Debug, Default)]
struct Section {
    offset: u32,
    count: u32,
}

/// A verified table in a buffer of any kind (`&[u8]`, `Vec<u8>`, the kernel's `KVVec<u8>`).
///
/// # Invariants
///
/// Every section lies in the buffer and every index in every record names a record that exists: looking
/// one up does not fail. (It is checked all the same, as safe Rust does, and reads as "no match".)
#[derive(Clone, Debug)]
pub struct Table<B> {
    bytes: B,
    sections: [Section; SECTIONS],
    seed: u32,
    host_probe: u32,
    edge_probe: u32,
}

impl<B: Deref<Target = [u8]>> Table<B> {
    /// The whole buffer, to be sent on.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Number of records of a kind.
    pub fn count<R: Record>(&self) -> u32 {
        self.sections.get(R::SECTION).map_or(0, |s| s.count)
    }

    /// Record `index` of a kind; `None` beyond the last.
    #[inline(always)]
    pub fn get<R: Record>(&self, index: u32) -> Option<R> {
        let section = self.sections.get(R::SECTION)?;
        if index >= section.count {
            return None;
        }
        // Inside the buffer, so inside a u32: section and count were checked together.
        let at = (section.offset as usize).wrapping_add((index as usize).wrapping_mul(R::SIZE));
        R::read(self.bytes.get(at..at.wrapping_add(R::SIZE))?)
    }

    /// Bytes of the blob: a name or a literal. Empty where out of bounds.
    #[inline]
    pub fn text(&self, start: u32, len: u32) -> &[u8] {
        let [blob, ..] = &self.sections;
        let at = (blob.offset as usize).wrapping_add(start as usize);
        let end = at.wrapping_add(len as usize);
        self.bytes.get(at..end).unwrap_or(&[])
    }

    /// Transition number `index`, a state.
    #[inline]
    fn transition(&self, index: u32) -> u16 {
        let [_, transitions, ..] = &self.sections;
        let at = (transitions.offset as usize).wrapping_add((index as usize).wrapping_mul(2));
        match self.bytes.get(at..).and_then(<[u8]>::first_chunk::<2>) {
            Some(state) => u16::from_le_bytes(*state),
            None => 0,
        }
    }
}
