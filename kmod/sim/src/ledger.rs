// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What applications have seen, and what of it is wrong.

use std::collections::HashMap;

use l7switch_engine::sched::Identity;

use crate::plan::FRONT;
use crate::plan::Plan;

/// How a connection ended, for its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has not.
    Open,
    /// Everything came.
    Complete,
    /// Something did not come: why.
    Failed(&'static str),
    /// The client went away on purpose.
    Left,
}

/// Where bytes of a request have been seen.
#[derive(Clone, Debug, Default)]
pub struct Delivery {
    /// Servers that got the whole request's head.
    pub heads: Vec<u8>,
    /// The connections that it came on, and at which byte it begins there.
    pub places: Vec<Place>,
}

/// A byte on a connection to a server.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The server's end.
    pub peer: Identity,
    /// The switch's.
    pub local: Identity,
    /// How many bytes came before.
    pub offset: u64,
    /// When it came, ns.
    pub at: u64,
}

/// What all applications write down.
pub struct Ledger {
    /// What is to happen.
    pub plan: Plan,
    /// What is wrong.
    pub errors: Vec<String>,
    /// Notes for a trace.
    pub notes: Vec<String>,
    /// Whether notes are wanted.
    pub trace: bool,
    /// How connections ended.
    pub outcomes: Vec<Outcome>,
    /// Requests that came to servers, by connection and index.
    pub deliveries: HashMap<(u32, u32), Delivery>,
    /// Requests that came to a second server: what, and where they had come first.
    pub again: Vec<(u32, u32, Place)>,
    /// Bytes that clients have got.
    pub bytes: u64,
    /// Exchanges that are complete.
    pub exchanges: u64,
}

impl Ledger {
    /// Nothing has happened yet.
    pub fn new(plan: Plan, trace: bool) -> Self {
        Self {
            outcomes: vec![Outcome::Open; plan.conns.len()],
            plan,
            errors: Vec::new(),
            notes: Vec::new(),
            trace,
            deliveries: HashMap::new(),
            again: Vec::new(),
            bytes: 0,
            exchanges: 0,
        }
    }

    /// Something is wrong.
    pub fn error(&mut self, error: String) {
        self.errors.push(error);
    }

    /// A line for the trace.
    pub fn note(&mut self, note: impl FnOnce() -> String) {
        if self.trace {
            let note = note();
            self.notes.push(note);
        }
    }

    /// Whether a server may get requests for a pool.
    pub fn may_serve(&self, server: u8, pool: u8) -> bool {
        server == FRONT
            || self
                .plan
                .servers
                .get(usize::from(server))
                .is_some_and(|server| server.pool == pool)
    }
}

/// Whether what has come is the beginning of what was expected; else where they differ.
pub fn matches(got: &[u8], expected: &[u8]) -> Result<(), usize> {
    match got.iter().zip(expected).position(|(a, b)| a != b) {
        Some(at) => Err(at),
        None if got.len() > expected.len() => Err(expected.len()),
        None => Ok(()),
    }
}

/// Bytes as text, for messages.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(80)])
        .escape_debug()
        .to_string()
}
