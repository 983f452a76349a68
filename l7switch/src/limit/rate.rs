// SPDX-License-Identifier: MIT
//! Rate limits: a token bucket for each key ([`l7switch_engine::limit`]), in a table of bounded size.
//!
//! The kernel module has buckets of its own for what it serves. It leads requests that are over the limit of a route to the front
//! on connections that say so.

use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::PoisonError;

use l7switch_engine::limit::Rate;
use l7switch_engine::limit::Set;
use l7switch_engine::limit::WAYS;
use l7switch_engine::limit::part;
use l7switch_engine::siphash::Siphash13;
use l7switch_engine::table::Fields;
use l7switch_engine::table::cookie;
use l7switch_rules::model;
use l7switch_rules::model::RateKey;

use crate::secrets;

/// Most buckets of a limit.
const BUCKETS: usize = 65_536;

/// Parts of the table that are locked apart, and take memory when their first key comes.
const SHARDS: usize = 256;

const SECOND: u64 = 1_000_000_000;

/// A rate limit of a route, and what has come.
#[derive(Debug)]
pub struct RateLimiter {
    rules: model::RateLimit,
    rate: Rate,
    table: Table,
}

impl RateLimiter {
    /// A limit of which nothing has come.
    pub fn new(rules: model::RateLimit) -> Self {
        let table = match rules.key {
            RateKey::Route => Table::new(1, 1),
            _ => Table::new(SHARDS, BUCKETS / SHARDS / WAYS),
        };
        Self {
            rate: rules.rate(),
            table,
            rules,
        }
    }

    /// What the rule file says.
    pub const fn rules(&self) -> &model::RateLimit {
        &self.rules
    }

    /// Takes a token for a request that came at this time ([`crate::net::clock`]). `is_over`: the kernel has found none for it.
    ///
    /// # Errors
    ///
    /// There is none; there will be one in so many seconds, at least 1.
    pub fn take<F: Fields + ?Sized>(
        &self,
        source: IpAddr,
        fields: &F,
        now: u64,
        is_over: bool,
    ) -> Result<(), u64> {
        if is_over && self.rules.is_for_kernel() {
            return Err(self.rate.interval.div_ceil(SECOND));
        }
        let key = self.key(source, fields);
        let taken = self.table.take(key, self.rate, now);
        taken.map_err(|wait| wait.div_ceil(SECOND))
    }

    /// The key of a request.
    fn key<F: Fields + ?Sized>(&self, source: IpAddr, fields: &F) -> u64 {
        let mut hasher = Siphash13::new(secrets::own().limits);
        let is_found = match &self.rules.key {
            // One bucket needs no key.
            RateKey::Route => return 0,
            RateKey::Source => false,
            RateKey::Header(name) => hash_joined(fields, name.as_bytes(), &mut hasher),
            RateKey::Cookie(name) => match cookie(fields, name.as_bytes()) {
                Some(value) => {
                    hasher.write(value);
                    true
                }
                None => false,
            },
        };
        if !is_found {
            let address = self.rules.source_prefix.of(source);
            hasher.write(&model::address_bytes(address));
        }
        // Otherwise a value with the bytes of an address would be that address.
        hasher.write(&[u8::from(is_found)]);
        hasher.finish()
    }

    /// The keys whose buckets are not full at this time, and in how many nanoseconds they will be, for another process with the same
    /// [`secrets`]. Keys that were seen last come last.
    pub fn taken(&self, now: u64) -> Vec<(u64, u64)> {
        let mut taken = Vec::new();
        for shard in &self.table.shards {
            let sets = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for set in &*sets {
                let start = taken.len();
                let keys = set.taken(now);
                taken.extend(keys.map(|(key, full_at)| (key, full_at.saturating_sub(now))));
                if let Some(of_set) = taken.get_mut(start..) {
                    of_set.reverse();
                }
            }
        }
        taken
    }

    /// Goes on with what [`Self::taken`] has given.
    pub fn enter(&self, taken: &[(u64, u64)], now: u64) {
        for &(key, left) in taken {
            // Never longer than an empty bucket needs.
            let full_at = now.saturating_add(left.min(self.rate.full));
            self.table.with_set(key, |set| set.enter(key, full_at, now));
        }
    }
}

/// Hashes the values of a field, joined by comma (RFC 9110, 5.3). `false`: there is no such field.
fn hash_joined<F: Fields + ?Sized>(fields: &F, name: &[u8], hasher: &mut Siphash13) -> bool {
    let mut is_found = false;
    for (other, value) in fields.iter() {
        if other.eq_ignore_ascii_case(name) {
            if is_found {
                hasher.write(b", ");
            }
            hasher.write(value);
            is_found = true;
        }
    }
    is_found
}

/// Buckets by keys: a key has one set of one shard.
#[derive(Debug)]
struct Table {
    shards: Box<[Mutex<Vec<Set>>]>,
    /// Sets of a shard.
    sets: usize,
}

impl Table {
    fn new(shards: usize, sets: usize) -> Self {
        Self {
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            sets,
        }
    }

    /// Takes a token. Otherwise: how long until there is one.
    fn take(&self, key: u64, rate: Rate, now: u64) -> Result<(), u64> {
        let taken = self.with_set(key, |set| set.take(key, rate, now));
        taken.unwrap_or(Ok(()))
    }

    /// Does something with the set that a key has.
    fn with_set<T>(&self, key: u64, work: impl FnOnce(&mut Set) -> T) -> Option<T> {
        let shard = self.shards.get(place(key >> 32, self.shards.len()))?;
        let mut sets = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if sets.is_empty() {
            sets.reserve_exact(self.sets);
            sets.resize(self.sets, Set::default());
        }
        sets.get_mut(place(key, self.sets)).map(work)
    }
}

/// [`part`], of what has a size.
fn place(hash: u64, parts: usize) -> usize {
    let parts = u32::try_from(parts).unwrap_or(u32::MAX);
    usize::try_from(part(hash, parts)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::net::Ipv6Addr;
    use std::time::Duration;

    use l7switch_rules::model::SourcePrefix;

    use super::*;

    const NONE: &[(&[u8], &[u8])] = &[];
    const START: u64 = 1_000 * SECOND;

    fn limiter(requests: u32, burst: u32, key: RateKey) -> RateLimiter {
        RateLimiter::new(model::RateLimit {
            requests,
            per: Duration::from_secs(1),
            burst,
            key,
            source_prefix: SourcePrefix::default(),
        })
    }

    /// How many of so many requests at one time are let through.
    fn taken(limiter: &RateLimiter, source: impl Into<IpAddr>, tries: usize, now: u64) -> usize {
        let source = source.into();
        let tries = (0..tries).map(|_| limiter.take(source, NONE, now, false));
        tries.filter(Result::is_ok).count()
    }

    #[test]
    fn a_burst_then_the_rate() {
        let limiter = limiter(10, 25, RateKey::Source);
        let one = Ipv4Addr::new(192, 0, 2, 1);
        assert_eq!(taken(&limiter, one, 100, START), 25);
        assert_eq!(taken(&limiter, one, 100, START + SECOND), 10);
        assert_eq!(taken(&limiter, one, 100, START + SECOND + SECOND / 10), 1);
        // What is refused costs nothing, and the bucket never holds more than the burst.
        assert_eq!(taken(&limiter, one, 100, START + 1000 * SECOND), 25);
        let other = Ipv4Addr::new(192, 0, 2, 2);
        assert_eq!(taken(&limiter, other, 100, START), 25);
    }

    #[test]
    fn how_long_to_wait_is_rounded_up() {
        let mut rules = limiter(1, 2, RateKey::Source).rules().clone();
        rules.per = Duration::from_secs(10);
        let limiter = RateLimiter::new(rules);
        let one = Ipv4Addr::LOCALHOST.into();
        assert_eq!(limiter.take(one, NONE, START, false), Ok(()));
        assert_eq!(limiter.take(one, NONE, START, false), Ok(()));
        assert_eq!(limiter.take(one, NONE, START, false), Err(10));
        assert_eq!(limiter.take(one, NONE, START + 1, false), Err(10));
        assert_eq!(limiter.take(one, NONE, START + SECOND, false), Err(9));
        assert_eq!(
            limiter.take(one, NONE, START + 10 * SECOND - 1, false),
            Err(1)
        );
        assert_eq!(limiter.take(one, NONE, START + 10 * SECOND, false), Ok(()));
    }

    /// What the kernel has counted is not counted again.
    #[test]
    fn what_the_kernel_found_over_the_limit_is_refused() {
        for (key, seconds) in [(RateKey::Source, 10), (RateKey::Route, 10)] {
            let mut rules = limiter(1, 2, key).rules().clone();
            rules.per = Duration::from_secs(10);
            let limiter = RateLimiter::new(rules);
            let one = Ipv4Addr::LOCALHOST.into();
            assert_eq!(limiter.take(one, NONE, START, true), Err(seconds));
            assert_eq!(limiter.take(one, NONE, START, false), Ok(()));
        }
        let by_field = limiter(1, 1, RateKey::Header("x-key".into()));
        let one = Ipv4Addr::LOCALHOST.into();
        assert_eq!(by_field.take(one, NONE, START, true), Ok(()), "not its");
    }

    /// The rate is never more than was said, whatever the numbers are.
    #[test]
    fn every_rate_is_kept() {
        for requests in [1, 3, 7, 1000, 999_999, 1_000_000] {
            let limiter = limiter(requests, 1, RateKey::Route);
            let mut passed = 0_u64;
            let step = SECOND / u64::from(requests) / 3 + 1;
            for tick in 0..3_000 {
                let now = START + tick * step;
                passed += u64::from(
                    limiter
                        .take(Ipv4Addr::LOCALHOST.into(), NONE, now, false)
                        .is_ok(),
                );
            }
            let most = 3_000 * step * u64::from(requests) / SECOND + 1;
            assert!(passed <= most, "{requests}: {passed} of {most}");
            assert!(passed * 10 >= most * 9, "{requests}: {passed} of {most}");
        }
        let mut rules = limiter(1, 1_000_000, RateKey::Source).rules().clone();
        rules.per = Duration::from_secs(86_400);
        let longest = RateLimiter::new(rules);
        assert_eq!(taken(&longest, Ipv4Addr::LOCALHOST, 10, START), 10);
    }

    #[test]
    fn addresses_of_a_prefix_are_one_client() {
        let mut rules = limiter(1, 3, RateKey::Source).rules().clone();
        let limiter = RateLimiter::new(rules.clone());
        let site = |last| Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, last);
        assert_eq!(taken(&limiter, site(1), 2, START), 2);
        assert_eq!(taken(&limiter, site(2), 9, START), 1);
        rules.source_prefix = SourcePrefix { v4: 24, v6: 128 };
        let limiter = RateLimiter::new(rules);
        assert_eq!(taken(&limiter, site(1), 9, START), 3);
        assert_eq!(taken(&limiter, site(2), 9, START), 3);
        assert_eq!(taken(&limiter, Ipv4Addr::new(192, 0, 2, 1), 9, START), 3);
        assert_eq!(taken(&limiter, Ipv4Addr::new(192, 0, 2, 9), 9, START), 0);
    }

    #[test]
    fn fields_and_cookies_are_keys() {
        let one = Ipv4Addr::LOCALHOST.into();
        let by_field = limiter(1, 1, RateKey::Header("x-key".into()));
        let ok = |limiter: &RateLimiter, fields: &[(&[u8], &[u8])]| {
            limiter.take(one, fields, START, false).is_ok()
        };
        assert!(ok(&by_field, &[(b"X-Key", b"a"), (b"x-key", b"b")]));
        assert!(!ok(&by_field, &[(b"x-key", b"a, b")]), "they are the same");
        assert!(ok(&by_field, &[(b"x-key", b"a")]));
        assert!(ok(&by_field, &[(b"x-key", b"")]));
        assert!(ok(&by_field, &[]), "by the source");
        assert!(!ok(&by_field, &[(b"other", b"a")]));
        let by_cookie = limiter(1, 1, RateKey::Cookie("sid".into()));
        assert!(ok(&by_cookie, &[(b"cookie", b"a=b; sid=1")]));
        assert!(!ok(&by_cookie, &[(b"cookie", b"sid=1; a=c")]));
        assert!(ok(&by_cookie, &[(b"cookie", b"sid=2")]));
        assert!(ok(&by_cookie, &[(b"cookie", b"sidi=2")]));
        assert!(!ok(&by_cookie, &[]));
    }

    #[test]
    fn a_route_has_one_bucket() {
        let limiter = limiter(1, 3, RateKey::Route);
        let clients = (0..10).map(|last| Ipv4Addr::new(192, 0, 2, last));
        let passed: usize = clients.map(|one| taken(&limiter, one, 1, START)).sum();
        assert_eq!(passed, 3);
        assert_eq!(size(&limiter), WAYS);
    }

    /// Buckets for which there is memory.
    fn size(limiter: &RateLimiter) -> usize {
        let shards = limiter.table.shards.iter();
        shards.map(|s| s.lock().unwrap().capacity() * WAYS).sum()
    }

    #[test]
    fn a_hundred_thousand_clients_take_no_more_memory() {
        assert_eq!(size_of::<Set>() * BUCKETS / WAYS, 1 << 20);
        let limiter = limiter(1, 1, RateKey::Source);
        assert_eq!(size(&limiter), 0, "nobody came");
        let busy = Ipv4Addr::new(192, 0, 2, 1);
        assert_eq!(taken(&limiter, busy, 1, START), 1);
        assert_eq!(size(&limiter), BUCKETS / SHARDS);
        let clients = (0..100_000).map(|n: u32| Ipv4Addr::from(0x0a00_0000 + n));
        for (number, client) in clients.clone().enumerate() {
            assert_eq!(taken(&limiter, client, 1, START), 1, "{client}");
            if number % 10 == 0 {
                assert_eq!(
                    taken(&limiter, busy, 1, START),
                    0,
                    "is seen, and not forgotten"
                );
            }
        }
        assert_eq!(size(&limiter), BUCKETS);
        // Those that came last are known.
        let known = |client: &Ipv4Addr| taken(&limiter, *client, 1, START) == 0;
        let last = clients.rev().take(10_000).filter(known).count();
        assert!(last > 9_900, "{last}");
        // Full buckets make room for others.
        let later = START + 2 * SECOND;
        assert_eq!(taken(&limiter, busy, 2, later), 1);
        assert_eq!(size(&limiter), BUCKETS);
    }

    /// What one limit has counted counts in another, and no more than it can.
    #[test]
    fn a_successor_goes_on_with_the_buckets() {
        for key in [RateKey::Source, RateKey::Route] {
            let (old, new) = (limiter(1, 4, key.clone()), limiter(1, 4, key.clone()));
            let (one, other) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
            assert_eq!(taken(&old, one, 3, START), 3);
            // Another process has another clock.
            let now = 5 * SECOND;
            new.enter(&old.taken(START), now);
            assert_eq!(taken(&new, one, 9, now), 1, "{key:?}");
            let left = if key == RateKey::Route { 0 } else { 4 };
            assert_eq!(taken(&new, other, 9, now), left, "{key:?}");
            assert!(
                old.taken(START + 3 * SECOND).is_empty(),
                "they are full again"
            );
            new.enter(&[(old.taken(START)[0].0, u64::MAX)], now);
            assert_eq!(taken(&new, one, 9, now + 4 * SECOND), 4, "{key:?}");
        }
    }

    #[test]
    fn threads_share_a_bucket() {
        let limiter = limiter(1, 1000, RateKey::Source);
        let passed: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| taken(&limiter, Ipv4Addr::LOCALHOST, 500, START)))
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(passed, 1000);
    }
}
