// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Walking an automaton: a complete DFA over byte classes.
//!
//! The expression was compiled so that a state, once text that matches has been seen, remembers it: only
//! the state in which the text ends has to be looked at. Time is one look-up a byte.

use core::ops::Deref;

use super::format::AcceptRecord;
use super::format::DfaRecord;
use super::Table;

/// An automaton in the middle of a text.
pub(super) struct Walk<'t, B> {
    table: &'t Table<B>,
    classes: &'t [u8],
    dfa: DfaRecord,
    state: u32,
}

impl<'t, B: Deref<Target = [u8]>> Walk<'t, B> {
    /// Begins automaton `index` at the start of a text.
    pub(super) fn new(table: &'t Table<B>, index: u32) -> Option<Self> {
        let dfa: DfaRecord = table.get(index)?;
        let classes = table.text(dfa.classes, 256);
        Some(Self {
            table,
            classes,
            state: dfa.start_absorbing & 0xffff,
            dfa,
        })
    }

    /// Whether no further byte can change the outcome.
    #[inline]
    pub(super) fn is_decided(&self) -> bool {
        self.state < self.dfa.start_absorbing >> 16
    }

    /// Takes one byte.
    #[inline]
    pub(super) fn push(&mut self, byte: u8) {
        let class = self.classes.get(usize::from(byte)).copied().unwrap_or(0);
        let row = self
            .dfa
            .transitions
            .wrapping_add(self.state.wrapping_shl(self.dfa.shift));
        self.state = u32::from(self.table.transition(row.wrapping_add(u32::from(class))));
    }

    /// Takes bytes until the outcome is decided.
    #[inline]
    pub(super) fn push_all(&mut self, text: &[u8]) {
        for &byte in text {
            if self.is_decided() {
                break;
            }
            self.push(byte);
        }
    }

    /// What a text that ends here is accepted as; 0: not.
    pub(super) fn accept(&self) -> u32 {
        let index = self.dfa.accepts.wrapping_add(self.state);
        self.table
            .get::<AcceptRecord>(index)
            .map_or(0, |a| a.accept)
    }
}
