// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What applications have seen, and what of it is wrong.

use std::collections::HashMap;

use l7switch_engine::endpoint::Endpoint;

use crate::header::ClientHeader;
use crate::lost::Lost;
use crate::plan;
use crate::plan::Conn;
use crate::plan::Exchange;
use crate::plan::FRONT;
use crate::plan::Mode;
use crate::plan::Plan;
use crate::plan::ServerHost;
use crate::plan::What;

/// A head of fewer bytes comes in one segment.
const SHORT_HEAD: usize = 400;
/// So many ports are never all in use.
const MANY_PORTS: u16 = 500;

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
    pub peer: Endpoint,
    /// The switch's.
    pub local: Endpoint,
    /// How many bytes came before.
    pub offset: u64,
    /// When it came, ns.
    pub at: u64,
}

/// What a client sends on its connection, and how much of it has come to where it is to go.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    /// Where each request begins, in bytes.
    pub starts: Vec<u64>,
    /// Of each: up to where servers have it, and what comes behind it on their connections.
    ends: Vec<u64>,
    /// Bytes of the PROXY header in front of them.
    header: u64,
    /// The front has it.
    header_came: bool,
    /// A real server has taken a connection for it. The header is acknowledged with what that acknowledges.
    pub connected: bool,
    /// The client has ended it: a FIN has a number too.
    pub ended: bool,
    /// It could not go on: a late segment of an earlier connection took its place in the switch, or its server's TCP forgot
    /// to send its end again.
    pub excused: bool,
    /// When a late segment of an earlier connection took its place in the switch, which then knew nothing of it, ns.
    pub replaced: Option<u64>,
    /// Responses that its client has whole.
    pub answered: u64,
    /// What the network lost of it.
    pub lost: Lost,
    /// A server has given its connection up, and does not read what comes on it.
    pub over: bool,
}

impl Stream {
    /// The front has got the client's PROXY header.
    pub fn header_came(&mut self) {
        self.header_came = true;
    }

    /// Whether a server has been there for it: what comes to others has a header that the client has not sent.
    pub fn has_had_server(&self) -> bool {
        self.connected || self.header_came
    }

    /// Up to where servers have everything.
    fn had(&self) -> u64 {
        let parts = self.starts.iter().zip(&self.ends);
        let header = if self.has_had_server() {
            self.header
        } else {
            0
        };
        parts.fold(header, |had, (start, end)| match *start <= had {
            true => had.max(*end),
            false => had,
        })
    }
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
    /// What clients send, by connection.
    pub streams: Vec<Stream>,
    /// Connections that have just been given up because they took too long.
    pub late: Vec<usize>,
    /// What servers had when they gave a connection up, and did not know yet of whose it was.
    pub orphans: Vec<Vec<u8>>,
    /// Requests that came to a second server: what, and where they had come first.
    pub again: Vec<(u32, u32, Place)>,
    /// Requests that came to a server that had just closed what was idle, and where.
    pub unread: Vec<(u32, Place)>,
    /// Bytes that clients have got.
    pub bytes: u64,
    /// Exchanges that are complete.
    pub exchanges: u64,
}

impl Ledger {
    /// Nothing has happened yet.
    pub fn new(plan: Plan, trace: bool) -> Self {
        let streams = plan.conns.iter().map(|conn| {
            let header = conn.header().len() as u64;
            Stream {
                starts: match &conn.what {
                    What::Http(list, _) => starts(header, list),
                    _ => vec![header],
                },
                header,
                ..Stream::default()
            }
        });
        Self {
            streams: streams.collect(),
            outcomes: vec![Outcome::Open; plan.conns.len()],
            plan,
            errors: Vec::new(),
            notes: Vec::new(),
            trace,
            deliveries: HashMap::new(),
            late: Vec::new(),
            orphans: Vec::new(),
            again: Vec::new(),
            unread: Vec::new(),
            bytes: 0,
            exchanges: 0,
        }
    }

    /// A server has so many bytes from the beginning of a request on.
    pub fn arrived(&mut self, conn: u32, index: u32, bytes: u64) {
        let stream = &mut self.streams[conn as usize];
        let index = index as usize;
        stream.ends.resize(stream.starts.len(), 0);
        stream.ends[index] = stream.ends[index].max(stream.starts[index] + bytes);
    }

    /// Whether servers have what a client sends on a connection, up to a byte. `unknown`: what servers have, and do not know
    /// yet of which connection it is.
    pub fn has<'a>(
        &'a self,
        conn: usize,
        to: u64,
        unknown: impl Iterator<Item = &'a [u8]>,
    ) -> bool {
        let stream = &self.streams[conn];
        let had = stream.had();
        // With what a server acknowledges the whole header is, and not a part. (The number of a FIN is taken off already.)
        let whole = stream.header.saturating_sub(stream.ended.into());
        let is_part = (1..whole).contains(&to) && !stream.header_came;
        if to <= had && !is_part || stream.over {
            return true;
        }
        let conn = &self.plan.conns[conn];
        let mut begins: Vec<(u64, Vec<u8>)> = match &conn.what {
            What::Http(list, _) => {
                let whole = |e: &Exchange| [e.head(), e.body()].concat();
                stream
                    .starts
                    .iter()
                    .copied()
                    .zip(list.iter().map(whole))
                    .collect()
            }
            What::Tls(pool, ..) => {
                let len = plan::hello_len(conn.id);
                vec![(stream.header, plan::client_hello(conn.id, *pool, len))]
            }
            What::Eager(up, _) => vec![(stream.header, plan::opaque_up(conn.id, *up))],
            What::OpenOnly => Vec::new(),
        };
        begins.push((0, conn.header()));
        let orphans = self.orphans.iter().map(Vec::as_slice);
        let mut unknown = unknown.chain(orphans).filter(|bytes| !bytes.is_empty());
        unknown.any(|bytes| {
            begins.iter().any(|(at, whole)| {
                let same = whole.iter().zip(bytes).all(|(a, b)| a == b);
                same && *at <= had && to <= at + bytes.len() as u64
            })
        })
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

    /// Whether a connection's requests come to real servers, and nothing has to be left to the front: heads come at once, and
    /// servers take every connection and end none.
    fn needs_no_front(&self, conn: usize) -> bool {
        let (plan, conn) = (&self.plan, &self.plan.conns[conn]);
        // The head of a request behind another one may come in parts.
        let What::Http(list, 1) = &conn.what else {
            return false;
        };
        let header = conn.header().len();
        // A client may wait for the acknowledgement of a header that comes apart, or that is long.
        let is_with_the_first = |header: &ClientHeader| !header.apart;
        let short = |exchange: &Exchange| {
            header + exchange.head().len() < SHORT_HEAD && exchange.upgrade.is_none()
        };
        // One that does not know timestamps which the client was offered is passed over.
        let steady = |server: &ServerHost| {
            server.mode == Mode::Serves
                && server.idle_close.is_none()
                && (!plan.timestamps || server.kind.has_timestamps())
        };
        // One service's connection has the addresses and ports of another's, at the same server.
        let twin = |other: &Conn| {
            other.id != conn.id && (other.host, other.port) == (conn.host, conn.port)
        };
        // A server that is in two pools of a route may be needed twice, by the same addresses and ports.
        plan.grade == 0
            && !plan.rules.split
            && plan.rules.limit.is_none()
            && plan.rules.bound.is_none()
            && plan.forget == 0
            && plan.forwards == [true; 2]
            && plan.ports > MANY_PORTS
            && conn.trickle.is_none()
            && conn.header.as_ref().is_none_or(is_with_the_first)
            && !plan.conns.iter().any(twin)
            && list.iter().all(short)
            && plan.servers.iter().all(steady)
    }

    /// Whether a connection's request for a pool may be answered by a server.
    pub fn may_answer(&self, conn: usize, server: u8, pool: u8) -> bool {
        self.may_serve(server, conn as u32, pool)
            && (server != FRONT || pool == FRONT || !self.needs_no_front(conn))
    }

    /// Whether a server may get requests for a pool, of a connection.
    pub fn may_serve(&self, server: u8, conn: u32, pool: u8) -> bool {
        let pool = self.plan.pool(&self.plan.conns[conn as usize], pool);
        server == FRONT
            || self
                .plan
                .servers
                .get(usize::from(server))
                .is_some_and(|server| server.pool == pool)
    }
}

/// Where requests begin that follow each other, and a PROXY header.
fn starts(header: u64, list: &[Exchange]) -> Vec<u64> {
    let mut at = header;
    list.iter()
        .map(|exchange| {
            let start = at;
            at += (exchange.head().len() + exchange.body().len()) as u64;
            start
        })
        .collect()
}

/// Whether what has come is the beginning of what was expected; else where they differ.
pub fn matches(got: &[u8], expected: &[u8]) -> Result<(), usize> {
    match got.iter().zip(expected).position(|(a, b)| a != b) {
        Some(at) => Err(at),
        None if got.len() > expected.len() => Err(expected.len()),
        None => Ok(()),
    }
}

/// The same, where so many bytes are known to be right.
pub fn matches_from(checked: usize, got: &[u8], expected: &[u8]) -> Result<(), usize> {
    let from = checked.min(got.len()).min(expected.len());
    matches(&got[from..], &expected[from..]).map_err(|at| from + at)
}

/// Bytes as text, for messages.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(80)])
        .escape_debug()
        .to_string()
}
