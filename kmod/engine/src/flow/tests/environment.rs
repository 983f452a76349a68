// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the flow of a script has around it: packets that are held, rules, servers, time.

use std::collections::BTreeMap;
use std::format;
use std::string::String;
use std::vec::Vec;

use super::super::*;
use crate::fingerprint;
use crate::http1::HeadParser;
use crate::http1::Limits;
use crate::proxy_header;
use crate::proxy_header::Written;

pub(super) const CLIENT: Endpoint = endpoint(1, 40_000);
pub(super) const SERVICE: Endpoint = endpoint(2, 80);
/// Where connections come from with `fullnat`.
const SWITCH: Endpoint = endpoint(3, 20_000);

const fn endpoint(host: u8, port: u16) -> Endpoint {
    let mut address = [0; 16];
    (address[10], address[11], address[15]) = (0xff, 0xff, host);
    Endpoint { address, port }
}

pub(super) fn server(name: &str) -> Endpoint {
    match name {
        "a" => endpoint(10, 80),
        "a2" => endpoint(11, 80),
        "b" => endpoint(20, 80),
        "f" => SERVICE,
        _ => panic!("no server {name}"),
    }
}

/// The PROXY header of the client's connection.
pub(super) fn header(version: ProxyVersion) -> Written {
    let ends = proxy_header::Ends {
        source: CLIENT,
        destination: SERVICE,
    };
    proxy_header::write(version, Some(&ends))
}

/// How long the pieces are in which a packet's data lie, in turn, bytes.
pub(super) type Layout = &'static [usize];

/// As sk_buffs have them: in one piece, in pages of a file, and cut anywhere.
pub(super) const LAYOUTS: [Layout; 6] = [
    &[usize::MAX],
    &[1],
    &[7],
    &[38, 4096],
    &[3, 1, 11, 2, 64],
    &[16, 512],
];

/// A packet: its segment and its data.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) layout: Layout,
    pub(super) segment: Segment,
    /// A block of selective acknowledgement.
    pub(super) sack: Option<(u32, u32)>,
    pub(super) data: Vec<u8>,
    /// The option of the module's own.
    pub(super) refusal: Option<Refusal>,
}

impl Payload for Packet {
    fn run(&self, offset: u32) -> &[u8] {
        let from = offset as usize;
        let round = self.layout.iter().sum::<usize>();
        let mut end = from / round * round;
        for piece in self.layout.iter().cycle() {
            end = end.saturating_add(*piece);
            if end > from {
                break;
            }
        }
        self.data.get(from..end.min(self.data.len())).unwrap_or(&[])
    }
}

#[derive(Clone)]
pub(super) struct Held {
    pub(super) packet: Packet,
    pub(super) from: u32,
}

/// What a script can set before it runs.
#[derive(Clone)]
pub(super) struct Setting {
    pub(super) eager: bool,
    pub(super) timestamps: bool,
    pub(super) scale: u8,
    /// Requests stay where the connection leads, if they can.
    pub(super) sticky: bool,
    /// What is held is let go of at once.
    pub(super) forgets: bool,
    /// Unacknowledged bytes that may be kept.
    pub(super) unacked: usize,
    /// Servers are reached from an address and port of the switch's.
    pub(super) fullnat: bool,
    /// Clients begin with a PROXY header, and servers get one.
    pub(super) accept_proxy: bool,
    pub(super) send_proxy: Option<ProxyVersion>,
    /// How the data of the packets lie that come; `None`: the script runs with each layout.
    pub(super) layout: Option<Layout>,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            eager: false,
            timestamps: true,
            scale: 7,
            sticky: true,
            forgets: false,
            unacked: 4096,
            fullnat: false,
            layout: None,
            accept_proxy: false,
            send_proxy: None,
        }
    }
}

pub(super) struct World {
    pub(super) setting: Setting,
    pub(super) now: u64,
    pub(super) held: Vec<Held>,
    pub(super) unacked: Vec<u8>,
    pub(super) tried: Vec<Endpoint>,
    /// What the server that connected last takes.
    pub(super) largest: u16,
    pub(super) legs: PerLeg<Option<Endpoint>>,
    pub(super) out: Vec<Packet>,
    pub(super) emitted: Vec<Build>,
    pub(super) events: BTreeMap<String, u32>,
    pub(super) started: u32,
    /// A request has been chosen for, and neither been taken nor left.
    pub(super) is_chosen: bool,
    pub(super) finished: u32,
}

impl World {
    pub(super) fn listener(&self) -> Listener {
        Listener {
            key: [1, 2],
            epoch: 100,
            now: milliseconds(self.now),
            mss: 1460,
            window_scale: self.setting.scale,
            timestamps: self.setting.timestamps,
            sack: true,
            eager: self.setting.eager,
        }
    }

    pub(super) fn method(&self) -> Method {
        match self.setting.fullnat {
            true => Method::Fullnat,
            false => Method::Nat,
        }
    }

    /// The switch's end of a connection to a server.
    pub(super) fn local(&self, method: Method) -> Endpoint {
        match method {
            Method::Fullnat => SWITCH,
            Method::Nat | Method::Front => CLIENT,
        }
    }

    pub(super) fn apply(packet: &Packet, rewrite: &Rewrite, from: u32, to: u32) -> Packet {
        // A client must not choose which of its packets reach a server.
        let hops = if rewrite.destination == CLIENT { 0 } else { 64 };
        assert_eq!(rewrite.hop_limit, hops);
        if rewrite.destination == CLIENT {
            assert_eq!(rewrite.limit, u16::MAX);
        }
        let mut segment = packet.segment;
        segment.source = rewrite.source;
        segment.destination = rewrite.destination;
        segment.seq = rewrite.seq;
        segment.ack = rewrite.ack;
        segment.flags = rewrite.flags;
        segment.window = rewrite.window;
        segment.payload = to.wrapping_sub(from);
        segment.timestamps = segment.timestamps.map(|t| Timestamps {
            value: t.value.wrapping_add(rewrite.clock),
            echo: t.echo.wrapping_add(rewrite.echo),
        });
        let sack = packet
            .sack
            .filter(|(left, _)| !seq::before(*left, rewrite.sack_floor))
            .map(|(left, right)| {
                (
                    left.wrapping_add(rewrite.sack),
                    right.wrapping_add(rewrite.sack),
                )
            });
        Packet {
            layout: packet.layout,
            segment,
            sack,
            data: packet.data[from as usize..to as usize].to_vec(),
            refusal: None,
        }
    }

    fn look<'a>(&'a self, at: u32, current: Option<(&Segment, &'a Packet)>) -> &'a [u8] {
        for held in &self.held {
            let offset = at.wrapping_sub(held.packet.segment.seq);
            let gone = held.from.wrapping_sub(held.packet.segment.seq);
            if offset >= gone && offset < held.packet.segment.payload {
                return held.packet.run(offset);
            }
        }
        let Some((segment, packet)) = current else {
            return &[];
        };
        packet.run(at.wrapping_sub(segment.seq))
    }

    pub(super) fn built(build: &Build) -> Packet {
        let mut bytes = [0; LEN_MAX];
        build.write(&[], &mut bytes);
        Packet {
            refusal: build.refusal,
            layout: LAYOUTS[0],
            segment: Segment {
                source: build.source,
                destination: build.destination,
                seq: build.seq,
                ack: build.ack,
                flags: build.flags,
                window: build.window,
                payload: 0,
                header_len: 20,
                timestamps: build.timestamps,
                offer: build.offer,
                has_sack: false,
            },
            sack: None,
            data: Vec::new(),
        }
    }
}

impl Env for World {
    fn now(&self) -> u64 {
        self.now
    }

    fn fingerprint_key(&self) -> fingerprint::Key {
        fingerprint::Key::new(0x0123_4567_89ab_cdef)
    }

    fn count(&mut self, event: Event) {
        *self.events.entry(format!("{event:?}")).or_default() += 1;
    }
}

impl Rules for World {
    fn opens(&mut self, segment: &Segment) -> bool {
        self.listener().opens(segment)
    }

    fn choose(&mut self, ask: &Ask, current: Option<(&Segment, &Packet)>) -> Choice {
        assert!(
            !self.is_chosen,
            "what was chosen was neither taken nor left"
        );
        let choice = self.decide(ask, current);
        self.is_chosen = matches!(choice, Choice::Stay(_) | Choice::Go(..));
        choice
    }

    fn leave(&mut self, _ask: &Ask) {
        assert!(
            std::mem::take(&mut self.is_chosen),
            "there is nothing to be left"
        );
    }
}

impl World {
    fn decide(&mut self, ask: &Ask, current: Option<(&Segment, &Packet)>) -> Choice {
        let mut bytes = Vec::new();
        loop {
            let run = self.look(ask.from.wrapping_add(bytes.len() as u32), current);
            if run.is_empty() {
                break;
            }
            bytes.extend_from_slice(run);
        }
        let front = Target {
            peer: SERVICE,
            method: Method::Front,
            refusal: None,
            header: self.setting.accept_proxy.then_some(ProxyVersion::V2),
        };
        if self.setting.accept_proxy && ask.first {
            return match proxy_header::parse(&bytes) {
                Ok(Some(header)) if bytes.len() > header.len || self.setting.eager => {
                    Choice::Begins(header.len as u32)
                }
                Ok(_) if !ask.last => Choice::Incomplete,
                _ => Choice::Go(front, Message::OPAQUE),
            };
        }
        if self.setting.eager {
            let list = ["a", "a2"].map(server);
            let next = list.iter().find(|peer| !self.tried.contains(peer));
            return match next {
                Some(&peer) => Choice::Go(
                    Target {
                        peer,
                        method: self.method(),
                        refusal: None,
                        header: self.setting.send_proxy,
                    },
                    Message::OPAQUE,
                ),
                None => Choice::Go(front, Message::OPAQUE),
            };
        }
        let head = match HeadParser::new(Limits::default()).parse(&bytes) {
            Ok(Some(head)) => Message::of(&head),
            Ok(None) if !ask.last => return Choice::Incomplete,
            _ => return Choice::Go(front, Message::OPAQUE),
        };
        let path = bytes.split(|&byte| byte == b' ').nth(1).unwrap_or_default();
        if path == b"/over" {
            let limited = Target {
                refusal: Some(Refusal::RateLimit),
                ..front
            };
            return Choice::Go(limited, head);
        }
        let pool: &[&str] = match path {
            b"/a" => &["a", "a2"],
            b"/b" => &["b"],
            _ => &[],
        };
        let active = ask.active.and_then(|leg| *self.legs.get(leg));
        let mut pool = pool.iter().map(|name| server(name));
        if self.setting.sticky && active.is_some_and(|peer| pool.clone().any(|one| one == peer)) {
            return Choice::Stay(head);
        }
        match pool.find(|peer| !self.tried.contains(peer)) {
            Some(peer) => Choice::Go(
                Target {
                    peer,
                    method: self.method(),
                    refusal: None,
                    header: self.setting.send_proxy,
                },
                head,
            ),
            None => Choice::Go(front, Message::OPAQUE),
        }
    }
}

impl Legs for World {
    fn reserve(&mut self, leg: LegNumber, target: &Target) -> Option<Endpoint> {
        let place = self.legs.get_mut(leg);
        assert!(place.is_none(), "a leg that was not freed");
        *place = Some(target.peer);
        Some(self.local(target.method))
    }

    fn free(&mut self, leg: LegNumber, was: &Leg) {
        assert_eq!(self.legs.get_mut(leg).take(), Some(was.peer), "freed twice");
    }

    fn proxy_header(&self, version: ProxyVersion) -> Written {
        header(version)
    }

    fn event(&mut self, leg: LegNumber, event: LegEvent) {
        match event {
            LegEvent::Requested => {
                assert!(
                    std::mem::take(&mut self.is_chosen),
                    "a request that was not chosen for"
                );
                self.started += 1;
            }
            LegEvent::Finished => self.finished += 1,
            LegEvent::FirstByte(_) | LegEvent::Status(_) => {}
            LegEvent::Connected(largest) => {
                self.largest = largest;
                self.tried.clear();
            }
            LegEvent::Failed(failure) => {
                self.tried.extend(*self.legs.get(leg));
                *self
                    .events
                    .entry(format!("failed {failure:?}"))
                    .or_default() += 1;
            }
        }
    }
}

impl Packets for World {
    type Packet = Packet;

    fn emit(&mut self, build: Build) {
        self.emitted.push(build);
    }

    fn emit_header(&mut self, build: Build, header: &Written) {
        let mut packet = Self::built(&build);
        packet.segment.payload = header.size();
        packet.data = header.bytes().to_vec();
        self.out.push(packet);
    }

    fn held_end(&self) -> Option<u32> {
        self.held.last().map(|held| held.packet.segment.data_end())
    }

    fn held_count(&self) -> u32 {
        self.held.len() as u32
    }

    fn run<'a>(&'a self, at: u32, current: Option<(&Segment, &'a Packet)>) -> &'a [u8] {
        self.look(at, current)
    }

    fn release(&mut self, to: u32, rewrite: &mut dyn FnMut(&Segment, u32, u32) -> Rewrite) {
        for mut held in core::mem::take(&mut self.held) {
            let segment = held.packet.segment;
            let from = held.from.wrapping_sub(segment.seq);
            let whole = seq::at_most(segment.data_end(), to);
            let until = if whole {
                segment.payload
            } else if seq::before(held.from, to) {
                to.wrapping_sub(segment.seq)
            } else {
                self.held.push(held);
                continue;
            };
            let rewrite = rewrite(&segment, from, until);
            self.out
                .push(Self::apply(&held.packet, &rewrite, from, until));
            if !whole {
                held.from = to;
                self.held.push(held);
            }
        }
    }

    fn skip(&mut self, to: u32) {
        self.held.retain_mut(|held| {
            held.from = seq::max(held.from, seq::min(to, held.packet.segment.data_end()));
            held.from != held.packet.segment.data_end() || held.packet.segment.is(segment::FIN)
        });
    }

    fn discard(&mut self) {
        self.held.clear();
    }

    fn unacked(&self) -> &[u8] {
        &self.unacked
    }

    fn unacked_mut(&mut self, len: usize) -> &mut [u8] {
        let len = len.min(self.setting.unacked).max(self.unacked.len());
        self.unacked.resize(len, 0xaa);
        &mut self.unacked
    }

    fn forget_unacked(&mut self) {
        self.unacked.clear();
    }
}
