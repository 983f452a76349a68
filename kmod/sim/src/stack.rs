// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What an application needs of a TCP, whichever it is.

use l7switch_engine::endpoint::Endpoint;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not connected yet.
    Opening,
    /// Connected; either side may have ended.
    Open,
    /// Both sides have ended.
    Closed,
    /// Reset, refused or given up.
    Reset,
}

/// A connection in a stack.
pub type Handle = usize;

/// A host's TCP.
pub trait Stack {
    /// Takes a packet.
    fn input(&mut self, now: u64, packet: Vec<u8>);
    /// Does what time has come for, and gives what it sends.
    fn poll(&mut self, now: u64, out: &mut Vec<Vec<u8>>);
    /// When it is to be polled next.
    fn wake(&mut self, now: u64) -> Option<u64>;
    /// Accepts connections at a port.
    fn listen(&mut self, port: u16);
    /// Begins a connection; `None` where the local port is taken.
    fn connect(&mut self, now: u64, port: u16, to: Endpoint) -> Option<Handle>;
    /// A connection that was accepted.
    fn accept(&mut self) -> Option<Handle>;
    /// The other end.
    fn remote(&self, handle: Handle) -> Endpoint;
    /// This end.
    fn local(&self, handle: Handle) -> Endpoint;
    /// How far it has come.
    fn status(&self, handle: Handle) -> Status;
    /// Takes what has come; at most `limit` bytes.
    fn read(&mut self, handle: Handle, limit: usize, to: &mut Vec<u8>) -> usize;
    /// Whether the peer has ended, and everything has been read.
    fn ended(&self, handle: Handle) -> bool;
    /// Takes bytes to be sent; gives how many.
    fn write(&mut self, handle: Handle, bytes: &[u8]) -> usize;
    /// Bytes that the peer has not acknowledged.
    fn unacknowledged(&self, handle: Handle) -> usize;
    /// Ends the direction to the peer.
    fn shutdown(&mut self, handle: Handle);
    /// Resets it.
    fn abort(&mut self, handle: Handle);
    /// The application has no more to do with it.
    fn release(&mut self, handle: Handle);
    /// Whether data for a connection that was released are answered by a reset.
    fn resets_what_is_closed(&self) -> bool;
    /// Whether a connection stands still because this end does not send again what it should: one whose local and remote end
    /// are as `of` says.
    fn stands_still(&self, _now: u64, _of: &dyn Fn(&Endpoint, &Endpoint) -> bool) -> bool {
        false
    }
    /// What the network did that no network may do.
    fn errors(&mut self) -> Vec<String>;
    /// Connections that are there, for messages.
    fn dump(&self) -> String;
}
