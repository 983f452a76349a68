// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A flow, as a record says it: all that has to be known of it elsewhere to go on with it there, at its next packet.

use super::leg::Leg;
use super::milliseconds;
use super::request::Requests;
use super::response::Responses;
use super::segment::MSS_MIN;
use super::segment::WINDOW_SCALE_MAX;
use super::Flow;
use super::FlowFlags;
use super::LegNumber;
use super::PerLeg;
use super::State;
use super::NO_SCALE;
use crate::record::code_of;
use crate::record::ImportError;
use crate::record::Reader;
use crate::record::Writer;

/// How far a flow has come that is worth being told of, by the codes of a record.
const STATES: [State; 2] = [State::Open, State::Closing];
/// Which leg.
const LEGS: [Option<LegNumber>; 3] = [None, Some(LegNumber::First), Some(LegNumber::Second)];
/// Ns of a ms.
const MS: u64 = 1_000_000;

impl Flow {
    /// Writes the flow, as it is at `now`, ns of this host's monotonic clock. One with an IPv4 client and a leg takes about 110
    /// bytes, with IPv6 about 160; the longest, with two legs and both bodies followed, under [`RECORD_MAX`](crate::environment::RECORD_MAX).
    ///
    /// Of a flow that is [dead](State::Dead) there is nothing to be told.
    pub fn export(&self, now: u64, to: &mut Writer<'_>) {
        to.byte(code_of(&STATES, &self.state));
        to.bytes(&[
            self.flags.bits(),
            self.tries,
            self.client_scale,
            self.offered_scale,
        ]);
        to.half(self.mss);
        to.half(self.limit);
        to.half(self.window);
        to.half(self.head_len);
        if self.head_len > 0 {
            to.bytes(&self.head_print.to_le_bytes());
        }
        to.endpoint(&self.client);
        to.endpoint(&self.service);
        to.word(self.first);
        to.word(self.high);
        to.word(self.to_client);
        to.near(self.to_client, self.acked);
        to.near(self.high, self.edge);
        to.word(self.client_clock);
        to.word(self.shown_clock);
        // Clocks are each host's own: ages are told.
        to.number(u64::from(milliseconds(now).wrapping_sub(self.seen)));
        let age = now.saturating_sub(self.asked) / MS;
        to.number(age.min(u64::from(u32::MAX)));
        self.requests.export(self.high, to);
        self.responses.export(self.high, self.to_client, to);
        to.byte(code_of(&LEGS, &self.active));
        to.byte(code_of(&LEGS, &self.binding));
        to.byte(code_of(&LEGS, &self.latest));
        for leg in LegNumber::ALL {
            let leg = self.leg(leg);
            to.byte(u8::from(leg.is_some()));
            if let Some(leg) = leg {
                leg.export(self, milliseconds(now), to);
            }
        }
    }

    /// Reads a flow, at `now` of this host's clock.
    ///
    /// # Errors
    ///
    /// Where it is none, or no flow could have come to be so.
    pub fn import(now: u64, from: &mut Reader<'_>) -> Result<Self, ImportError> {
        let state = from.code(&STATES, "a flow's state")?;
        let flags = FlowFlags::of_bits(from.byte()?).ok_or(ImportError::Field("a flow's flags"))?;
        let tries = from.byte()?;
        let (client_scale, offered_scale) = (from.byte()?, from.byte()?);
        let (mss, limit, window, head_len) =
            (from.half()?, from.half()?, from.half()?, from.half()?);
        let head_print = if head_len > 0 { from.long()? } else { 0 };
        let (client, service) = (from.endpoint()?, from.endpoint()?);
        let (first, high, to_client) = (from.word()?, from.word()?, from.word()?);
        let (acked, edge) = (from.near(to_client)?, from.near(high)?);
        let (client_clock, shown_clock) = (from.word()?, from.word()?);
        let seen = milliseconds(now).wrapping_sub(from.small("an age")?);
        let age: u32 = from.small("an age")?;
        let asked = now.saturating_sub(u64::from(age).wrapping_mul(MS));
        let requests = Requests::import(high, from)?;
        let responses = Responses::import(high, to_client, from)?;
        let active = from.code(&LEGS, "the leg in use")?;
        let binding = from.code(&LEGS, "the leg that is being opened")?;
        let latest = from.code(&LEGS, "the leg in use last")?;
        let mut legs = PerLeg::new(Leg::NONE, Leg::NONE);
        for leg in legs.iter_mut() {
            if from.code(&[false, true], "whether there is a leg")? {
                *leg = Leg::import(client, (high, to_client), milliseconds(now), from)?;
            }
        }
        let flow = Self {
            client,
            service,
            state,
            flags,
            active,
            binding,
            latest,
            tries,
            client_scale,
            offered_scale,
            mss,
            limit,
            window,
            head_len,
            head_print,
            first,
            high,
            acked,
            to_client,
            edge,
            client_clock,
            shown_clock,
            seen,
            asked,
            requests,
            responses,
            legs,
        };
        flow.check()?;
        Ok(flow)
    }

    /// Whether a flow could have come to be so.
    fn check(&self) -> Result<(), ImportError> {
        let is_scale = |scale| scale <= WINDOW_SCALE_MAX || scale == NO_SCALE;
        if !is_scale(self.client_scale) || !is_scale(self.offered_scale) {
            return Err(ImportError::Field("a window scale"));
        }
        if self.limit < MSS_MIN {
            return Err(ImportError::Field("a largest segment"));
        }
        if self.outstanding() > 0 && self.active.or(self.binding).is_none() {
            return Err(ImportError::Field("requests without a server"));
        }
        self.broken()
            .map_or(Ok(()), |broken| Err(ImportError::Field(broken)))
    }
}
