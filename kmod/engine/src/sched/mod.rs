// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Schedulers: which real server gets a request.
//!
//! A [`Pool`] is a borrowed view: the servers, the pool's [`Cursor`] and the lookup table of those
//! schedulers that have one. All state that changes is atomic, so that every CPU picks at the same
//! time without a lock; a pick allocates nothing, takes bounded time and computes in integers only.
//!
//! Every scheduler keeps these promises:
//! - it never picks a server whose weight is 0, that is not available, that has as many outstanding as it may, or that the
//!   caller skips;
//! - it picks one if there is one.
//!
//! The state is read while others change it, so that "is" means "was, during the pick". A pick
//! itself counts nothing as outstanding: the caller calls [`Server::start`] when it has taken the
//! server, and picks that overlap do not see each other's choice. Of a server with a bound,
//! [`Server::try_start`] says whether it may be taken: where it may not, the caller picks again.
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "tests compute with numbers that they know; the build without tests checks the rest"
    )
)]

mod candidates;
mod failures;
mod fastest;
mod layout;
mod least;
pub mod maglev;
mod p2c;
#[cfg(no_panic_probe)]
pub mod probe;
pub mod ring;
mod rr;
mod server;
mod sh;
pub mod sort;
#[cfg(test)]
mod tests;
mod wrr;

use core::borrow::Borrow;

pub(crate) use candidates::below;
use candidates::Candidates;

pub use failures::Failures;
pub use layout::LayoutError;
pub use layout::LookupTable;
pub use layout::Memory;
pub use server::Cursor;
pub use server::Server;
pub use server::MAX_WEIGHT;

use crate::siphash::siphash13;

/// The schedulers; each is defined in its file and in docs/schedulers.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Round robin.
    Rr,
    /// Smooth weighted round robin.
    Wrr,
    /// Least connections.
    Lc,
    /// Weighted least connections.
    Wlc,
    /// Shortest expected delay.
    Sed,
    /// Never queue.
    Nq,
    /// Power of two choices.
    P2c,
    /// Source hashing.
    Sh,
    /// Maglev hashing.
    Mh,
    /// Consistent hashing, with bounded load if the pool says so.
    Ch,
    /// Least peak EWMA of time to first byte times outstanding requests.
    Fastest,
}

impl Kind {
    /// Every scheduler, in the order of the reference; its number in a table is the position in this list.
    pub const ALL: [Self; 11] = [
        Self::Rr,
        Self::Wrr,
        Self::Lc,
        Self::Wlc,
        Self::Sed,
        Self::Nq,
        Self::P2c,
        Self::Sh,
        Self::Mh,
        Self::Ch,
        Self::Fastest,
    ];

    /// Its number in a table.
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The one with a number.
    pub const fn from_number(number: u32) -> Option<Self> {
        let mut left: &[Self] = &Self::ALL;
        while let Some((&kind, rest)) = left.split_first() {
            if kind.number() == number {
                return Some(kind);
            }
            left = rest;
        }
        None
    }

    /// The word in the rule language.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rr => "rr",
            Self::Wrr => "wrr",
            Self::Lc => "lc",
            Self::Wlc => "wlc",
            Self::Sed => "sed",
            Self::Nq => "nq",
            Self::P2c => "p2c",
            Self::Sh => "sh",
            Self::Mh => "mh",
            Self::Ch => "ch",
            Self::Fastest => "fastest",
        }
    }

    /// Whether the choice depends on [`Ask::hash`].
    pub const fn hashes(self) -> bool {
        matches!(self, Self::Sh | Self::Mh | Self::Ch)
    }
}

/// The table that a hashing scheduler looks a key up in.
#[derive(Clone, Copy, Debug)]
pub enum Lookup<'a> {
    /// None. [`Kind::Mh`] and [`Kind::Ch`] then share keys by weight, but not consistently.
    None,
    /// For [`Kind::Mh`], made by [`maglev::fill`].
    Maglev(&'a [u16]),
    /// For [`Kind::Ch`], made by [`ring::fill`].
    Ring(&'a [ring::Point]),
}

/// What a scheduler knows of the request.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Hash of the request's key, [`hash_key`]; read by the hashing schedulers.
    pub hash: u64,
    /// A fresh random number; read by [`Kind::P2c`] and [`Kind::Fastest`].
    pub random: u64,
    /// Monotonic time in ns, of the same clock as [`Server::observe`]'s; read by [`Kind::Fastest`].
    pub now_ns: u64,
}

/// A pool of real servers, as a pick sees it. `S` is a [`Server`] or anything that lends one.
#[derive(Debug)]
pub struct Pool<'a, S> {
    /// The scheduler.
    pub kind: Kind,
    /// Bounded load of [`Kind::Ch`] in percent of a server's fair share; 0: no bound.
    pub load_percent: u32,
    /// The servers. A pick answers with an index into this slice.
    pub servers: &'a [S],
    /// What the pool remembers from pick to pick.
    pub cursor: &'a Cursor,
    /// The lookup table, made from the same `servers` in the same order.
    pub lookup: Lookup<'a>,
}

impl<S: Borrow<Server>> Pool<'_, S> {
    /// Index of the server that gets the request, or `None` if no server may.
    ///
    /// `skip` tells the servers that this request has tried already.
    pub fn pick(&self, ask: &Ask, skip: impl Fn(usize) -> bool) -> Option<usize> {
        let candidates = Candidates {
            servers: self.servers,
            skip,
        };
        let picked = match (self.kind, self.lookup) {
            (Kind::Rr, _) => rr::pick(&candidates, self.cursor),
            (Kind::Wrr, _) => wrr::pick(&candidates, self.cursor),
            (Kind::Lc, _) => least::pick(&candidates, self.cursor, least::Cost::Connections),
            (Kind::Wlc, _) => least::pick(&candidates, self.cursor, least::Cost::PerWeight),
            (Kind::Sed, _) => least::pick(&candidates, self.cursor, least::Cost::ExpectedDelay),
            (Kind::Nq, _) => least::pick(&candidates, self.cursor, least::Cost::NeverQueue),
            (Kind::P2c, _) => p2c::pick(&candidates, ask.random),
            (Kind::Sh, _) => sh::pick(&candidates, ask.hash),
            (Kind::Mh, Lookup::Maglev(table)) => maglev::pick(&candidates, table, ask.hash),
            (Kind::Ch, Lookup::Ring(points)) => {
                ring::pick(&candidates, points, ask.hash, self.load_percent)
            }
            (Kind::Mh | Kind::Ch, _) => None,
            (Kind::Fastest, _) => fastest::pick(&candidates, ask.random, ask.now_ns),
        };
        // A table that is missing or older than the servers, or a server that changed meanwhile:
        // whoever may be picked is better than nobody.
        picked.or_else(|| candidates.by_weight(ask.hash))
    }
}

impl Pool<'_, Server> {
    /// [`Pool::pick`] with the servers already tried as a list of indices.
    pub fn pick_except(&self, ask: &Ask, tried: &[u16]) -> Option<usize> {
        self.pick(ask, |index| {
            tried.iter().any(|&tried| usize::from(tried) == index)
        })
    }
}

/// Key of [`hash_key`].
pub(crate) const HASH_KEY: [u64; 2] = [0x6c37_7377_6974_6368, 0x7265_616c_7365_7276];

/// Hash of a request's key (source, path, host, header, cookie) for [`Ask::hash`].
///
/// SipHash-1-3 with a fixed key, so that all switches in front of the same servers agree. It is
/// therefore no defence against clients who seek keys that meet at one server; bounded load is.
pub fn hash_key(bytes: &[u8]) -> u64 {
    siphash13(HASH_KEY, bytes)
}
