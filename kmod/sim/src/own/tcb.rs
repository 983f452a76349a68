// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What is known of a connection.

use std::collections::VecDeque;

use l7switch_engine::endpoint::Endpoint;

use super::OwnConfig;

/// RFC 9293, 3.3.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    SynSent,
    SynReceived,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
    Closed,
    Reset,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Tcb {
    pub(super) local: Endpoint,
    pub(super) remote: Endpoint,
    pub(super) state: State,
    pub(super) accepted: bool,
    pub(super) released: bool,
    // What is sent.
    pub(super) iss: u32,
    pub(super) una: u32,
    pub(super) nxt: u32,
    pub(super) max: u32,
    /// Data from `una` on.
    pub(super) buffer: VecDeque<u8>,
    pub(super) fin: bool,
    pub(super) window: u32,
    pub(super) window_seq: u32,
    pub(super) window_ack: u32,
    pub(super) send_scale: u8,
    pub(super) mss: u32,
    pub(super) cwnd: u32,
    pub(super) ssthresh: u32,
    pub(super) duplicates: u32,
    pub(super) recover: Option<u32>,
    pub(super) rto: u64,
    pub(super) rto_at: Option<u64>,
    pub(super) tries: u32,
    pub(super) persist_at: Option<u64>,
    // What is received.
    pub(super) rcv: u32,
    pub(super) wup: u32,
    pub(super) edge: u32,
    pub(super) ready: VecDeque<u8>,
    pub(super) later: Vec<(u32, Vec<u8>)>,
    pub(super) fin_at: Option<u32>,
    pub(super) receive_scale: u8,
    pub(super) ack_at: Option<u64>,
    pub(super) unacked: u32,
    pub(super) dsack: Option<(u32, u32)>,
    // Options.
    pub(super) timestamps: bool,
    pub(super) sack: bool,
    pub(super) ts_recent: u32,
    /// Clocks of the first and the last SYN-ACK.
    pub(super) syn_clocks: Option<(u32, u32)>,
    // Time.
    pub(super) heard: u64,
    pub(super) probes: u32,
    pub(super) until: Option<u64>,
}

pub(super) fn before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) & 0x8000_0000 != 0
}

pub(super) const SECOND: u64 = 1_000_000_000;
pub(super) const MS: u64 = 1_000_000;
/// Least and first time before something is sent again.
pub(super) const RTO_MIN: u64 = 200 * MS;

impl Tcb {
    pub(super) fn new(local: Endpoint, remote: Endpoint, iss: u32, config: &OwnConfig) -> Self {
        Self {
            local,
            remote,
            state: State::SynSent,
            accepted: false,
            released: false,
            iss,
            una: iss,
            nxt: iss,
            max: iss,
            buffer: VecDeque::new(),
            fin: false,
            window: 0,
            window_seq: 0,
            window_ack: iss,
            send_scale: 0,
            mss: 536,
            cwnd: 0,
            ssthresh: u32::MAX,
            duplicates: 0,
            recover: None,
            rto: SECOND,
            rto_at: None,
            tries: 0,
            persist_at: None,
            rcv: 0,
            wup: 0,
            edge: 0,
            ready: VecDeque::new(),
            later: Vec::new(),
            fin_at: None,
            receive_scale: 0,
            ack_at: None,
            unacked: 0,
            dsack: None,
            timestamps: config.timestamps,
            sack: config.sack,
            ts_recent: 0,
            syn_clocks: None,
            heard: 0,
            probes: 0,
            until: None,
        }
    }

    /// Whether the peer's end has been seen.
    pub(super) fn ended(&self) -> bool {
        matches!(
            self.state,
            State::CloseWait
                | State::Closing
                | State::LastAck
                | State::TimeWait
                | State::Closed
                | State::Reset
        )
    }

    /// Sequence number behind all data that the application has given.
    pub(super) fn data_end(&self) -> u32 {
        let start = if self.una == self.iss {
            self.iss.wrapping_add(1)
        } else {
            self.una
        };
        start.wrapping_add(self.buffer.len() as u32)
    }

    /// Whether our FIN has been sent.
    pub(super) fn fin_sent(&self) -> bool {
        matches!(
            self.state,
            State::FinWait1 | State::FinWait2 | State::Closing | State::LastAck | State::TimeWait
        )
    }

    pub(super) fn free(&self, config: &OwnConfig) -> u32 {
        (config.receive as u32).saturating_sub(self.ready.len() as u32)
    }
}
