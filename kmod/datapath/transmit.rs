// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What is sent once a flow's lock is released: segments of the switch's own, and packets that were held.
#![forbid(unsafe_code)]

use l7switch_engine::endpoint::is_ipv4;
use l7switch_engine::flow;
use l7switch_engine::flow::segment::Parsed;
use l7switch_engine::flow::segment::HEADER;
use l7switch_engine::flow::segment::SYN;
use l7switch_engine::flow::Build;
use l7switch_engine::flow::Rewrite;
use l7switch_engine::flow::Segment;
use l7switch_engine::flow::LEN_MAX;
use l7switch_engine::flow::LEN_WITH_HEADER;
use l7switch_engine::proxy_header::Written;

use crate::shell::net::route::NextHop;
use crate::shell::net::route::Route;
use crate::shell::net::route::Selector;
use crate::shell::net::route::Sent;
use crate::shell::net::route::Vrf;
use crate::shell::net::Net;
use crate::shell::packet::Buffer;
use crate::shell::packet::Checksum;
use crate::shell::packet::Held;
use crate::shell::packet::Owned;
use crate::shell::packet::Packet;
use crate::state::counters::Counter;
use crate::state::counts::Counts;

/// Segments that one packet can make the switch send.
const BUILDS: usize = 8;

/// What a path from a local client is taken to have: an Ethernet's.
const LOCAL_MTU: u32 = 1500;

/// What is to be sent: nothing, mostly.
pub(super) struct Out<'g> {
    added: Option<Added<'g>>,
    /// A segment with a PROXY header, which goes behind the others of the switch's. Apart, since what is added is moved.
    header: Option<(Build, Written)>,
}

/// What was added.
struct Added<'g> {
    /// The routing domain of the connection.
    vrf: Vrf,
    /// CachedRoutes that are known, by where they lead.
    ways: [Option<([u8; 16], NextHop<'g>)>; 2],
    builds: [Option<Build>; BUILDS],
    /// How many of them there are.
    len: usize,
    packets: Held,
}

/// What the engine calls a checksum's kind.
fn kind(checksum: Checksum) -> flow::Checksum {
    match checksum {
        Checksum::Full => flow::Checksum::Full,
        Checksum::Partial => flow::Checksum::Partial,
    }
}

/// Rewrites a packet's headers; `false` where memory is short.
pub(super) fn rewrite<B: Buffer>(buffer: &mut B, parsed: &Parsed, rewrite: &Rewrite) -> bool {
    let Some((headers, checksum)) = buffer.headers_mut(parsed.payload_at) else {
        return false;
    };
    rewrite
        .apply(headers, parsed.tcp_at as usize, kind(checksum))
        .is_some()
}

/// Whether a segment may be longer than who it goes to takes.
#[inline(always)]
pub(super) fn may_be_long(segment: &Segment, rewrite: &Rewrite) -> bool {
    // What a header has besides its fixed part counts.
    segment
        .payload
        .saturating_add(u32::from(segment.header_len))
        > u32::from(rewrite.limit).saturating_add(HEADER as u32)
}

/// Sees that a rewritten packet is cut where it is longer than that; `false` where memory is short.
#[inline(never)]
pub(super) fn limit<B: Buffer>(
    counts: &Counts,
    buffer: &mut B,
    parsed: &Parsed,
    rewrite: &Rewrite,
) -> bool {
    let cut = buffer.limit(parsed.tcp_at, parsed.payload_at, rewrite.limit);
    if cut == Some(true) {
        counts.count(Counter::SegmentsCut);
    }
    cut.is_some()
}

impl<'g> Out<'g> {
    /// Nothing.
    pub(super) const fn new() -> Self {
        Self {
            added: None,
            header: None,
        }
    }

    /// Room to add something.
    fn added(&mut self) -> &mut Added<'g> {
        self.added.get_or_insert_with(|| Added {
            vrf: Vrf::default(),
            ways: [None; 2],
            builds: [None; BUILDS],
            len: 0,
            packets: Held::new(),
        })
    }

    /// Notes the routing domain of what is added.
    pub(super) fn vrf(&mut self, vrf: Vrf) {
        self.added().vrf = vrf;
    }

    /// Notes the way to a destination, for what is added for it, if it is not known and can be found.
    pub(super) fn know(
        &mut self,
        destination: &[u8; 16],
        find: impl FnOnce() -> Option<NextHop<'g>>,
    ) {
        let added = self.added();
        if added.way(destination).is_some() {
            return;
        }
        if let Some(place) = added.ways.iter_mut().find(|place| place.is_none()) {
            *place = find().map(|way| (*destination, way));
        }
    }

    /// Adds a segment; `false` where there are too many.
    pub(super) fn build(&mut self, build: Build) -> bool {
        let added = self.added();
        let Some(place) = added.builds.get_mut(added.len) else {
            return false;
        };
        *place = Some(build);
        added.len = added.len.wrapping_add(1);
        true
    }

    /// Adds a segment with a PROXY header; `false` where there is one already.
    pub(super) fn header(&mut self, build: Build, header: &Written) -> bool {
        let is_first = self.header.is_none();
        if is_first {
            self.header = Some((build, *header));
        }
        is_first
    }

    /// Adds a packet of which the data from one offset to another go. `false` where memory is short.
    pub(super) fn packet(
        &mut self,
        counts: &Counts,
        mut packet: Owned,
        parsed: &Parsed,
        from: u32,
        to: u32,
        change: &Rewrite,
    ) -> bool {
        if !packet.keep_payload(parsed.payload_at, from, to) {
            return false;
        }
        if !rewrite(&mut packet, parsed, change) {
            return false;
        }
        if may_be_long(&parsed.segment, change) && !limit(counts, &mut packet, parsed, change) {
            return false;
        }
        self.added().packets.push(packet);
        true
    }

    /// Sends everything. With no lock held.
    #[inline]
    pub(super) fn send(&mut self, net: &Net, counts: &Counts) {
        if let Some(added) = &mut self.added {
            added.send(net, counts, &mut self.header);
        }
    }
}

impl<'g> Added<'g> {
    /// A way, by where it leads.
    fn way(&self, destination: &[u8; 16]) -> Option<NextHop<'g>> {
        let mut known = self.ways.iter().flatten();
        known.find(|(to, _)| to == destination).map(|&(_, way)| way)
    }

    #[inline(never)]
    fn send(&mut self, net: &Net, counts: &Counts, header: &mut Option<(Build, Written)>) {
        let builds = self.builds.get(..self.len).unwrap_or_default();
        for build in builds.iter().flatten() {
            let way = self.way(&build.destination.address);
            counts.sent(send(net, self.vrf, build, way, None));
        }
        self.len = 0;
        if let Some((build, header)) = header.take() {
            let way = self.way(&build.destination.address);
            counts.sent(send_header(net, self.vrf, &build, &header, way));
        }
        while let Some(packet) = self.packets.pop() {
            let ends = super::segment::outer(&packet, packet.start().0)
                .map(|outer| (outer.ip.destination, outer.ip.source));
            counts.sent(match ends {
                Some((to, from)) => packet.send(net, self.vrf, to, from, self.way(&to)),
                None => Sent::Lost,
            });
        }
    }
}

/// Sends a segment; the largest segment that it offers is no larger than the path takes. It may take the place of a packet that is
/// not needed any more.
pub(super) fn send(
    net: &Net,
    vrf: Vrf,
    build: &Build,
    known: Option<NextHop<'_>>,
    instead: Option<&mut Packet<'_>>,
) -> Sent {
    by_way(net, vrf, build, known, |hop| {
        let mut build = *build;
        if build.flags.intersects(SYN) {
            let ipv4 = is_ipv4(&build.destination.address);
            let headers = if ipv4 { 40 } else { 60 };
            // The loopback device's MTU says nothing of the servers' links.
            let mtu = if hop.is_local() {
                LOCAL_MTU.min(hop.mtu())
            } else {
                hop.mtu()
            };
            let most = u16::try_from(mtu.saturating_sub(headers)).unwrap_or(u16::MAX);
            build.offer.mss = build.offer.mss.min(most);
        }
        let mut bytes = [0u8; LEN_MAX];
        let len = build.write_unsummed(&[], &mut bytes);
        match bytes.get(..len) {
            Some(packet) => hop.send(net, packet, instead),
            None => Sent::Lost,
        }
    })
}

/// Sends a segment with a PROXY header.
#[cold]
#[inline(never)]
fn send_header(
    net: &Net,
    vrf: Vrf,
    build: &Build,
    header: &Written,
    known: Option<NextHop<'_>>,
) -> Sent {
    by_way(net, vrf, build, known, |hop| {
        let mut bytes = [0u8; LEN_WITH_HEADER];
        let len = build.write_unsummed(header.bytes(), &mut bytes);
        match bytes.get(..len) {
            Some(packet) => hop.send(net, packet, None),
            None => Sent::Lost,
        }
    })
}

/// Sends a segment the way that is known, or that there is.
#[inline]
fn by_way(
    net: &Net,
    vrf: Vrf,
    build: &Build,
    known: Option<NextHop<'_>>,
    send: impl FnOnce(NextHop<'_>) -> Sent,
) -> Sent {
    if let Some(hop) = known {
        return send(hop);
    }
    let selector = Selector {
        vrf,
        source_port: build.source.port,
        destination_port: build.destination.port,
        tos: 0,
        mark: 0,
    };
    let (from, to) = (&build.source.address, &build.destination.address);
    match Route::to(net, *from, *to, selector) {
        Some(route) => send(route.hop()),
        None => Sent::Lost,
    }
}
