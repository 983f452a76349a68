// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Which route wins: the total order of the rule language over the candidates that host and path select.
//!
//! Ranks 1 to 7 of the order (priority, host, path, method, counts of conditions) are known when the table
//! is compiled and stand in each entry as its *class*; only the source prefix has to be compared here, and
//! the position in the file breaks ties. Lists are sorted by class, so a list is left at the first entry
//! that cannot win any more, and a subtree whose lowest class cannot win is not entered.

use core::ops::Deref;

use super::automaton::Walk;
use super::format::edge_hash;
use super::format::slot_of;
use super::format::EdgeRecord;
use super::format::EntryRecord;
use super::format::GroupRecord;
use super::format::HostHash;
use super::format::HostRecord;
use super::format::NodeRecord;
use super::format::PathsRecord;
use super::format::RouteRecord;
use super::format::ServiceRecord;
use super::format::SetRecord;
use super::format::ENTRY_UNCONDITIONAL;
use super::Budget;
use super::Fields;
use super::OverBudget;
use super::Request;
use super::Table;

/// The best route so far. A candidate wins by lower class, then longer source prefix, then position.
struct Best {
    class: u32,
    source: u32,
    route: u32,
    budget: Budget,
}

impl Best {
    const fn none(budget: u32) -> Self {
        Self {
            class: u32::MAX,
            source: 0,
            route: u32::MAX,
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
        let Some(record) = self.get::<ServiceRecord>(service) else {
            return Ok(None);
        };
        let mut best = Best::none(budget);
        self.by_host(service, &record, request, &mut best)?;
        self.in_paths(self.paths(record.any_host), request, &mut best)?;
        Ok((best.route != u32::MAX).then(|| best.route.wrapping_sub(record.routes)))
    }

    /// Candidates of routes that name the request's host or a domain above it.
    fn by_host<F: Fields + ?Sized>(
        &self,
        service: u32,
        record: &ServiceRecord,
        request: &Request<'_, F>,
        best: &mut Best,
    ) -> Result<(), OverBudget> {
        if request.host.is_empty() || self.count::<HostRecord>() == 0 {
            return Ok(());
        }
        let mut hash = HostHash::new(self.seed, service);
        let mut labels = 1u32;
        for (at, &byte) in request.host.iter().enumerate().rev() {
            if byte == b'.' {
                if labels <= record.wildcard_labels {
                    let below = request.host.get(at.wrapping_add(1)..).unwrap_or(&[]);
                    // A wildcard takes one or more labels in front: not the empty one of ".a.b".
                    if at > 0 {
                        if let Some(host) = self.find_host(hash.finish(), service, below) {
                            self.in_paths(self.paths(host.wildcard), request, best)?;
                        }
                    }
                }
                labels = labels.saturating_add(1);
            }
            hash = hash.push(byte);
        }
        if let Some(host) = self.find_host(hash.finish(), service, request.host) {
            self.in_paths(host.exact(), request, best)?;
        }
        Ok(())
    }

    fn find_host(&self, hash: u32, service: u32, name: &[u8]) -> Option<HostRecord> {
        let home = self.count::<HostRecord>().checked_sub(self.host_probe)?;
        let slot = slot_of(hash, home);
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
        paths: Option<PathsRecord>,
        request: &Request<'_, F>,
        best: &mut Best,
    ) -> Result<(), OverBudget> {
        let Some(paths) = paths else {
            return Ok(());
        };
        if paths.class > best.class {
            return Ok(());
        }
        let (mut node, whole) = self.walk(paths.root, request.path);
        if whole {
            if let Some(n) = node {
                self.try_entries(n.exact, n.exact_len, request, best)?;
            }
        }
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
                self.try_entries(set.entries, set.entries_len, request, best)?;
            }
        }
        while let Some(n) = node {
            best.budget.spend(1)?;
            self.try_entries(n.prefix, n.prefix_len, request, best)?;
            node = n.up.checked_sub(1).and_then(|i| self.get(i));
        }
        self.try_entries(paths.any, paths.any_len, request, best)
    }

    /// Follows a path's segments down a trie: the deepest node reached, and whether the path ends there.
    fn walk(&self, root: u32, path: &[u8]) -> (Option<NodeRecord>, bool) {
        let Some((b'/', rest)) = path.split_first() else {
            return (None, false);
        };
        let mut at = root;
        let mut whole = true;
        // "/" alone has no segment: it is the root itself.
        if !rest.is_empty() {
            for segment in rest.split(|&b| b == b'/') {
                match self.find_edge(at, segment) {
                    Some(child) => at = child,
                    None => {
                        whole = false;
                        break;
                    }
                }
            }
        }
        (self.get(at), whole)
    }

    fn find_edge(&self, parent: u32, segment: &[u8]) -> Option<u32> {
        let home = self.count::<EdgeRecord>().checked_sub(self.edge_probe)?;
        let slot = slot_of(edge_hash(self.seed, parent, segment), home);
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
    fn try_entries<F: Fields + ?Sized>(
        &self,
        start: u32,
        len: u32,
        request: &Request<'_, F>,
        best: &mut Best,
    ) -> Result<(), OverBudget> {
        for entry in self.records::<EntryRecord>(start, len) {
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
                }
            }
        }
        Ok(())
    }
}
