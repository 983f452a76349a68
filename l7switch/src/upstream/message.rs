// SPDX-License-Identifier: MIT
//! A request that goes to a server, and who is told of what becomes of it.

use std::io::Write as _;
use std::time::Instant;

use http::Method;

use super::connect::Told;
use super::feed::Patience;
use super::server::RealServer;
use crate::observe::reason::Reason;
use crate::observe::spans::Context;

/// What a head does not say, as it is another for each server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lacks {
    /// The host: each server gets its own address, as HTTP/1.1 wants one.
    pub host: bool,
    /// Where in the trace the server stands.
    pub trace: bool,
}

impl Lacks {
    /// Whether it is not whole.
    pub const fn something(self) -> bool {
        self.host || self.trace
    }
}

/// A request that is to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Its head. Where it lacks something, the empty line at its end is absent.
    pub head: &'a [u8],
    /// What is added to it.
    pub lacks: Lacks,
    /// Where in the trace the server stands, if nobody says it of each attempt.
    pub trace: Option<Context>,
    /// Hash of the scheduler's key.
    pub hash: u64,
    /// Whether the kernel has found all servers to have as many requests as they may.
    pub is_full: bool,
    /// The server that is asked first, by its position in the pool; no other is asked before it.
    pub stays: Option<usize>,
    /// What the server is told of the connection: one on which it was told something else is none for this request.
    pub told: Option<Told>,
    /// Content that has come with its head: all of it, or nothing.
    pub content: &'a [u8],
    /// Its method.
    pub method: &'a Method,
    /// Whether another pool is asked where all servers of this one have answered with a status for which the rules want another.
    pub falls_back: bool,
    /// Whether it may become a tunnel: then it is never sent twice.
    pub is_upgrade: bool,
    /// How long is waited for whom.
    pub patience: Patience,
    /// When it had come.
    pub began: Instant,
}

impl Message<'_> {
    /// The head with what it lacks.
    pub(super) fn completed(&self, server: &RealServer) -> Vec<u8> {
        let mut head = self.head.to_vec();
        if self.lacks.host {
            let _ = write!(head, "host: {}\r\n", server.host());
        }
        if let Some(context) = self.trace.filter(|_| self.lacks.trace) {
            let _ = write!(head, "traceparent: {context}\r\n");
        }
        head.extend_from_slice(b"\r\n");
        head
    }
}

/// Who is told of attempts.
pub trait Observer {
    /// A server is tried. Gives where in the trace it stands.
    fn tries(&mut self, server: &RealServer) -> Option<Context>;

    /// It has answered; another one may be tried all the same.
    fn answered(&mut self, status: u16);

    /// The attempt is over, and another one may follow.
    fn failed(&mut self, reason: Reason);
}

/// Nobody.
impl Observer for () {
    fn tries(&mut self, _: &RealServer) -> Option<Context> {
        None
    }

    fn answered(&mut self, _: u16) {}

    fn failed(&mut self, _: Reason) {}
}
