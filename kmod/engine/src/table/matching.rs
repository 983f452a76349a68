// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Which route wins: the total order of the rule language over the candidates that host and path select.
//!
//! Ranks 1 to 7 of the order (priority, host, path, method, counts of conditions) are known when the table
//! is compiled and stand in each entry as its *class*; only the source prefix has to be compared here, and
//! the position in the file breaks ties. Lists are sorted by class, so a list is left at the first entry
//! that cannot win any more, and a subtree whose lowest class cannot win is not entered.

use core::fmt;
use core::ops::Deref;

use super::automaton::Walk;
use super::format::hash_below;
use super::format::slot_of;
use super::format::EdgeRecord;
use super::format::EntryRecord;
use super::format::GroupRecord;
use super::format::HostRecord;
use super::format::NodeRecord;
use super::format::PathsRecord;
use super::format::RouteRecord;
use super::format::ServiceRecord;
use super::format::SetRecord;
use super::format::ENTRY_UNCONDITIONAL;
use super::format::V4_PREFIX;
use super::Budget;
use super::Fields;
use super::OverBudget;
use super::Request;
use super::Table;
use crate::http1::find_byte;

/// By which host a route was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByHost {
    /// It names the very host.
    Exact,
    /// It names a wildcard with so many labels behind the asterisk.
    Wildcard(u32),
    /// It names no host.
    Any,
}

/// By which path a route was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByPath {
    /// It names the very path.
    Exact,
    /// It names an expression that finds something in the path.
    Regex,
    /// It names a prefix.
    Prefix,
    /// It names no path.
    Any,
}

/// The route that won, and by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Winner {
    /// Its position in its service; 0 is the first in the file.
    pub position: u32,
    /// By which host.
    pub host: ByHost,
    /// By which path.
    pub path: ByPath,
    /// Length of the source prefix that holds the client's address (as IPv4-mapped: 96 more), where it names sources.
    pub source: Option<u32>,
    /// How many other conditions it has, a method not counted.
    pub conditions: u32,
}

impl fmt::Display for Winner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "matches by ";
        let mut part = |f: &mut fmt::Formatter<'_>, words: fmt::Arguments<'_>| {
            f.write_str(between)?;
            between = ", ";
            f.write_fmt(words)
        };
        match self.host {
            ByHost::Exact => part(f, format_args!("exact host"))?,
            ByHost::Wildcard(labels) => part(f, format_args!("wildcard host of {labels} labels"))?,
            ByHost::Any => {}
        }
        match self.path {
            ByPath::Exact => part(f, format_args!("exact path"))?,
            ByPath::Regex => part(f, format_args!("path expression"))?,
            ByPath::Prefix => part(f, format_args!("path prefix"))?,
            ByPath::Any => {}
        }
        if let Some(length) = self.source {
            match length.checked_sub(V4_PREFIX) {
                Some(length) => part(f, format_args!("source prefix /{length}"))?,
                None => part(f, format_args!("source prefix /{length}"))?,
            }
        }
        if self.conditions > 0 {
            part(f, format_args!("{} more conditions", self.conditions))?;
        }
        if between == "matches by " {
            f.write_str("matches every request")?;
        }
        Ok(())
    }
}

/// The best route so far. A candidate wins by lower class, then longer source prefix, then position.
struct Best {
    class: u32,
    source: u32,
    route: u32,
    host: ByHost,
    path: ByPath,
    budget: Budget,
}

impl Best {
    const fn none(budget: u32) -> Self {
        Self {
            class: u32::MAX,
            source: 0,
            route: u32::MAX,
            host: ByHost::Any,
            path: ByPath::Any,
            budget: Budget::new(budget),
        }
    }

    /// Whether an entry of this class, with at most this source prefix, could win.
    const fn beaten_by(&self, class: u32, source: u32, route: u32) -> bool {
        if class != self.class {
            class < self.class
        } else if source != self.source {
            source > self.source
        } else {
            route < self.route
        }
    }
}

impl<B: Deref<Target = [u8]>> Table<B> {
    /// The winning route of a service for a request, as its position in the service (0 is the first in
    /// the file); `None`: no route takes it, or there is no such service.
    pub fn route<F: Fields + ?Sized>(&self, service: u32, request: &Request<'_, F>) -> Option<u32> {
        self.route_within(service, request, u32::MAX)
            .unwrap_or(None)
    }

    /// The same, in at most about `budget` steps, a step being a candidate or a condition looked at.
    ///
    /// # Errors
    ///
    /// [`OverBudget`] when they did not suffice; the answer is not known then.
    pub fn route_within<F: Fields + ?Sized>(
        &self,
        service: u32,
        request: &Request<'_, F>,
        budget: u32,
    ) -> Result<Option<u32>, OverBudget> {
        let winner = self.winner_within(service, request, budget)?;
        Ok(winner.map(|winner| winner.position))
    }

    /// The same with what decided.
    ///
    /// # Errors
    ///
    /// As for [`Table::route_within`].
    pub fn winner_within<F: Fields + ?Sized>(
        &self,
        service: u32,
        request: &Request<'_, F>,
        budget: u32,
    ) -> Result<Option<Winner>, OverBudget> {
        let Some(record) = self.get::<ServiceRecord>(service) else {
            return Ok(None);
        };
        self.winner_of(service, record, request, budget)
    }

    /// The same for the service whose record that is.
    #[inline]
    pub(crate) fn winner_of<F: Fields + ?Sized>(
        &self,
        service: u32,
        record: ServiceRecord,
        request: &Request<'_, F>,
        budget: u32,
    ) -> Result<Option<Winner>, OverBudget> {
        let mut best = Best::none(budget);
        if !request.host.is_empty() && self.count::<HostRecord>() > 0 {
            if record.wildcard_labels > 0 {
                self.by_wildcards(service, record.wildcard_labels, request, &mut best)?;
            }
            // Most hosts that no route names end here.
            if let Some(slot) = self.taken_slot(service, request.host) {
                self.by_host(slot, service, request, &mut best)?;
            }
        }
        if let Some(any) = self.paths(record.any_host) {
            self.in_paths(&any, ByHost::Any, request, &mut best)?;
        }
        let Some(route) = self.get::<RouteRecord>(best.route) else {
            return Ok(None);
        };
        Ok(Some(Winner {
            position: best.route.wrapping_sub(record.routes),
            host: best.host,
            path: best.path,
            // The longest prefix that matched is kept as its length + 1, 0 for none.
            source: best.source.checked_sub(1),
            conditions: route.conditions_len,
        }))
    }

    /// Candidates of routes that name a domain above the request's host.
    #[inline(never)]
    fn by_wildcards<F: Fields + ?Sized>(
        &self,
        service: u32,
        wildcard_labels: u32,
        request: &Request<'_, F>,
        best: &mut Best,
    ) -> Result<(), OverBudget> {
        let mut end = request.host;
        for labels in 1..=wildcard_labels {
            let Some(dot) = end.iter().rposition(|&byte| byte == b'.') else {
                break;
            };
            // A wildcard takes one or more labels in front: not the empty one of ".a.b".
            let (Some(front), Some(below)) = (
                end.get(..dot).filter(|front| !front.is_empty()),
                request.host.get(dot.wrapping_add(1)..),
            ) else {
                break;
            };
            let slot = self.taken_slot(service, below);
            if let Some(host) = slot.and_then(|slot| self.find_host(slot, service, below)) {
                if let Some(paths) = self.paths(host.wildcard) {
                    self.in_paths(&paths, ByHost::Wildcard(labels), request, best)?;
                }
            }
            end = front;
        }
        Ok(())
    }

    /// Candidates of routes that name the very host, whose look-up begins at that slot.
    #[inline(never)]
    fn by_host<F: Fields + ?Sized>(
        &self,
        slot: u32,
        service: u32,
        request: &Request<'_, F>,
        best: &mut Best,
    ) -> Result<(), OverBudget> {
        let host = self.find_host(slot, service, request.host);
        match host.and_then(|host| host.exact()) {
            Some(paths) => self.in_paths(&paths, ByHost::Exact, request, best),
            None => Ok(()),
        }
    }

    /// The slot at which the look-up of a host begins; `None` where it is empty: then nothing names the host.
    // By itself, so that it needs no stack.
    #[inline(never)]
    fn taken_slot(&self, service: u32, name: &[u8]) -> Option<u32> {
        let home = self.count::<HostRecord>().checked_sub(self.host_probe)?;
        let slot = slot_of(hash_below(self.seed, service, name), home);
        let host: HostRecord = self.get(slot)?;
        (host.name_len > 0).then_some(slot)
    }

    #[inline(always)]
    fn find_host(&self, slot: u32, service: u32, name: &[u8]) -> Option<HostRecord> {
        for probe in 0..self.host_probe {
            let host: HostRecord = self.get(slot.wrapping_add(probe))?;
            if host.name_len == 0 {
                return None;
            }
            if host.service == service && self.text(host.name, host.name_len) == name {
                return Some(host);
            }
        }
        None
    }

    /// Paths by index + 1.
    fn paths(&self, index: u32) -> Option<PathsRecord> {
        self.get(index.checked_sub(1)?)
    }

    /// Candidates of one host.
    fn in_paths<F: Fields + ?Sized>(
        &self,
        paths: &PathsRecord,
        host: ByHost,
        request: &Request<'_, F>,
        best: &mut Best,
    ) -> Result<(), OverBudget> {
        if paths.class > best.class {
            return Ok(());
        }
        let (mut node, whole) = self.walk(paths.root, request.path);
        if whole {
            if let Some(n) = node {
                self.try_entries(n.exact, n.exact_len, (host, ByPath::Exact), request, best)?;
            }
        }
        if paths.groups_len > 0 {
            self.try_groups(paths, host, request, best)?;
        }
        while let Some(n) = node {
            best.budget.spend(1)?;
            self.try_entries(
                n.prefix,
                n.prefix_len,
                (host, ByPath::Prefix),
                request,
                best,
            )?;
            node = n.up.checked_sub(1).and_then(|i| self.get(i));
        }
        self.try_entries(paths.any, paths.any_len, (host, ByPath::Any), request, best)
    }

    /// Candidates of one host by regular expressions.
    #[inline(never)]
    fn try_groups<F: Fields + ?Sized>(
        &self,
        paths: &PathsRecord,
        host: ByHost,
        request: &Request<'_, F>,
        best: &mut Best,
    ) -> Result<(), OverBudget> {
        for group in self.records::<GroupRecord>(paths.groups, paths.groups_len) {
            if group.class > best.class {
                continue;
            }
            // An automaton takes a step a byte; a candidate is worth some dozen of them.
            let steps = u32::try_from(request.path.len() >> 5).unwrap_or(u32::MAX);
            best.budget.spend(steps.saturating_add(1))?;
            let Some(mut walk) = Walk::new(self, group.dfa) else {
                continue;
            };
            walk.push_all(request.path);
            let Some(set) = walk.accept().checked_sub(1) else {
                continue;
            };
            if let Some(set) = self.get::<SetRecord>(group.sets.wrapping_add(set)) {
                let by = (host, ByPath::Regex);
                self.try_entries(set.entries, set.entries_len, by, request, best)?;
            }
        }
        Ok(())
    }

    /// Follows a path's segments down a trie: the deepest node reached, and whether the path ends there.
    #[inline(always)]
    fn walk(&self, root: u32, path: &[u8]) -> (Option<NodeRecord>, bool) {
        let Some((b'/', rest)) = path.split_first() else {
            return (None, false);
        };
        // "/" alone has no segment: it is the root itself.
        if rest.is_empty() {
            return (self.get(root), true);
        }
        let top: Option<NodeRecord> = self.get(root);
        if top.is_none_or(|top| top.edges == 0) {
            return (top, false);
        }
        self.walk_edges(root, rest)
    }

    #[inline(never)]
    fn walk_edges(&self, root: u32, segments: &[u8]) -> (Option<NodeRecord>, bool) {
        let mut at = root;
        let mut rest = segments;
        loop {
            let end = find_byte(rest, b'/');
            let segment = end.map_or(rest, |end| rest.get(..end).unwrap_or_default());
            match self.find_edge(at, segment) {
                Some(child) => at = child,
                None => return (self.get(at), false),
            }
            match end.and_then(|end| rest.get(end.wrapping_add(1)..)) {
                Some(next) => rest = next,
                None => return (self.get(at), true),
            }
        }
    }

    fn find_edge(&self, parent: u32, segment: &[u8]) -> Option<u32> {
        let home = self.count::<EdgeRecord>().checked_sub(self.edge_probe)?;
        let slot = slot_of(hash_below(self.seed, parent, segment), home);
        for probe in 0..self.edge_probe {
            let edge: EdgeRecord = self.get(slot.wrapping_add(probe))?;
            if edge.child == 0 {
                return None;
            }
            if edge.parent == parent && self.text(edge.segment, edge.segment_len) == segment {
                return Some(edge.child);
            }
        }
        None
    }

    /// Tries a sorted list of candidates.
    #[inline]
    fn try_entries<F: Fields + ?Sized>(
        &self,
        start: u32,
        len: u32,
        by: (ByHost, ByPath),
        request: &Request<'_, F>,
        best: &mut Best,
    ) -> Result<(), OverBudget> {
        if len == 0 {
            return Ok(());
        }
        self.try_some_entries(start, len, by, request, best)
    }

    #[inline(never)]
    fn try_some_entries<F: Fields + ?Sized>(
        &self,
        start: u32,
        len: u32,
        by: (ByHost, ByPath),
        request: &Request<'_, F>,
        best: &mut Best,
    ) -> Result<(), OverBudget> {
        let mut next = start;
        let mut left = len;
        while left > 0 {
            let Some(entry) = self.get::<EntryRecord>(next) else {
                break;
            };
            next = next.wrapping_add(1);
            left = left.wrapping_sub(1);
            let max_source = entry.flags_max_source & 0xffff;
            if !best.beaten_by(entry.class, max_source, entry.route) {
                // What follows in the list has no lower class and no longer prefix.
                if entry.class > best.class || max_source < best.source {
                    break;
                }
                continue;
            }
            best.budget.spend(1)?;
            let source = if entry.flags_max_source >> 16 & ENTRY_UNCONDITIONAL != 0 {
                Some(0)
            } else {
                let Some(route) = self.get::<RouteRecord>(entry.route) else {
                    continue;
                };
                self.conditions(&route, request, &mut best.budget)?
            };
            if let Some(source) = source {
                if best.beaten_by(entry.class, source, entry.route) {
                    best.class = entry.class;
                    best.source = source;
                    best.route = entry.route;
                    (best.host, best.path) = by;
                }
            }
        }
        Ok(())
    }
}
