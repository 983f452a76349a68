// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A connection of a client: its flow, and what the kernel keeps beside it.
#![forbid(unsafe_code)]

use l7switch_engine::endpoint::Endpoint;
use l7switch_engine::ends_filter::Role;
use l7switch_engine::flow::Flow;
use l7switch_engine::flow::LegNumber;
use l7switch_engine::netlink::FlowState;

use super::env::new_state;
use super::env::ConnState;
use super::flows::Ends;
use super::flows::Side;
use crate::shell::net::fast_path::CachedRoute;
use crate::shell::net::route::Vrf;

/// A connection.
pub(crate) struct Connection {
    /// Its flow.
    pub(crate) flow: Flow,
    pub(super) state: ConnState,
    /// When its first data came, ms of the monotonic clock.
    pub(crate) begun: u32,
    /// When its last packet came.
    pub(crate) seen: u32,
    /// Packets from the client.
    pub(crate) packets: u64,
    /// Bytes in them.
    pub(crate) bytes: u64,
}

impl Connection {
    /// A flow's, at `now`, ms, whose client is in a VRF; the route to it may be known.
    pub(super) fn new(flow: Flow, now: u32, vrf: Vrf, to_client: CachedRoute) -> Self {
        Self {
            flow,
            state: new_state(vrf, to_client),
            begun: now,
            seen: now,
            packets: 0,
            bytes: 0,
        }
    }

    /// Adds what its packets are known by.
    pub(crate) fn add_ends(&self, ends: &Ends) {
        ends.add(Role::Service, &self.flow.service);
        for leg in LegNumber::ALL
            .into_iter()
            .filter_map(|leg| self.flow.leg(leg))
        {
            ends.add(Role::Server, &leg.peer);
        }
    }

    /// Whether a packet with these ends is one of that side.
    #[inline(always)]
    pub(super) fn is_of(&self, side: Side, source: &Endpoint, destination: &Endpoint) -> bool {
        match side {
            Side::Client => self.flow.client == *source && self.flow.service == *destination,
            Side::Server(leg) => self
                .flow
                .leg(leg)
                .is_some_and(|leg| leg.peer == *source && leg.local == *destination),
        }
    }

    /// How far it has come, as it is shown.
    pub(crate) fn shown_state(&self) -> FlowState {
        use l7switch_engine::flow::State;
        match self.flow.state() {
            State::Open if self.flow.active().is_none() && self.flow.binding().is_some() => {
                FlowState::Opening
            }
            State::Open if self.flow.active().is_none() => FlowState::Reading,
            State::Open => FlowState::Open,
            State::Closing | State::Dead => FlowState::Closing,
        }
    }
}
