// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A connection, as a record says it: its [flow](Flow), and what is kept beside it.
//!
//! What is not said, since it comes again or costs nothing: packets that wait (their senders have them still), servers that
//! were tried, what a rate limit has said, the routes that outstanding requests are counted for.

use core::borrow::Borrow;

use super::state::UNACKED_MAX;
use super::ConnState;
use super::Kept;
use super::UnackedBytes;
use crate::endpoint::Endpoint;
use crate::flow::unacked;
use crate::flow::Flow;
use crate::flow::LegNumber;
use crate::flow::Method;
use crate::flow::PerLeg;
use crate::policy::Bound;
use crate::policy::RulesetView;
use crate::proxy_header::Ends;
use crate::record::ImportError;
use crate::record::Reader;
use crate::record::Writer;
use crate::record::VERSION;
use crate::sched;
use crate::siphash::siphash13;

/// Most bytes of a record without what is [kept](UnackedBytes) of the client's: that of a connection with two IPv6 servers and a
/// PROXY header of its client's, of which both bodies and three requests are followed, and every number is as long as can be.
pub const RECORD_MAX: usize = 512;
/// The same with it.
pub const RECORD_WHOLE_MAX: usize = RECORD_MAX + UNACKED_MAX;

/// The key of pools' names.
const POOLS: crate::siphash::Key = [0x6c37_7377_6974_6368, 0x706f_6f6c_6e61_6d65];

/// What a pool is known by at other hosts, whatever its number there: a hash of its name.
pub fn pool_key(name: &[u8]) -> u32 {
    let [a, b, c, d, ..] = siphash13(POOLS, name).to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// The key of a pool in some rules.
fn key_in<R: RulesetView>(rules: &R, pool: u32) -> Option<u32> {
    let record = rules.pool(pool)?.record;
    Some(pool_key(rules.table().text(record.name, record.name_len)))
}

/// A server in some rules: by its pool's key, and by its address.
fn bound_in<R: RulesetView>(rules: &R, key: u32, peer: &Endpoint) -> Option<Bound<R::Server>> {
    let mut number = 0u32;
    while let Some(pool) = rules.pool(number) {
        if key_in(rules, number) == Some(key) {
            let is_it = |member: &&R::Member| {
                let server: &sched::Server = (*member).borrow();
                server.endpoint() == *peer
            };
            let mut members = (0u32..).zip(pool.members);
            if let Some((position, member)) = members.find(|(_, member)| is_it(member)) {
                return Some(Bound {
                    server: rules.server(member),
                    pool: number,
                    position,
                });
            }
        }
        number = number.checked_add(1)?;
    }
    None
}

impl<K: Kept> ConnState<K> {
    /// Writes a connection as it is at `now`, ns of this host's monotonic clock, under `rules`: at most [`RECORD_WHOLE_MAX`] bytes.
    pub fn export<R: RulesetView<Server = K::Server>>(
        &self,
        flow: &Flow,
        rules: &R,
        now: u64,
        to: &mut Writer<'_>,
    ) {
        to.byte(VERSION);
        flow.export(now, to);
        for leg in LegNumber::ALL {
            if flow.leg(leg).is_none() {
                continue;
            }
            let place = self
                .server(leg)
                .and_then(|bound| rules.place_of(&bound.server));
            let key = place.and_then(|(pool, _)| key_in(rules, pool));
            to.word(key.unwrap_or(0));
        }
        to.byte(u8::from(self.ends.is_some()));
        if let Some(ends) = &self.ends {
            to.endpoint(&ends.source);
            to.endpoint(&ends.destination);
        }
        let kept = unacked::kept(self.unacked.bytes());
        to.number(u64::try_from(kept.len()).unwrap_or(u64::MAX));
        to.bytes(kept);
    }
}

/// A connection that was read of a record.
#[derive(Clone, Copy, Debug)]
pub struct Imported<'b> {
    /// Its flow.
    pub flow: Flow,
    /// The keys of its servers' pools.
    pools: PerLeg<u32>,
    ends: Option<Ends>,
    kept: &'b [u8],
}

impl<'b> Imported<'b> {
    /// Reads a record at `now`, ns of this host's monotonic clock.
    ///
    /// # Errors
    ///
    /// Where it is none.
    pub fn read(bytes: &'b [u8], now: u64) -> Result<Self, ImportError> {
        let mut from = Reader::new(bytes);
        let version = from.byte()?;
        if version != VERSION {
            return Err(ImportError::Version(version));
        }
        let flow = Flow::import(now, &mut from)?;
        let mut pools = PerLeg::default();
        for leg in LegNumber::ALL {
            if flow.leg(leg).is_some() {
                *pools.get_mut(leg) = from.word()?;
            }
        }
        let mut ends = None;
        if from.code(&[false, true], "whether there was a PROXY header")? {
            ends = Some(Ends {
                source: from.endpoint()?,
                destination: from.endpoint()?,
            });
        }
        let len = from.small("a length")?;
        let kept = from.bytes(len)?;
        if len > UNACKED_MAX || !unacked::is_whole(kept) {
            return Err(ImportError::Field("what is kept of the client's bytes"));
        }
        from.finish()?;
        Ok(Self {
            flow,
            pools,
            ends,
            kept,
        })
    }

    /// What is to be kept beside the flow, under some rules. Outstanding requests count at their server from now on.
    ///
    /// # Errors
    ///
    /// Where the rules know a leg's server no more, or where memory is short.
    pub fn state<K: Kept, R: RulesetView<Server = K::Server>>(
        &self,
        mut state: ConnState<K>,
        rules: &R,
    ) -> Result<ConnState<K>, ImportError> {
        for leg in LegNumber::ALL {
            let Some(of) = self.flow.leg(leg) else {
                continue;
            };
            if of.method == Method::Front {
                continue;
            }
            let bound = bound_in(rules, *self.pools.get(leg), &of.peer)
                .ok_or(ImportError::Field("a server that is in no rules"))?;
            *state.servers.get_mut(leg) = Some(bound);
        }
        if !self.kept.is_empty() {
            state.unacked.grow(self.kept.len());
            let place = state.unacked.bytes_mut().get_mut(..self.kept.len());
            let place = place.ok_or(ImportError::Field("memory is short"))?;
            for (place, byte) in place.iter_mut().zip(self.kept) {
                *place = *byte;
            }
        }
        // The service, and the generation that places of servers are of.
        state.service(rules, &self.flow.service);
        state.ends = self.ends;
        for _ in 0..self.flow.outstanding() {
            state.outstanding.choose(None);
            state.outstanding.start();
            let leg = self.flow.active().or(self.flow.binding());
            if let Some(bound) = leg.and_then(|leg| state.server(leg)) {
                super::scheduled(&bound.server).start();
            }
        }
        Ok(state)
    }
}
