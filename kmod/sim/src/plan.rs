// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What is going to happen, from a seed: the hosts, the links, the connections and every byte of them.

mod bytes;
mod proxies;

use std::rc::Rc;

use crate::header::ClientHeader;
use crate::net::Link;
use crate::own::OwnConfig;
use crate::smol::SmolConfig;

pub use bytes::banner;
pub use bytes::body;
pub use bytes::client_hello;
pub use bytes::hello_len;
pub use bytes::opaque_down;
pub use bytes::opaque_up;
pub use proxies::ELSEWHERE;
pub use proxies::ProxyPlan;
pub use proxies::is_of;
pub use proxies::told;

/// A millisecond, ns.
pub const MS: u64 = 1_000_000;
/// A second, ns.
pub const SECOND: u64 = 1_000 * MS;
/// Pools of real servers.
pub const POOLS: u8 = 3;
/// The pool whose routes may have a rate limit.
pub const LIMITED: u8 = 1;
/// In place of a server's or pool's number: the front.
pub const FRONT: u8 = 99;
/// Port of the HTTP service.
pub const HTTP: u16 = 80;
/// Port of another HTTP service, whose servers are those of the first.
pub const ALSO: u16 = 8080;
/// Port of the TLS service.
pub const TLS: u16 = 443;
/// Port of the service whose server speaks first.
pub const EAGER: u16 = 25;

/// A TCP of some kind.
#[derive(Clone, Debug)]
pub enum Kind {
    /// smoltcp.
    Smol(SmolConfig),
    /// Our own.
    Own(OwnConfig),
}

impl Kind {
    /// Whether it knows timestamps.
    pub const fn has_timestamps(&self) -> bool {
        match self {
            Self::Smol(config) => config.timestamps,
            Self::Own(config) => config.timestamps,
        }
    }
}

/// A client's host.
#[derive(Clone, Debug)]
pub struct ClientHost {
    /// Its TCP.
    pub kind: Kind,
    /// To the switch.
    pub up: Link,
    /// From it.
    pub down: Link,
}

/// How a server fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It does not.
    Serves,
    /// It resets what wants to connect.
    Refuses,
    /// It answers nothing.
    Hangs,
}

/// A real server.
#[derive(Clone, Debug)]
pub struct ServerHost {
    /// Its pool.
    pub pool: u8,
    /// Its TCP.
    pub kind: Kind,
    /// How it fails.
    pub mode: Mode,
    /// It closes connections that are idle for so long, ns.
    pub idle_close: Option<u64>,
    /// It says 408 before it does.
    pub says_408: bool,
    /// It closes right when it has answered a few requests, without having said so.
    pub closes_after: Option<u32>,
    /// Reached from an address of the switch's.
    pub fullnat: bool,
    /// To the switch.
    pub up: Link,
    /// From it.
    pub down: Link,
}

/// How a body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// No body.
    None,
    /// Content-Length.
    Length,
    /// Chunks.
    Chunked,
    /// Until the connection's end.
    Close,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// POST.
    Post,
}

/// A request and its response.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The connection's number.
    pub conn: u32,
    /// Its place on the connection.
    pub index: u32,
    /// Pool, or [`FRONT`].
    pub pool: u8,
    /// Method.
    pub method: Method,
    /// Bytes of fields that mean nothing.
    pub padding: usize,
    /// Framing of the request's body.
    pub frame: Frame,
    /// Its length.
    pub body: usize,
    /// The client waits for a 100.
    pub expect: bool,
    /// `Connection: close` in the request.
    pub close: bool,
    /// Bytes that client and server send each other after a 101.
    pub upgrade: Option<(usize, usize)>,
    /// How long the client waits before it, ns.
    pub think: u64,
    /// Status code.
    pub status: u16,
    /// Framing of the response's body.
    pub answer_frame: Frame,
    /// Its length.
    pub answer: usize,
    /// Bytes of fields in the response that mean nothing.
    pub answer_padding: usize,
    /// Interim responses before it.
    pub interim: u8,
    /// How long the server takes, ns.
    pub delay: u64,
    /// `Connection: close` in the response, and the server keeps its word.
    pub answer_close: bool,
    /// The answer begins before the request's body has come.
    pub early: bool,
    /// The server resets after so many bytes of the response.
    pub reset_after: Option<usize>,
    /// The server writes so many bytes at once, and waits 1 ms.
    pub trickle: Option<usize>,
}

/// How a client ends a connection that it has used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By a FIN when the last response is there.
    Fin,
    /// By a FIN right behind the last request.
    Half,
    /// By a reset when the last response is there.
    Reset,
    /// By a reset at some time.
    ResetAt(u64),
    /// By a reset when so many bytes of responses have come.
    ResetAfter(usize),
    /// It waits for the server to end it, up to so many ns, and then ends it itself.
    Wait(u64),
}

/// What a connection is about.
#[derive(Clone, Debug)]
pub enum What {
    /// Requests; so many at once.
    Http(Rc<[Exchange]>, usize),
    /// A ClientHello for a pool, then bytes of both sides: the client's and the server's, so many.
    Tls(u8, usize, usize),
    /// A banner of the server's, then the same.
    Eager(usize, usize),
    /// Nothing.
    OpenOnly,
}

/// A connection.
#[derive(Clone, Debug)]
pub struct Conn {
    /// Its number.
    pub id: u32,
    /// The client's host.
    pub host: usize,
    /// The client's port.
    pub port: u16,
    /// The service's port.
    pub service: u16,
    /// When it begins, ns.
    pub start: u64,
    /// The PROXY header that it begins with.
    pub header: Option<ClientHeader>,
    /// What it is about.
    pub what: What,
    /// How the client ends it.
    pub end: End,
    /// The client writes so many bytes at once, and waits so many ns.
    pub trickle: Option<(usize, u64)>,
    /// The client reads so many bytes at once, and waits 1 ms.
    pub slow: Option<usize>,
    /// How long an idle client waits before it first sends, ns.
    pub idle: u64,
}

/// How a pool's requests are placed.
#[derive(Clone, Copy, Debug)]
pub struct SchedulerPlan {
    /// Scheduler.
    pub kind: l7switch_engine::sched::Kind,
    /// What a hashing one places requests by, in the rule language.
    pub key: &'static str,
}

/// How many requests of a route to pool [`LIMITED`] may come, in all: tokens come too slowly.
#[derive(Clone, Copy, Debug)]
pub struct LimitPlan {
    /// Tokens of a bucket.
    pub burst: u32,
    /// Every client has a bucket of its own.
    pub by_source: bool,
}

/// What the rules say.
#[derive(Clone, Debug)]
pub struct RulesPlan {
    /// Routes lead to two pools each, of the same servers.
    pub split: bool,
    /// Other servers that are tried.
    pub retries: u32,
    /// Of each pool.
    pub schedulers: [SchedulerPlan; POOLS as usize],
    /// When other rules are put in force, ns.
    pub reloads: Vec<u64>,
    /// A rate limit of the routes to pool [`LIMITED`].
    pub limit: Option<LimitPlan>,
    /// Requests or connections that each server has at a time, at most, in each of its pools.
    pub bound: Option<u32>,
}

/// Everything.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// IPv6.
    pub v6: bool,
    /// How bad the network is: 0 (clean) to 3.
    pub grade: u8,
    /// Largest segment that is offered to clients.
    pub mss: u16,
    /// Window scale that is offered to clients.
    pub scale: u8,
    /// Timestamps are offered to clients.
    pub timestamps: bool,
    /// Selective acknowledgements are offered.
    pub sack: bool,
    /// The rules.
    pub rules: RulesPlan,
    /// What they say of PROXY headers.
    pub proxies: ProxyPlan,
    /// Ports for [`ServerHost::fullnat`].
    pub ports: u16,
    /// Segments that the switch holds are lost in so many of a million cases.
    pub forget: u32,
    /// Whether the switch's host forwards packets: of IPv4, of IPv6.
    pub forwards: [bool; 2],
    /// Clock of the switch at the start, ms.
    pub base_ms: u64,
    /// Hosts of clients.
    pub clients: Vec<ClientHost>,
    /// Real servers.
    pub servers: Vec<ServerHost>,
    /// The front's TCP.
    pub front: Kind,
    /// Whether the front is running.
    pub front_up: bool,
    /// Connections, by number.
    pub conns: Vec<Conn>,
}

impl Plan {
    /// Whether a pool's servers are reached from an address of the switch's.
    pub fn fullnat(&self, pool: u8) -> bool {
        let mut servers = self.servers.iter();
        servers.any(|server| server.pool == pool && server.fullnat)
    }
}

impl Conn {
    /// Whether it may fail for its client: something was planned that the client has to see.
    pub fn may_fail(&self, plan: &Plan) -> bool {
        // The front may be needed: a head that comes slowly, a server that is not there.
        if !plan.front_up {
            return true;
        }
        match &self.what {
            What::Http(list, depth) => {
                let resets = list.iter().any(|e| e.reset_after.is_some());
                // A server that ends without a word takes what it has acknowledged with it.
                let closes = plan.servers.iter().any(|s| {
                    let takes = matches!(s.kind, Kind::Smol(_)) || *depth > 1;
                    s.idle_close.is_some() && (takes || self.trickle.is_some())
                });
                resets || (closes && list.len() > 1)
            }
            // Where the last segment of the handshake is lost, nobody speaks: the switch has kept nothing.
            What::Eager(..) => plan.grade >= 2,
            What::Tls(..) | What::OpenOnly => false,
        }
    }
}
