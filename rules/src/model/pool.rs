// SPDX-License-Identifier: MIT
//! Pools of real servers: how they are chosen, reached and checked.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use l7switch_engine::sched::MAX_WEIGHT;
use l7switch_engine::table::codes::ProxyVersion;
use serde::Serialize;
use serde::Serializer;

use super::Certificate;
use super::Lookup;
use super::NamedServer;
use super::SchedulerKind;
use crate::names::UNIX_PREFIX;

/// A pool of real servers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pool {
    /// Name, the key below `pool`.
    pub name: String,
    /// How a server is chosen.
    pub scheduler: Scheduler,
    /// How packets reach it on the kernel's data path.
    pub forward: Forward,
    /// The PROXY header that connections to its servers begin with.
    #[serde(serialize_with = "version_name")]
    pub send_proxy: Option<ProxyVersion>,
    /// HTTP towards its servers.
    pub protocol: ServerProtocol,
    /// TLS towards its servers; absent: clear text.
    pub tls: Option<ServerTls>,
    /// Real servers of which the addresses are known; no address twice. Those that are no backups come first.
    pub servers: Vec<RealServer>,
    /// Names of servers, which are resolved where the rules are in force; no name with its port twice.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<NamedServer>,
    /// Whether all servers are drained.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub drain: bool,
    /// The pool that takes the requests while none of the servers can: index in [`super::Model::pools`].
    pub fallback: Option<usize>,
    /// Active checks.
    pub health: Option<Health>,
    /// Passive checks.
    pub passive: Passive,
    /// Time for a TCP connection to a server to be established.
    pub connect_timeout: Duration,
    /// Time from the end of the request to the first byte of the response: 504 when it passes.
    pub response_timeout: Duration,
    /// When a request is sent to another server.
    pub retries: Retries,
    /// Who may wait while the servers have as many requests as they may.
    pub queue: Queue,
    /// How long a server that comes up gets less than its share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<Duration>,
    /// Idle connections kept per server.
    pub keepalive: usize,
    /// How long an idle connection is kept.
    pub keepalive_timeout: Duration,
}

/// Scheduler of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Scheduler {
    /// Which one.
    #[serde(serialize_with = "scheduler_word")]
    pub kind: SchedulerKind,
    /// What is hashed, for those that hash.
    pub key: HashKey,
    /// Bounded load of [`SchedulerKind::Ch`]: no server gets more than this many percent of its
    /// fair share (by weight) of outstanding requests. At least 101; 0: no bound.
    pub load_percent: u32,
}

impl Scheduler {
    /// Whether the client's address may decide: it is hashed, or what is hashed may be absent.
    pub const fn hashes_source(&self) -> bool {
        self.kind.hashes() && !matches!(self.key, HashKey::Path | HashKey::Host)
    }
}

fn scheduler_word<S: Serializer>(kind: &SchedulerKind, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(kind.as_str())
}

/// What a hashing scheduler hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HashKey {
    /// The client's address, without port.
    #[default]
    Source,
    /// The normalised path.
    Path,
    /// The normalised host.
    Host,
    /// A header field's combined value; absent: the source.
    Header(String),
    /// A cookie's value; absent: the source.
    Cookie(String),
}

/// Forwarding method on the kernel's data path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Forward {
    /// The server sees the client's address and routes its answers back through the switch.
    #[default]
    Nat,
    /// The server sees an address of the switch.
    Fullnat,
}

/// HTTP towards servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2: in clear text with prior knowledge, over TLS by ALPN.
    Http2,
    /// HTTP/2 where the server offers it by ALPN, otherwise HTTP/1.1.
    Auto,
}

/// TLS towards servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerTls {
    /// PEM file of the authorities that are believed; absent: those of the system. Relative paths were resolved.
    pub ca: Option<PathBuf>,
    /// Whom the servers' certificates must name, sent as server name; absent: each its own name or address.
    pub server_name: Option<String>,
    /// Whether their certificates are verified.
    pub verify: bool,
    /// The certificate that the switch shows them.
    pub certificate: Option<Certificate>,
}

#[expect(clippy::ref_option, reason = "serde's signature")]
fn version_name<S: Serializer>(
    version: &Option<ProxyVersion>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    version.map(ProxyVersion::name).serialize(serializer)
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ServerAddress {
    /// An IP address and a port.
    Inet(SocketAddr),
    /// The path of a Unix socket of this machine (unix(7)).
    Unix(Arc<str>),
}

impl ServerAddress {
    /// The IP address and port, if it has one.
    pub const fn inet(&self) -> Option<SocketAddr> {
        match self {
            Self::Inet(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl From<SocketAddr> for ServerAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Inet(address)
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX_PREFIX}{path}"),
        }
    }
}

impl Serialize for ServerAddress {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// A real server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RealServer {
    /// Where it is.
    pub address: ServerAddress,
    /// The name that the address was found by; absent: the rules give the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Lookup>,
    /// Weight, 0 to 65535; 0 gets nothing new, as in IPVS.
    pub weight: u32,
    /// Whether it gets requests only while no server can that is none.
    pub backup: bool,
    /// Whether it gets nothing new, whatever its weight.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub drain: bool,
    /// The port that active checks try; absent: the pool's, or its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_port: Option<u16>,
    /// Most requests (connections, of what is not HTTP) that it has at a time; absent: no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
}

/// The queue of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Queue {
    /// Requests that may wait.
    pub length: usize,
    /// How long each may.
    pub timeout: Duration,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            length: 1024,
            timeout: Duration::from_secs(5),
        }
    }
}

/// When a request is sent to another server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Retries {
    /// Other servers that are tried.
    pub attempts: u32,
    /// After what, besides failed connections; absent: where the server has ended the connection and the method is safe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<RetryRule>,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 2,
            rule: None,
        }
    }
}

/// After what a request without content is sent to another server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RetryRule {
    /// There is no connection.
    pub connect: bool,
    /// The server has ended the connection before a response.
    pub reset: bool,
    /// It has not begun its response in time.
    pub timeout: bool,
    /// Its response has one of these statuses.
    pub statuses: Vec<u16>,
    /// Methods of requests that may have reached a server and are sent again all the same.
    pub methods: Vec<String>,
    /// Longest content of a request that is sent again after a server may have seen some of it, bytes.
    pub body_limit: u64,
    /// Requests that may be sent again at a time, in percent of those that the pool has.
    pub budget: u32,
}

impl Pool {
    /// Drains all servers where the pool is drained.
    pub(crate) fn drain(&mut self) {
        for server in &mut self.servers {
            server.drain |= self.drain;
        }
    }

    /// How many of the servers are no backups: the first ones.
    pub fn primaries(&self) -> usize {
        self.servers.iter().filter(|server| !server.backup).count()
    }

    /// Whether a server has a bound.
    pub fn is_bounded(&self) -> bool {
        let named = self.names.iter().map(|named| named.max_connections);
        let mut all = self
            .servers
            .iter()
            .map(|server| server.max_connections)
            .chain(named);
        all.any(|bound| bound.is_some())
    }

    /// What weights are multiplied by where servers start slowly, so that there are steps below 1: the same for all servers of the
    /// pool. 1 where they do not.
    pub fn weight_scale(&self) -> u32 {
        /// More steps than that are no use.
        const FINEST: u32 = 100;
        if self.slow_start.is_none() {
            return 1;
        }
        let greatest = self.servers.iter().map(|server| server.weight).max();
        MAX_WEIGHT
            .checked_div(greatest.unwrap_or(1))
            .map_or(FINEST, |scale| scale.clamp(1, FINEST))
    }

    /// Whether requests may wait where all servers have as many as they may.
    pub fn waits(&self) -> bool {
        self.queue.length > 0
    }

    /// Whether a server is a Unix socket.
    pub fn has_unix_server(&self) -> bool {
        let mut servers = self.servers.iter();
        servers.any(|server| server.address.inet().is_none())
    }
}

/// Active checks of a pool's servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    /// What is tried.
    pub probe: Probe,
    /// The port that is tried; absent: the server's own.
    pub port: Option<u16>,
    /// Time between the starts of two checks of one server.
    pub interval: Duration,
    /// Time after which a check has failed.
    pub timeout: Duration,
    /// Successes in a row that bring a server up.
    pub rise: u32,
    /// Failures in a row that take a server down.
    pub fall: u32,
}

/// What an active check tries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Probe {
    /// The TCP connection is accepted.
    Tcp,
    /// The health service of gRPC (`grpc.health.v1.Health/Check`) says that this service, or with an empty name the server, is
    /// serving.
    Grpc {
        /// Name of the service.
        service: String,
    },
    /// A request is answered as it should be.
    Http(HttpProbe),
}

/// A request that a healthy server answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HttpProbe {
    /// Method.
    pub method: String,
    /// Target in origin form.
    pub path: String,
    /// Host field; the server's name or address unless given.
    pub host: Option<String>,
    /// Further fields; names in lower case.
    pub headers: Vec<(String, String)>,
    /// Lowest and highest status taken as healthy.
    pub status: (u16, u16),
    /// What is found in the content of a healthy server's response.
    pub body: Option<BodyTest>,
}

/// What is found in a response's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BodyTest {
    /// This text.
    Text(String),
    /// A match of this regular expression.
    Regex(String),
}

/// Passive checks: requests that clients sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Passive {
    /// Failures in a row (refused, reset or timed-out connection, no response) after which a
    /// server is taken out; 0: never.
    pub failures: u32,
    /// For how long it is taken out.
    pub eject: Duration,
}

impl Default for Passive {
    fn default() -> Self {
        Self {
            failures: 3,
            eject: Duration::from_secs(10),
        }
    }
}
