// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Rate limits: a token bucket for each key, in sets of fixed size.
//!
//! A bucket is one time: when it will be full again (the generic cell rate algorithm, ITU-T I.371). A token that is taken
//! moves this time on by the interval in which one comes.

use crate::endpoint::is_ipv4;
use crate::siphash::siphash13_words;
use crate::siphash::Key;
use crate::table::format::RateRecord;

/// Places in which a key's bucket may be.
pub const WAYS: usize = 8;

/// A rate, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In which a token comes.
    pub interval: u64,
    /// In which an empty bucket gets full.
    pub full: u64,
}

impl Rate {
    /// So many tokens in so many nanoseconds, in buckets that hold `burst`.
    pub fn new(tokens: u32, per: u64, burst: u32) -> Self {
        let tokens = u64::from(tokens.max(1));
        // Rounded up: the rate is never more than was said.
        let whole = per.checked_div(tokens).unwrap_or_default();
        let is_whole = per.checked_rem(tokens) == Some(0);
        let interval = whole.wrapping_add(u64::from(!is_whole));
        Self {
            interval,
            full: interval.saturating_mul(u64::from(burst)),
        }
    }

    /// That of a table.
    pub const fn of(record: &RateRecord) -> Self {
        Self {
            interval: number(record.interval_high, record.interval_low),
            full: number(record.full_high, record.full_low),
        }
    }

    /// When a bucket is full again from which a token is taken now, that would be full at `full_at`.
    ///
    /// # Errors
    ///
    /// It has none; it will have one in so many nanoseconds.
    #[inline]
    pub fn take(self, full_at: u64, now: u64) -> Result<u64, u64> {
        let full_at = full_at.max(now).saturating_add(self.interval);
        match full_at.saturating_sub(now).saturating_sub(self.full) {
            0 => Ok(full_at),
            lacking => Err(lacking),
        }
    }
}

/// A number of two words.
const fn number(high: u32, low: u32) -> u64 {
    ((high as u64) << 32) | low as u64
}

/// A bucket of a key. One that is full is as good as none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    key: u64,
    full_at: u64,
}

/// The places that a key may have. Those that were seen last come first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Set([Bucket; WAYS]);

impl Set {
    /// Takes a token of a key's bucket. Where the key has none, it gets the place of one that is full, or else of the one that
    /// was not seen for longest.
    ///
    /// # Errors
    ///
    /// There is none; there will be one in so many nanoseconds.
    pub fn take(&mut self, key: u64, rate: Rate, now: u64) -> Result<(), u64> {
        let buckets = &mut self.0;
        let own = buckets.iter().position(|bucket| bucket.key == key);
        let free = || buckets.iter().rposition(|bucket| bucket.full_at <= now);
        let place = own.or_else(free).unwrap_or(WAYS - 1);
        if let Some(seen) = buckets.get_mut(..=place) {
            seen.rotate_right(1);
        }
        let [bucket, ..] = buckets;
        if bucket.key != key {
            *bucket = Bucket { key, full_at: 0 };
        }
        bucket.full_at = rate.take(bucket.full_at, now)?;
        Ok(())
    }

    /// The keys whose buckets are not full, and when they will be. Those that were seen last come first.
    pub fn taken(&self, now: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let buckets = self.0.iter().filter(move |bucket| bucket.full_at > now);
        buckets.map(|bucket| (bucket.key, bucket.full_at))
    }

    /// Enters when a key's bucket will be full, if that is later than what is known of it.
    pub fn enter(&mut self, key: u64, full_at: u64, now: u64) {
        // A rate without end: a token costs nothing, so that only the place is taken.
        let free = Rate {
            interval: 0,
            full: u64::MAX,
        };
        if self.take(key, free, now).is_ok() {
            let [bucket, ..] = &mut self.0;
            bucket.full_at = bucket.full_at.max(full_at);
        }
    }
}

/// The part of so many that the lower half of a hash leads to.
#[inline]
pub const fn part(hash: u64, parts: u32) -> u32 {
    ((hash & 0xffff_ffff).wrapping_mul(parts as u64) >> 32) as u32
}

/// The key of a client in a limit that has a number: only as much of the address counts as the limit says.
#[inline]
pub fn source_key(secret: Key, limit: u64, record: &RateRecord, address: &[u8; 16]) -> u64 {
    let bits = match is_ipv4(address) {
        true => record.prefix_v4.saturating_add(96),
        false => record.prefix_v6,
    };
    let mask = u128::MAX
        .checked_shl(128u32.saturating_sub(bits))
        .unwrap_or(0);
    let prefix = u128::from_be_bytes(*address) & mask;
    #[expect(clippy::cast_possible_truncation, reason = "its halves")]
    let halves = [(prefix >> 64) as u64, prefix as u64];
    let [high, low] = halves;
    siphash13_words(secret, [limit, high, low])
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_table_has_the_rate_that_was_written() {
        let rate = Rate::new(1, 86_400 * SECOND, 1_000_000);
        let record = RateRecord {
            interval_low: (rate.interval & 0xffff_ffff) as u32,
            interval_high: (rate.interval >> 32) as u32,
            full_low: (rate.full & 0xffff_ffff) as u32,
            full_high: (rate.full >> 32) as u32,
            ..RateRecord::default()
        };
        assert_eq!(Rate::of(&record), rate);
        assert!(rate.full > u64::from(u32::MAX));
    }

    #[test]
    fn as_much_of_an_address_counts_as_the_limit_says() {
        let key = |limit, v4, v6, address: &str| {
            let record = RateRecord {
                prefix_v4: v4,
                prefix_v6: v6,
                ..RateRecord::default()
            };
            let address: std::net::IpAddr = address.parse().unwrap();
            let address = match address {
                std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                std::net::IpAddr::V6(v6) => v6,
            };
            source_key([1, 2], limit, &record, &address.octets())
        };
        let same = |v4, v6, a, b| key(7, v4, v6, a) == key(7, v4, v6, b);
        assert!(same(32, 64, "192.0.2.1", "192.0.2.1"));
        assert!(!same(32, 64, "192.0.2.1", "192.0.2.2"));
        assert!(same(24, 64, "192.0.2.1", "192.0.2.2"));
        assert!(!same(24, 64, "192.0.2.1", "192.0.3.1"));
        assert!(same(1, 64, "192.0.2.1", "255.0.2.2"));
        assert!(!same(1, 64, "192.0.2.1", "10.0.0.1"));
        assert!(same(32, 64, "2001:db8::1", "2001:db8::2"));
        assert!(!same(32, 128, "2001:db8::1", "2001:db8::2"));
        assert!(!same(32, 64, "2001:db8:0:1::", "2001:db8::"));
        assert_ne!(key(7, 32, 64, "192.0.2.1"), key(8, 32, 64, "192.0.2.1"));
    }

    #[test]
    fn hashes_lead_to_all_parts_and_to_no_others() {
        assert_eq!(part(0, 7), 0);
        assert_eq!(part(u64::MAX, 7), 6);
        assert_eq!(part(0x8000_0000, 128), 64);
        assert_eq!(part(u64::MAX, 0), 0);
    }

    /// What one set says of its keys holds in another one.
    #[test]
    fn what_was_taken_can_be_entered_elsewhere() {
        let rate = Rate::new(1, SECOND, 2);
        let (mut set, mut other) = (Set::default(), Set::default());
        let now = 100 * SECOND;
        for key in [5, 6, 6, 7] {
            assert_eq!(set.take(key, rate, now), Ok(()));
        }
        let taken: [(u64, u64); 3] =
            core::array::from_fn(|place| set.taken(now).nth(place).unwrap());
        assert_eq!(taken.map(|(key, _)| key), [7, 6, 5]);
        assert_eq!(
            set.taken(now + 2 * SECOND).count(),
            0,
            "they are full again"
        );
        for (key, full_at) in taken.into_iter().rev() {
            other.enter(key, full_at, now);
        }
        assert_eq!(other.take(6, rate, now), Err(SECOND));
        assert_eq!(other.take(5, rate, now), Ok(()));
        assert_eq!(other.take(5, rate, now), Err(SECOND));
        // What is known and later stays.
        other.enter(6, now + 1, now);
        assert_eq!(other.take(6, rate, now), Err(SECOND));
    }

    /// The one that was not seen for longest makes room; one that is full again makes it first.
    #[test]
    fn a_set_that_is_full_forgets_the_one_not_seen_for_longest() {
        let rate = Rate::new(1, SECOND, 1);
        let mut set = Set::default();
        let now = 100 * SECOND;
        for key in 1..=8 {
            assert_eq!(set.take(key, rate, now), Ok(()));
        }
        assert_eq!(set.take(1, rate, now), Err(SECOND), "is seen again");
        assert_eq!(set.take(9, rate, now), Ok(()), "in the place of 2");
        assert_eq!(set.take(3, rate, now), Err(SECOND));
        assert_eq!(set.take(1, rate, now), Err(SECOND));
        assert_eq!(set.take(2, rate, now), Ok(()), "was forgotten");
    }
}
