// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Segments that belong to no flow: what is answered from the segment alone, and what makes a flow.

use super::build::Build;
use super::cookie;
use super::cookie::Opening;
use super::leg::Leg;
use super::request::Requests;
use super::response::Responses;
use super::segment::Offer;
use super::segment::Segment;
use super::segment::TcpFlags;
use super::segment::Timestamps;
use super::segment::ACK;
use super::segment::FIN;
use super::segment::MSS_DEFAULT;
use super::segment::SYN;
use super::Flow;
use super::PerLeg;
use super::State;
use super::EAGER;
use super::FIRST;
use super::HOLD_MAX;
use super::NO_SCALE;
use super::SACK;
use super::TIMESTAMPS;
use crate::siphash::siphash13;
use crate::siphash::Key;

/// A virtual service's address, as far as it answers connections.
#[derive(Clone, Copy, Debug)]
pub struct Listener {
    /// Of the cookies.
    pub key: Key,
    /// Now, in units of [`cookie::EPOCH_SECONDS`].
    pub epoch: u32,
    /// Now, monotonic ms modulo 2³².
    pub now: u32,
    /// Largest segment that servers and the path take, bytes.
    pub mss: u16,
    /// Shift of the windows that are advertised.
    pub window_scale: u8,
    /// Whether servers have timestamps.
    pub timestamps: bool,
    /// Whether servers understand selective acknowledgements.
    pub sack: bool,
    /// A server is chosen before the client has sent anything, since the server may speak first.
    pub eager: bool,
}

/// What becomes of a segment that belongs to no flow.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::large_enum_variant, reason = "made and taken apart at once")]
pub enum Fresh {
    /// It is none of the switch's connections: the local stack's.
    Pass,
    /// It is the switch's, and needs nothing.
    Drop,
    /// It overtook the first data of a connection that is open, and its sender has it still; or it is none of the switch's, of
    /// which one in 64 looks so. Then it must go on: what is dropped comes again, and looks the same.
    Overtook,
    /// It is answered.
    Answer(Build),
    /// It makes a flow, which is to be given the segment ([`Flow::client`]).
    Open(Flow),
}

impl Listener {
    /// The clock that a client is shown before there is a server: its start is hidden.
    fn clock(&self, segment: &Segment) -> u32 {
        let [a, b, c, d, ..] = siphash13(self.key, &segment.source.address).to_le_bytes();
        self.now.wrapping_add(u32::from_le_bytes([a, b, c, d]))
    }

    fn opening(segment: &Segment, isn: u32) -> Opening {
        Opening {
            client: segment.source,
            service: segment.destination,
            isn,
        }
    }

    /// What was offered, if the segment's sender began at `isn` and was answered with `cookie`.
    fn check(&self, segment: &Segment, isn: u32, cookie: u32) -> Option<Offer> {
        cookie::check(self.key, &Self::opening(segment, isn), self.epoch, cookie)
    }

    fn answer(&self, segment: &Segment) -> Build {
        let offer = Offer {
            mss: if segment.offer.mss == 0 {
                MSS_DEFAULT
            } else {
                segment.offer.mss
            },
            window_scale: segment.offer.window_scale,
            sack: segment.offer.sack && self.sack,
        };
        let opening = Self::opening(segment, segment.seq);
        Build {
            source: segment.destination,
            destination: segment.source,
            seq: cookie::make(self.key, &opening, self.epoch, &offer),
            ack: segment.seq.wrapping_add(1),
            flags: SYN | ACK,
            window: u16::try_from(HOLD_MAX).unwrap_or(u16::MAX),
            timestamps: segment
                .timestamps
                .filter(|_| self.timestamps)
                .map(|theirs| Timestamps {
                    value: self.clock(segment),
                    echo: theirs.value,
                }),
            offer: Offer {
                mss: self.mss,
                window_scale: offer.window_scale.map(|_| self.window_scale),
                sack: offer.sack,
            },
            refusal: None,
        }
    }

    /// An answer to a segment of a connection that has no flow: from where it acknowledged to what it has sent.
    fn reply(&self, segment: &Segment, offer: &Offer, ack: u32, flags: TcpFlags) -> Build {
        let scale = offer
            .window_scale
            .map_or(0, |_| u32::from(self.window_scale));
        Build {
            source: segment.destination,
            destination: segment.source,
            seq: segment.ack,
            ack,
            flags,
            window: u16::try_from(HOLD_MAX.wrapping_shr(scale)).unwrap_or(u16::MAX),
            timestamps: segment.timestamps.map(|theirs| Timestamps {
                value: theirs.echo,
                echo: theirs.value,
            }),
            offer: Offer::default(),
            refusal: None,
        }
    }

    /// Whether a segment belongs to a connection that is open and of whose data the first have not come.
    fn overtakes(&self, segment: &Segment) -> bool {
        let opening = Self::opening(segment, segment.seq.wrapping_sub(1));
        let cookie = segment.ack.wrapping_sub(1);
        // A probe may stand behind the last byte of the window.
        let reach = HOLD_MAX.wrapping_add(1);
        cookie::overtakes(self.key, &opening, self.epoch, cookie, reach)
    }

    /// Whether a segment's acknowledgement is what this service answered its connection's SYN with: the connection's first
    /// segments, or a keep-alive probe before them.
    pub fn opens(&self, segment: &Segment) -> bool {
        segment.flags.control() == ACK
            && (self
                .check(
                    segment,
                    segment.seq.wrapping_sub(1),
                    segment.ack.wrapping_sub(1),
                )
                .is_some()
                || self.probes(segment).is_some())
    }

    /// The options of the connection that a keep-alive probe is of, which is open and idle (RFC 9293, 3.8.4): one number back.
    fn probes(&self, segment: &Segment) -> Option<Offer> {
        let probe = segment.payload <= 1 && !segment.is(FIN);
        probe
            .then(|| self.check(segment, segment.seq, segment.ack.wrapping_sub(1)))
            .flatten()
    }
}

/// Decides about a segment to a service that belongs to no flow.
pub fn fresh(listener: &Listener, segment: &Segment) -> Fresh {
    match segment.flags.control() {
        // No cookie has so small a segment.
        SYN if (1..MSS_DEFAULT).contains(&segment.offer.mss) => return Fresh::Pass,
        SYN => return Fresh::Answer(listener.answer(segment)),
        ACK => {}
        _ => return Fresh::Pass,
    }
    let cookie = segment.ack.wrapping_sub(1);
    let before = segment.seq.wrapping_sub(1);
    if let Some(offer) = listener.check(segment, before, cookie) {
        return match (segment.payload, segment.is(FIN)) {
            (0, false) if !listener.eager => Fresh::Drop,
            // Opened, and closed without a request: the FIN is answered by one.
            (0, true) => Fresh::Answer(listener.reply(
                segment,
                &offer,
                segment.seq.wrapping_add(1),
                FIN | ACK,
            )),
            _ => Fresh::Open(Flow::new(listener, segment, &offer)),
        };
    }
    if let Some(offer) = listener.probes(segment) {
        let ack = segment.seq.wrapping_add(1);
        return Fresh::Answer(listener.reply(segment, &offer, ack, ACK));
    }
    if segment.payload == 0 && !segment.is(FIN) {
        // The acknowledgement of a FIN that answered one.
        let (isn, cookie) = (segment.seq.wrapping_sub(2), segment.ack.wrapping_sub(2));
        if listener.check(segment, isn, cookie).is_some() {
            return Fresh::Drop;
        }
    }
    // What overtook the first data: its sender has it still, and sends it again behind those.
    if listener.overtakes(segment) {
        return Fresh::Overtook;
    }
    Fresh::Pass
}

impl Flow {
    /// A client's connection at its first data.
    fn new(listener: &Listener, segment: &Segment, offer: &Offer) -> Self {
        let scaled = offer.window_scale;
        let mut flags = if listener.eager { FIRST | EAGER } else { FIRST };
        let mut clocks = (0, 0);
        if let Some(timestamps) = segment.timestamps {
            flags |= TIMESTAMPS;
            clocks = (timestamps.value, timestamps.echo);
        }
        if offer.sack {
            flags |= SACK;
        }
        Self {
            client: segment.source,
            service: segment.destination,
            state: State::Open,
            flags,
            active: None,
            binding: None,
            latest: None,
            tries: 0,
            client_scale: scaled.unwrap_or(NO_SCALE),
            offered_scale: scaled.map_or(NO_SCALE, |_| listener.window_scale),
            mss: offer.mss.min(listener.mss),
            limit: u16::MAX,
            window: segment.window,
            head_len: 0,
            head_print: 0,
            first: segment.seq,
            high: segment.seq,
            acked: segment.ack,
            to_client: segment.ack,
            edge: segment.seq.wrapping_add(HOLD_MAX),
            client_clock: clocks.0,
            shown_clock: clocks.1,
            seen: listener.now,
            asked: 0,
            requests: Requests::new(segment.seq),
            responses: Responses::new(segment.ack),
            legs: PerLeg::new(Leg::NONE, Leg::NONE),
        }
    }
}
