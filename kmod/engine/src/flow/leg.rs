// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A leg: the connection to one real server, and what leads from its numbers to the client's.

mod record;

use super::build::Build;
use super::flags::flags;
use super::rewrite::Rewrite;
use super::segment::Offer;
use super::segment::Segment;
use super::segment::TcpFlags;
use super::segment::Timestamps;
use super::segment::ACK;
use super::segment::FIN;
use super::segment::PSH;
use super::segment::RST;
use super::segment::SYN;
use super::segment::URG;
use super::seq;
use super::shift;
use super::Env;
use super::Event;
use super::Flow;
use super::LegEvent;
use super::LegNumber;
use super::Method;
use super::Refusal;
use super::Target;
use super::Verdict;
use super::EAGER;
use super::FIRST;
use super::NO_SCALE;
use super::SACK;
use super::TIMESTAMPS;
use crate::endpoint::Endpoint;
use crate::table::codes::ProxyVersion;

flags! {
    /// What is so of a leg.
    pub(super) Marks {
        /// The first packet of the server after the leg came into use sets its clock.
        RESYNC = 1,
        /// A response has begun on it.
        USED = 2,
        /// Its server has ended it while nobody wanted anything of it: it is not to be used again.
        ENDED = 4,
        /// The same, since what the server said last was for nobody.
        SPOILED = 8,
        /// Its server has taken or sent data. Before that it may not have a socket for it, and Linux takes only what echoes the clock
        /// of its SYN-ACK then (tcp_check_req).
        HEARD = 16,
        /// The front refuses what comes on it: [`Refusal::RateLimit`].
        LIMITED = 32,
        /// Its server has not acknowledged all of the PROXY header that the switch sent first.
        HEADER = 64,
        /// The front refuses what comes on it: [`Refusal::Full`].
        FULL = 128,
    }
}

/// Of either of these, the front refuses what comes.
const REFUSED: Marks = Marks(LIMITED.0 | FULL.0);

/// Least hop limit of what goes to a server.
const HOP_LIMIT: u8 = 64;

/// How far a leg has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It is not there.
    None,
    /// A SYN has been sent.
    Opening,
    /// Connected.
    Open,
    /// Both have ended it; late packets are waited for.
    Lingering,
}

/// The connection to one real server.
#[derive(Clone, Copy, Debug)]
pub struct Leg {
    /// The server.
    pub peer: Endpoint,
    /// The switch's end: what the server takes for its client.
    pub local: Endpoint,
    /// How packets get there.
    pub method: Method,
    pub(super) phase: Phase,
    /// Shift of the server's windows.
    pub(super) scale: u8,
    marks: Marks,
    /// The PROXY header that it began with.
    pub(super) header: Option<ProxyVersion>,
    /// From the client's sequence numbers to the leg's.
    pub(super) to_server: u32,
    /// From the server's sequence numbers to those that the client sees.
    pub(super) to_client: u32,
    /// Added to the server's clock.
    pub(super) clock: u32,
    /// The server's clock, latest, as it tells it: that of its SYN-ACK until it is [`HEARD`].
    pub(super) told: u32,
    /// The first byte that went to it, since it came into use. A PROXY header of the switch's has the numbers before the client's
    /// first byte.
    pub(super) start: u32,
    /// The first byte that came from it, since it came into use, as the client sees it.
    pub(super) floor: u32,
    /// What the server has acknowledged, in the client's numbers.
    pub(super) acked: u32,
    /// When the SYN was sent or the leg ended, ms. With [`HEADER`] the number behind the header, in the client's numbers.
    pub(super) since: u32,
}

impl Leg {
    /// No leg.
    pub(super) const NONE: Self = Self {
        peer: NOBODY,
        local: NOBODY,
        method: Method::Nat,
        phase: Phase::None,
        scale: NO_SCALE,
        marks: Marks(0),
        header: None,
        to_server: 0,
        to_client: 0,
        clock: 0,
        told: 0,
        start: 0,
        floor: 0,
        acked: 0,
        since: 0,
    };

    /// Whether it leads to a target and can be used.
    pub(super) fn leads_to(&self, target: &Target) -> bool {
        self.phase == Phase::Open
            && !self.is(ENDED)
            && self.peer == target.peer
            && self.method == target.method
            && self.refusal() == target.refusal
            && self.header == target.header
    }

    /// Why the front refuses what comes on it; `None`: it does not.
    #[inline]
    pub(super) const fn refusal(&self) -> Option<Refusal> {
        if !self.is(REFUSED) {
            None
        } else if self.is(FULL) {
            Some(Refusal::Full)
        } else {
            Some(Refusal::RateLimit)
        }
    }

    /// Whether a mark is set.
    pub(super) const fn is(&self, mark: Marks) -> bool {
        self.marks.intersects(mark)
    }

    /// Sets marks.
    pub(super) fn mark(&mut self, marks: Marks) {
        self.marks |= marks;
    }

    /// Whether it is connected.
    pub const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Whether it is being opened.
    pub const fn is_opening(&self) -> bool {
        matches!(self.phase, Phase::Opening)
    }
}

const NOBODY: Endpoint = Endpoint {
    address: [0; 16],
    port: 0,
};

/// What a segment from the client becomes on a leg.
#[derive(Clone, Copy)]
pub(super) struct ToServer<'f> {
    leg: &'f Leg,
    /// Flags that do not stay.
    cleared: TcpFlags,
    /// Largest segment that servers take.
    limit: u16,
    client_scale: u8,
    client_clock: u32,
    acked: u32,
    window: u16,
}

impl ToServer<'_> {
    /// The headers of a segment that was held: with the client's latest clock, acknowledgement and window. The server has seen them
    /// already, in the SYN for one, and would take the segment's own for a step back (RFC 7323, 5).
    pub(super) fn rewrite_held(&self, segment: &Segment, from: u32, to: u32) -> Rewrite {
        let mut rewrite = self.rewrite(segment, from, to);
        (rewrite.ack, rewrite.window) = self.acknowledge(self.acked, self.window);
        if let Some(timestamps) = segment.timestamps {
            let behind = self.client_clock.wrapping_sub(timestamps.value);
            rewrite.clock = if seq::before(timestamps.value, self.client_clock) {
                behind
            } else {
                0
            };
        }
        rewrite
    }

    /// Whether a segment has numbers of a PROXY header that the leg's server lacks.
    #[inline]
    pub(super) fn overlaps_header(&self, segment: &Segment) -> bool {
        self.leg.is(HEADER) && segment.payload > 0 && seq::before(segment.seq, self.leg.since)
    }

    /// An acknowledgement of the client's with its window, as the leg has them. Before the leg's first byte it ends there,
    /// and the window at the same edge.
    #[inline]
    pub(super) fn acknowledge(&self, ack: u32, window: u16) -> (u32, u16) {
        let leg = self.leg;
        let behind = if seq::before(ack, leg.floor) {
            leg.floor.wrapping_sub(ack)
        } else {
            0
        };
        let ack = ack.wrapping_add(behind).wrapping_sub(leg.to_client);
        (ack, self.scaled(window, behind))
    }

    /// A window of the client's, less some bytes, as the server reads it.
    #[inline]
    fn scaled(&self, window: u16, less: u32) -> u16 {
        // Where the server does not scale, windows have to be told as they are.
        let plain = self.leg.scale == NO_SCALE;
        if less == 0 && !plain {
            return window;
        }
        let scale = shift(self.client_scale);
        let bytes = u32::from(window).wrapping_shl(scale).saturating_sub(less);
        let field = if plain {
            bytes
        } else {
            bytes.wrapping_shr(scale)
        };
        u16::try_from(field).unwrap_or(u16::MAX)
    }

    /// The headers of a segment of which only the data from one offset to another go.
    #[inline]
    pub(super) fn rewrite(&self, segment: &Segment, from: u32, to: u32) -> Rewrite {
        let leg = self.leg;
        let mut flags = segment.flags.difference(self.cleared);
        if to < segment.payload {
            flags = flags.difference(FIN | PSH);
        }
        let (ack, window) = if segment.is(ACK) {
            self.acknowledge(segment.ack, segment.window)
        } else {
            (segment.ack, self.scaled(segment.window, 0))
        };
        // After another leg's, the client may echo what this server has not told yet, or what was told before it.
        let echo = segment.timestamps.map_or(0, |timestamps| {
            let echo = match leg.is(HEARD) {
                true => seq::min(timestamps.echo.wrapping_sub(leg.clock), leg.told),
                false => leg.told,
            };
            echo.wrapping_sub(timestamps.echo)
        });
        Rewrite {
            source: leg.local,
            destination: leg.peer,
            seq: segment.seq.wrapping_add(from).wrapping_add(leg.to_server),
            ack,
            flags,
            window,
            clock: 0,
            echo,
            sack: 0u32.wrapping_sub(leg.to_client),
            sack_floor: leg.floor,
            hop_limit: HOP_LIMIT,
            limit: self.limit,
        }
    }
}

impl Flow {
    /// Flags of segments that do not stay. A receiver takes an urgent byte out of the stream, unless it asked not to (RFC 6093), and
    /// what was read with it would not be what arrives: where something is read, there are no urgent bytes.
    #[inline]
    const fn cleared_flags(&self) -> TcpFlags {
        if self.has(EAGER) {
            TcpFlags::NONE
        } else {
            URG
        }
    }

    /// How segments go to a leg.
    #[inline]
    pub(super) fn toward_server(&self, leg: LegNumber) -> Option<ToServer<'_>> {
        let leg = self.legs.get(leg);
        leg.is_open().then_some(ToServer {
            leg,
            cleared: self.cleared_flags(),
            limit: self.limit,
            client_scale: self.client_scale,
            client_clock: self.client_clock,
            acked: self.acked,
            window: self.window,
        })
    }

    /// What a segment from the server of a leg becomes; `flags`: those that it goes on with; `part`: only so many bytes of its
    /// data go.
    // The verdict is made where it stays, and not copied.
    #[inline]
    pub(super) fn toward_client(
        &mut self,
        leg: LegNumber,
        segment: &Segment,
        flags: TcpFlags,
        part: Option<u32>,
    ) -> Verdict {
        let flags = flags.difference(self.cleared_flags());
        let leg = self.legs.get_mut(leg);
        let ack = segment.ack.wrapping_sub(leg.to_server);
        let offered = shift(self.offered_scale);
        let bytes = u32::from(segment.window).wrapping_shl(shift(leg.scale));
        let mut field = bytes.wrapping_shr(offered);
        // Rounding must not take back what the client was allowed.
        let edge = ack.wrapping_add(field.min(0xffff).wrapping_shl(offered));
        if seq::before(edge, self.edge) {
            let missing = self
                .edge
                .wrapping_sub(edge)
                .wrapping_sub(1)
                .wrapping_shr(offered);
            field = field.saturating_add(missing).saturating_add(1);
        } else {
            self.edge = edge;
        }
        if let (Some(timestamps), true) = (segment.timestamps, self.flags.intersects(TIMESTAMPS)) {
            let shown = timestamps.value.wrapping_add(leg.clock);
            if segment.payload > 0 {
                leg.mark(HEARD);
            }
            if leg.is(HEARD) {
                leg.told = seq::max(leg.told, timestamps.value);
            }
            if leg.is(RESYNC) {
                leg.marks = leg.marks.difference(RESYNC);
                if seq::before(shown, self.shown_clock) {
                    leg.clock = self.shown_clock.wrapping_sub(timestamps.value);
                }
            }
            let shown = timestamps.value.wrapping_add(leg.clock);
            self.shown_clock = seq::max(self.shown_clock, shown);
        }
        let rewrite = Rewrite {
            source: self.service,
            destination: self.client,
            seq: segment.seq.wrapping_add(leg.to_client),
            ack: if segment.is(ACK) { ack } else { segment.ack },
            flags,
            window: u16::try_from(field).unwrap_or(u16::MAX),
            clock: leg.clock,
            echo: 0,
            sack: 0u32.wrapping_sub(leg.to_server),
            sack_floor: leg.start.wrapping_add(leg.to_server),
            hop_limit: 0,
            limit: u16::MAX,
        };
        match part {
            None => Verdict::Forward(rewrite),
            Some(bytes) => Verdict::Part(bytes, rewrite),
        }
    }

    /// A segment to a leg's server, at `seq` and `ack` of the leg's numbers.
    pub(super) fn for_leg(&self, leg: &Leg, seq: u32, ack: u32, flags: TcpFlags) -> Build {
        let bytes = u32::from(self.window).wrapping_shl(shift(self.client_scale));
        let window = if flags.intersects(SYN) || leg.scale == NO_SCALE {
            u16::try_from(bytes).unwrap_or(u16::MAX)
        } else {
            self.window
        };
        let echo = if flags.intersects(ACK) { leg.told } else { 0 };
        Build {
            source: leg.local,
            destination: leg.peer,
            seq,
            ack,
            flags,
            window,
            timestamps: self.has(TIMESTAMPS).then_some(Timestamps {
                value: self.client_clock,
                echo,
            }),
            offer: Offer {
                mss: self.mss,
                window_scale: (self.client_scale != NO_SCALE).then_some(self.client_scale),
                sack: self.has(SACK),
            },
            refusal: leg.refusal(),
        }
    }

    /// The number behind everything that went to a leg, its own: of the one in use and of one that is not.
    fn sent_to(&self, index: LegNumber, leg: &Leg) -> u32 {
        if self.active() == Some(index) {
            self.high.wrapping_add(leg.to_server)
        } else {
            leg.acked.wrapping_add(leg.to_server)
        }
    }

    /// Begins a leg for the request at `start`, in the place of one that is not in use. `None` where its addresses are
    /// taken.
    pub(super) fn open_leg<E: Env>(
        &mut self,
        target: &Target,
        start: u32,
        env: &mut E,
    ) -> Option<LegNumber> {
        let mut marks = match target.refusal {
            None => Marks(0),
            Some(Refusal::RateLimit) => LIMITED,
            Some(Refusal::Full) => FULL,
        };
        let start = match target.header {
            // The front reads the header that the client has sent itself.
            Some(_) if target.method == Method::Front && self.has(FIRST) => self.first,
            Some(version) => {
                marks |= HEADER;
                start.wrapping_sub(env.proxy_header(version).size())
            }
            None => start,
        };
        // A leg of this very connection that has ended: the server may not have forgotten it. It began before this one by
        // less than a window of numbers.
        let mut to_server = 0;
        for index in LegNumber::ALL {
            let same = |leg: &&Leg| leg.peer == target.peer && leg.method == target.method;
            if let Some(leg) = self.leg(index).filter(same) {
                to_server = leg.to_server.wrapping_add(1 << 17);
                self.drop_leg(index, true, env);
            }
        }
        let index = self.place();
        self.drop_leg(index, true, env);
        let local = env.reserve(index, target)?;
        *self.legs.get_mut(index) = Leg {
            peer: target.peer,
            local,
            method: target.method,
            phase: Phase::Opening,
            to_server,
            start,
            acked: start,
            marks,
            header: target.header,
            ..Leg::NONE
        };
        self.binding = Some(index);
        self.tries = 0;
        env.count(Event::Connect);
        self.send_syn(index, env);
        Some(index)
    }

    /// The place for another leg: an empty one, or that of the leg whose use is longest ago.
    fn place(&self) -> LegNumber {
        let is_empty = |leg| self.leg(leg).is_none();
        let first_was_latest = self.latest == Some(LegNumber::First);
        if !is_empty(LegNumber::First) && (is_empty(LegNumber::Second) || first_was_latest) {
            LegNumber::Second
        } else {
            LegNumber::First
        }
    }

    /// Sends the SYN of a leg that is being opened.
    pub(super) fn send_syn<E: Env>(&mut self, index: LegNumber, env: &mut E) {
        let now = super::milliseconds(env.now());
        self.tries = self.tries.saturating_add(1);
        let leg = self.legs.get_mut(index);
        leg.since = now;
        let leg = *leg;
        let isn = leg.start.wrapping_add(leg.to_server).wrapping_sub(1);
        env.emit(self.for_leg(&leg, isn, 0, SYN));
    }

    /// Sends the PROXY header of the leg in use: the bytes before the client's first.
    pub(super) fn send_header<E: Env>(&self, index: LegNumber, env: &mut E) {
        let (Some(leg), Some(to_server)) = (self.leg(index), self.toward_server(index)) else {
            return;
        };
        let Some(version) = leg.header else {
            return;
        };
        let header = env.proxy_header(version);
        let seq = leg.since.wrapping_sub(header.size());
        let (ack, window) = to_server.acknowledge(self.acked, self.window);
        let build = Build {
            window,
            ..self.for_leg(leg, seq.wrapping_add(leg.to_server), ack, ACK | PSH)
        };
        env.emit_header(build, &header);
    }

    /// What the server of the leg in use has acknowledged of its PROXY header, which is sent again where that is not all.
    /// Whether it is.
    #[cold]
    #[inline(never)]
    pub(super) fn header_acked<E: Env>(&mut self, index: LegNumber, ack: u32, env: &mut E) -> bool {
        let leg = self.legs.get_mut(index);
        if !seq::before(ack, leg.since) {
            leg.marks = leg.marks.difference(HEADER);
            // What is said of the header later is not for the client.
            leg.start = leg.since;
            return true;
        }
        env.count(Event::ProxyResent);
        self.send_header(index, env);
        false
    }

    /// Puts a leg to use for what the client sends from `start` on, which the leg counts as `send_next`, and for what its
    /// server sends from `receive_next` on.
    pub(super) fn put_to_use(
        &mut self,
        index: LegNumber,
        start: u32,
        send_next: u32,
        receive_next: u32,
    ) {
        let floor = self.to_client;
        let leg = self.legs.get_mut(index);
        leg.start = start;
        leg.acked = start;
        leg.to_server = send_next.wrapping_sub(start);
        leg.floor = floor;
        leg.to_client = floor.wrapping_sub(receive_next);
        self.active = Some(index);
        self.latest = Some(index);
        self.flags = self.flags.difference(FIRST);
        // Of the server before it may be farther than this one can take.
        self.edge = start;
    }

    /// Uses a leg again that was in use before. Everything that had been sent on it was acknowledged then.
    pub(super) fn use_again(&mut self, index: LegNumber, start: u32) {
        let leg = self.legs.get_mut(index);
        leg.mark(RESYNC);
        let send_next = leg.acked.wrapping_add(leg.to_server);
        // What was in use before ends where the client has everything.
        let receive_next = leg.since;
        self.put_to_use(index, start, send_next, receive_next);
    }

    /// Takes the leg in use out of use; it stays connected. Its server is told that its last bytes have arrived.
    pub(super) fn park<E: Env>(&mut self, env: &mut E) {
        let Some(index) = self.active() else {
            return;
        };
        self.active = None;
        let receive_next = self.to_client;
        let leg = self.legs.get_mut(index);
        // From now on it is the server's number behind what it sent.
        leg.since = receive_next.wrapping_sub(leg.to_client);
        let leg = *leg;
        if leg.is(SPOILED) {
            self.drop_leg(index, true, env);
        } else if leg.is(ENDED) {
            self.end_leg(index, leg.since.wrapping_add(1), env);
        } else if leg.is_open() {
            let seq = leg.acked.wrapping_add(leg.to_server);
            env.emit(self.for_leg(&leg, seq, leg.since, ACK));
        }
    }

    /// Answers the FIN of a leg that is not in use, before `receive_next` of its server's numbers, by one.
    pub(super) fn end_leg<E: Env>(&mut self, index: LegNumber, receive_next: u32, env: &mut E) {
        let leg = self.legs.get_mut(index);
        leg.phase = Phase::Lingering;
        leg.since = receive_next;
        let leg = *leg;
        let seq = leg.acked.wrapping_add(leg.to_server);
        env.emit(self.for_leg(&leg, seq, receive_next, FIN | ACK));
    }

    /// Forgets a leg; `reset`: its server is told.
    pub(super) fn drop_leg<E: Env>(&mut self, index: LegNumber, reset: bool, env: &mut E) {
        let Some(&leg) = self.leg(index) else {
            return;
        };
        if reset && matches!(leg.phase, Phase::Opening | Phase::Open) {
            let seq = if leg.phase == Phase::Opening {
                leg.start.wrapping_add(leg.to_server)
            } else {
                self.sent_to(index, &leg)
            };
            let mut build = self.for_leg(&leg, seq, 0, RST);
            build.timestamps = None;
            env.emit(build);
        }
        if self.active() == Some(index) || self.binding() == Some(index) {
            for _ in 0..self.responses.outstanding() {
                env.event(index, LegEvent::Finished);
            }
            env.forget_unacked();
        }
        env.free(index, &leg);
        if self.active() == Some(index) {
            self.active = None;
        }
        if self.binding() == Some(index) {
            self.binding = None;
        }
        *self.legs.get_mut(index) = Leg::NONE;
    }
}
