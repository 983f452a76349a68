// SPDX-License-Identifier: MIT
//! The automata of a table: each distinct one is written once, however many routes use it.

use std::collections::HashMap;
use std::sync::Arc;

use l7switch_engine::table::format::AcceptRecord;
use l7switch_engine::table::format::DfaRecord;

use super::CompileError;
use super::to_u32;
use super::writer::Writer;
use crate::automata;
use crate::automata::Alphabet;
use crate::automata::Automaton;
use crate::automata::Cache;

/// Most expressions that are tried in one automaton.
const GROUP: usize = 32;
/// Most bytes of an automaton of several expressions; a larger one is split in two.
const GROUP_LIMIT: usize = 256 << 10;

/// Several expressions in one automaton.
#[derive(Clone)]
pub(super) struct Group {
    /// Number of the automaton.
    pub(super) dfa: u32,
    /// Distinct accepted sets: positions in the list of expressions.
    pub(super) sets: Arc<Vec<Vec<usize>>>,
}

/// Automata in the order in which they will be written.
pub(super) struct Automata<'c> {
    cache: &'c mut Cache,
    used: Vec<Arc<Automaton>>,
    numbers: HashMap<(String, Alphabet), u32>,
    groups: HashMap<Vec<String>, Option<Group>>,
}

impl<'c> Automata<'c> {
    pub(super) fn new(cache: &'c mut Cache) -> Self {
        Self {
            cache,
            used: Vec::new(),
            numbers: HashMap::new(),
            groups: HashMap::new(),
        }
    }

    fn add(&mut self, automaton: Arc<Automaton>) -> u32 {
        self.used.push(automaton);
        to_u32(self.used.len() - 1)
    }

    /// Number of one expression's automaton.
    pub(super) fn single(
        &mut self,
        pattern: &str,
        alphabet: Alphabet,
    ) -> Result<u32, CompileError> {
        let key = (pattern.to_owned(), alphabet);
        if let Some(&number) = self.numbers.get(&key) {
            return Ok(number);
        }
        let automaton = self
            .cache
            .get(pattern, alphabet)
            .map_err(|error| CompileError::Regex(pattern.to_owned(), error))?;
        let number = self.add(automaton);
        self.numbers.insert(key, number);
        Ok(number)
    }

    /// As few automata as possible for a host's path expressions: position of the first expression of each,
    /// and the group.
    pub(super) fn groups(
        &mut self,
        patterns: &[String],
    ) -> Result<Vec<(usize, Group)>, CompileError> {
        let mut made = Vec::new();
        let mut start = 0;
        while start < patterns.len() {
            let mut len = (patterns.len() - start).min(GROUP);
            loop {
                let part = patterns.get(start..start + len).unwrap_or(&[]);
                if let Some(group) = self.group(part)? {
                    made.push((start, group));
                    start += len;
                    break;
                }
                len = len.div_ceil(2);
            }
        }
        Ok(made)
    }

    /// One automaton for these expressions; `None`: too large together. One alone always has one.
    fn group(&mut self, patterns: &[String]) -> Result<Option<Group>, CompileError> {
        if let [only] = patterns {
            let dfa = self.single(only, Alphabet::Ascii)?;
            let sets = self
                .used
                .get(dfa as usize)
                .map_or_else(Vec::new, |a| a.sets.clone());
            return Ok(Some(Group {
                dfa,
                sets: Arc::new(sets),
            }));
        }
        if let Some(known) = self.groups.get(patterns) {
            return Ok(known.clone());
        }
        let mut hirs = Vec::with_capacity(patterns.len());
        for pattern in patterns {
            hirs.push(
                automata::parse(pattern, Alphabet::Ascii)
                    .map_err(|error| CompileError::Regex(pattern.clone(), error))?,
            );
        }
        let group = automata::build(&hirs.iter().collect::<Vec<_>>(), GROUP_LIMIT)
            .ok()
            .map(|a| {
                let sets = Arc::new(a.sets.clone());
                Group {
                    dfa: self.add(Arc::new(a)),
                    sets,
                }
            });
        self.groups.insert(patterns.to_vec(), group.clone());
        Ok(group)
    }

    /// Writes all of them, in the order of their numbers.
    pub(super) fn write(self, writer: &mut Writer) {
        for automaton in &self.used {
            let (classes, _) = writer.text(automaton.classes.as_slice());
            let transitions = writer.transitions(&automaton.transitions);
            let accepts = writer.extend(
                automaton
                    .accepts
                    .iter()
                    .map(|&accept| AcceptRecord { accept }),
            );
            writer.push(DfaRecord {
                classes,
                shift: automaton.shift,
                states: to_u32(automaton.accepts.len()),
                transitions,
                accepts,
                start_absorbing: u32::from(automaton.absorbing) << 16 | u32::from(automaton.start),
                accept_max: to_u32(automaton.sets.len()),
            });
        }
    }
}
