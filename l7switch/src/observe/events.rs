// SPDX-License-Identifier: MIT
//! What has happened that an operator wants to know, the last of it, in bounded memory.
//!
//! The same, of the same server and with the same words, is one event that happens again: a server that fails ten thousand
//! requests is one line with a count.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use l7switch_admin_api as api;
use l7switch_admin_api::Level;

use crate::net::clock::unix_now;
use crate::observe::words::cut;

/// Most events that are kept.
const MOST: usize = 256;

/// Longest text of one, bytes.
const MOST_TEXT: usize = 1000;

macro_rules! kinds {
    ($($(#[$doc:meta])* $level:ident $name:ident = $word:literal,)*) => {
        /// What has happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind {
            $($(#[$doc])* $name,)*
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word in JSON and metrics.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }

            /// How bad it is.
            pub const fn level(self) -> Level {
                match self {
                    $(Self::$name => Level::$level,)*
                }
            }
        }
    };
}

kinds! {
    /// The active checks have found a server to be down.
    Warning ServerDown = "server_down",
    /// The active checks have found a server to be up again.
    Info ServerUp = "server_up",
    /// Too many requests in a row have failed.
    Warning ServerEjected = "server_ejected",
    /// An ejection is over.
    Info ServerBack = "server_back",
    /// A request has failed by a server's fault.
    Warning ServerFailed = "server_failed",
    /// An administrator has changed a server.
    Info ServerChanged = "server_changed",
    /// Rules were put in force.
    Info Reloaded = "reloaded",
    /// Rules were refused.
    Error ReloadRefused = "reload_refused",
    /// An administrator has closed a service for maintenance, or opened it.
    Info Maintenance = "maintenance",
    /// A certificate was ordered, and has come.
    Info CertificateOrdered = "certificate_ordered",
    /// The order of a certificate has failed.
    Error OrderFailed = "order_failed",
    /// The kernel module has the rules in force.
    Info KernelLoaded = "kernel_loaded",
    /// The kernel module has refused the rules.
    Error KernelRefused = "kernel_refused",
    /// The kernel module is not used, or has other rules.
    Warning KernelLost = "kernel_lost",
    /// A name of servers could not be resolved.
    Warning NameFailed = "name_failed",
    /// The state file could not be written.
    Error StateFileFailed = "state_file_failed",
    /// A successor that was started, or asked, has not taken the place.
    Error TakeOverFailed = "take_over_failed",
}

/// What an event is about, and its words.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    kind: Kind,
    /// Pool and server.
    server: Option<(String, String)>,
    text: String,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    first: u64,
    last: u64,
    count: u64,
    /// Counts whatever happens: the entry with the smallest is the oldest.
    turn: u64,
}

#[derive(Debug, Default)]
struct Kept {
    entries: HashMap<Key, Entry>,
    numbers: u64,
    turns: u64,
    lost: u64,
}

/// The last events.
#[derive(Debug)]
pub struct Events {
    kept: Mutex<Kept>,
    /// How often each kind has happened.
    counts: Vec<AtomicU64>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            counts: Kind::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl Events {
    /// Something has happened.
    pub fn add(&self, kind: Kind, text: impl Into<String>) {
        self.enter(kind, None, text.into(), unix_now());
    }

    /// Something has happened to a server of a pool.
    pub fn add_of(&self, kind: Kind, pool: &str, server: &str, text: impl Into<String>) {
        let server = Some((pool.to_owned(), server.to_owned()));
        self.enter(kind, server, text.into(), unix_now());
    }

    fn enter(&self, kind: Kind, server: Option<(String, String)>, text: String, now: u64) {
        if let Some(count) = self.counts.get(kind as usize) {
            count.fetch_add(1, Relaxed);
        }
        let key = Key {
            kind,
            server,
            text: cut(text, MOST_TEXT),
        };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.turns = kept.turns.wrapping_add(1);
        let turn = kept.turns;
        if let Some(entry) = kept.entries.get_mut(&key) {
            entry.count = entry.count.saturating_add(1);
            entry.last = now;
            entry.turn = turn;
            return;
        }
        if kept.entries.len() >= MOST {
            let oldest = kept.entries.iter().min_by_key(|(_, entry)| entry.turn);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                kept.entries.remove(&oldest);
                kept.lost = kept.lost.saturating_add(1);
            }
        }
        kept.numbers = kept.numbers.saturating_add(1);
        let entry = Entry {
            number: kept.numbers,
            first: now,
            last: now,
            count: 1,
            turn,
        };
        kept.entries.insert(key, entry);
    }

    /// Those that are kept.
    pub fn status(&self) -> api::Events {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entries: Vec<_> = kept.entries.iter().collect();
        entries.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.turn));
        let events = entries.into_iter().map(|(key, entry)| {
            let (pool, server) = key.server.clone().unzip();
            api::Event {
                number: entry.number,
                first: entry.first,
                last: entry.last,
                count: entry.count,
                kind: key.kind.as_str().to_owned(),
                level: key.kind.level(),
                pool,
                server,
                text: key.text.clone(),
            }
        });
        api::Events {
            events: events.collect(),
            lost: kept.lost,
        }
    }

    /// How often each kind has happened.
    pub fn counts(&self) -> impl Iterator<Item = (Kind, u64)> + '_ {
        let counts = self.counts.iter().map(|count| count.load(Relaxed));
        Kind::ALL.iter().copied().zip(counts)
    }

    /// How many were forgotten for newer ones.
    pub fn lost(&self) -> u64 {
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_counted_together_and_comes_first_again() {
        let events = Events::default();
        let fails = |text: &str, now| {
            let server = Some(("p".to_owned(), "a".to_owned()));
            events.enter(Kind::ServerFailed, server, text.to_owned(), now);
        };
        fails("refused", 10);
        fails("reset", 11);
        events.enter(Kind::ReloadRefused, None, "wrong".to_owned(), 12);
        fails("refused", 13);
        let status = events.status();
        let brief: Vec<_> = status
            .events
            .iter()
            .map(|event| (event.number, event.first, event.last, event.count))
            .collect();
        assert_eq!(brief, [(1, 10, 13, 2), (3, 12, 12, 1), (2, 11, 11, 1)]);
        assert_eq!(status.events[0].pool.as_deref(), Some("p"));
        assert_eq!(status.events[1].server, None);
        assert_eq!(status.events[1].level, Level::Error);
        let failed = events
            .counts()
            .find(|(kind, _)| *kind == Kind::ServerFailed);
        assert_eq!(failed.map(|(_, count)| count), Some(3));
    }

    #[test]
    fn memory_is_bounded_and_what_is_lost_is_counted() {
        let events = Events::default();
        for number in 0..300 {
            let text = format!("{number}{}", "\u{fc}".repeat(2000));
            events.add(Kind::ServerDown, text);
        }
        // It happened long ago, and again now: it is not the oldest.
        events.add(Kind::ServerDown, format!("44{}", "\u{fc}".repeat(2000)));
        events.add(Kind::ServerUp, "");
        let status = events.status();
        assert_eq!((status.events.len(), status.lost), (MOST, 45));
        assert!(status.events.iter().all(|event| event.text.len() < 1010));
        assert_eq!(status.events[1].count, 2);
        assert_eq!(status.events[0].number, 301);
    }
}
