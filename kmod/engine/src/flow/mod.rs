// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Delayed binding and splicing: the life of a client's connection, from segments and time to segments.
//!
//! The switch answers a client's SYN with a cookie and keeps nothing. The first data make a [`Flow`]; its request is read,
//! a real server chosen, and a connection to it opened at the client's own sequence number. From then on headers are
//! rewritten. **The switch never acknowledges a byte that a real server has not acknowledged**: until then the client still
//! has it and sends it again, so the switch has no buffer that must not be lost.
//!
//! Numbers of three spaces occur. The *client's* are those that the client sees: its own sequence numbers, and for what
//! comes to it those that go on from the cookie. Every [`Leg`], the connection to one real server, has its own in both
//! directions; two deltas lead from one to the other. Fields are in the client's space unless they say otherwise.
//!
//! Everything here is plain data and arithmetic. What the flow needs of its surroundings is an [`Env`]: the kernel's shell,
//! or a simulated network.

mod build;
mod checksum;
mod client;
pub mod cookie;
mod env;
mod flags;
mod fresh;
mod icmp;
mod leg;
mod legs;
mod outstanding;
mod parse;
mod record;
mod request;
mod response;
mod rewrite;
pub mod segment;
pub mod seq;
mod server;
mod timing;
pub(crate) mod unacked;

pub use build::Build;
pub use build::LEN_MAX;
pub use build::LEN_WITH_HEADER;
pub use env::Env;
pub use env::LegEvent;
pub use env::Legs;
pub use env::Packets;
pub use env::Rules;
pub use fresh::fresh;
pub use fresh::Fresh;
pub use fresh::Listener;
pub use icmp::ErrorRewrite;
pub use leg::Leg;
pub use legs::LegNumber;
pub use legs::PerLeg;
pub use outstanding::OutstandingRoutes;
pub use request::Message;
pub use rewrite::Checksum;
pub use rewrite::Rewrite;
pub use segment::Offer;
pub use segment::Segment;
pub use segment::TcpFlags;
pub use segment::Timestamps;

#[cfg(test)]
mod tests;

use flags::flags;
use leg::Phase;
use request::Requests;
use response::Responses;

use crate::endpoint::Endpoint;
use crate::table::codes::ProxyVersion;

/// In place of a window scale: the option was not used.
pub(crate) const NO_SCALE: u8 = 0xff;
/// Segments that are held of a request before the front has to wait for the rest of it: a client whose bytes nobody
/// acknowledges sends no more than its initial window, ten segments today (RFC 6928).
pub const HOLD_SEGMENTS: u32 = 6;
/// Window in a SYN-ACK, and the most that is held of a request, bytes: what the parser takes of a head.
pub const HOLD_MAX: u32 = 32 * 1024;

/// A packet's data.
pub trait Payload {
    /// Bytes from an offset on, as many as lie in one piece; at least one where the offset is within the data.
    fn run(&self, offset: u32) -> &[u8];
}

/// How packets get to a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The client's address stays; the server's answers come back through the switch.
    Nat,
    /// They come from an address and port of the switch's.
    Fullnat,
    /// The front on this host, at the service's own address.
    Front,
}

/// Why the front is to refuse a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A rate limit was reached.
    RateLimit,
    /// All servers that could have it have as many as they may.
    Full,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The real server; of the front: the service's address.
    pub peer: Endpoint,
    /// How.
    pub method: Method,
    /// The front only refuses what comes there. It reads so in the SYN ([`Build::refusal`]).
    pub refusal: Option<Refusal>,
    /// The PROXY header that a connection to it begins with.
    pub header: Option<ProxyVersion>,
}

/// What becomes of the bytes at a request's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// More bytes are needed.
    Incomplete,
    /// So many bytes are a PROXY header of the client's; its first request begins behind them.
    Begins(u32),
    /// The request waits until those before it are answered: it is asked for again then.
    Later,
    /// The request goes where the one before went.
    Stay(Message),
    /// It goes there. (Which may be where another leg of the flow leads.)
    Go(Target, Message),
}

/// A question to the rules.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Sequence number of the request's first byte.
    pub from: u32,
    /// It is the connection's first byte: a PROXY header may come there.
    pub first: bool,
    /// The leg in use, if a request may stay there.
    pub active: Option<LegNumber>,
    /// It leads to the front, which refuses what comes on it ([`Target::refusal`]).
    pub refusal: Option<Refusal>,
    /// The client can send no more than there is, or may not: what is incomplete goes to the front.
    pub last: bool,
}

/// Why a real server is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It refused the connection.
    Refused,
    /// It did not answer.
    Timeout,
    /// It does not do what was promised to the client (timestamps).
    Options,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A request was passed to a real server, or to the front.
    Request,
    /// A request went to another server than the one before on its connection.
    Rebind,
    /// A connection to a server was begun.
    Connect,
    /// A client's PROXY header was read.
    ProxyRead,
    /// A PROXY header was sent to a server, or to the front.
    ProxySent,
    /// The same one was sent again.
    ProxyResent,
    /// A segment outside of what its connection may send now.
    OutOfWindow,
    /// Old by its timestamp (RFC 7323, 5: PAWS).
    OldTimestamp,
    /// A segment that came before others whose framing has to be read first.
    OutOfOrder,
    /// A SYN to a live connection: its sender was told what that one expects.
    Challenge,
    /// A segment with flags that none of an open connection has.
    Malformed,
    /// A segment to a connection that is over.
    Late,
    /// A segment of which nothing had to go on: an acknowledgement without a server that it could be for, or data that wait
    /// already.
    Absorbed,
    /// Data that were too many to wait for a server.
    HoldRefused,
    /// A segment whose data could not be read.
    Unreadable,
    /// Bytes that say where a request begins or ends, and that its server had not acknowledged, came again, and were others
    /// than before, or could not be compared: they were not passed on.
    Inconsistent,
    /// A request's body broke the rules of HTTP; the connection was reset.
    BadBody,
    /// A response broke them; its end is not known.
    BadResponse,
    /// A server sent something that nobody had asked for; its connection was reset.
    Unsolicited,
    /// The front was needed and did not answer; the connection was reset.
    NoFront,
    /// A request that a server had not taken yet when it closed is sent to another connection.
    Replay,
    /// A connection was given up after nothing had come for too long.
    Idle,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes no further.
    Drop,
    /// It goes on, rewritten.
    Forward(Rewrite),
    /// It is kept; of its data what is before this sequence number has gone already.
    Hold(u32),
    /// Its first so many bytes of data go on, rewritten, and nothing is kept. Of a server's segment too, where what
    /// follows is not for the client.
    Part(u32, Rewrite),
    /// Its first so many bytes of data go on, rewritten, and it is kept for the rest.
    PartHold(u32, Rewrite),
    /// It begins a new connection: the flow is to be ended ([`Flow::end`]), and the packet is [`fresh()`].
    Reopen,
}

/// How far a flow has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Requests may come.
    Open,
    /// Both sides have ended and know it, or it was reset: late segments are waited for, that must not begin it anew. Where
    /// its place is needed it may be given up ([`Flow::end`]).
    Closing,
    /// There is nothing left of it: forget it.
    Dead,
}

flags! {
    /// What is so of a flow.
    FlowFlags {
        /// Both ends use timestamps.
        TIMESTAMPS = 1,
        /// The client was told that selective acknowledgements are understood.
        SACK = 2,
        /// The client's FIN has been passed on.
        CLIENT_FIN = 4,
        /// A server's FIN has been passed on.
        SERVER_FIN = 8,
        /// The FIN that the client was sent is the switch's own, not a server's.
        OWN_FIN = 16,
        /// Nothing has been bound yet.
        FIRST = 32,
        /// A server is chosen before there are data.
        EAGER = 64,
        /// It was reset: whoever does not know it yet is told.
        RESET = 128,
    }
}

/// A client's connection.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// The client.
    pub client: Endpoint,
    /// The service's address.
    pub service: Endpoint,
    state: State,
    flags: FlowFlags,
    active: Option<LegNumber>,
    binding: Option<LegNumber>,
    /// The leg that was in use last.
    latest: Option<LegNumber>,
    /// SYNs sent for the leg that is being opened; then how often time has come to send its PROXY header again.
    tries: u8,
    /// Shift of the client's windows, and of those advertised to it.
    client_scale: u8,
    offered_scale: u8,
    mss: u16,
    /// Largest segment that every server so far has said to take.
    limit: u16,
    /// The client's latest window, not scaled.
    window: u16,
    /// Bytes of the latest request that were looked at to route it.
    head_len: u16,
    /// Their fingerprint.
    head_print: u64,
    /// Sequence number of the segment that began it.
    first: u32,
    /// End of what the client sent and was passed on, its FIN included.
    high: u32,
    /// What the client has acknowledged.
    acked: u32,
    /// End of what was sent to the client, a FIN included.
    to_client: u32,
    /// The farthest that the client may send, as it was told.
    edge: u32,
    /// The client's clock, latest.
    client_clock: u32,
    /// The clock that the client was shown, latest.
    shown_clock: u32,
    /// Time of the latest packet, ms.
    seen: u32,
    /// When the oldest request without a response was passed on, ns; before that, when its head began to come; at the end,
    /// when the switch ended the direction to the client.
    asked: u64,
    requests: Requests,
    responses: Responses,
    legs: PerLeg<Leg>,
}

impl Flow {
    /// Whether it goes on: a SYN of its client's is answered by it then, and begins no other.
    #[inline]
    pub const fn is_live(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// How far it has come.
    #[inline]
    pub const fn state(&self) -> State {
        self.state
    }

    /// The leg in use.
    #[inline]
    pub const fn active(&self) -> Option<LegNumber> {
        self.active
    }

    /// The leg that is being opened.
    #[inline]
    pub const fn binding(&self) -> Option<LegNumber> {
        self.binding
    }

    /// A leg, if it is there.
    #[inline]
    pub fn leg(&self, leg: LegNumber) -> Option<&Leg> {
        Some(self.legs.get(leg)).filter(|leg| leg.phase != Phase::None)
    }

    /// The leg that leads to the front.
    pub fn front_leg(&self) -> Option<LegNumber> {
        let is_front = |leg: &Leg| leg.method == Method::Front;
        LegNumber::ALL
            .into_iter()
            .find(|&leg| self.leg(leg).is_some_and(is_front))
    }

    /// Requests that have no whole response yet.
    pub fn outstanding(&self) -> u32 {
        self.responses.outstanding()
    }

    /// Whether nothing is read any more: both directions pass as they are.
    pub const fn is_opaque(&self) -> bool {
        self.requests.is_opaque()
    }

    /// What must hold between packets: what does not, if something does not.
    pub fn broken(&self) -> Option<&'static str> {
        if self
            .active()
            .is_some_and(|leg| !self.leg(leg).is_some_and(Leg::is_open))
        {
            return Some("the leg in use is not connected");
        }
        if let Some(binding) = self.binding() {
            if !self.leg(binding).is_some_and(Leg::is_opening) {
                return Some("the leg that is being opened is not");
            }
            if self.active().is_some() {
                return Some("a leg is opened while another is in use");
            }
        }
        if self.state == State::Dead && self.legs.iter().any(|leg| leg.phase != Phase::None) {
            return Some("a dead flow has a leg");
        }
        (seq::before(self.to_client, self.acked))
            .then_some("the client has acknowledged more than it was sent")
    }

    const fn has(&self, flag: FlowFlags) -> bool {
        self.flags.intersects(flag)
    }

    fn leg_mut(&mut self, leg: LegNumber) -> &mut Leg {
        self.legs.get_mut(leg)
    }

    /// Whether the client has acknowledged all that was sent to it, and all of the responses that were read: the reader runs
    /// ahead of data that are lost.
    #[inline]
    fn client_has_all(&self) -> bool {
        self.acked == self.to_client
            && (self.responses.passes_all() || seq::at_most(self.responses.at, self.acked))
    }

    /// A segment to the client with what it has been sent and what it has sent.
    fn for_client(&self, flags: TcpFlags) -> Build {
        Build {
            source: self.service,
            destination: self.client,
            seq: self.to_client,
            ack: self.high,
            flags,
            window: u16::try_from(HOLD_MAX.wrapping_shr(shift(self.offered_scale)))
                .unwrap_or(u16::MAX),
            timestamps: self.has(TIMESTAMPS).then_some(Timestamps {
                value: self.shown_clock,
                echo: self.client_clock,
            }),
            offer: Offer::default(),
            refusal: None,
        }
    }

    /// Ends the direction to the client where there is no server to do it, or says so again.
    fn end_to_client<E: Env>(&mut self, env: &mut E) {
        if !self.has(SERVER_FIN) {
            self.flags |= SERVER_FIN | OWN_FIN;
            self.to_client = self.to_client.wrapping_add(1);
            self.asked = env.now();
        }
        let mut build = self.for_client(segment::FIN | segment::ACK);
        build.seq = self.to_client.wrapping_sub(1);
        env.emit(build);
    }

    /// Ends every leg by a reset, and the client's connection too where `client` says so.
    fn reset<E: Env>(&mut self, client: bool, env: &mut E) {
        for leg in LegNumber::ALL {
            self.drop_leg(leg, true, env);
        }
        if client {
            env.emit(self.for_client(segment::RST | segment::ACK));
        }
        env.discard();
        env.forget_unacked();
        self.responses.forget();
        self.flags = self.flags.difference(CLIENT_FIN) | RESET;
        self.seen = milliseconds(env.now());
        self.state = State::Closing;
    }

    /// Ends the flow because its place is needed or its client has begun anew: servers are told, the client is not.
    pub fn end<E: Env>(&mut self, env: &mut E) {
        if self.state != State::Dead {
            self.reset(false, env);
            self.state = State::Dead;
        }
    }

    /// Ends the flow because the switch goes away: both sides are told.
    pub fn abort<E: Env>(&mut self, env: &mut E) {
        if self.state != State::Dead {
            self.reset(self.state == State::Open, env);
            self.state = State::Dead;
        }
    }
}

/// A shift that may be [`NO_SCALE`].
const fn shift(scale: u8) -> u32 {
    if scale == NO_SCALE {
        0
    } else {
        scale as u32
    }
}

/// Milliseconds, modulo 2³², of a time in ns.
#[expect(clippy::cast_possible_truncation, reason = "modulo 2³² by design")]
pub const fn milliseconds(ns: u64) -> u32 {
    (ns / 1_000_000) as u32
}
