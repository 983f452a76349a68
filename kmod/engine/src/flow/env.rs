// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a flow needs of its surroundings. It is called while the flow is locked, and must not call the flow.

use super::Ask;
use super::Build;
use super::Choice;
use super::Event;
use super::Failure;
use super::Leg;
use super::LegNumber;
use super::Payload;
use super::Rewrite;
use super::Segment;
use super::Target;
use crate::endpoint::Endpoint;
use crate::fingerprint;
use crate::proxy_header::Written;
use crate::table::codes::ProxyVersion;

/// Packets: those that wait, and what is sent.
pub trait Packets {
    /// A packet that has come.
    type Packet: Payload;

    /// Sends a segment of the switch's own, after the flow has been unlocked and in the order of the calls.
    fn emit(&mut self, build: Build);
    /// The same with data: a PROXY header.
    fn emit_header(&mut self, build: Build, header: &Written);

    /// The end of the held bytes; `None` where nothing is held.
    fn held_end(&self) -> Option<u32>;
    /// How many segments are held.
    fn held_count(&self) -> u32;
    /// A run of bytes from a sequence number on: of what is held, or else of `current`.
    fn run<'a>(&'a self, at: u32, current: Option<(&Segment, &'a Self::Packet)>) -> &'a [u8];
    /// Sends what is held up to a sequence number: `rewrite` is given each segment with the part of its data that goes.
    fn release(&mut self, to: u32, rewrite: &mut dyn FnMut(&Segment, u32, u32) -> Rewrite);
    /// Takes what is held before a sequence number for gone: it stays here.
    fn skip(&mut self, to: u32);
    /// Lets go of what is held.
    fn discard(&mut self);

    /// Memory in which the flow keeps what its servers have not acknowledged, and may only see as it was read. Empty where nothing
    /// is kept.
    fn unacked(&self) -> &[u8];
    /// The same with room for `len` bytes, or for less where memory is short; what was there stays.
    fn unacked_mut(&mut self, len: usize) -> &mut [u8];
    /// Gives the memory back.
    fn forget_unacked(&mut self);
}

/// The rules.
pub trait Rules: Packets {
    /// Whether a segment that the flow would not take begins a new connection: its acknowledgement is a cookie's.
    fn opens(&mut self, segment: &Segment) -> bool;
    /// Asks the rules and the scheduler about the request that begins at [`Ask::from`], with what is held and `current`
    /// behind it. Servers that failed since the last [`LegEvent::Connected`] are left out; where no server is left, it is the
    /// front.
    fn choose(&mut self, ask: &Ask, current: Option<(&Segment, &Self::Packet)>) -> Choice;
    /// What was chosen last is not made use of now: it is asked for again.
    fn leave(&mut self, ask: &Ask);
}

/// Connections to servers.
pub trait Legs {
    /// Takes the addresses and ports of a leg to the target that was chosen last, and gives the switch's end; `None` where
    /// they are taken.
    fn reserve(&mut self, leg: LegNumber, target: &Target) -> Option<Endpoint>;
    /// Gives them back, and forgets the leg's server.
    fn free(&mut self, leg: LegNumber, was: &Leg);
    /// The PROXY header that tells a leg's server of the client; the same at every call, once a leg has been begun.
    fn proxy_header(&self, version: ProxyVersion) -> Written;
    /// Says what has happened on a leg.
    fn event(&mut self, leg: LegNumber, event: LegEvent);
}

/// What happens on a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegEvent {
    /// A request goes to its server.
    Requested,
    /// A request of its server is over.
    Finished,
    /// The first byte of a response came so many ns after its request.
    FirstByte(u64),
    /// A response's status code.
    Status(u16),
    /// Its server took the connection; the largest segment that it takes, bytes.
    Connected(u16),
    /// It did not.
    Failed(Failure),
}

/// All of a flow's surroundings.
pub trait Env: Rules + Legs {
    /// Monotonic time, ns.
    fn now(&self) -> u64;
    /// What heads are known again by.
    fn fingerprint_key(&self) -> fingerprint::Key;
    /// Counts.
    fn count(&mut self, event: Event);
}
