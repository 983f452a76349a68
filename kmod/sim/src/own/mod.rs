// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A second TCP, written from RFC 9293 and from what Linux does, to be unlike smoltcp: timestamps, selective
//! acknowledgements, large windows and super-segments, delayed acknowledgements, fast retransmission, other segment
//! boundaries when it sends again, probes of idle and of closed windows, TIME-WAIT as Linux has it, PAWS, challenge
//! acknowledgements (RFC 5961).
//!
//! It also looks at what it is told: an acknowledgement, a block of selective acknowledgement or an echoed clock that
//! cannot be true is an error of the network between, that is, of the switch.

mod host;
mod receive;
mod send;
mod tcb;

pub use host::Own;

/// How a host of this kind is set. Times in ns.
#[derive(Clone, Debug)]
pub struct OwnConfig {
    /// Largest packet.
    pub mtu: usize,
    /// Bytes that it receives before they are read.
    pub receive: usize,
    /// Bytes that it takes of the application.
    pub send: usize,
    /// Window scale.
    pub scale: Option<u8>,
    /// Selective acknowledgements.
    pub sack: bool,
    /// Timestamps.
    pub timestamps: bool,
    /// Initial congestion window, segments.
    pub initial: u32,
    /// Segments that go as one, at most.
    pub gso: u32,
    /// How long an acknowledgement may wait.
    pub delayed_ack: u64,
    /// An idle connection is probed after so long.
    pub keep_alive: Option<u64>,
    /// The probe has a byte.
    pub probe_byte: bool,
    /// What is sent again is cut otherwise.
    pub resplit: bool,
    /// How long TIME-WAIT is.
    pub time_wait: u64,
}
