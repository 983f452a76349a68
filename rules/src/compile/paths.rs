// SPDX-License-Identifier: MIT
//! The paths of one host: a trie of segments, automata of expressions, and lists of candidates.

use std::collections::BTreeMap;
use std::collections::HashMap;

use l7switch_engine::table::format::*;

use super::CompileError;
use super::automata::Automata;
use super::to_u32;
use super::writer::Writer;
use crate::model::PathMatch;

/// Candidates by path or expression.
type Lists<'m> = BTreeMap<&'m str, Vec<EntryRecord>>;

/// Candidates of one host by path.
#[derive(Default)]
pub(super) struct Paths<'m> {
    exact: Lists<'m>,
    prefix: Lists<'m>,
    regex: Lists<'m>,
    any: Vec<EntryRecord>,
}

/// Sorts a list of candidates as the matcher wants it.
fn sorted(mut entries: Vec<EntryRecord>) -> Vec<EntryRecord> {
    entries.sort_by_key(|e| (e.class, u32::MAX - (e.flags_max_source & 0xffff), e.route));
    entries
}

fn write_list(entries: Vec<EntryRecord>, writer: &mut Writer) -> (u32, u32) {
    let len = to_u32(entries.len());
    (writer.extend(sorted(entries).into_iter()), len)
}

/// The segments of a path in comparison form; none for the root.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    let rest = path.strip_prefix('/').filter(|rest| !rest.is_empty());
    rest.into_iter().flat_map(|rest| rest.split('/'))
}

impl<'m> Paths<'m> {
    pub(super) fn add(&mut self, path: Option<&'m PathMatch>, entry: EntryRecord) {
        match path {
            None => self.any.push(entry),
            Some(PathMatch::Exact(path)) => self.exact.entry(path).or_default().push(entry),
            Some(PathMatch::Prefix(path)) => self.prefix.entry(path).or_default().push(entry),
            Some(PathMatch::Regex(pattern)) => self.regex.entry(pattern).or_default().push(entry),
        }
    }

    /// Writes everything but the record itself.
    pub(super) fn write(
        self,
        writer: &mut Writer,
        automata: &mut Automata<'_>,
    ) -> Result<PathsRecord, CompileError> {
        let class = [&self.exact, &self.prefix, &self.regex]
            .into_iter()
            .flat_map(|lists| lists.values().flatten())
            .chain(&self.any)
            .map(|entry| entry.class)
            .min()
            .unwrap_or(NONE);
        let root = write_trie(self.exact, self.prefix, writer);
        let (groups, groups_len) = write_groups(self.regex, writer, automata)?;
        let (any, any_len) = write_list(self.any, writer);
        Ok(PathsRecord {
            class,
            root,
            groups,
            groups_len,
            any,
            any_len,
        })
    }
}

/// Writes a trie of these paths; returns the index of its root.
fn write_trie<'m>(exact: Lists<'m>, prefix: Lists<'m>, writer: &mut Writer) -> u32 {
    let base = writer.count::<NodeRecord>();
    let mut nodes = vec![NodeRecord::default()];
    let mut parents = vec![0usize];
    let mut children: HashMap<(usize, &str), usize> = HashMap::new();
    let mut reach = |path: &'m str, nodes: &mut Vec<NodeRecord>, writer: &mut Writer| {
        segments(path).fold(0, |at, segment| {
            *children.entry((at, segment)).or_insert_with(|| {
                let child = nodes.len();
                nodes.push(NodeRecord::default());
                if let Some(parent) = nodes.get_mut(at) {
                    parent.edges += 1;
                }
                parents.push(at);
                let (start, segment_len) = writer.text(segment.as_bytes());
                writer.edges.push(EdgeRecord {
                    parent: base + to_u32(at),
                    segment: start,
                    segment_len,
                    child: base + to_u32(child),
                });
                child
            })
        })
    };
    for (path, entries) in exact {
        let at = reach(path, &mut nodes, writer);
        let (exact, exact_len) = write_list(entries, writer);
        if let Some(node) = nodes.get_mut(at) {
            (node.exact, node.exact_len) = (exact, exact_len);
        }
    }
    for (path, entries) in prefix {
        let at = reach(path, &mut nodes, writer);
        let (prefix, prefix_len) = write_list(entries, writer);
        if let Some(node) = nodes.get_mut(at) {
            (node.prefix, node.prefix_len) = (prefix, prefix_len);
        }
    }
    // Parents come before their children.
    for at in 1..nodes.len() {
        let above = parents.get(at).copied().unwrap_or(0);
        let up = match nodes.get(above) {
            Some(parent) if parent.prefix_len > 0 => base + to_u32(above) + 1,
            Some(parent) => parent.up,
            None => 0,
        };
        if let Some(node) = nodes.get_mut(at) {
            node.up = up;
        }
    }
    writer.extend(nodes.into_iter())
}

fn write_groups(
    regex: Lists<'_>,
    writer: &mut Writer,
    automata: &mut Automata<'_>,
) -> Result<(u32, u32), CompileError> {
    // Those that win first together: the automata of losers need not be walked.
    let mut expressions: Vec<(&str, Vec<EntryRecord>)> = regex.into_iter().collect();
    expressions.sort_by_key(|(_, entries)| entries.iter().map(|e| e.class).min());
    let patterns: Vec<String> = expressions.iter().map(|(p, _)| (*p).to_owned()).collect();
    let mut records = Vec::new();
    for (start, group) in automata.groups(&patterns)? {
        let mut class = NONE;
        let mut sets = Vec::with_capacity(group.sets.len());
        for set in group.sets.iter() {
            let entries: Vec<EntryRecord> = set
                .iter()
                .filter_map(|&member| expressions.get(start + member))
                .flat_map(|(_, entries)| entries.iter().copied())
                .collect();
            class = entries.iter().map(|e| e.class).fold(class, u32::min);
            let (entries, entries_len) = write_list(entries, writer);
            sets.push(SetRecord {
                entries,
                entries_len,
            });
        }
        let sets = writer.extend(sets.into_iter());
        records.push(GroupRecord {
            dfa: group.dfa,
            sets,
            class,
        });
    }
    let len = to_u32(records.len());
    Ok((writer.extend(records.into_iter()), len))
}
