// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The layout of a compiled table: sections of fixed-size records that name each other by index.
//!
//! All numbers are 32 bits, little-endian, unless said otherwise. A header (see [`HEADER_WORDS`]) names
//! the sections by offset and count; a record refers to others by section index, never by address, so
//! the buffer can lie anywhere, be sent over netlink and mapped read-only. "index + 1, or 0" is how a
//! record says that there may be none. A *range* is a start index and a length.

/// `L7ST` in ASCII, the first word.
pub const MAGIC: u32 = u32::from_le_bytes(*b"L7ST");
/// Version of this layout, the second word: another number is refused.
pub const VERSION: u32 = 3;
/// Words in the header: magic, version, length of the buffer in bytes, hash seed, longest host probe,
/// longest edge probe, then offset (bytes) and count (records) of every section.
pub const HEADER_WORDS: usize = 6 + 2 * SECTIONS;
/// Most slots that a hash look-up may have to look at.
pub const MAX_PROBE: u32 = 64;
/// Most states of an automaton: transitions are 16 bits.
pub const MAX_DFA_STATES: u32 = 65_535;
/// Added to the length of an IPv4 prefix to get its length as an IPv4-mapped one.
pub const V4_PREFIX: u32 = 96;
/// In the upper half of [`EntryRecord::flags_max_source`]: the route has neither methods, fields nor sources to look at.
pub const ENTRY_UNCONDITIONAL: u32 = 1;
/// Service, pool or route index that means none.
pub const NONE: u32 = u32::MAX;

/// A fixed-size record of some section.
pub trait Record: Sized {
    /// Number of the section that holds these records.
    const SECTION: usize;
    /// Size, bytes.
    const SIZE: usize;
    /// Reads one from the head of `bytes`.
    fn read(bytes: &[u8]) -> Option<Self>;
    /// Gives its words in order.
    fn write(&self, word: &mut impl FnMut(u32));
}

macro_rules! records {
    ($(
        $(#[$doc:meta])*
        $name:ident = $section:literal, $words:literal {
            $($(#[$field_doc:meta])* $field:ident,)*
        }
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "the words of one range share one comment")]
        pub struct $name {
            $($(#[$field_doc])* pub $field: u32,)*
        }

        impl Record for $name {
            const SECTION: usize = $section;
            const SIZE: usize = $words * 4;

            #[inline]
            fn read(bytes: &[u8]) -> Option<Self> {
                let rest: &[u8] = bytes.first_chunk::<{ $words * 4 }>()?;
                $(
                    let (word, rest) = rest.split_first_chunk::<4>()?;
                    let $field = u32::from_le_bytes(*word);
                )*
                let _ = rest;
                Some(Self { $($field,)* })
            }

            fn write(&self, word: &mut impl FnMut(u32)) {
                $(word(self.$field);)*
            }
        }
    )*};
}

/// Number of sections.
pub const SECTIONS: usize = 22;
/// Section of raw bytes (count in bytes): names, literals, byte classes of automata.
pub const BYTES: usize = 0;
/// Section of transitions (count in 16-bit words).
pub const TRANSITIONS: usize = 1;

records! {
    /// A virtual service.
    ServiceRecord = 2, 12 {
        /// Name in the bytes.
        name, name_len,
        /// [`Protocol`](super::codes::Protocol).
        protocol,
        /// [`Datapath`](super::codes::Datapath).
        datapath,
        /// [`crate::uri::Allow`] bits.
        allow,
        /// Range of [`ListenRecord`]s.
        listens, listens_len,
        /// [`PathsRecord`] of routes without a host: index + 1, or 0.
        any_host,
        /// Most labels in a wildcard of this service: shorter suffixes are not looked up.
        wildcard_labels,
        /// Range of [`RouteRecord`]s, in the order of the file.
        routes, routes_len,
        /// [`SourcesRecord`] of the peers whose connections begin with a PROXY header: index + 1, or 0.
        proxies,
    }
    /// An address that a service listens on.
    ListenRecord = 3, 5 {
        /// Address, IPv4 as IPv4-mapped; the 128-bit number's words, most significant first.
        a0, a1, a2, a3,
        /// Port.
        port,
    }
    /// A name that routes have as a host. The section is a hash table, see [`slot_of`], by [`hash_below`] its service; a
    /// record without a name is an empty slot, all zero.
    HostRecord = 4, 10 {
        /// Service.
        service,
        /// Name in the bytes, comparison form, without `*.`.
        name, name_len,
        /// [`PathsRecord`] for names below this one: index + 1, or 0.
        wildcard,
        /// The [`PathsRecord`] for exactly this name, in place, since nearly every request needs it; `root`
        /// [`NONE`]: there is none.
        class, root, groups, groups_len, any, any_len,
    }
    /// The paths of one host.
    PathsRecord = 5, 6 {
        /// Lowest class of all entries below.
        class,
        /// Root [`NodeRecord`].
        root,
        /// Range of [`GroupRecord`]s.
        groups, groups_len,
        /// Range of [`EntryRecord`]s of routes without a path.
        any, any_len,
    }
    /// A node of a path trie; its edges are whole segments.
    NodeRecord = 6, 6 {
        /// Range of entries for exactly this path.
        exact, exact_len,
        /// Range of entries for this path as a prefix.
        prefix, prefix_len,
        /// Nearest node above with prefix entries: index + 1, or 0; less than this node's.
        up,
        /// How many edges lead down from it.
        edges,
    }
    /// An edge of a path trie. The section is a hash table, see [`slot_of`], by [`hash_below`] its parent; a record
    /// without a child is an empty slot, all zero.
    EdgeRecord = 7, 4 {
        /// Node above.
        parent,
        /// Segment in the bytes.
        segment, segment_len,
        /// Node below.
        child,
    }
    /// Regular expressions of one host's paths, in one automaton.
    GroupRecord = 8, 3 {
        /// Automaton; what a state accepts is a [`SetRecord`].
        dfa,
        /// First set: the automaton's accept number n > 0 is the set at `sets + n - 1`.
        sets,
        /// Lowest class of all entries.
        class,
    }
    /// The entries of all expressions that an automaton's state accepts.
    SetRecord = 9, 2 {
        /// Range of [`EntryRecord`]s.
        entries, entries_len,
    }
    /// An automaton: complete, deterministic; its first states are absorbing: they lead to themselves only.
    DfaRecord = 10, 7 {
        /// 256 byte classes in the bytes.
        classes,
        /// Binary logarithm of the row length.
        shift,
        /// Number of states.
        states,
        /// First transition: row of state s starts at `transitions + (s << shift)`. Automata follow each
        /// other without gap, in transitions and in accepts, so that verification is linear.
        transitions,
        /// First [`AcceptRecord`]: one a state.
        accepts,
        /// Start state in the lower 16 bits, number of absorbing states above.
        start_absorbing,
        /// Greatest accept number.
        accept_max,
    }
    /// What an automaton accepts when the text ends in a state: 0 nothing, else see [`GroupRecord::sets`].
    AcceptRecord = 11, 1 {
        /// Accept number.
        accept,
    }
    /// A route as a candidate: lists of these are sorted by class, then descending `max_source`, then route.
    EntryRecord = 12, 3 {
        /// Rank by priority, host, path, method and counts of conditions; lower wins.
        class,
        /// Route.
        route,
        /// Longest source prefix + 1 (as IPv4-mapped), or 0, in the lower 16 bits; flags above.
        flags_max_source,
    }
    /// A route's conditions other than host and path (and hosts by regular expressions), and its action.
    RouteRecord = 13, 13 {
        /// Service.
        service,
        /// Name in the bytes; length 0: none.
        name, name_len,
        /// Bit n: method n of [`crate::table::METHODS`].
        methods,
        /// Range of [`ValueRecord`]s (exact): other methods.
        other_methods, other_methods_len,
        /// Range of [`ConditionRecord`]s.
        conditions, conditions_len,
        /// [`SourcesRecord`]: index + 1, or 0.
        sources,
        /// [`Action`](super::codes::Action).
        action,
        /// Range of [`ShareRecord`]s.
        shares, shares_len,
        /// [`RateRecord`] that whoever forwards by this table applies: index + 1, or 0.
        rate,
    }
    /// A condition on a header field, query parameter, cookie, or the host.
    ConditionRecord = 14, 5 {
        /// [`ConditionOn`](super::codes::ConditionOn) in the lower 8 bits, [`ConditionTest`](super::codes::ConditionTest) above.
        kind_test,
        /// Name in the bytes.
        name, name_len,
        /// Range of [`ValueRecord`]s.
        values, values_len,
    }
    /// One alternative of a value.
    ValueRecord = 15, 3 {
        /// [`ValueKind`](super::codes::ValueKind).
        kind,
        /// Exact: range of bytes. Expression: index of a [`DfaRecord`], and 0.
        value, value_len,
    }
    /// Source prefixes of a route, as disjoint intervals.
    SourcesRecord = 16, 2 {
        /// Range of [`IntervalRecord`]s, sorted by address; the first is address 0.
        intervals, intervals_len,
    }
    /// From this address to the next interval's: the longest prefix that holds it.
    IntervalRecord = 17, 5 {
        /// Address as 128-bit number, most significant word first.
        a0, a1, a2, a3,
        /// Prefix length + 1, or 0 for none.
        matched,
    }
    /// A pool.
    PoolRecord = 18, 12 {
        /// Name in the bytes.
        name, name_len,
        /// Scheduler: [`Kind`](crate::sched::Kind).
        scheduler,
        /// [`HashKey`](super::codes::HashKey).
        key,
        /// Name of the header or cookie in the bytes.
        key_name, key_name_len,
        /// Bounded load, percent.
        load_percent,
        /// [`Forwarding`](super::codes::Forwarding).
        forward,
        /// Range of [`ServerRecord`]s.
        servers, servers_len,
        /// Other servers tried when one does not answer.
        retries,
        /// Header that connections to its servers begin with: [`ProxyVersion`](super::codes::ProxyVersion), or 0.
        send_proxy,
    }
    /// A real server of a pool.
    ServerRecord = 19, 7 {
        /// Address, IPv4 as IPv4-mapped; the 128-bit number's words, most significant first.
        a0, a1, a2, a3,
        /// Port.
        port,
        /// Weight.
        weight,
        /// Requests or connections that it has at a time, at most; 0: any number.
        bound,
    }
    /// How many requests of a route may come in what time ([`crate::limit`]).
    RateRecord = 21, 7 {
        /// [`RateKey`](super::codes::RateKey).
        key,
        /// Bits of an address that tell clients apart, of each family.
        prefix_v4, prefix_v6,
        /// Time in which a token comes, ns: 64 bits.
        interval_low, interval_high,
        /// Time in which an empty bucket gets full, ns: 64 bits.
        full_low, full_high,
    }
    /// A pool's part in a route's weighted split.
    ShareRecord = 20, 2 {
        /// Pool.
        pool,
        /// Weight.
        weight,
    }
}

impl HostRecord {
    /// The paths for exactly this name.
    #[inline]
    pub const fn exact(&self) -> Option<PathsRecord> {
        if self.root == NONE {
            return None;
        }
        Some(PathsRecord {
            class: self.class,
            root: self.root,
            groups: self.groups,
            groups_len: self.groups_len,
            any: self.any,
            any_len: self.any_len,
        })
    }
}

/// Odd, without a pattern: 2⁶⁴ divided by the golden ratio.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Hash of bytes below something, eight at a time: of a host, or a domain above it, in a service; of a segment below a
/// node. It need not be hard to foresee: keys are the administrator's, a request only looks them up, and no look-up takes more
/// steps than the table says.
#[inline]
pub fn hash_below(seed: u32, below: u32, bytes: &[u8]) -> u32 {
    let hash =
        (u64::from(seed) << 32 | u64::from(below)) ^ (bytes.len() as u64).wrapping_mul(FACTOR);
    let hash = match bytes.first_chunk::<8>() {
        Some(first) => hash_words(hash, first, bytes),
        None => match bytes {
            [] => return upper(stir(hash)),
            &[one] => hash ^ u64::from(one),
            &[one, two] => hash ^ (u64::from(one) << 8 | u64::from(two)),
            &[one, two, three] => {
                hash ^ (u64::from(one) << 16 | u64::from(two) << 8 | u64::from(three))
            }
            // By overlapping pieces: with the length they tell it.
            _ => match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
                (Some(first), Some(last)) => {
                    let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
                    hash ^ (u64::from(first) << 32 | u64::from(last))
                }
                _ => hash,
            },
        },
    };
    upper(stir(stir(hash)))
}

/// Stirs in eight bytes and more. The last word overlaps the one before it where they are not whole words.
#[inline(always)]
fn hash_words(mut hash: u64, first: &[u8; 8], bytes: &[u8]) -> u64 {
    if bytes.len() > 8 {
        hash = stir(hash ^ u64::from_le_bytes(*first));
    }
    // Names are seldom that long: others do without what the loop needs.
    if bytes.len() > 16 {
        let mut rest = bytes.get(8..).unwrap_or_default();
        while let Some((word, tail)) = rest.split_first_chunk::<8>() {
            if tail.is_empty() {
                break;
            }
            hash = stir(hash ^ u64::from_le_bytes(*word));
            rest = tail;
        }
    }
    match bytes.last_chunk::<8>() {
        Some(last) => hash ^ u64::from_le_bytes(*last),
        None => hash,
    }
}

#[inline]
const fn stir(hash: u64) -> u64 {
    let hash = hash.wrapping_mul(FACTOR);
    hash ^ (hash >> 32)
}

#[inline]
const fn upper(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// The slot in which a look-up begins: linear probing goes on from there, at most as far as the header says and
/// never beyond the end. The hash is taken as a fraction of `home`, the number of slots in which one may begin,
/// which is the section's length less the longest probe.
#[inline]
pub const fn slot_of(hash: u32, home: u32) -> u32 {
    // The upper half of the product is less than `home`.
    (((hash as u64).wrapping_mul(home as u64)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hash as version 2 of the layout has it, word by word.
    fn by_words(seed: u32, below: u32, bytes: &[u8]) -> u32 {
        let mut hash =
            (u64::from(seed) << 32 | u64::from(below)) ^ (bytes.len() as u64).wrapping_mul(FACTOR);
        let words = bytes.chunks_exact(8);
        let rest = words.remainder();
        for word in words {
            hash = stir(hash ^ u64::from_le_bytes(word.try_into().unwrap()));
        }
        let half = |bytes: Option<&[u8; 4]>| u64::from(u32::from_le_bytes(*bytes.unwrap()));
        let last = match (bytes.last_chunk::<8>(), rest.len()) {
            (_, 0) => return upper(stir(hash)),
            (Some(word), _) => u64::from_le_bytes(*word),
            (None, ..4) => rest.iter().fold(0, |n, &byte| n << 8 | u64::from(byte)),
            _ => half(rest.first_chunk()) << 32 | half(rest.last_chunk()),
        };
        upper(stir(stir(hash ^ last)))
    }

    #[test]
    fn the_hash_is_that_of_the_layout_for_every_length() {
        let bytes: std::vec::Vec<u8> = (0..100u8).map(|i| i.wrapping_mul(37)).collect();
        for len in 0..=bytes.len() {
            let bytes = &bytes[..len];
            assert_eq!(
                hash_below(3, 5, bytes),
                by_words(3, 5, bytes),
                "length {len}"
            );
        }
    }
}
