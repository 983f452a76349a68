// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A cache of decisions: the route of a request whose very head was decided about not long ago, by the same rules.
//!
//! A head is known again by its [`fingerprint`](crate::fingerprint), and nothing is compared besides: whoever does not know
//! the key cannot make two heads that have the same one, but by a chance of one in 2⁵⁰ for every head that is tried. What a
//! decision depends on besides the head is part of an entry (service, generation of the rules), or keeps it from the cache:
//! conditions about the client's address, and keys of hashing schedulers that are in the head.

use crate::flow::Message;
use crate::http1::Framing;
use crate::http1::RequestKind;

/// In place of a fingerprint: an entry that is not used.
const NONE: u64 = u64::MAX;

/// One decision.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    fingerprint: u64,
    generation: u64,
    service: u32,
    route: u32,
    kind: RequestKind,
    last: bool,
}

impl Entry {
    /// One that is not used.
    pub const NONE: Self = Self {
        fingerprint: NONE,
        generation: 0,
        service: 0,
        route: 0,
        kind: RequestKind::Normal,
        last: false,
    };
}

/// Whom a decision was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Of the request's head, with nothing behind it.
    pub fingerprint: u64,
    /// Of the rules.
    pub generation: u64,
    /// Its position in the rules.
    pub service: u32,
}

/// Decisions, each in the one place that its fingerprint leads to: a newer one takes an older one's.
pub struct Decisions<'a>(
    /// The entries; a power of two.
    pub &'a mut [Entry],
);

impl Decisions<'_> {
    /// Where an entry is, or would be.
    #[inline]
    fn place(&mut self, fingerprint: u64) -> Option<&mut Entry> {
        let mask = self.0.len().checked_sub(1)?;
        // The lower bits are as good as any: all that are needed.
        #[expect(clippy::cast_possible_truncation, reason = "masked")]
        let at = fingerprint as usize & mask;
        self.0.get_mut(at)
    }

    /// What was decided about a head of so many bytes: what has to be known of the request, and the route's number in the
    /// table.
    #[inline]
    pub fn find(&mut self, key: &Key, head: u32) -> Option<(Message, u32)> {
        let entry = self.place(key.fingerprint)?;
        if (entry.fingerprint, entry.generation, entry.service)
            != (key.fingerprint, key.generation, key.service)
        {
            return None;
        }
        let message = Message {
            head,
            framing: Framing::None,
            kind: entry.kind,
            last: entry.last,
            opaque: false,
            fingerprint: Some(key.fingerprint),
        };
        Some((message, entry.route))
    }

    /// Keeps a decision, if a message has no content: the entry says nothing of its framing.
    pub fn keep(&mut self, key: &Key, message: &Message, route: u32) {
        if message.framing != Framing::None || message.opaque {
            return;
        }
        if let Some(entry) = self.place(key.fingerprint) {
            *entry = Entry {
                fingerprint: key.fingerprint,
                generation: key.generation,
                service: key.service,
                route,
                kind: message.kind,
                last: message.last,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: Message = Message {
        head: 40,
        framing: Framing::None,
        kind: RequestKind::Head,
        last: true,
        opaque: false,
        fingerprint: Some(9),
    };

    const fn key(fingerprint: u64, generation: u64, service: u32) -> Key {
        Key {
            fingerprint,
            generation,
            service,
        }
    }

    #[test]
    fn what_was_kept_is_found_for_the_same_head_service_and_rules_only() {
        let mut entries = [Entry::NONE; 4];
        let mut decisions = Decisions(&mut entries);
        assert_eq!(decisions.find(&key(NONE, 0, 1), 40), None);
        decisions.keep(&key(9, 3, 1), &MESSAGE, 7);
        assert_eq!(decisions.find(&key(9, 3, 1), 40), Some((MESSAGE, 7)));
        for other in [key(13, 3, 1), key(9, 4, 1), key(9, 3, 2)] {
            assert_eq!(decisions.find(&other, 40), None, "{other:?}");
        }
        decisions.keep(&key(13, 3, 1), &MESSAGE, 8);
        assert_eq!(decisions.find(&key(9, 3, 1), 40), None, "it has its place");
    }

    #[test]
    fn requests_with_content_are_not_kept() {
        let mut entries = [Entry::NONE; 4];
        let mut decisions = Decisions(&mut entries);
        for message in [
            Message {
                framing: Framing::Length(4),
                ..MESSAGE
            },
            Message {
                framing: Framing::Chunked,
                ..MESSAGE
            },
            Message {
                opaque: true,
                ..MESSAGE
            },
        ] {
            decisions.keep(&key(9, 3, 1), &message, 7);
            assert_eq!(decisions.find(&key(9, 3, 1), 40), None, "{message:?}");
        }
    }

    #[test]
    fn no_room_is_no_decision() {
        let mut decisions = Decisions(&mut []);
        decisions.keep(&key(9, 3, 1), &MESSAGE, 7);
        assert_eq!(decisions.find(&key(9, 3, 1), 40), None);
    }
}
