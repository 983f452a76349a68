// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Verification of a table: every offset, length and reference, once, in time linear in its size.

use core::fmt;
use core::ops::Deref;

use super::codes::Action;
use super::codes::ConditionOn;
use super::codes::Datapath;
use super::codes::Forwarding;
use super::codes::HashKey;
use super::codes::Protocol;
use super::codes::ProxyVersion;
use super::codes::RateKey;
use super::codes::ValueKind;
use super::format::*;
use super::Section;
use super::Table;
use crate::sched::Kind;

/// Why a buffer is not a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableError {
    /// Shorter than a header, or than the header says, or longer.
    Length,
    /// Does not begin with the magic number.
    Magic,
    /// Another version of the layout: the number found.
    Version(u32),
    /// A section is not aligned or not inside the buffer.
    Section(u32),
    /// A number in the header is out of its range.
    Header,
    /// A record of this section is inconsistent: section and index.
    Record(u32, u32),
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => f.write_str("the table's length differs from its header"),
            Self::Magic => f.write_str("this is not a rule table"),
            Self::Version(found) => {
                write!(
                    f,
                    "the table has layout version {found}, this program reads {VERSION}"
                )
            }
            Self::Section(section) => write!(f, "section {section} is not inside the table"),
            Self::Header => f.write_str("a number in the table's header is out of range"),
            Self::Record(section, index) => {
                write!(
                    f,
                    "record {index} of section {section} refers to a missing record"
                )
            }
        }
    }
}

impl core::error::Error for TableError {}

/// The bounds that references are checked against.
struct Bounds<'t, B> {
    table: &'t Table<B>,
}

impl<B: Deref<Target = [u8]>> Bounds<'_, B> {
    fn range<R: Record>(&self, start: u32, len: u32) -> bool {
        start
            .checked_add(len)
            .is_some_and(|end| end <= self.table.count::<R>())
    }

    fn index<R: Record>(&self, index: u32) -> bool {
        index < self.table.count::<R>()
    }

    /// An index + 1, or 0.
    fn maybe<R: Record>(&self, index: u32) -> bool {
        index <= self.table.count::<R>()
    }

    fn text(&self, start: u32, len: u32) -> bool {
        let [blob, ..] = &self.table.sections;
        start.checked_add(len).is_some_and(|end| end <= blob.count)
    }

    /// Checks every record of a kind.
    fn each<R: Record>(&self, mut good: impl FnMut(u32, R) -> bool) -> Result<(), TableError> {
        for index in 0..self.table.count::<R>() {
            if !self.table.get::<R>(index).is_some_and(|r| good(index, r)) {
                return Err(TableError::Record(
                    u32::try_from(R::SECTION).unwrap_or(NONE),
                    index,
                ));
            }
        }
        Ok(())
    }
}

/// Size of a section's records, bytes.
fn record_size(section: usize) -> u32 {
    let size = match section {
        BYTES => 1,
        TRANSITIONS => 2,
        ServiceRecord::SECTION => ServiceRecord::SIZE,
        ListenRecord::SECTION => ListenRecord::SIZE,
        HostRecord::SECTION => HostRecord::SIZE,
        PathsRecord::SECTION => PathsRecord::SIZE,
        NodeRecord::SECTION => NodeRecord::SIZE,
        EdgeRecord::SECTION => EdgeRecord::SIZE,
        GroupRecord::SECTION => GroupRecord::SIZE,
        SetRecord::SECTION => SetRecord::SIZE,
        DfaRecord::SECTION => DfaRecord::SIZE,
        AcceptRecord::SECTION => AcceptRecord::SIZE,
        EntryRecord::SECTION => EntryRecord::SIZE,
        RouteRecord::SECTION => RouteRecord::SIZE,
        ConditionRecord::SECTION => ConditionRecord::SIZE,
        ValueRecord::SECTION => ValueRecord::SIZE,
        SourcesRecord::SECTION => SourcesRecord::SIZE,
        IntervalRecord::SECTION => IntervalRecord::SIZE,
        PoolRecord::SECTION => PoolRecord::SIZE,
        ServerRecord::SECTION => ServerRecord::SIZE,
        RateRecord::SECTION => RateRecord::SIZE,
        _ => ShareRecord::SIZE,
    };
    // Records have a few dozen bytes.
    u32::try_from(size).unwrap_or(NONE)
}

fn word(bytes: &[u8], index: usize) -> Option<u32> {
    let at = index.checked_mul(4)?;
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk::<4>()?))
}

impl<B: Deref<Target = [u8]>> Table<B> {
    /// Checks a buffer and takes it as a table.
    ///
    /// # Errors
    ///
    /// See [`TableError`]: what is wrong first.
    pub fn verify(bytes: B) -> Result<Self, TableError> {
        let head = |index| word(&bytes, index).ok_or(TableError::Length);
        if head(0)? != MAGIC {
            return Err(TableError::Magic);
        }
        let version = head(1)?;
        if version != VERSION {
            return Err(TableError::Version(version));
        }
        let len = head(2)?;
        if usize::try_from(len) != Ok(bytes.len()) {
            return Err(TableError::Length);
        }
        let (seed, host_probe, edge_probe) = (head(3)?, head(4)?, head(5)?);
        if host_probe > MAX_PROBE || edge_probe > MAX_PROBE {
            return Err(TableError::Header);
        }
        let mut sections = [Section::default(); SECTIONS];
        for (number, section) in sections.iter_mut().enumerate() {
            let at = number.wrapping_mul(2).wrapping_add(6);
            let (offset, count) = (head(at)?, head(at.wrapping_add(1))?);
            let end = count
                .checked_mul(record_size(number))
                .and_then(|n| n.checked_add(offset));
            let header_len = HEADER_WORDS.wrapping_mul(4);
            let before = usize::try_from(offset).is_ok_and(|o| o < header_len);
            if offset & 3 != 0 || before || end.is_none_or(|end| end > len) {
                return Err(TableError::Section(u32::try_from(number).unwrap_or(NONE)));
            }
            *section = Section { offset, count };
        }
        let table = Self {
            bytes,
            sections,
            seed,
            host_probe,
            edge_probe,
        };
        table.verify_services()?;
        table.verify_paths()?;
        table.verify_automata()?;
        table.verify_routes()?;
        table.verify_pools()?;
        Ok(table)
    }

    fn verify_services(&self) -> Result<(), TableError> {
        let b = Bounds { table: self };
        let (mut next_route, mut next_listen) = (0u32, 0u32);
        b.each(|_, s: ServiceRecord| {
            // Routes and addresses follow each other, service by service: each belongs to one service.
            let contiguous = s.routes == next_route && s.listens == next_listen;
            next_route = next_route.saturating_add(s.routes_len);
            next_listen = next_listen.saturating_add(s.listens_len);
            contiguous
                && b.text(s.name, s.name_len)
                && Protocol::from_number(s.protocol).is_some()
                && Datapath::from_number(s.datapath).is_some()
                && b.range::<ListenRecord>(s.listens, s.listens_len)
                && b.maybe::<PathsRecord>(s.any_host)
                && b.maybe::<SourcesRecord>(s.proxies)
                && b.range::<RouteRecord>(s.routes, s.routes_len)
        })?;
        b.each(|_, l: ListenRecord| l.port <= 0xffff)?;
        b.each(|_, h: HostRecord| {
            if h.name_len == 0 {
                return h == HostRecord::default();
            }
            b.index::<ServiceRecord>(h.service)
                && b.text(h.name, h.name_len)
                && b.maybe::<PathsRecord>(h.wildcard)
                && h.exact().is_none_or(|paths| self.good_paths(&paths))
        })
    }

    fn good_paths(&self, paths: &PathsRecord) -> bool {
        let b = Bounds { table: self };
        b.index::<NodeRecord>(paths.root)
            && b.range::<GroupRecord>(paths.groups, paths.groups_len)
            && b.range::<EntryRecord>(paths.any, paths.any_len)
    }

    fn verify_paths(&self) -> Result<(), TableError> {
        let b = Bounds { table: self };
        b.each(|_, p: PathsRecord| self.good_paths(&p))?;
        b.each(|index, n: NodeRecord| {
            b.range::<EntryRecord>(n.exact, n.exact_len)
                && b.range::<EntryRecord>(n.prefix, n.prefix_len)
                && n.up <= index
        })?;
        b.each(|_, e: EdgeRecord| {
            if e.child == 0 {
                return e == EdgeRecord::default();
            }
            self.get::<NodeRecord>(e.parent)
                .is_some_and(|n| n.edges > 0)
                && b.index::<NodeRecord>(e.child)
                && e.parent < e.child
                && b.text(e.segment, e.segment_len)
        })?;
        b.each(|_, g: GroupRecord| {
            self.get::<DfaRecord>(g.dfa)
                .is_some_and(|d| b.range::<SetRecord>(g.sets, d.accept_max))
        })?;
        b.each(|_, s: SetRecord| b.range::<EntryRecord>(s.entries, s.entries_len))?;
        b.each(|_, e: EntryRecord| b.index::<RouteRecord>(e.route))
    }

    fn verify_automata(&self) -> Result<(), TableError> {
        let b = Bounds { table: self };
        let (mut transitions, mut accepts) = (0u32, 0u32);
        let [_, all_transitions, ..] = &self.sections;
        b.each(|_, d: DfaRecord| {
            let (start, absorbing) = (d.start_absorbing & 0xffff, d.start_absorbing >> 16);
            if d.shift > 8 || d.states == 0 || d.states > MAX_DFA_STATES {
                return false;
            }
            let row = 1u32.wrapping_shl(d.shift);
            let cells = d.states.wrapping_shl(d.shift);
            let contiguous = d.transitions == transitions && d.accepts == accepts;
            let end = transitions
                .checked_add(cells)
                .filter(|&end| end <= all_transitions.count);
            let (Some(end), true) = (end, b.range::<AcceptRecord>(accepts, d.states)) else {
                return false;
            };
            if !contiguous || start >= d.states || absorbing > d.states || !b.text(d.classes, 256) {
                return false;
            }
            let good = self
                .text(d.classes, 256)
                .iter()
                .all(|&c| u32::from(c) < row)
                && (transitions..end).all(|t| u32::from(self.transition(t)) < d.states)
                && self
                    .records(accepts, d.states)
                    .all(|a: AcceptRecord| a.accept <= d.accept_max);
            transitions = end;
            accepts = accepts.saturating_add(d.states);
            good
        })
    }

    fn verify_routes(&self) -> Result<(), TableError> {
        let b = Bounds { table: self };
        b.each(|index, r: RouteRecord| {
            let owner = self.get::<ServiceRecord>(r.service);
            let owned = owner.is_some_and(|s| {
                index
                    .checked_sub(s.routes)
                    .is_some_and(|position| position < s.routes_len)
            });
            owned
                && b.text(r.name, r.name_len)
                && b.range::<ValueRecord>(r.other_methods, r.other_methods_len)
                && b.range::<ConditionRecord>(r.conditions, r.conditions_len)
                && b.maybe::<SourcesRecord>(r.sources)
                && Action::from_number(r.action).is_some()
                && b.range::<ShareRecord>(r.shares, r.shares_len)
                && b.maybe::<RateRecord>(r.rate)
        })?;
        b.each(|_, r: RateRecord| {
            RateKey::from_number(r.key).is_some() && r.prefix_v4 <= 32 && r.prefix_v6 <= 128
        })?;
        b.each(|_, c: ConditionRecord| {
            ConditionOn::of(c.kind_test).is_some()
                && b.text(c.name, c.name_len)
                && b.range::<ValueRecord>(c.values, c.values_len)
        })?;
        b.each(|_, v: ValueRecord| match ValueKind::from_number(v.kind) {
            Some(ValueKind::Exact) => b.text(v.value, v.value_len),
            Some(ValueKind::Regex) => b.index::<DfaRecord>(v.value),
            None => false,
        })?;
        b.each(|_, s: SourcesRecord| b.range::<IntervalRecord>(s.intervals, s.intervals_len))?;
        b.each(|_, i: IntervalRecord| i.matched <= 129)
    }

    fn verify_pools(&self) -> Result<(), TableError> {
        let b = Bounds { table: self };
        let mut next_server = 0u32;
        b.each(|_, p: PoolRecord| {
            // Servers follow each other, pool by pool: a server belongs to one pool.
            let contiguous = p.servers == next_server;
            next_server = next_server.saturating_add(p.servers_len);
            contiguous
                && b.text(p.name, p.name_len)
                && Kind::from_number(p.scheduler).is_some()
                && HashKey::from_number(p.key).is_some()
                && b.text(p.key_name, p.key_name_len)
                && Forwarding::from_number(p.forward).is_some()
                && b.range::<ServerRecord>(p.servers, p.servers_len)
                && (p.send_proxy == 0 || ProxyVersion::from_number(p.send_proxy).is_some())
        })?;
        b.each(|_, s: ServerRecord| s.port <= 0xffff && s.weight <= 0xffff)?;
        b.each(|_, s: ShareRecord| b.index::<PoolRecord>(s.pool))
    }
}
