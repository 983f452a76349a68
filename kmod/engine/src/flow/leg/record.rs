// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A leg, as a record says it.

use super::Leg;
use super::Marks;
use super::Phase;
use super::HEADER;
use crate::endpoint::Endpoint;
use crate::flow::segment::WINDOW_SCALE_MAX;
use crate::flow::Flow;
use crate::flow::Method;
use crate::flow::NO_SCALE;
use crate::record::code_of;
use crate::record::ImportError;
use crate::record::Reader;
use crate::record::Writer;
use crate::table::codes::ProxyVersion;

/// How a leg's packets get to its server, by the codes of a record.
const METHODS: [Method; 3] = [Method::Nat, Method::Fullnat, Method::Front];
/// How far a leg has come.
const PHASES: [Phase; 3] = [Phase::Opening, Phase::Open, Phase::Lingering];
/// What a leg began with.
const HEADERS: [Option<ProxyVersion>; 3] = [None, Some(ProxyVersion::V1), Some(ProxyVersion::V2)];

impl Leg {
    /// Writes a leg of a flow's, as it is at `now`, ms of this host's monotonic clock.
    pub(in crate::flow) fn export(&self, flow: &Flow, now: u32, to: &mut Writer<'_>) {
        let (high, to_client) = (flow.high, flow.to_client);
        to.byte(code_of(&METHODS, &self.method));
        to.byte(code_of(&PHASES, &self.phase));
        to.byte(code_of(&HEADERS, &self.header));
        to.bytes(&[self.scale, self.marks.bits()]);
        to.endpoint(&self.peer);
        if self.method == Method::Fullnat {
            to.endpoint(&self.local);
        }
        to.word(self.to_server);
        to.word(self.to_client);
        to.word(self.clock);
        to.word(self.told);
        to.near(high, self.start);
        to.near(to_client, self.floor);
        to.near(high, self.acked);
        to.word(match self.phase {
            // A time: its age is told.
            Phase::Opening => now.wrapping_sub(self.since),
            _ => self.since,
        });
    }

    /// Reads it. `client`, `high` and `to_client` are its flow's; `now` is of this host's clock.
    pub(in crate::flow) fn import(
        client: Endpoint,
        (high, to_client): (u32, u32),
        now: u32,
        from: &mut Reader<'_>,
    ) -> Result<Self, ImportError> {
        let method = from.code(&METHODS, "a method")?;
        let phase = from.code(&PHASES, "a leg's state")?;
        let header = from.code(&HEADERS, "a PROXY header's version")?;
        let scale = from.byte()?;
        let marks = Marks::of_bits(from.byte()?).ok_or(ImportError::Field("a leg's marks"))?;
        let peer = from.endpoint()?;
        let local = match method {
            Method::Fullnat => from.endpoint()?,
            Method::Nat | Method::Front => client,
        };
        let mut leg = Self {
            peer,
            local,
            method,
            phase,
            scale,
            marks,
            header,
            to_server: from.word()?,
            to_client: from.word()?,
            clock: from.word()?,
            told: from.word()?,
            start: from.near(high)?,
            floor: from.near(to_client)?,
            acked: from.near(high)?,
            since: from.word()?,
        };
        if phase == Phase::Opening {
            leg.since = now.wrapping_sub(leg.since);
        }
        if scale > WINDOW_SCALE_MAX && scale != NO_SCALE {
            return Err(ImportError::Field("a server's window scale"));
        }
        if leg.is(HEADER) && header.is_none() {
            return Err(ImportError::Field("a PROXY header without a version"));
        }
        Ok(leg)
    }
}
