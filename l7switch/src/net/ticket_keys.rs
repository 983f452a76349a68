// SPDX-License-Identifier: MIT
//! Keys of session tickets (RFC 5077, 4; RFC 8446, 4.6.1): made here, replaced every six hours, and given to a successor.
//!
//! A ticket is the name of its key, a random nonce, and the session sealed by AES-256-GCM with the name as what is authenticated
//! beside it. A key seals far less than the 2³² tickets that random nonces allow (NIST SP 800-38D, 8.3).

use std::sync::PoisonError;
use std::sync::RwLock;
use std::time::Duration;

use aws_lc_rs::aead::AES_256_GCM;
use aws_lc_rs::aead::Aad;
use aws_lc_rs::aead::NONCE_LEN;
use aws_lc_rs::aead::Nonce;
use aws_lc_rs::aead::RandomizedNonceKey;
use aws_lc_rs::rand;
use rustls::server::ProducesTickets;
use serde::Deserialize;
use serde::Serialize;
use tokio::time::Instant;

/// How long a key makes tickets; for as long again they are taken.
const LIFETIME: Duration = Duration::from_secs(6 * 3600);

/// Bytes of a key's name.
const NAME: usize = 16;

/// A key, as a successor gets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenKey {
    /// By which tickets name it.
    pub name: [u8; NAME],
    /// The key.
    pub secret: [u8; 32],
    /// How long it makes tickets still, seconds.
    pub seconds: u64,
}

/// One key.
#[derive(Debug)]
struct Key {
    given: GivenKey,
    sealing: RandomizedNonceKey,
    /// When it is replaced. For as long as a key lives, its tickets are taken after that.
    until: Instant,
}

impl Key {
    fn make() -> Option<Self> {
        let mut given = GivenKey {
            name: [0; NAME],
            secret: [0; 32],
            seconds: LIFETIME.as_secs(),
        };
        rand::fill(&mut given.name).ok()?;
        rand::fill(&mut given.secret).ok()?;
        Self::of(given, Instant::now())
    }

    fn of(given: GivenKey, now: Instant) -> Option<Self> {
        let left = Duration::from_secs(given.seconds).min(LIFETIME);
        Some(Self {
            sealing: RandomizedNonceKey::new(&AES_256_GCM, &given.secret).ok()?,
            until: now + left,
            given,
        })
    }

    fn seal(&self, session: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = session.to_vec();
        let name = Aad::from(&self.given.name);
        let nonce = self.sealing.seal_in_place_append_tag(name, &mut sealed);
        let mut ticket = Vec::with_capacity(sealed.len().saturating_add(NAME + NONCE_LEN));
        ticket.extend(self.given.name);
        ticket.extend(nonce.ok()?.as_ref());
        ticket.append(&mut sealed);
        Some(ticket)
    }

    fn open(&self, nonce: &[u8; NONCE_LEN], sealed: &[u8]) -> Option<Vec<u8>> {
        let mut session = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let name = Aad::from(&self.given.name);
        let length = self
            .sealing
            .open_in_place(nonce, name, &mut session)
            .ok()?
            .len();
        session.truncate(length);
        Some(session)
    }

    fn is_taken(&self, now: Instant) -> bool {
        now < self.until + LIFETIME
    }
}

/// The key in use, and the one before.
#[derive(Debug)]
struct Keys {
    current: Key,
    previous: Option<Key>,
}

/// Makes and reads the tickets of a service.
#[derive(Debug)]
pub struct TicketKeys(RwLock<Keys>);

impl TicketKeys {
    /// With a new key.
    ///
    /// # Errors
    ///
    /// There are no random numbers.
    pub fn new() -> Result<Self, rustls::Error> {
        let current = Key::make().ok_or(rustls::Error::FailedToGetRandomBytes)?;
        let previous = None;
        Ok(Self(RwLock::new(Keys { current, previous })))
    }

    /// The keys for a successor, the one in use first.
    pub fn give(&self) -> Vec<GivenKey> {
        self.roll();
        let now = Instant::now();
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let all = std::iter::once(&keys.current).chain(&keys.previous);
        all.filter(|key| key.is_taken(now))
            .map(|key| GivenKey {
                seconds: key.until.saturating_duration_since(now).as_secs(),
                ..key.given.clone()
            })
            .collect()
    }

    /// Goes on with the keys of the front before, the one in use first. `false`: there is none that can be used.
    pub fn take(&self, given: &[GivenKey]) -> bool {
        let now = Instant::now();
        let mut given = given.iter().filter_map(|key| Key::of(key.clone(), now));
        let Some(current) = given.next() else {
            return false;
        };
        let previous = given.next();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Keys { current, previous };
        true
    }

    /// Replaces the key in use where its time has come.
    fn roll(&self) {
        let now = Instant::now();
        let is_due = {
            let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
            now >= keys.current.until
        };
        // Without random numbers the old one goes on.
        if is_due && let Some(new) = Key::make() {
            let mut keys = self.0.write().unwrap_or_else(PoisonError::into_inner);
            // Somebody else may have been faster.
            if now >= keys.current.until {
                let old = std::mem::replace(&mut keys.current, new);
                keys.previous = Some(old);
            }
        }
    }
}

impl ProducesTickets for TicketKeys {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(LIFETIME.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        self.roll();
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        keys.current.seal(session)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.roll();
        let (name, rest) = ticket.split_first_chunk::<NAME>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let now = Instant::now();
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut all = std::iter::once(&keys.current).chain(&keys.previous);
        let key = all.find(|key| key.given.name == *name && key.is_taken(now))?;
        key.open(nonce, sealed)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn a_ticket_is_taken_until_its_key_is_replaced_and_as_long_again() {
        let keys = TicketKeys::new().unwrap();
        let ticket = keys.encrypt(b"session").unwrap();
        assert_ne!(ticket, keys.encrypt(b"session").unwrap());
        assert!(!ticket.windows(7).any(|part| part == b"session"));
        assert_eq!(keys.decrypt(&ticket).unwrap(), b"session");
        advance(6 * HOUR).await;
        assert_eq!(keys.decrypt(&ticket).unwrap(), b"session");
        let newer = keys.encrypt(b"newer").unwrap();
        assert_ne!(newer[..NAME], ticket[..NAME]);
        advance(6 * HOUR).await;
        assert_eq!(keys.decrypt(&ticket), None);
        assert_eq!(keys.decrypt(&newer).unwrap(), b"newer");
        // Nobody came for long: the key that is replaced then is too old.
        advance(13 * HOUR).await;
        assert_eq!(keys.decrypt(&newer), None);
    }

    #[test]
    fn whatever_is_changed_is_no_ticket() {
        let keys = TicketKeys::new().unwrap();
        let ticket = keys.encrypt(b"session").unwrap();
        for place in 0..ticket.len() {
            let mut other = ticket.clone();
            other[place] ^= 1;
            assert_eq!(keys.decrypt(&other), None, "byte {place}");
            assert_eq!(keys.decrypt(&ticket[..place]), None, "{place} bytes");
        }
        let strange = TicketKeys::new().unwrap();
        assert_eq!(strange.decrypt(&ticket), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_successor_takes_the_tickets_and_goes_on_with_the_same_times() {
        let keys = TicketKeys::new().unwrap();
        let old = keys.encrypt(b"old").unwrap();
        advance(7 * HOUR).await;
        let new = keys.encrypt(b"new").unwrap();
        advance(HOUR).await;
        let successor = TicketKeys::new().unwrap();
        let given = keys.give();
        let seconds: Vec<u64> = given.iter().map(|key| key.seconds).collect();
        assert_eq!(seconds, [5 * 3600, 0]);
        assert!(successor.take(&given));
        assert_eq!(successor.decrypt(&old).unwrap(), b"old");
        assert_eq!(successor.decrypt(&new).unwrap(), b"new");
        let its = successor.encrypt(b"its").unwrap();
        assert_eq!(keys.decrypt(&its).unwrap(), b"its", "as both serve");
        advance(5 * HOUR).await;
        let after = successor.encrypt(b"after").unwrap();
        assert_ne!(after[..NAME], its[..NAME]);
        assert_eq!(successor.decrypt(&its).unwrap(), b"its");
        assert!(!successor.take(&[]));
        assert_eq!(successor.decrypt(&after).unwrap(), b"after");
    }

    /// A front before that says so makes no key live longer.
    #[tokio::test(start_paused = true)]
    async fn no_key_lives_longer_than_it_may() {
        let keys = TicketKeys::new().unwrap();
        let mut given = keys.give();
        given[0].seconds = u64::MAX;
        assert!(keys.take(&given));
        assert_eq!(keys.give()[0].seconds, LIFETIME.as_secs());
    }
}
